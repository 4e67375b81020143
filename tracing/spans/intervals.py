"""Intervals of time, as (start, end) in ns: each instant counts once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tracing.spans.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from tracing.spans.records import Dispatch, ReceiverCall

Interval = tuple[int, int]

ENDLESS: Final = 1 << 62
"""The end of what is still running."""


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return *intervals* in order, joined where they touch."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        elif start < end:
            found.append((start, end))
    return found


def without(intervals: Iterable[Interval], gone: Sequence[Interval]) -> list[Interval]:
    """Return the parts of *intervals* outside of *gone*, both merged."""
    found: list[Interval] = []
    place = 0
    for start, end in intervals:
        while place < len(gone) and gone[place][1] <= start:
            place += 1
        rest = start
        for begin, until in gone[place:]:
            if begin >= end:
                break
            if begin > rest:
                found.append((rest, begin))
            rest = until
        if rest < end:
            found.append((rest, end))
    return found


def covered(intervals: Iterable[tuple[int, int]]) -> int:
    """Return how many nanoseconds *intervals* cover, overlaps counted once."""
    total = 0
    reached = -1 << 62
    for start, end in sorted(intervals):
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def time_once(spans: Iterable[Dispatch | ReceiverCall]) -> int:
    """Return the time in which any of *spans* ran, in nanoseconds.

    Spans that nest in their like, or run at the same time, share moments: a sum of their durations
    would count those several times.
    """
    return covered([(span.start_ns, span.start_ns + span.duration_ns) for span in spans])


def covered_within(span: Dispatch | ReceiverCall, inner: Iterable[Dispatch | ReceiverCall]) -> int:
    """Return the time of *span* that *inner* spans share, in nanoseconds."""
    start, end = span.start_ns, span.start_ns + span.duration_ns
    clipped = [
        (max(each.start_ns, start), min(each.start_ns + each.duration_ns, end)) for each in inner
    ]
    return covered([pair for pair in clipped if pair[0] < pair[1]])


class TimeSoFar:
    """The time in which anything of a kind ran, as it becomes known."""

    __slots__ = ("_past", "_recent", "_until")

    def __init__(self) -> None:
        self._past = self._until = 0
        self._recent: list[Interval] = []

    def add(self, intervals: Iterable[Interval], running: Iterable[int], until: int) -> None:
        """Add what has ended, and what has run at least *until*.

        What is added later began before *until* only if it is among the *running*.
        """
        self._recent += [(start, until) for start in running]
        recent = merged([*self._recent, *intervals])
        since = self._until
        self._past += sum(max(min(end, until) - max(start, since), 0) for start, end in recent)
        self._recent = [(start, end) for start, end in recent if end > until]
        self._until = max(since, until)

    def with_those(self, intervals: Iterable[Interval]) -> int:
        """Return the time in nanoseconds, with that of *intervals*."""
        since = self._until
        late = [(max(start, since), end) for start, end in (*self._recent, *intervals)]
        return self._past + covered([(start, end) for start, end in late if start < end])


# --- sums of time ------------------------------------------------------------------------------


Pair = tuple[str | None, str | None]
"""Names of signal and sender. None for all of them: what the sums over all of them repeat."""


def sums_of(dispatch: Dispatch) -> tuple[Pair, Pair, Pair, Pair]:
    """Return the keys of the sums for *dispatch*, the narrowest first.

    That of its signal and sender, that of its signal, that of its sender, and that of everything.
    """
    signal, sender = dispatch.signal, dispatch.sender
    return (signal, sender), (signal, None), (None, sender), (None, None)


def intervals_by_sum(
    dispatches: Iterable[Dispatch],
    receiver_of: Callable[[ReceiverCall], Hashable],
    *,
    running: bool = False,
) -> dict[Hashable, list[Interval]]:
    """Return the intervals of *dispatches* and calls, by keys of sums.

    Args:
        dispatches: All ended, or all *running*.
        receiver_of: What tells the receiver of a call from others.
        running: The dispatches have no end yet, nor those of their calls that run.
    """
    found: defaultdict[Hashable, list[Interval]] = defaultdict(list)
    for dispatch in dispatches:
        start = dispatch.start_ns
        interval = start, ENDLESS if running else start + dispatch.duration_ns
        for key in sums_of(dispatch):
            found[key].append(interval)
        for call in dispatch.receiver_calls:
            start = call.start_ns
            is_endless = running and call.outcome is Outcome.RUNNING
            end = ENDLESS if is_endless else start + call.duration_ns
            found[receiver_of(call)].append((start, end))
    return found


class CountedTime:
    """The time in the sums of earlier segments that later spans may share."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[Hashable, list[Interval]] = {}
        """By the key of the sum; never changed in place, since an exported segment carries it."""

    def count(
        self, dispatches: Sequence[Dispatch], unfinished: Sequence[Dispatch], until: int
    ) -> None:
        """Take note of a segment.

        Args:
            dispatches: What it has.
            unfinished: What is still running, and will be counted when it has ended.
            until: What comes later began after this moment, unless it is among the unfinished.
        """
        late = [each for each in dispatches if each.start_ns + each.duration_ns > until]
        if not late and not self.known:
            return
        known = {}
        running = intervals_by_sum(unfinished, _label, running=True)
        new = intervals_by_sum(late, _label)
        for key in {*self.known, *new}:
            pending = merged(running.get(key, ()))
            since = min(until, pending[0][0]) if pending else until
            counted = merged(
                [*self.known.get(key, ()), *without(merged(new.get(key, ())), pending)]
            )
            if kept := [interval for interval in counted if interval[1] > since]:
                known[key] = kept
        self.known = known


def _label(call: ReceiverCall) -> Hashable:
    return call.receiver
