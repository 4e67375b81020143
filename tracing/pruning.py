"""Retention: old traces go, in small steps between which others can write."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, connections, transaction
from django.db.models import F, Sum

from tracing import models
from tracing.conf import store_alias
from tracing.querysets import TraceQuerySet, delete_traces
from tracing.rollups import HOUR_NS, Histogram
from tracing.routers import has_own_database

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_TRACES_AT_ONCE = 200
_DISPATCHES_AT_ONCE = 2_000
_PAGES_AT_ONCE = 1_000
_PAUSE_SECONDS = 0.005
"""Between two steps, so that a writer who waits for the lock gets it."""

_PATIENCE_SECONDS = 5
"""How long it looks for a moment in which nobody reads or writes the application's own file."""

_MERGED = "merged"
_DAY_HOURS = 24
_DAYS_BY_HOUR = 3
_TABLES = (
    "tracing_trace", "tracing_dispatch", "tracing_receivercall", "tracing_failedcall",
    "tracing_unheard", "tracing_bypass", "tracing_hazard", "tracing_hazardsighting",
    "tracing_rollup", "tracing_recorderstate", "tracing_signallabel", "tracing_senderlabel",
    "tracing_receiverlabel", "tracing_callsitelabel", "tracing_factslabel", "tracing_tracelabel",
    "tracing_statementlabel",
)  # fmt: skip

Progress = Callable[[int, int], object]
"""Called with (dispatches pruned so far, dispatches to prune altogether)."""


@dataclass(slots=True)
class Pruned:
    """What pruning did, or with ``dry_run`` would do."""

    traces: int = 0
    dispatches: int = 0
    receiver_calls: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    """On servers deleted rows leave reusable space, and the files stay as large as they are."""
    complete: bool = True
    """False if the time was up before everything was done."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What to keep. With no limit given, everything is kept."""

    older_than: timedelta | None = None
    """Prune traces that started longer ago than this."""
    max_rows: int | None = None
    """Keep at most this many dispatches, the newest."""
    max_size: int | None = None
    """Keep the store within this many bytes."""
    keep_failed: bool = False
    keep_pinned: bool = True
    keep_rollups: timedelta | None = None
    """Prune statistics by hour that are older than this; None keeps them for good."""


def prune(
    retention: Retention,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    using: str | None = None,
    seconds: float | None = None,
) -> Pruned:
    """Delete what *retention* does not keep, oldest first.

    Args:
        retention: What to keep.
        dry_run: Only count.
        progress: Called after each step.
        using: Alias of the store; None for the one that the settings name.
        seconds: Stop after this time; None for no limit.
    """
    return _Pruning(retention, using or store_alias(), dry_run, progress, seconds).run()


