"""Retention: old traces go, in small steps between which others can write."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import connections

from tracing.analysis.histogram import HOUR_NS
from tracing.clocks import time
from tracing.conf import store_alias
from tracing.conf.parts import DEFAULT_RETENTION
from tracing.store import unused_labels
from tracing.store.backends import beside_the_application, delete_rows
from tracing.store.compaction import DAY_HOURS, PAUSE_SECONDS, ROWS_AT_ONCE, SUMS, compact
from tracing.store.delete import delete_traces
from tracing.store.objects import forget_pruned, index_objects
from tracing.store.size import Reader, size_of, used_size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.conf.parts import Retention
    from tracing.store.backends import Database

logger = logging.getLogger("tracing")

_TRACES_AT_ONCE = 200
_DISPATCHES_AT_ONCE = 2_000
_PAGES_AT_ONCE = 1_000

KEPT_VERSIONS_NS = 90 * DAY_HOURS * HOUR_NS
"""How long it is kept what a kind of process had connected, since it was heard of last."""
FIRST_PRUNED = "first_pruned"
LAST_PRUNED = "last_pruned"

Progress = Callable[[int, int], object]
"""Called with (dispatches pruned so far, dispatches to prune altogether)."""


@dataclass(slots=True)
class Pruned:
    """The result of pruning, or with ``dry_run`` its forecast."""

    traces: int = 0
    dispatches: int = 0
    receiver_calls: int = 0
    labels: int = 0
    """Names that nothing referred to any more."""
    bytes_before: int = 0
    bytes_after: int = 0
    """On servers deleted rows leave reusable space, and the files stay as large as they are."""
    complete: bool = True
    """False if the time was up before everything was done."""


def prune(
    retention: Retention,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    using: str | None = None,
    seconds: float | None = None,
) -> Pruned:
    """Delete what *retention* does not keep, and then unused names.

    Args:
        retention: What to keep.
        dry_run: Only count.
        progress: Called after each step.
        using: Alias of the store; None for the one that the settings name.
        seconds: Stop after this time; None for no limit.
    """
    with beside_the_application(using or store_alias()) as database:
        return _Pruning(database, retention, dry_run, progress, seconds).run()


def prune_in_turn(database: Database, retention: Retention, seconds: float) -> Pruned:
    """Do the same for the worker, on its own connection and without the names.

    Those take longer than a turn: see ``unused_labels.sweep``.
    """
    return _Pruning(database, retention, seconds=seconds, with_labels=False).run()


def compact_rollups(using: str | None = None, *, now_ns: int | None = None) -> int:
    """Add up past hours and days; return how many rows went.

    Hours that a worker may still be writing are left alone, and after three days a day is one row.
    """
    hour = (time.time_ns() if now_ns is None else now_ns) // HOUR_NS
    with beside_the_application(using or store_alias()) as database:
        return compact(database, hour, lambda: False)[0]


@dataclass(slots=True)
class _Pruning:
    database: Database
    retention: Retention
    dry_run: bool = False
    progress: Progress | None = None
    seconds: InitVar[float | None] = None
    with_labels: bool = True
    result: Pruned = field(default_factory=Pruned)
    expected: int = 0
    deadline: float | None = field(init=False)
    aged_before_ns: int = field(init=False)
    _oversized: int | None = None

    def __post_init__(self, seconds: float | None) -> None:
        self.deadline = None if seconds is None else time.monotonic() + seconds
        age = self.retention.older_than or timedelta()
        self.aged_before_ns = time.time_ns() - int(age.total_seconds() * 1_000_000_000)

    def run(self) -> Pruned:
        result, retention, database = self.result, self.retention, self.database
        result.bytes_before = result.bytes_after = size_of(database)
        aged = self._aged()
        surplus = self._surplus()
        self.expected = max(self._count(aged), surplus)
        if aged is not None:
            self._delete(aged, "started_ns, id", None)
        # Counted again: what was too old may have been the surplus.
        left = self._surplus() - (result.dispatches if self.dry_run else 0)
        if left > 0:
            rest = self._prunable()
            if self.dry_run and aged is not None:
                # They would be gone by now.
                rest = rest.also("started_ns >= %s", self.aged_before_ns)
            self._delete(rest, "id", left)
        if not self.dry_run:
            self._shrink()
            if retention.max_size is not None and self._is_sqlite():
                self._shrink_to(retention.max_size)
            self._prune_rollups()
            compacted = compact(database, time.time_ns() // HOUR_NS, self._is_late)[1]
            indexed = index_objects(database, self._is_late)
            result.complete = result.complete and compacted and indexed
            day_ago = time.time_ns() - DAY_HOURS * HOUR_NS
            with database.transaction():
                database.execute("DELETE FROM tracing_recorderstate WHERE seen_ns < %s", (day_ago,))
                old = (time.time_ns() - KEPT_VERSIONS_NS,)
                database.execute("DELETE FROM tracing_wiringversion WHERE last_seen_ns < %s", old)
            if self.with_labels:
                self._prune_labels()
            self._shrink()
            result.bytes_after = size_of(database)
            if result.traces:
                forget_pruned(database)
                with database.transaction():
                    seconds = int(time.time())
                    database.upsert(
                        "tracing_sequence", ("name",), ("value",), [(LAST_PRUNED, seconds)]
                    )
        return result

    def _prune_labels(self) -> None:
        """Delete the names that nothing refers to any more, if there is time left."""
        for deleted in unused_labels.sweep(self.database, every=True):
            self.result.labels += deleted
            if self._is_late():
                # What is left is found by the next attempt.
                return

    def _shrink_to(self, limit: int) -> None:
        """Delete on until the file is within *limit* bytes.

        The first estimate took all traces for equally large, and labels and statistics stay.
        """
        result = self.result
        while (size := size_of(self.database)) > limit and not self._is_late():
            freed = max(result.bytes_before - size, 1)
            per_dispatch = max(freed // max(result.dispatches, 1), 50)
            before = result.traces
            self._delete(self._prunable(), "id", (size - limit) // per_dispatch + 1)
            self._shrink()
            if result.traces == before:
                break

    # -- What goes

    def _prunable(self) -> _Condition:
        return self._spared(_Condition("final = %s", (True,)))

    def _aged(self) -> _Condition | None:
        if self.retention.older_than is None:
            return None
        return self._spared(_Condition("started_ns < %s", (self.aged_before_ns,)))

    def _spared(self, condition: _Condition) -> _Condition:
        """Return *condition* without what is kept in any case."""
        if self.retention.keep_pinned:
            condition = condition.also("pinned = %s", False)
        if self.retention.keep_failed:
            condition = condition.also("failed = %s", False)
        return condition

    def _surplus(self) -> int:
        """Return how many dispatches are beyond the limits of rows and size."""
        retention, surplus = self.retention, 0
        if retention.max_rows is None and retention.max_size is None:
            return 0
        rows = self._number("SELECT COUNT(*) FROM tracing_dispatch")
        if retention.max_rows is not None:
            surplus = rows - retention.max_rows
        if retention.max_size is not None:
            surplus = max(surplus, self._oversize(rows, retention.max_size))
        return max(surplus, 0)

    def _oversize(self, rows: int, limit: int) -> int:
        """Return how many of *rows* dispatches are beyond *limit* bytes."""
        if self._oversized is None or self._is_sqlite():
            size = used_size_of(self.database)
            self._oversized = max(-(-rows * (size - limit) // size), 1) if size > limit else 0
            return self._oversized
        # A server tells its sizes with a delay: what is gone by now is subtracted.
        return self._oversized - (0 if self.dry_run else self.result.dispatches)

    def _count(self, traces: _Condition | None) -> int:
        if traces is None:
            return 0
        return self._number(
            f"SELECT COALESCE(SUM(dispatch_count), 0) FROM tracing_trace WHERE {traces.text}",
            traces.parameters,
        )

    def _number(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        return int(self.database.rows(statement, parameters)[0][0])

    # -- Deleting

    def _delete(self, traces: _Condition, order: str, dispatches: int | None) -> None:
        """Delete the first of *traces*, up to *dispatches* if that is given."""
        result, gone = self.result, 0
        if self.dry_run:
            self._count_first(traces, order, dispatches)
            return
        while dispatches is None or gone < dispatches:
            step, weight = self._step(
                traces, order, None if dispatches is None else dispatches - gone
            )
            if not step:
                break
            if self._is_late():
                result.complete = False
                break
            with self.database.transaction():
                deleted = delete_traces(self.database, step)
            result.traces += deleted["tracing_trace"]
            result.dispatches += deleted["tracing_dispatch"]
            result.receiver_calls += deleted["tracing_receivercall"]
            # By the traces' own count: dispatches of lost segments must not keep this going.
            gone += max(weight, deleted["tracing_dispatch"])
            if self.progress is not None:
                self.progress(min(result.dispatches, self.expected), self.expected)
            time.sleep(PAUSE_SECONDS)

    def _step(
        self, traces: _Condition, order: str, dispatches: int | None
    ) -> tuple[list[int], int]:
        """Return the next traces to delete together, and their dispatches."""
        step: list[int] = []
        weight = 0
        for key, count in self.database.rows(
            f"SELECT id, dispatch_count FROM tracing_trace WHERE {traces.text} "
            f"ORDER BY {order} LIMIT {_TRACES_AT_ONCE}",
            traces.parameters,
        ):
            if step and weight + count > _DISPATCHES_AT_ONCE:
                break
            if dispatches is not None and weight >= dispatches:
                break
            step.append(key)
            weight += count
        return step, weight

    def _count_first(self, traces: _Condition, order: str, dispatches: int | None) -> None:
        """Count what ``_delete`` would delete."""
        result, gone = self.result, 0
        cursor = self.database.execute(
            "SELECT dispatch_count, receiver_call_count FROM tracing_trace "
            f"WHERE {traces.text} ORDER BY {order}",
            traces.parameters,
        )
        while rows := cursor.fetchmany(2_000):
            for count, calls in rows:
                if dispatches is not None and gone >= dispatches:
                    cursor.close()
                    return
                gone += count
                result.traces += 1
                result.dispatches += count
                result.receiver_calls += calls

    def _prune_rollups(self) -> None:
        age = self.retention.keep_rollups
        if age is None:
            return
        before = (time.time_ns() - int(age.total_seconds() * 1_000_000_000)) // HOUR_NS
        for sums in SUMS:
            while keys := self.database.rows(
                f"SELECT id FROM {sums.table} WHERE hour < %s LIMIT {ROWS_AT_ONCE}", (before,)
            ):
                with self.database.transaction():
                    delete_rows(self.database, sums.table, [key for (key,) in keys])

    def _is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _is_sqlite(self) -> bool:
        return self.database.vendor == "sqlite"

    def _shrink(self) -> None:
        """Give the free pages of a SQLite file back to the file system."""
        database = self.database
        if not self._is_sqlite() or database.shared:
            # Inside a transaction no log can be written back; the next pruning does it.
            return
        if self._number("PRAGMA auto_vacuum") != 2:  # noqa: PLR2004 - 2 is incremental.
            return
        while not self._is_late() and self._number("PRAGMA freelist_count"):
            # Each row that it returns is a page given back.
            database.rows(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
            time.sleep(PAUSE_SECONDS)
        # The pages leave the file when the log is written back into it.
        database.rows("PRAGMA wal_checkpoint(TRUNCATE)")


@dataclass(frozen=True, slots=True)
class _Condition:
    """A condition on traces, as SQL."""

    text: str
    parameters: tuple[Any, ...]

    def also(self, text: str, parameter: Any) -> _Condition:
        return _Condition(f"{self.text} AND {text}", (*self.parameters, parameter))


def store_size(using: str | None = None) -> int:
    """Return how many bytes the traces take in the database.

    On SQLite that is the whole file with its write-ahead log, without free pages.
    """
    return size_of(Reader(using or store_alias()))


def file_size(using: str | None = None) -> int | None:
    """Return the size of the SQLite file and its log in bytes, or None."""
    connection = connections[using or store_alias()]
    if connection.vendor != "sqlite":
        return None
    name = os.fspath(connection.settings_dict["NAME"])
    try:
        size = Path(name).stat().st_size
    except OSError:
        return None
    log = Path(f"{name}-wal")
    return size + (log.stat().st_size if log.exists() else 0)


def announce_first(database: Database, pruned: Pruned) -> None:
    """Log once for a store that the default retention begins to delete."""
    if acquire_lease(database, FIRST_PRUNED, time.time()):
        logger.warning(
            "The store keeps the traces of %(older_than)s, within %(max_size)s, unless "
            "TRACING['PRUNE'] says otherwise: %(traces)d were deleted, for the first time. "
            "Pinned traces stay; {} keeps everything.",
            {**DEFAULT_RETENTION.written, "traces": pruned.traces},
        )


def first_pruned_ns(using: str | None = None) -> int | None:
    """Return when the default retention first deleted traces, in ns."""
    return _moment(FIRST_PRUNED, using)


def last_pruned_ns(using: str | None = None) -> int | None:
    """Return when traces were last deleted by a limit, in ns."""
    return _moment(LAST_PRUNED, using)


def _moment(name: str, using: str | None) -> int | None:
    found = Reader(using or store_alias()).rows(
        "SELECT value FROM tracing_sequence WHERE name = %s", (name,)
    )
    return int(found[0][0]) * 1_000_000_000 if found else None


# -- Taking turns ----------------------------------------------------------------------------


def acquire_lease(database: Database, name: str, every_seconds: float) -> bool:
    """Return whether it is this process' turn to do what one does for all.

    Args:
        database: The store.
        name: What is to be done.
        every_seconds: At most once in this time, by any process.
    """
    now = int(time.time())
    with database.transaction():
        database.insert_new("tracing_sequence", ("name", "value"), [(name, 0)])
        due = database.execute(
            "UPDATE tracing_sequence SET value = %s WHERE name = %s AND value <= %s",
            (now, name, now - int(every_seconds)),
        )
    return bool(due.rowcount == 1)


def release_lease(database: Database, name: str) -> None:
    """Let the next process that asks ``acquire_lease`` have it at once."""
    with database.transaction():
        database.execute("UPDATE tracing_sequence SET value = 0 WHERE name = %s", (name,))
