"""The exporter that writes traces into the store, on a connection of its own."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from os import getpid
from typing import TYPE_CHECKING, Any, Literal

from django.db import connections
from msgspec import structs

from tracing import __version__, models
from tracing.analysis.histogram import HOUR_NS
from tracing.conf import store_alias
from tracing.instrumentation.assembly.repair import clean_text, repaired
from tracing.instrumentation.in_tests import is_test_database, is_test_run
from tracing.instrumentation.recent import FORGOTTEN
from tracing.pipeline import Courtesy, TemporaryError
from tracing.spans import records
from tracing.store.backends import Database, MissingTablesError, open_database
from tracing.store.columns import (
    call_details,
    dispatch_details,
    dump,
    encode_facts,
    encode_trace_details,
    facts_of,
    hazard_fingerprint,
    label_key,
)
from tracing.store.retention import (
    Retention,
    announce_first,
    give_turn_back,
    prune_in_turn,
    take_turn,
)
from tracing.store.summing import Batch, Sum, Summing, Wire, Wires, subtract_repeats
from tracing.store.unused_labels import begin_epoch, epoch, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tracing.pipeline import Statistics

logger = logging.getLogger("tracing")

SEQUENCES = {
    "trace": ("tracing_trace",),
    # A dispatch is followed by its receiver calls: they share their numbers.
    "dispatch": ("tracing_dispatch", "tracing_receivercall"),
    "other": ("tracing_bypass", "tracing_unheard", "tracing_hazardsighting"),
}
"""The tables that are numbered together."""

DISPATCH_COLUMNS = (
    "id", "trace_id", "number", "parent_number", "depth", "signal_id", "sender_id", "callsite_id",
    "facts_id", "method", "transaction", "start_ns", "duration_ns", "instance",
    "receiver_call_count", "query_count", "query_ns", "details",
)  # fmt: skip
CALL_COLUMNS = (
    "id", "dispatch_id", "number", "position", "receiver_id", "outcome", "start_ns", "duration_ns",
    "nested_ns", "query_count", "query_ns", "details",
)  # fmt: skip
TRACE_COLUMNS = (
    "id", "trace_id", "root_span_id", "label_id", "kind", "status", "failed", "started_ns", "duration_ns",
    "parent_span_id", "parent_trace_id", "http_method", "http_path", "http_status", "user_id",
    "host", "process", "thread", "release", "error", "attributes", "details", "dispatch_count",
    "receiver_call_count", "query_count", "query_ns", "signal_ns", "error_count", "hazard_count",
    "dropped_count", "unheard_count", "overhead_ns", "segment", "final", "mine", "pinned", "note",
)  # fmt: skip
_FIRST_CHANGING = TRACE_COLUMNS.index("label_id")
_CHANGING = TRACE_COLUMNS[_FIRST_CHANGING:-2]
"""What a later segment of a trace changes: not its ids, nor what people set."""
ROLLUP_KEYS = ("hour", "signal_id", "sender_id", "receiver_id", "part")
ROLLUP_COLUMNS = (
    "count", "error_count", "total_ns", "query_count", "query_ns", "histogram",
)  # fmt: skip

_KIND = {word: number for number, word in enumerate(models.KIND_CODES)}
_STATUS = {word: number for number, word in enumerate(models.STATUS_CODES)}
_METHOD = {word: number for number, word in enumerate(models.METHOD_CODES)}
_OUTCOME = {word: number for number, word in enumerate(models.OUTCOME_CODES)}
_TRANSACTION = {word: number for number, word in enumerate(models.TRANSACTION_CODES)}
_SEVERITY = {word: number for number, word in enumerate(models.SEVERITY_CODES)}

_RAISED = records.Outcome.RAISED
_RETURNED = models.OUTCOME_CODES[0]
_SKIPPED = records.Outcome.SKIPPED
_NAME_LIMIT = 255
_LARGEST_CACHE = 50_000
_KEYS_AT_ONCE = 500
_ATTEMPTS = 5
_COMPACT_SECONDS = 3_600
"""How often statistics are added up where nothing is pruned."""
_SWEEP_SECONDS = 0.5
"""How long a worker looks for unused names at each beat."""
_PRUNE_SECONDS = 1.0
"""How long a worker prunes before it looks after its queue again."""

InTests = Literal["store", "test_database", "share", "skip"]
Rows = dict[str, list[tuple[Any, ...]]]


class DatabaseExporter:
    """Write traces into the store.

    Each batch takes its labels and ids in short transactions of their own, and one transaction for
    its rows: other writers wait for the rows alone, and a batch that fails leaves nothing.

    Args:
        alias: Alias of the database; None for the one that the settings name.
        shared_connection: Write on Django's connection of the running thread, within the
            transaction of a test. Only for synchronous use.
        on_control: Called with whether recording is paused when that changes in the store.
        retention: What to keep; a worker prunes the rest now and then. None keeps everything.
        prune_seconds: How often that happens, by one of all processes; past hours and days of the
            statistics are added up then, too.
        in_tests: What to do in a run of tests: ``store`` as always; ``skip``, which stores nothing;
            with a database that the runner made for this alias, and only then, store in that
            (``test_database``) or ``share`` the connection of the running thread (see above).
    """

    def __init__(
        self,
        alias: str | None = None,
        *,
        shared_connection: bool = False,
        on_control: Callable[[bool], None] | None = None,
        retention: Retention | None = None,
        prune_seconds: float = 600,
        in_tests: InTests = "store",
    ) -> None:
        self.name = "database"
        self.retention = retention
        self.prune_seconds = prune_seconds if retention is not None else _COMPACT_SECONDS
        self._prune_at = time.monotonic() + self.prune_seconds / 10
        self.on_control = on_control
        self._alias = alias
        self._shared = shared_connection
        self._in_tests = in_tests
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._forget_everything()
        self._started_ns = time.time_ns()
        self._paused: bool | None = None
        self._works = False
        self._sweep: Iterator[int] | None = None
        self._swept: Database | None = None

    # -- The exporter's protocol -------------------------------------------------------------

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Store *batch* in one transaction; traces that are stored already are left out.

        Raises:
            TemporaryError: The database cannot take it now.
        """
        with self._lock:
            if not self._may_store():
                return
            for part in _apart(batch):
                self._export(part)

    def _may_store(self) -> bool:
        """Return whether the store may be written: in a run of tests, only a database made for it.

        Databases of tests are dropped and copied, which servers refuse while a worker is connected.
        One of SQLite in memory fails the application's queries, not ours, while somebody writes.
        """
        if self._in_tests == "store" or not is_test_run():
            return True
        if self._in_tests != "skip" and is_test_database(self._alias or store_alias()):
            return self._in_tests != "share" or self._share()
        self._disconnect()
        return False

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        self._forget_everything()
        self._works = False

    def _share(self) -> bool:
        """Use Django's connection of the running thread from now on; return whether that may be.

        Tests that are to do without a database do without its traces.
        """
        if not self._shared:
            self._disconnect()
            self._shared = True
        try:
            connections[self._alias or store_alias()].cursor().close()
        except (AssertionError, RuntimeError):
            # What Django and pytest-django raise there.
            return False
        except Exception:  # noqa: BLE001 - the export will tell.
            return True
        return True

    def _export(self, batch: Sequence[records.Trace]) -> None:
        database = self._connected()
        if self._shared:
            # The transaction of the test before took its labels back with it.
            self._forget_everything()
        try:
            self._store(database, batch)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like.
            database.rollback()
            raised = database.translate(error)
            if isinstance(raised, TemporaryError):
                self._works = False
                database.close()
                if isinstance(raised, MissingTablesError):
                    self._forget_everything()
                raise raised from None
            if isinstance(error, database.errors.IntegrityError):
                # Stored already, or the ids were taken by a restored backup.
                self._recover(database, batch)
                return
            self._store_repaired(database, batch, type(error).__name__)
        self._works = True

    def store_new(self, batch: Sequence[records.Trace]) -> int:
        """Store those of *batch* that are not stored yet; return how many that were.

        Raises:
            TemporaryError: The database cannot take it now.
        """
        with self._lock:
            database = self._connected()
            try:
                return sum(
                    self._store(database, [repaired(trace) for trace in part], check=True)
                    for part in _apart(batch)
                )
            except Exception as error:  # noqa: BLE001 - drivers raise what they like.
                database.rollback()
                raise database.translate(error) from None

    def force_flush(self) -> None:
        """Write the statistics of the last seconds; traces are committed when they are exported."""
        with self._lock:
            if self._works and not self._summing.is_empty and self._may_store():
                # A database that is gone is noticed, and told, with the next batch.
                with suppress(TemporaryError):
                    self._write_sums(self._connected())

    def shutdown(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._database is not None:
                self.force_flush()
                self._database.close()
                self._database = None
                self._forget_everything()

    def tick(self, statistics: Statistics) -> None:
        """Tell the store how the recorder of this process is doing; obey what it says."""
        with self._lock:
            if not self._works or self._shared or not self._may_store():
                # The next export finds out whether the database is back.
                return
            try:
                database = self._connected()
            except TemporaryError:
                return
            try:
                self._beat(database, statistics)
            except Exception as error:
                database.close()
                raised = database.translate(error)
                if isinstance(raised, TemporaryError):
                    self._works = False
                    return
                raise

    def after_fork(self) -> None:
        """Leave the connection to the parent process."""
        self._lock = threading.RLock()
        if self._database is not None:
            self._database.forget()
            self._database = None
        self._forget_everything()
        self._started_ns = time.time_ns()
        self._works = False

    # -- Connecting --------------------------------------------------------------------------

    def _connected(self) -> Database:
        alias = self._alias or store_alias()
        if self._database is None or self._database.alias != alias or self._database.is_elsewhere():
            if self._database is not None:
                self._database.close()
            self._forget_everything()
            self._database = open_database(alias, shared=self._shared)
        database = self._database
        was = database.raw
        try:
            database.connect()
        except Exception as error:  # noqa: BLE001 - drivers raise what they like.
            raised = database.translate(error)
            if isinstance(raised, TemporaryError):
                raise raised from None
            # Drivers and Django wrap what goes wrong while connecting in many ways.
            raise TemporaryError(f"{type(error).__name__}: {error}") from None
        if database.raw is not was:
            # It may be another database behind the same address by now.
            self._forget_everything()
        return database

    def _forget_everything(self) -> None:
        """Forget what is known of the database: labels, running traces, this process' hours."""
        self._labels = _Labels()
        # In which they were learned; see ``tracing.store.unused_labels``.
        self._epoch = -1
        self._summing = Summing()

    # -- One batch ---------------------------------------------------------------------------

    def _store(
        self, database: Database, batch: Sequence[records.Trace], *, check: bool = False
    ) -> int:
        for _ in range(_ATTEMPTS):
            try:
                return self._store_once(database, batch, check=check)
            except _LabelsPrunedError:
                self._relearn(database)
        raise TemporaryError("names are being pruned again and again")

    def _store_once(
        self, database: Database, batch: Sequence[records.Trace], *, check: bool = False
    ) -> int:
        known = self._known(database, [t for t in batch if check or t.segment or not t.final])
        batch = [trace for trace in batch if not _is_stored(trace, known)]
        if not batch:
            return 0
        if self._epoch < 0:
            self._epoch = begin_epoch(database)
        first = self._allocate(database, batch, known)
        try:
            rows = self._build(database, batch, known, first)
        except KeyError:
            # Most batches have no name that was not seen before, and looking for one costs time.
            if database.streams:
                database.rollback()
            self._labels.resolve(database, batch, decides=not check)
            rows = self._build(database, batch, known, first)
        for table, (columns, values) in rows.tables():
            if values:
                database.insert(table, columns, values)
        for changed in rows.changed:
            changes = ", ".join(f"{database.quote(name)} = %s" for name in _CHANGING)
            database.execute(
                f"UPDATE {database.quote('tracing_trace')} SET {changes} WHERE id = %s",
                (*changed[_FIRST_CHANGING:-2], changed[0]),
            )
        self._store_hazards(database, rows)
        database.commit()
        self._summing.add(rows.sums)
        if self._summing.is_due or self._shared:
            self._write_sums(database)
        return len(batch)

    def _build(
        self,
        database: Database,
        batch: Sequence[records.Trace],
        known: dict[str, _Known],
        first: dict[str, int],
    ) -> _Build:
        """Begin the transaction of *batch* and make its rows; some may be on their way already.

        A writer of SQLite keeps all others out, so there the rows come before the transaction. A
        server can store the first of them while the next are being made.

        Raises:
            KeyError: A name has no label yet.
        """
        rows = _Build(self._labels, known, first)
        if not database.streams:
            rows.rows(batch)
            self._begin(database)
            self._remove_replaced(database, batch, known)
            return rows
        self._begin(database)
        self._remove_replaced(database, batch, known)
        database.insert_stream("tracing_receivercall", CALL_COLUMNS, rows.calls_of_each(batch))
        return rows

    def _begin(self, database: Database) -> None:
        """Begin a transaction in which no label can be deleted.

        Raises:
            _LabelsPrunedError: Some were since this exporter learned them; nothing has begun.
        """
        database.begin()
        if epoch(database) != self._epoch:
            database.rollback()
            raise _LabelsPrunedError

    def _relearn(self, database: Database) -> None:
        """Forget all labels, and let what waits for the rollups refer to those that there are."""
        old, self._labels = self._labels, _Labels()
        self._epoch = begin_epoch(database)
        kinds: tuple[tuple[str, str, Callable[[Any], dict[str, Any]]], ...] = (
            ("tracing_signallabel", "signals", _name_columns),
            ("tracing_senderlabel", "senders", _name_columns),
            ("tracing_receiverlabel", "receivers", _receiver_columns),
        )
        for place, (table, ids, columns) in enumerate(kinds):
            wanted = self._summing.waiting_ids(place)
            names = {row: name for name, row in getattr(old, ids).items() if row in wanted}
            found = getattr(self._labels, ids)
            if names:
                _add_labels(database, table, found, list(names.values()), columns)
            self._summing.rename(place, {row: found[name] for row, name in names.items()})

    def _write_sums(self, database: Database) -> None:
        """Write the rollups; if that fails, what is waiting is written with the next batch."""
        try:
            try:
                self._begin(database)
            except _LabelsPrunedError:
                self._relearn(database)
                self._begin(database)
            due = self._summing.due()
            database.upsert(
                "tracing_rollup",
                ROLLUP_KEYS,
                ROLLUP_COLUMNS,
                [
                    (hour, *key, part, *total.columns())
                    for hour, part, totals in due
                    for key, total in totals.items()
                ],
            )
            database.commit()
        except Exception:  # noqa: BLE001 - the batch itself is stored; the next one will tell.
            database.rollback()
        else:
            self._summing.written(due)

    def _recover(self, database: Database, batch: Sequence[records.Trace]) -> None:
        """Store what is new in *batch*, after something in it was there already."""
        self._forget_everything()
        try:
            self._raise_sequences(database)
            self._store(database, batch, check=True)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like.
            database.rollback()
            raise database.translate(error) from None
        self._works = True

    def _store_repaired(self, database: Database, batch: Sequence[records.Trace], why: str) -> None:
        """Store *batch* without the values that databases refuse."""
        try:
            self._store(database, [repaired(trace, why) for trace in batch])
        except Exception as error:  # noqa: BLE001 - drivers raise what they like.
            database.rollback()
            raise database.translate(error) from None

    def _known(self, database: Database, traces: Sequence[records.Trace]) -> dict[str, _Known]:
        """Return what is stored of *traces*, by root span id."""
        known: dict[str, _Known] = {}
        ids = sorted({trace.root_span_id for trace in traces})
        columns = ("root_span_id", "id", "segment", "final", "mine", "details")
        for start in range(0, len(ids), _KEYS_AT_ONCE):
            chunk = ids[start : start + _KEYS_AT_ONCE]
            for root_span_id, *values in database.rows(
                f"SELECT {', '.join(map(database.quote, columns))} "
                f"FROM {database.quote('tracing_trace')} "
                f"WHERE root_span_id IN ({', '.join(['%s'] * len(chunk))})",
                chunk,
            ):
                known[root_span_id] = _Known(*values)
        return known

    def _allocate(
        self,
        database: Database,
        batch: Sequence[records.Trace],
        known: dict[str, _Known],
    ) -> dict[str, int]:
        """Return the first id of each sequence for *batch*."""
        needed = {
            "trace": sum(trace.root_span_id not in known for trace in batch),
            "dispatch": sum(
                len(trace.dispatches)
                + sum([len(dispatch.receiver_calls) for dispatch in trace.dispatches])
                for trace in batch
            ),
            "other": sum(
                len(trace.bypasses)
                + len(trace.unheard)
                + len(trace.hazards)
                + len(trace.known_hazards)
                for trace in batch
            ),
        }
        needed = {name: count for name, count in needed.items() if count}
        if not needed:
            return {}
        last = database.allocate(needed)
        if len(last) < len(needed):
            # A new store, or one that was emptied: then the labels are gone as well.
            self._forget_everything()
            self._raise_sequences(database)
            last = database.allocate(needed)
            if len(last) < len(needed):
                raise TemporaryError("the sequences of ids cannot be kept")
        return {name: value + 1 for name, value in last.items()}

    def _raise_sequences(self, database: Database) -> None:
        """Make sure that no sequence gives ids away that are in use."""
        quote = database.quote
        for name, tables in SEQUENCES.items():
            last = max(
                database.rows(f"SELECT COALESCE(MAX(id), 0) FROM {quote(table)}")[0][0]
                for table in tables
            )
            database.begin()
            try:
                database.insert_new("tracing_sequence", ("name", "value"), [(name, last)])
                database.execute(
                    f"UPDATE {quote('tracing_sequence')} SET value = %s "
                    "WHERE name = %s AND value < %s",
                    (last, name, last),
                )
            except BaseException:
                database.rollback()
                raise
            database.commit()

    def _remove_replaced(
        self,
        database: Database,
        batch: Sequence[records.Trace],
        known: dict[str, _Known],
    ) -> None:
        """Remove dispatches of earlier segments that come again: they were still running."""
        quote = database.quote
        for trace in batch:
            stored = known.get(trace.root_span_id)
            if stored is None:
                continue
            # A segment brings the counts so far.
            database.execute(
                f"DELETE FROM {quote('tracing_unheard')} WHERE trace_id = %s", (stored.row,)
            )
            numbers = [dispatch.number for dispatch in trace.dispatches]
            for start in range(0, len(numbers), _KEYS_AT_ONCE):
                chunk = numbers[start : start + _KEYS_AT_ONCE]
                for row, count in database.rows(
                    f"SELECT id, receiver_call_count FROM {quote('tracing_dispatch')} "
                    f"WHERE trace_id = %s AND number IN ({', '.join(['%s'] * len(chunk))})",
                    (stored.row, *chunk),
                ):
                    for table in ("tracing_dispatch", "tracing_receivercall", "tracing_failedcall"):
                        database.execute(
                            f"DELETE FROM {quote(table)} WHERE id BETWEEN %s AND %s",
                            (row, row + count),
                        )

    def _store_hazards(self, database: Database, rows: _Build) -> None:
        """Count the findings, one row for each thing found, and store each sighting."""
        if not rows.hazards:
            return
        quote = database.quote
        table = quote("tracing_hazard")
        ids: dict[str, int] = {}
        # In a fixed order, so that two processes never wait for one another in a circle.
        for fingerprint, sightings in sorted(rows.hazards.items()):
            _, hazard, trace_row, seen_ns = sightings[-1]
            columns = {
                "hazard": hazard.hazard[:50],
                "severity": _SEVERITY.get(hazard.severity, 0),
                "signal": hazard.signal[:255],
                "sender": hazard.sender[:255],
                "receiver": hazard.receiver[:255],
                "file": hazard.file[:500],
                "line": hazard.line,
                "message": hazard.message,
                "remedy": hazard.remedy,
                "evidence": dump(hazard.evidence),
                "first_seen_ns": min(seen for *_, seen in sightings),
                "known": False,
                "reason": "",
                "count": 0,
                "last_seen_ns": 0,
                "fingerprint": fingerprint,
            }
            names = tuple(columns)
            database.insert_new("tracing_hazard", names, [tuple(columns.values())])
            database.execute(
                f"UPDATE {table} SET {quote('count')} = {quote('count')} + %s, message = %s, "
                "evidence = %s, trace_id = %s, last_seen_ns = %s WHERE fingerprint = %s",
                (
                    len(sightings),
                    hazard.message,
                    columns["evidence"],
                    trace_row,
                    seen_ns,
                    fingerprint,
                ),
            )
            ids[fingerprint] = database.rows(
                f"SELECT id FROM {table} WHERE fingerprint = %s",
                (fingerprint,),
            )[0][0]
        database.insert(
            "tracing_hazardsighting",
            ("id", "hazard_id", "trace_id", "data"),
            [
                (row, ids[fingerprint], trace_row, dump(hazard.values()))
                for fingerprint, sightings in rows.hazards.items()
                for row, hazard, trace_row, _ in sightings
            ],
        )

    # -- How this process is doing -----------------------------------------------------------

    def _prune_in_turn(self, database: Database) -> None:
        """Prune for a second or two, if it is due and no other process does.

        Without a retention nothing goes, but the statistics of past hours are added up all the
        same: reading them would take longer from day to day.
        """
        self._go_on_sweeping(database)
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + self.prune_seconds / 10
        if not take_turn(database, "prune", self.prune_seconds):
            return
        retention = self.retention or Retention()
        pruned = prune_in_turn(database, retention, _PRUNE_SECONDS)
        if pruned.traces and retention.is_default:
            announce_first(database, pruned)
        if pruned.complete:
            self._sweep, self._swept = sweep(database, every=False), database
        else:
            # There is more: go on at the next beat, whoever's that is.
            give_turn_back(database, "prune")
            self._prune_at = time.monotonic()

    def _go_on_sweeping(self, database: Database) -> None:
        """Delete unused names for a moment, from where the last beat left off."""
        sweeping, self._sweep = self._sweep, None
        if sweeping is None or self._swept is not database:
            return
        give_up_at = time.monotonic() + _SWEEP_SECONDS
        for _ in sweeping:
            if time.monotonic() > give_up_at:
                self._sweep = sweeping
                return

    def _beat(self, database: Database, statistics: Statistics) -> None:
        if self._summing.is_due:
            self._write_sums(database)
        self._prune_in_turn(database)
        exporters: dict[str, Any] = {
            name: asdict(values) for name, values in statistics.exporters.items()
        }
        if statistics.forgotten:
            exporters[FORGOTTEN] = statistics.forgotten
        dropped = statistics.dropped + statistics.failed
        database.upsert(
            "tracing_recorderstate",
            ("host", "process", "started_ns"),
            ("seen_ns", "recorded", "dropped", "queued", "exporters", "version"),
            [
                (
                    socket.gethostname()[:100],
                    getpid(),
                    self._started_ns,
                    time.time_ns(),
                    statistics.recorded,
                    dropped,
                    statistics.queued,
                    dump(exporters),
                    __version__,
                )
            ],
        )
        found = database.rows(
            f"SELECT paused FROM {database.quote('tracing_recordercontrol')} WHERE id = 1"
        )
        paused = bool(found and found[0][0])
        if (
            paused != self._paused
            and self.on_control is not None
            and (paused or self._paused is not None)
        ):
            self.on_control(paused)
        self._paused = paused


class _LabelsPrunedError(Exception):
    """Labels that this exporter knows by heart may be gone."""


def _apart(batch: Sequence[records.Trace]) -> list[Sequence[records.Trace]]:
    """Return *batch* in parts in which no trace comes twice: segments build on one another."""
    parts: list[list[records.Trace]] = []
    times: dict[str, int] = {}
    for trace in batch:
        key = trace.root_span_id
        place = times[key] = times.get(key, -1) + 1
        if place == len(parts):
            parts.append([])
        parts[place].append(trace)
    return parts  # type: ignore[return-value]


class _Known:
    """A trace that is stored: its row, its last segment, whether it is mine and its details."""

    __slots__ = ("details", "final", "mine", "row", "segment")

    def __init__(
        self,
        row: int,
        segment: int,
        final: bool,  # noqa: FBT001 - columns of a row.
        mine: bool,  # noqa: FBT001
        details: str,
    ) -> None:
        self.row = row
        self.segment = segment
        self.final = bool(final)
        self.mine = bool(mine)
        self.details = details


def _is_stored(trace: records.Trace, known: dict[str, _Known]) -> bool:
    stored = known.get(trace.root_span_id)
    return stored is not None and (stored.final or stored.segment >= trace.segment)


class _Labels:
    """The ids of names, kept from batch to batch."""

    def __init__(self) -> None:
        self.signals: dict[str, int] = {}
        self.senders: dict[str, int] = {}
        self.traces: dict[str, int] = {}
        self.facts: dict[tuple[Any, ...], int] = {}
        self.receivers: dict[records.ReceiverLabel, int] = {}
        self.callsites: dict[records.Callsite, int] = {}
        self.statements: dict[str, int] = {}
        # Capture hands out the same label object again and again, and hashing its seven fields in
        # Python takes longer than the rest of a row. The object is kept, so its id stays its own.
        self.same: dict[int, tuple[Any, int]] = {}

    def receiver(self, label: records.ReceiverLabel) -> int:
        """Return the id of *label*."""
        same = self.same.get(id(label))
        if same is not None:
            return same[1]
        return self._learn(label, self.receivers)

    def known_receiver(self, label: records.ReceiverLabel) -> int:
        """Return the id of *label*; 0 if it has none, since none of its calls was stored."""
        same = self.same.get(id(label))
        return same[1] if same is not None else self.receivers.get(label, 0)

    def callsite(self, site: records.Callsite) -> int:
        """Return the id of *site*."""
        same = self.same.get(id(site))
        if same is not None:
            return same[1]
        return self._learn(site, self.callsites)

    def _learn(self, label: Any, ids: dict[Any, int]) -> int:
        row = ids[label]
        if len(self.same) < _LARGEST_CACHE:
            self.same[id(label)] = (label, row)
        return row

    def resolve(  # noqa: C901, PLR0912
        self, database: Database, batch: Sequence[records.Trace], *, decides: bool = False
    ) -> None:
        """Learn the ids of all labels in *batch*, giving new ones a row.

        If it *decides*, receivers that have a row are mine from now on as *batch* says.
        """
        if any(len(ids) >= _LARGEST_CACHE for ids in vars(self).values()):
            self.__init__()  # type: ignore[misc]
        same = self.same
        signals, senders, facts = set(), set(), set()
        receivers: set[records.ReceiverLabel] = set()
        callsites: set[records.Callsite] = set()
        statements: set[str] = set()
        known_signals, known_senders, known_facts = self.signals, self.senders, self.facts
        for trace in batch:
            for dispatch in trace.dispatches:
                if dispatch.signal not in known_signals:
                    signals.add(dispatch.signal)
                if dispatch.sender not in known_senders:
                    senders.add(dispatch.sender)
                shared = facts_of(dispatch)
                if shared not in known_facts:
                    facts.add(shared)
                site = dispatch.callsite
                if site is not None and id(site) not in same:
                    callsites.add(site)
                for call in dispatch.receiver_calls:
                    if id(call.receiver) not in same:
                        receivers.add(call.receiver)
                    for statement, _, _ in call.statements:
                        statements.add(statement)
            for signal, sender, _ in trace.unheard:
                signals.add(signal)
                senders.add(sender)
            for bypass in trace.bypasses:
                receivers.update(bypass.receivers)
                if bypass.callsite is not None:
                    callsites.add(bypass.callsite)
        names = {trace.name for trace in batch}
        fresh = [label for label in receivers if label not in self.receivers]
        for table, ids, wanted, columns in (
            ("tracing_signallabel", self.signals, signals, _name_columns),
            ("tracing_senderlabel", self.senders, senders, _name_columns),
            ("tracing_tracelabel", self.traces, names, _name_columns),
            ("tracing_factslabel", self.facts, facts, _facts_columns),
            ("tracing_receiverlabel", self.receivers, receivers, _receiver_columns),
            ("tracing_callsitelabel", self.callsites, callsites, _callsite_columns),
            ("tracing_statementlabel", self.statements, statements, _statement_columns),
        ):
            new = [label for label in wanted if label not in ids]
            if new:
                _add_labels(database, table, ids, new, columns)
        if decides and fresh:
            _decide(database, self.receivers, fresh)


def _decide(
    database: Database, ids: dict[Any, int], receivers: Sequence[records.ReceiverLabel]
) -> None:
    """Have the rows of *receivers* say whether they are mine; they may have been written otherwise."""
    table = database.quote("tracing_receiverlabel")
    for mine in (True, False):
        rows = [ids[label] for label in receivers if label.mine is mine]
        for start in range(0, len(rows), _KEYS_AT_ONCE):
            chunk = rows[start : start + _KEYS_AT_ONCE]
            where = f"WHERE mine <> %s AND id IN ({', '.join(['%s'] * len(chunk))})"
            # Most say so already, and a writer of SQLite keeps all others out.
            if not database.rows(f"SELECT id FROM {table} {where}", (mine, *chunk)):
                continue
            database.begin()
            try:
                database.execute(f"UPDATE {table} SET mine = %s {where}", (mine, mine, *chunk))
            except BaseException:
                database.rollback()
                raise
            database.commit()


def _add_labels(
    database: Database,
    table: str,
    ids: dict[Any, int],
    new: Sequence[Any],
    columns_of: Callable[[Any], dict[str, Any]],
) -> None:
    """Give each of *new* a row in *table*, or find the one it has, and put its id into *ids*."""
    keyed: dict[str, Any] = {}
    rows = []
    for label in new:
        values = columns_of(label)
        keyed[values["key"]] = label
        rows.append(tuple(map(_clean, values.values())))
    names = tuple(columns_of(new[0]))
    # In a fixed order, so that two processes never wait for one another in a circle.
    rows.sort(key=lambda row: row[0])
    keys = sorted(keyed)
    _find_labels(database, table, keyed, keys, ids)
    missing = [row for row in rows if keyed[row[0]] not in ids]
    if missing:
        database.begin()
        try:
            database.insert_new(table, names, missing)
        except BaseException:
            database.rollback()
            raise
        database.commit()
        _find_labels(database, table, keyed, [row[0] for row in missing], ids)


def _find_labels(
    database: Database, table: str, keyed: dict[str, Any], keys: Sequence[str], ids: dict[Any, int]
) -> None:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        chunk = keys[start : start + _KEYS_AT_ONCE]
        for key, row in database.rows(
            f"SELECT {database.quote('key')}, id FROM {database.quote(table)} "
            f"WHERE {database.quote('key')} IN ({', '.join(['%s'] * len(chunk))})",
            chunk,
        ):
            ids[keyed[key]] = row


def _name_columns(name: str) -> dict[str, Any]:
    return {"key": label_key(name), "name": name[:_NAME_LIMIT]}


def _facts_columns(facts: tuple[Any, ...]) -> dict[str, Any]:
    text = encode_facts(facts)
    return {"key": label_key(text), "facts": text}


def _statement_columns(statement: str) -> dict[str, Any]:
    return {"key": label_key(statement), "statement": statement}


def _receiver_columns(label: records.ReceiverLabel) -> dict[str, Any]:
    return {
        "key": label_key(
            *(value for name, value in structs.asdict(label).items() if name != "mine")
        ),
        "name": label.name[:_NAME_LIMIT],
        "file": label.file[:500],
        "line": label.line,
        "dispatch_uid": label.dispatch_uid[:_NAME_LIMIT],
        "weak": label.weak,
        "is_async": label.is_async,
        "app": label.app[:100],
        "any_sender": label.any_sender,
        "mine": label.mine,
    }


def _callsite_columns(site: records.Callsite) -> dict[str, Any]:
    return {
        "key": label_key(site.file, site.line, site.function),
        "name": site.function[:_NAME_LIMIT],
        "file": site.file[:500],
        "line": site.line,
    }


_Sighting = tuple[int, "records.Hazard", int, int]
"""(row id, hazard, row id of the trace, when the trace began)."""


class _Build:
    """The rows of one batch."""

    def __init__(self, labels: _Labels, known: dict[str, _Known], first: dict[str, int]) -> None:
        self.labels = labels
        self.known = known
        self._trace = first.get("trace", 0)
        self._dispatch = first.get("dispatch", 0)
        self._other = first.get("other", 0)
        self.traces: list[tuple[Any, ...]] = []
        self.changed: list[tuple[Any, ...]] = []
        self.dispatches: list[tuple[Any, ...]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.failed: list[tuple[Any, ...]] = []
        self.unheard: list[tuple[Any, ...]] = []
        self.bypasses: list[tuple[Any, ...]] = []
        self.hazards: dict[str, list[_Sighting]] = {}
        self.sums: Batch = {}

    def tables(self) -> Sequence[tuple[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]]:
        """Return the tables with the columns and rows to insert."""
        return (
            ("tracing_trace", (TRACE_COLUMNS, self.traces)),
            ("tracing_dispatch", (DISPATCH_COLUMNS, self.dispatches)),
            ("tracing_receivercall", (CALL_COLUMNS, self.calls)),
            (
                "tracing_failedcall",
                (("id", "dispatch_id", "receiver_id", "exception_type"), self.failed),
            ),
            (
                "tracing_unheard",
                (("id", "trace_id", "signal_id", "sender_id", "count"), self.unheard),
            ),
            (
                "tracing_bypass",
                (
                    (
                        "id", "trace_id", "operation", "model", "rows", "start_ns",
                        "parent_number", "callsite_id", "signals", "receivers",
                    ),
                    self.bypasses,
                ),
            ),
        )  # fmt: skip

    def next_other(self) -> int:
        """Return the next id of the sequence that the smaller tables share."""
        self._other += 1
        return self._other - 1

    def rows(self, batch: Sequence[records.Trace]) -> _Build:
        """Make the rows of *batch*; return self."""
        for _ in self._each(batch):
            pass
        return self

    def calls_of_each(self, batch: Sequence[records.Trace]) -> Iterator[list[tuple[Any, ...]]]:
        """Make the rows of *batch*, giving those of receiver calls away trace by trace."""
        for _ in self._each(batch):
            yield self.calls
            self.calls.clear()

    def _each(self, batch: Sequence[records.Trace]) -> Iterator[None]:
        """Make the rows of *batch*, one trace at each step."""
        courtesy = Courtesy()
        for trace in batch:
            stored = self.known.get(trace.root_span_id)
            if stored is None:
                row = self._trace
                self._trace += 1
                self.traces.append(self._trace_row(row, trace, "", mine=False))
            else:
                row = stored.row
                changed = self._trace_row(row, trace, stored.details, mine=stored.mine)
                self.changed.append(changed)
            self._dispatch_rows(row, trace)
            if trace.unheard or trace.bypasses or trace.hazards or trace.known_hazards:
                self._other_rows(row, trace)
            yield
            courtesy.give_way()

    def _trace_row(
        self, row: int, trace: records.Trace, details: str, *, mine: bool
    ) -> tuple[Any, ...]:
        """Return the row of *trace*, of which earlier segments had *details* and may be *mine*."""
        return (
            row,
            trace.trace_id,
            trace.root_span_id,
            self.labels.traces[trace.name],
            _KIND[trace.kind],
            _STATUS[trace.status],
            trace.status is records.Status.ERROR or trace.error_count > 0,
            trace.started_ns,
            trace.duration_ns,
            trace.parent_span_id,
            trace.parent_trace_id,
            trace.http_method[:10],
            trace.http_path[:500],
            trace.http_status,
            trace.user_id[:64],
            trace.host[:100],
            trace.process,
            trace.thread[:100],
            trace.release[:100],
            trace.error[:500],
            dump(trace.attributes) if trace.attributes else "",
            _more_details(trace, details),
            trace.dispatch_count,
            trace.receiver_call_count,
            trace.query_count,
            trace.query_ns,
            trace.signal_ns,
            trace.error_count,
            trace.hazard_count,
            trace.dropped_count,
            trace.unheard_count,
            trace.overhead_ns,
            trace.segment,
            trace.final,
            mine or trace.is_mine,
            False,
            "",
        )

    def _dispatch_rows(self, trace_row: int, trace: records.Trace) -> None:  # noqa: C901, PLR0912, PLR0915
        # The one hot loop of the exporter: everything is local, and nothing is called that is not
        # needed. It runs once for every dispatch and receiver call of the application.
        labels = self.labels
        facts, same_get = labels.facts, labels.same.get
        add_dispatch, add_call = self.dispatches.append, self.calls.append
        row, thread = self._dispatch, trace.thread
        first_hour = trace.started_ns // HOUR_NS
        spans_hours = (trace.started_ns + trace.duration_ns) // HOUR_NS != first_hour
        wires = self.sums.setdefault(first_hour, {})
        carried = trace.carried
        reached = 0
        overlaps = carried is not None and bool(carried.unfinished or carried.counted)
        for dispatch in trace.dispatches:
            start, calls = dispatch.start_ns, dispatch.receiver_calls
            if spans_hours:
                wires = self.sums.setdefault((trace.started_ns + start) // HOUR_NS, {})
            sender, instance = dispatch.sender, dispatch.instance
            key = (dispatch.signal, sender)
            wire = wires.get(key)
            if wire is None:
                wire = wires[key] = Wire(labels.signals[key[0]], labels.senders[sender])
            if instance:
                model, colon, primary_key = instance.partition(":")
                if colon and model == sender:
                    instance = colon + primary_key
                if len(instance) > _NAME_LIMIT:
                    instance = instance[:_NAME_LIMIT]
            duration, site = dispatch.duration_ns, dispatch.callsite
            overlaps |= start < reached
            reached = start + duration
            callsite = None
            if site is not None:
                same = same_get(id(site))
                callsite = same[1] if same is not None else labels.callsite(site)
            query_count, query_ns = dispatch.query_count, dispatch.query_ns
            add_dispatch((
                row, trace_row, dispatch.number, dispatch.parent_number, dispatch.depth,
                wire.signal, wire.sender, callsite, facts[facts_of(dispatch)],
                _METHOD[dispatch.method], _TRANSACTION[dispatch.transaction], start, duration,
                instance, len(calls), query_count, query_ns,
                dispatch_details(dispatch, thread)
                if dispatch.thread != thread
                or dispatch.exception_type
                or dispatch.pk_count is not None
                or dispatch.same_instance_as is not None
                or dispatch.values
                else None,
            ))  # fmt: skip
            total = wire.own
            total.durations.append(duration)
            if query_count:
                total.queries += query_count
                total.query_ns += query_ns
            failed, call_row, sums = False, row, wire.calls
            for call in calls:
                call_row += 1
                same = same_get(id(call.receiver))
                receiver = same[1] if same is not None else labels.receiver(call.receiver)
                duration, outcome = call.duration_ns, call.outcome
                query_count, query_ns = call.query_count, call.query_ns
                add_call((
                    call_row, row, call.number, call.position, receiver,
                    0 if outcome is _RETURNED else _OUTCOME[outcome],
                    call.start_ns - start, duration, duration - call.self_ns, query_count,
                    query_ns,
                    call_details(call, labels.statements)
                    if call.response_type
                    or call.statements
                    or call.exception_type
                    or call.hop_ns
                    or call.same_as is not None
                    or call.exception_message
                    else None,
                ))  # fmt: skip
                if outcome is _SKIPPED:
                    continue
                found = sums.get(receiver)
                total = found if found is not None else sums.setdefault(receiver, Sum())
                if duration or call.is_timed:
                    total.durations.append(duration)
                else:
                    total.untimed += 1
                if query_count:
                    total.queries += query_count
                    total.query_ns += query_ns
                if outcome is _RAISED:
                    failed = True
                    total.errors += 1
                    self.failed.append((call_row, row, receiver, call.exception_type[:_NAME_LIMIT]))
            if failed:
                wire.own.errors += 1
            row = call_row + 1
        self._dispatch = row
        self._subtract_repeats(trace, None if spans_hours else wires, overlaps=overlaps)

    def _subtract_repeats(
        self, trace: records.Trace, wires: Wires | None, *, overlaps: bool
    ) -> None:
        """Have the sums of *trace* count each moment once; *wires* are its own if it has one hour."""
        if not overlaps:
            return

        def wires_at(dispatch: records.Dispatch) -> Wires:
            hour = (trace.started_ns + dispatch.start_ns) // HOUR_NS
            return wires if wires is not None else self.sums[hour]

        subtract_repeats(trace, wires_at, self.labels.known_receiver)

    def _other_rows(self, row: int, trace: records.Trace) -> None:
        labels = self.labels
        for signal, sender, count in trace.unheard:
            self.unheard.append(
                (self.next_other(), row, labels.signals[signal], labels.senders[sender], count)
            )
        for bypass in trace.bypasses:
            site = bypass.callsite
            self.bypasses.append((
                self.next_other(), row, bypass.operation[:20], bypass.model[:255], bypass.rows,
                bypass.start_ns, bypass.parent_number,
                None if site is None else labels.callsite(site), dump(bypass.signals),
                dump([labels.receiver(receiver) for receiver in bypass.receivers]),
            ))  # fmt: skip
        for hazard in (*trace.hazards, *trace.known_hazards):
            # Numbered here: grouped by what was found, they lose the order that the trace has.
            self.hazards.setdefault(hazard_fingerprint(hazard), []).append(
                (self.next_other(), hazard, row, trace.started_ns)
            )


def _more_details(trace: records.Trace, before: str) -> str:
    """Return the details of *trace* after those of its earlier segments, as a JSON object."""
    details = encode_trace_details(trace)
    if before and details:
        details = json.loads(details)
        for name, values in json.loads(before).items():
            details[name] = values + details.get(name, [])
        return dump(details)
    return details or before


def _clean(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else value
