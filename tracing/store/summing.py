"""The sums of batches, kept until the rollups are written."""

from __future__ import annotations

import secrets

from tracing.analysis.histogram import HOUR_NS, Histogram
from tracing.clocks import time
from tracing.spans.intervals import Pair

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
        "cpu_ns",
        "durations",
        "errors",
        "histogram",
        "queries",
        "query_ns",
        "repeated_ns",
        "total_ns",
        "untimed",
    )

    def __init__(self) -> None:
        self.durations: list[int] = []
        """Not counted in the rest yet."""
        self.repeated_ns = 0
        """What of the durations is in others of them already: the total counts each moment once."""
        self.untimed = 0
        """Calls of which no duration is known."""
        self.count = self.errors = self.total_ns = self.queries = self.query_ns = 0
        self.cpu_ns: int | None = None
        """None where it was not read."""
        self.histogram = Histogram()

    def add(self, other: Sum) -> None:
        """Add what a batch brought."""
        self.durations += other.durations
        self.untimed += other.untimed
        self.repeated_ns += other.repeated_ns
        self.errors += other.errors
        self.queries += other.queries
        self.query_ns += other.query_ns
        self._add_cpu(other)

    def _add_cpu(self, other: Sum) -> None:
        if other.cpu_ns is not None:
            self.cpu_ns = (self.cpu_ns or 0) + other.cpu_ns

    def after(self, before: Sum | None) -> Sum:
        """Return the sum of *before*, as it was written, and this one."""
        durations = self.durations
        total = Sum()
        total.count = len(durations) + self.untimed
        total.total_ns = sum(durations) - self.repeated_ns
        total.errors, total.queries, total.query_ns = self.errors, self.queries, self.query_ns
        total.cpu_ns = self.cpu_ns
        if before is not None:
            total.count += before.count
            total.total_ns += before.total_ns
            total.errors += before.errors
            total.queries += before.queries
            total.query_ns += before.query_ns
            total._add_cpu(before)
            total.histogram.buckets = dict(before.histogram.buckets)
        total.histogram.add(durations)
        return total

    def columns(self) -> tuple[int | str | None, ...]:
        """Return the columns of the rollup after its key."""
        return (
            self.count,
            self.errors,
            self.total_ns,
            self.queries,
            self.query_ns,
            self.cpu_ns,
            self.histogram.encode(),
        )


class Wire:
    """The sums of one signal and sender within a batch, by receiver."""

    __slots__ = ("calls", "own", "sender", "signal")

    def __init__(self, signal: int, sender: int) -> None:
        self.signal = signal
        self.sender = sender
        self.own = Sum()
        self.calls: dict[int, Sum] = {}


Wires = dict[Pair, Wire]

Batch = dict[int, Wires]
"""By hour since the epoch."""


Due = list[tuple[int, str, dict[Key, Sum]]]
"""(hour, writer, totals so far): rows to be written."""


class RollupBuffer:
    """The sums of a process: what is written, and what waits to be."""

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
        """Return whether it is time to write."""
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
            writer, before = self._written.get(hour) or (secrets.token_hex(8), {})
            if hour <= current - _HOURS_KEPT:
                # Long past: it may be compacted by now, so this is a writer of its own.
                writer, before = secrets.token_hex(8), {}
            totals = {key: total.after(before.get(key)) for key, total in sums.items()}
            rows.append((hour, writer, totals))
        return rows

    def written(self, rows: Due) -> None:
        """Take note that *rows*, all that was waiting, are stored."""
        self._waiting = {}
        self._written_at = time.monotonic()
        current = time.time_ns() // HOUR_NS
        for hour, writer, totals in rows:
            if hour > current - _HOURS_KEPT:
                self._written.setdefault(hour, (writer, {}))[1].update(totals)
        for hour, (_writer, totals) in list(self._written.items()):
            # Of an hour with very many keys a new writer is begun: writers are added up when they are read.
            if hour <= current - _HOURS_KEPT or len(totals) > _MOST_KEYS:
                del self._written[hour]
