"""What the database exporter keeps of a batch for the rollups, until it is time to write them."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from tracing.analysis.histogram import HOUR_NS, Histogram
from tracing.spans.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tracing.spans.records import Dispatch, ReceiverLabel, Trace

_HOURS_KEPT = 2
_WRITE_SECONDS = 2.0
_MOST_KEYS = 20_000
"""Signals, senders and receivers of an hour whose totals are kept in memory."""

Key = tuple[int, int, int]
"""(signal id, sender id, receiver id or 0 for the dispatch as a whole)."""


class Sum:
    """Durations, errors and queries of one key in one hour."""

    __slots__ = (
        "count",
        "durations",
        "errors",
        "histogram",
        "queries",
        "query_ns",
        "repeated_ns",
        "total_ns",
    )

    def __init__(self) -> None:
        self.durations: list[int] = []
        """Not counted in the rest yet."""
        self.repeated_ns = 0
        """What of the durations is in others of them already: the total counts each moment once."""
        self.count = self.errors = self.total_ns = self.queries = self.query_ns = 0
        self.histogram = Histogram()

    def add(self, other: Sum) -> None:
        """Add what a batch brought."""
        self.durations += other.durations
        self.repeated_ns += other.repeated_ns
        self.errors += other.errors
        self.queries += other.queries
        self.query_ns += other.query_ns

    def after(self, before: Sum | None) -> Sum:
        """Return the sum of *before*, as it was written, and this one."""
        durations = self.durations
        total = Sum()
        total.count = len(durations)
        total.total_ns = sum(durations) - self.repeated_ns
        total.errors, total.queries, total.query_ns = self.errors, self.queries, self.query_ns
        if before is not None:
            total.count += before.count
            total.total_ns += before.total_ns
            total.errors += before.errors
            total.queries += before.queries
            total.query_ns += before.query_ns
            total.histogram.buckets = dict(before.histogram.buckets)
        total.histogram.add(durations)
        return total

    def columns(self) -> tuple[int | str, ...]:
        """Return the columns of the rollup after its key."""
        return (
            self.count,
            self.errors,
            self.total_ns,
            self.queries,
            self.query_ns,
            self.histogram.encode(),
        )


class Wire:
    """The sums of one signal and sender within a batch: of the dispatch and of each receiver."""

    __slots__ = ("calls", "own", "sender", "signal")

    def __init__(self, signal: int, sender: int) -> None:
        self.signal = signal
        self.sender = sender
        self.own = Sum()
        self.calls: dict[int, Sum] = {}


Batch = dict[int, dict[tuple[str, str], Wire]]
"""By hour since the epoch, then by the names of signal and sender."""


def subtract_repeats(
    trace: Trace,
    wire_of: Callable[[Dispatch], Wire],
    receiver_id: Callable[[ReceiverLabel], int],
) -> None:
    """Take out of the sums of *trace* what its dispatches and calls have in common.

    A receiver that runs inside itself, or several times at once, has taken the time once; and what a
    dispatch asked of the database, one of its like around it has counted already.
    """
    dispatches: defaultdict[tuple[str, str], list[_Interval]] = defaultdict(list)
    calls: defaultdict[int, list[_Interval]] = defaultdict(list)
    owners: dict[int, Dispatch] = {}
    unfinished = {dispatch.number for dispatch in trace.carried.unfinished}
    for dispatch in (*trace.carried.unfinished, *trace.dispatches):
        # What is still running comes later, with all that is inside it.
        running = dispatch.number in unfinished
        wire = None if running else wire_of(dispatch)
        end = _ENDLESS if running else dispatch.start_ns + dispatch.duration_ns
        key = (dispatch.signal, dispatch.sender)
        dispatches[key].append((dispatch.start_ns, end, wire.own if wire else None))
        for call in dispatch.receiver_calls:
            owners[call.number] = dispatch
            receiver = receiver_id(call.receiver)
            end = call.start_ns + call.duration_ns
            if running and call.outcome is Outcome.RUNNING:
                end = _ENDLESS
            total = wire.calls[receiver] if wire else None
            calls[receiver].append((call.start_ns, end, total))
    for intervals in (*dispatches.values(), *calls.values()):
        _subtract_overlaps(intervals)
    for dispatch in trace.dispatches:
        if dispatch.query_count and _is_inside_its_like(dispatch, owners):
            own = wire_of(dispatch).own
            own.queries -= dispatch.query_count
            own.query_ns -= dispatch.query_ns


_Interval = tuple[int, int, Sum | None]
"""(start, end, the sum that its duration is in); None for what will be counted later."""

_ENDLESS = 1 << 62


def _subtract_overlaps(intervals: list[_Interval]) -> None:
    intervals.sort(key=lambda interval: (interval[0], -interval[1]))
    reached = 0
    for start, end, total in intervals:
        if total is not None and start < reached:
            total.repeated_ns += min(end, reached) - start
        reached = max(reached, end)


def _is_inside_its_like(dispatch: Dispatch, owners: Mapping[int, Dispatch]) -> bool:
    """Return whether a dispatch of its signal and sender is above it, whose queries are its own too."""
    above: Dispatch | None = dispatch
    while above is not None and above.parent_number is not None and not above.parent_is_link:
        above = owners.get(above.parent_number)
        if above is not None and (above.signal, above.sender) == (
            dispatch.signal,
            dispatch.sender,
        ):
            return True
    return False


Due = list[tuple[int, str, dict[Key, Sum]]]
"""(hour, part, totals so far): rows to be written."""


class Summing:
    """The sums of a process: what is written already, and what is waiting to be."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[Key, Sum]] = {}
        self._written: dict[int, tuple[str, dict[Key, Sum]]] = {}
        self._written_at = -_WRITE_SECONDS

    def add(self, batch: Batch) -> None:
        """Take what a batch that was stored brought."""
        for hour, wires in batch.items():
            waiting = self._waiting.setdefault(hour, {})
            for wire in wires.values():
                for receiver, found in ((0, wire.own), *wire.calls.items()):
                    key = (wire.signal, wire.sender, receiver)
                    total = waiting.get(key)
                    if total is None:
                        total = waiting[key] = Sum()
                    total.add(found)

    def waiting_ids(self, place: int) -> set[int]:
        """Return the ids at *place* of the keys (see ``Key``) that are waiting."""
        return {key[place] for sums in self._waiting.values() for key in sums}

    def rename(self, place: int, ids: dict[int, int]) -> None:
        """Replace the ids at *place* of the keys that are waiting."""
        for hour, sums in self._waiting.items():
            renamed: dict[Key, Sum] = {}
            for key, total in sums.items():
                parts = list(key)
                parts[place] = ids.get(key[place], key[place])
                renamed.setdefault((parts[0], parts[1], parts[2]), Sum()).add(total)
            self._waiting[hour] = renamed

    @property
    def is_due(self) -> bool:
        """Return whether it is time to write: a busy process writes only now and then."""
        return bool(self._waiting) and time.monotonic() - self._written_at >= _WRITE_SECONDS

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is waiting."""
        return not self._waiting

    def due(self) -> Due:
        """Return the rows to be written now."""
        current = time.time_ns() // HOUR_NS
        rows: Due = []
        for hour, sums in self._waiting.items():
            part, before = self._written.get(hour) or (secrets.token_hex(8), {})
            if hour <= current - _HOURS_KEPT:
                # Long past: it may be compacted by now, so this is a part of its own.
                part, before = secrets.token_hex(8), {}
            totals = {key: total.after(before.get(key)) for key, total in sums.items()}
            rows.append((hour, part, totals))
        return rows

    def written(self, rows: Due) -> None:
        """Take note that *rows*, all that was waiting, are stored."""
        self._waiting = {}
        self._written_at = time.monotonic()
        current = time.time_ns() // HOUR_NS
        for hour, part, totals in rows:
            if hour > current - _HOURS_KEPT:
                self._written.setdefault(hour, (part, {}))[1].update(totals)
        for hour, (_part, totals) in list(self._written.items()):
            # Of an hour with very many keys a new part is begun: parts are added up when they are read.
            if hour <= current - _HOURS_KEPT or len(totals) > _MOST_KEYS:
                del self._written[hour]