class _Pruning:
    def __init__(
        self,
        retention: Retention,
        using: str,
        dry_run: bool,  # noqa: FBT001 - private, and given by position once.
        progress: Progress | None,
        seconds: float | None,
    ) -> None:
        self.retention = retention
        self.using = using
        self.dry_run = dry_run
        self.progress = progress
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.result = Pruned()
        self.expected = 0
        self._oversized: int | None = None
        age = retention.older_than or timedelta()
        self.aged_before_ns = time.time_ns() - int(age.total_seconds() * 1_000_000_000)

    def run(self) -> Pruned:
        result, retention = self.result, self.retention
        result.bytes_before = result.bytes_after = store_size(self.using)
        aged = self._aged()
        surplus = self._surplus()
        self.expected = max(self._count(aged), surplus)
        if aged is not None:
            self._delete(aged.order_by("started_ns", "pk"), None)
        # Counted again: what was too old may have been the surplus.
        left = self._surplus() - (result.dispatches if self.dry_run else 0)
        if left > 0:
            rest = self._prunable().order_by("pk")
            if self.dry_run and aged is not None:
                # They would be gone by now.
                rest = rest.filter(started_ns__gte=self.aged_before_ns)
            self._delete(rest, left)
        if not self.dry_run:
            self._shrink()
            if retention.max_size is not None and self._is_sqlite():
                self._shrink_to(retention.max_size)
            self._prune_rollups()
            _, compacted = _compact(self.using, time.time_ns() // HOUR_NS, self._is_late)
            result.complete = result.complete and compacted
            day_ago = time.time_ns() - _DAY_HOURS * HOUR_NS
            models.RecorderState.objects.using(self.using).filter(seen_ns__lt=day_ago).delete()
            self._shrink()
            result.bytes_after = store_size(self.using)
        return result

    def _shrink_to(self, limit: int) -> None:
        """Delete on until the file is within *limit* bytes, or nothing more can go.

        The first estimate took all traces for equally large, and labels and statistics stay.
        """
        result = self.result
        while (size := store_size(self.using)) > limit and not self._is_late():
            freed = max(result.bytes_before - size, 1)
            per_dispatch = max(freed // max(result.dispatches, 1), 50)
            before = result.traces
            self._delete(self._prunable().order_by("pk"), (size - limit) // per_dispatch + 1)
            self._shrink()
            if result.traces == before:
                break

    # -- What goes

    def _prunable(self) -> TraceQuerySet:
        traces: Any = models.Trace.objects.using(self.using).filter(final=True)
        if self.retention.keep_pinned:
            traces = traces.filter(pinned=False)
        if self.retention.keep_failed:
            traces = traces.filter(failed=False)
        return traces  # type: ignore[no-any-return]

    def _aged(self) -> TraceQuerySet | None:
        age = self.retention.older_than
        if age is None:
            return None
        traces: Any = models.Trace.objects.using(self.using)
        traces = traces.filter(started_ns__lt=self.aged_before_ns)
        if self.retention.keep_pinned:
            traces = traces.filter(pinned=False)
        if self.retention.keep_failed:
            traces = traces.filter(failed=False)
        return traces  # type: ignore[no-any-return]

    def _surplus(self) -> int:
        """Return how many dispatches are beyond the limits of rows and size."""
        retention, surplus = self.retention, 0
        if retention.max_rows is None and retention.max_size is None:
            return 0
        rows = models.Dispatch.objects.using(self.using).count()
        if retention.max_rows is not None:
            surplus = rows - retention.max_rows
        if retention.max_size is not None:
            surplus = max(surplus, self._oversize(rows, retention.max_size))
        return max(surplus, 0)

    def _oversize(self, rows: int, limit: int) -> int:
        """Return how many of *rows* dispatches take the store beyond *limit* bytes."""
        if self._oversized is None or self._is_sqlite():
            size = used_size(self.using)
            self._oversized = max(-(-rows * (size - limit) // size), 1) if size > limit else 0
            return self._oversized
        # A server tells its sizes with a delay: what is gone by now is subtracted.
        return self._oversized - (0 if self.dry_run else self.result.dispatches)

    def _count(self, traces: TraceQuerySet | None) -> int:
        if traces is None:
            return 0
        return traces.order_by().aggregate(sum=Sum("dispatch_count"))["sum"] or 0

    # -- Deleting

    def _delete(self, traces: Any, dispatches: int | None) -> None:  # noqa: C901
        """Delete from the first of *traces* on, until *dispatches* are gone if that is given."""
        result, gone = self.result, 0
        columns = ("pk", "dispatch_count", "receiver_call_count")
        rows = traces.values_list(*columns)
        if self.dry_run:
            for _, count, calls in rows.iterator(chunk_size=2_000):
                if dispatches is not None and gone >= dispatches:
                    break
                gone += count
                result.traces += 1
                result.dispatches += count
                result.receiver_calls += calls
            return
        while dispatches is None or gone < dispatches:
            step: list[int] = []
            weight = 0
            for key, count, _ in rows[:_TRACES_AT_ONCE]:
                if step and weight + count > _DISPATCHES_AT_ONCE:
                    break
                if dispatches is not None and gone + weight >= dispatches:
                    break
                step.append(key)
                weight += count
            if not step:
                break
            if self._is_late():
                result.complete = False
                break
            with _writing(self.using):
                deleted = delete_traces(step, self.using)
            result.traces += deleted.get("tracing.Trace", 0)
            result.dispatches += deleted.get("tracing.Dispatch", 0)
            result.receiver_calls += deleted.get("tracing.ReceiverCall", 0)
            # By the traces' own count: dispatches of lost segments must not keep this going.
            gone += max(weight, deleted.get("tracing.Dispatch", 0))
            if self.progress is not None:
                self.progress(min(result.dispatches, self.expected), self.expected)
            time.sleep(_PAUSE_SECONDS)

    def _prune_rollups(self) -> None:
        age = self.retention.keep_rollups
        if age is not None:
            before = (time.time_ns() - int(age.total_seconds() * 1_000_000_000)) // HOUR_NS
            old = models.Rollup.objects.using(self.using).filter(hour__lt=before)
            while keys := list(old.order_by().values_list("pk", flat=True)[:_DISPATCHES_AT_ONCE]):
                models.Rollup.objects.using(self.using).filter(pk__in=keys).delete()

    def _is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _is_sqlite(self) -> bool:
        return connections[self.using].vendor == "sqlite"

    def _shrink(self) -> None:
        """Give the free pages of a SQLite file back to the file system."""
        connection = connections[self.using]
        if connection.vendor != "sqlite" or connection.in_atomic_block:
            # Inside a transaction no log can be written back; the next pruning does it.
            return
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA auto_vacuum")
            if cursor.fetchone()[0] != 2:  # noqa: PLR2004 - 2 is incremental.
                return
            while not self._is_late():
                cursor.execute("PRAGMA freelist_count")
                free = cursor.fetchone()[0]
                if not free:
                    break
                # Each row that it returns is a page given back.
                cursor.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
                cursor.fetchall()
                time.sleep(_PAUSE_SECONDS)
            # The pages leave the file when the log is written back into it.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.fetchall()


@contextmanager
def _writing(using: str) -> Iterator[None]:
    """Run the block in a transaction that may write from its first statement on.

    One that reads first and writes later fails at once on SQLite when somebody else wrote in between,
    however patient the timeout. In the application's own file it must not wait with its lock in hand
    either: see ``begin()`` of the exporter's SQLite.
    """
    connection: Any = connections[using]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic(using=using):
            yield
        return
    mode = connection.transaction_mode
    is_shared = not has_own_database() and not connection.is_in_memory_db()
    with ExitStack() as stack:
        try:
            connection.transaction_mode = "EXCLUSIVE" if is_shared else "IMMEDIATE"
            _enter(connection, stack, patient=not is_shared)
        finally:
            connection.transaction_mode = mode
        yield


def _enter(connection: Any, stack: ExitStack, *, patient: bool) -> None:
    """Begin a transaction that ends with *stack*; without holding a lock meanwhile if not *patient*."""
    begin = partial(transaction.atomic, using=connection.alias)
    if patient:
        stack.enter_context(begin())
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        patience = cursor.fetchone()[0]
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            give_up_at = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    stack.enter_context(begin())
                except OperationalError:
                    if time.monotonic() > give_up_at:
                        raise
                    time.sleep(_PAUSE_SECONDS)
                else:
                    return
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {patience}")


def store_size(using: str | None = None) -> int:
    """Return how many bytes the traces take in the database.

    On SQLite that is the whole file with its write-ahead log, without free pages.
    """
    connection = connections[using or store_alias()]
    if connection.vendor == "sqlite":
        return _sqlite_size(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT COALESCE(SUM(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
                "WHERE c.relkind = 'r' AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)",
                [list(_TABLES)],
            )
        else:
            cursor.execute(
                "SELECT COALESCE(SUM(data_length + index_length), 0) "
                "FROM information_schema.tables "
                "WHERE table_schema = DATABASE() AND table_name IN %s",
                [_TABLES],
            )
        return int(cursor.fetchone()[0])


def used_size(using: str | None = None) -> int:
    """Return how many bytes the traces would take without what deleted ones left free.

    The files of a server stay as large as they were. Pruning by that size would go on until nothing
    is left. On PostgreSQL it is estimated, from what it knows of its rows, mostly within a tenth.
    """
    connection = connections[using or store_alias()]
    if connection.vendor != "postgresql":
        return store_size(using)
    with connection.cursor() as cursor:
        cursor.execute(_USED_SIZE, [list(_TABLES)])
        return int(cursor.fetchone()[0])


_USED_SIZE = """
    WITH widths AS (
        SELECT schemaname, tablename, attname, avg_width * (1 - null_frac) AS width FROM pg_stats
    ), tables AS (
        SELECT
            pg_total_relation_size(c.oid) AS total,
            s.n_live_tup AS living,
            s.n_live_tup + s.n_dead_tup AS present,
            (
                SELECT SUM(width) + 28 FROM widths w
                WHERE w.schemaname = s.schemaname AND w.tablename = c.relname
            ) AS of_row,
            (
                SELECT SUM(20 + (
                    SELECT COALESCE(SUM(width), 0)
                    FROM widths w JOIN pg_attribute a ON a.attname = w.attname
                    WHERE a.attrelid = c.oid AND a.attnum = ANY(i.indkey::smallint[])
                    AND w.schemaname = s.schemaname AND w.tablename = c.relname
                )) FROM pg_index i WHERE i.indrelid = c.oid
            ) AS of_indexes
        FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
        WHERE c.relkind = 'r' AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)
    )
    -- Nothing is known of rows in the first second; dead ones are there until a VACUUM, and after it
    -- their room is.
    SELECT COALESCE(SUM(CASE WHEN present = 0 THEN total ELSE LEAST(
        total * living / present,
        COALESCE(living * (of_row + of_indexes), total)
    ) END), 0) FROM tables
"""
"""A row has a header of 24 bytes and a pointer of 4, an entry of an index 8, a pointer and padding."""


def _sqlite_size(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        numbers = []
        for pragma in ("page_count", "freelist_count", "page_size"):
            cursor.execute(f"PRAGMA {pragma}")
            numbers.append(cursor.fetchone()[0])
    pages, free, page_size = numbers
    return int((pages - free) * page_size)


def file_size(using: str | None = None) -> int | None:
    """Return the size in bytes of the SQLite file with its log; None on servers and in memory."""
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


# -- Statistics ------------------------------------------------------------------------------


def compact_rollups(using: str | None = None, *, now_ns: int | None = None) -> int:
    """Add up the parts of past hours, and the hours of past days; return how many rows went.

    Hours that a worker may still be writing are left alone, and after three days a day is one row.
    """
    hour = (time.time_ns() if now_ns is None else now_ns) // HOUR_NS
    went, _ = _compact(using or store_alias(), hour, lambda: False)
    return went


def _compact(using: str, hour: int, is_late: Callable[[], bool]) -> tuple[int, bool]:
    """Add up what is past in *hour*; return how many rows went and whether that was all.

    One step is taken however late it is, so that a worker with much to prune gets on with it too.
    """
    rollups = models.Rollup.objects.using(using)
    past = (hour - _DAYS_BY_HOUR * _DAY_HOURS) // _DAY_HOURS * _DAY_HOURS
    hours = (
        rollups.filter(hour__lt=hour - 3)
        .exclude(part=_MERGED)
        .order_by()
        .values_list("hour", flat=True)
        .distinct()
    )
    parts_of_days = (
        rollups.filter(hour__lt=past)
        .annotate(rest=F("hour") % _DAY_HOURS)
        .exclude(rest=0, part=_MERGED)
        .order_by()
        .values_list("hour", flat=True)
        .distinct()
    )
    days = {h // _DAY_HOURS * _DAY_HOURS for h in parts_of_days}
    spans = {(h, h + 1) for h in hours} | {(h, h + _DAY_HOURS) for h in days}
    went = 0
    # The hours of a day before the day: a day of many processes is a lot to hold at once.
    for place, (first, end) in enumerate(sorted(spans, key=lambda span: (span[1], -span[0]))):
        if place and is_late():
            return went, False
        went += _merge(using, first, end)
        time.sleep(_PAUSE_SECONDS)
    return went, True


def _merge(using: str, first: int, end: int) -> int:
    """Make one row of each key's rows in the hours from *first* to before *end*."""
    sequence, _ = models.Sequence.objects.using(using).get_or_create(name="compact")
    with _writing(using):
        # The lock on its row keeps two processes from adding up twice.
        models.Sequence.objects.using(using).filter(pk=sequence.pk).update(value=F("value") + 1)
        rows = list(models.Rollup.objects.using(using).filter(hour__gte=first, hour__lt=end))
        groups: dict[tuple[int, int, int], list[models.Rollup]] = {}
        for row in rows:
            groups.setdefault((row.signal_id, row.sender_id, row.receiver), []).append(row)
        merged = []
        gone = []
        for key, group in groups.items():
            if len(group) == 1 and group[0].hour == first and group[0].part == _MERGED:
                continue
            gone += [row.pk for row in group]
            merged.append(_added(key, first, group))
        for start in range(0, len(gone), 500):
            chunk = gone[start : start + 500]
            models.Rollup.objects.using(using).filter(pk__in=chunk).delete()
        models.Rollup.objects.using(using).bulk_create(merged, batch_size=50)
    return len(gone) - len(merged)


def _added(key: tuple[int, int, int], hour: int, group: list[models.Rollup]) -> models.Rollup:
    histogram = Histogram.decode(*(row.histogram for row in group))
    signal, sender, receiver = key
    return models.Rollup(
        hour=hour,
        part=_MERGED,
        signal_id=signal,
        sender_id=sender,
        receiver=receiver,
        count=sum(row.count for row in group),
        error_count=sum(row.error_count for row in group),
        total_ns=sum(row.total_ns for row in group),
        query_count=sum(row.query_count for row in group),
        query_ns=sum(row.query_ns for row in group),
        histogram=histogram.encode(),
    )


def take_turn(name: str, every_seconds: float, using: str | None = None) -> bool:
    """Return whether it is this process' turn to do what all processes need done once.

    Args:
        name: What is to be done.
        every_seconds: At most once in this time, by any process.
        using: Alias of the store.
    """
    alias = using or store_alias()
    now = int(time.time())
    sequences = models.Sequence.objects.using(alias)
    sequence, created = sequences.get_or_create(name=name, defaults={"value": now})
    if created:
        return True
    due = sequences.filter(pk=sequence.pk, value__lte=now - int(every_seconds))
    return due.update(value=now) == 1


def give_turn_back(name: str, using: str | None = None) -> None:
    """Let the next process that asks ``take_turn`` have it at once."""
    models.Sequence.objects.using(using or store_alias()).filter(name=name).update(value=0)


# -- Ages and sizes as people write them -----------------------------------------------------

_AGE_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZE_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_age(text: str) -> timedelta:
    """Return the time that *text* means: a number with s, m, h, d or w.

    Raises:
        ValueError: It is nothing of the kind.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is no time: write 12h, 7d or 4w (s, m, h, d, w).")
    try:
        return timedelta(seconds=float(match[1]) * _AGE_UNITS[match[2]])
    except OverflowError:
        raise ValueError(f"{text!r} is too long a time.") from None


def parse_size(text: str) -> int:
    """Return the bytes that *text* means: a number, perhaps with K, M, G or T and a B.

    KB is a thousand bytes and KiB 1,024.

    Raises:
        ValueError: It is nothing of the kind.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{text!r} is no size: write 500MB or 2GB.")
    unit = match[2].upper()
    factor = 1024 ** " KMGT".index(unit) if match[3] else _SIZE_UNITS[unit]
    return int(float(match[1]) * factor)
