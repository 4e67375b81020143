"""The time of a trace: self time of spans, and the critical path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.index import Below, Index, Span, end_of, roots
from tracing.spans.intervals import covered_within
from tracing.spans.records import Dispatch, ReceiverCall, Trace
from tracing.spans.words import ASYNC_METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence


def self_ns(span: Span) -> int:
    """Return the time of *span* in which nothing below it ran, in nanoseconds.

    Of a receiver call the recording has worked it out. Work that a span only started (an on_commit
    callback, a thread, a task) is not below it in time.
    """
    if isinstance(span, ReceiverCall):
        return span.self_ns
    return max(0, span.duration_ns - covered_within(span, span.receiver_calls))


def self_times(trace: Trace) -> dict[int, int]:
    """Return the self time of each receiver call of *trace*, by number.

    Async receivers wait at the same time: of such a moment each has an equal part, so that what is
    added up of one thread is no more than the time that went by.
    """
    times = {call.number: call.self_ns for each in trace.dispatches for call in each.receiver_calls}
    threads: dict[str, list[ReceiverCall]] = {}
    for dispatch in trace.dispatches:
        threads.setdefault(dispatch.thread, []).extend(dispatch.receiver_calls)
    concurrent = {each.thread for each in trace.dispatches if each.method in ASYNC_METHODS}
    if not concurrent:
        return times
    below = Below(trace)
    for thread in concurrent:
        for number, part in _parts(threads[thread], below).items():
            times[number] = min(times[number], part)
    return times


def _parts(calls: list[ReceiverCall], below: Below) -> dict[int, int]:
    """Return the time of *calls*, each moment shared out among those in it."""
    moments: list[tuple[int, int, int]] = []
    for call in calls:
        for start, end in _stretches(below.sent(call), call.start_ns, end_of(call))[0]:
            moments += [(start, 1, call.number), (end, 0, call.number)]
    moments.sort()
    parts = dict.fromkeys([call.number for call in calls], 0.0)
    running: dict[int, None] = {}
    before = 0
    for moment, begins, number in moments:
        if running and moment > before:
            for each in running:
                parts[each] += (moment - before) / len(running)
        before = moment
        if begins:
            running[number] = None
        else:
            running.pop(number, None)
    return {number: int(part) for number, part in parts.items()}


class CriticalPath:
    """The critical path of a trace, as far down as it is asked for.

    From the end of a span backwards: the child that finished last is on the path, then the one that
    finished last before that one began, and so on; what is between them is the span's own.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        _, below = _stretches(_waited_for(index.trace), 0, index.trace.duration_ns)
        self._within = {child.number: (start, end) for child, start, end in below}
        self._own: dict[int, list[tuple[int, int]]] = {}

    def of(self, span: Span) -> list[tuple[int, int]]:
        """Return the stretches (start and end, ns) that *span* alone accounts for."""
        own = self._own.get(span.number)
        if own is not None:
            return own
        if span.number not in self._within:
            unknown = []
            for above in self._index.above(span):
                if above.number in self._own:
                    break
                unknown.append(above)
            for above in reversed(unknown):
                self._descend(above)
        return self._descend(span)

    def goes_through(self, span: Span) -> bool:
        """Return whether the path goes through *span* or what is below it."""
        self.of(span)
        return span.number in self._within

    def _descend(self, span: Span) -> list[tuple[int, int]]:
        within = self._within.get(span.number)
        own, below = _stretches(self._index.below(span), *within) if within else ([], [])
        self._own[span.number] = own
        for child, start, end in below:
            self._within[child.number] = (start, end)
        return own


def _waited_for(trace: Trace) -> list[Dispatch]:
    return [root for root in roots(trace) if not root.is_detached]


def _stretches(
    children: Sequence[Span], begin: int, until: int
) -> tuple[list[tuple[int, int]], list[tuple[Span, int, int]]]:
    """Return the stretches that no child takes, and those of each child."""
    own: list[tuple[int, int]] = []
    below: list[tuple[Span, int, int]] = []
    cursor = until
    for child in sorted(children, key=end_of, reverse=True) if len(children) > 1 else children:
        if isinstance(child, Dispatch) and child.is_detached:
            continue
        end = min(end_of(child), cursor)
        start = max(child.start_ns, begin)
        if end <= start:
            continue
        if end < cursor:
            own.append((end, cursor))
        below.append((child, start, end))
        cursor = start
    if cursor > begin:
        own.append((begin, cursor))
    return own, below
