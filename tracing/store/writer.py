"""Writing batches of traces into a store, in SQL of its own."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time
from tracing.pipeline import TemporaryError
from tracing.store import models
from tracing.store.backends import KEYS_AT_ONCE, marks
from tracing.store.columns import dump
from tracing.store.labels import (
    Labels,
    LabelsPrunedError,
    add_labels,
    name_columns,
    receiver_columns,
)
from tracing.store.path_sums import PATH_COLUMNS, PATH_KEYS, PathBuffer, label_ids, path_rows
from tracing.store.ranges import chunks
from tracing.store.summing import RollupBuffer
from tracing.store.trace_rows import (
    CALL_COLUMNS,
    CHANGING_COLUMNS,
    FIRST_CHANGING,
    StoredTrace,
    TraceRows,
    is_stored,
    task_links,
)
from tracing.store.unused_labels import begin_epoch, epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tracing.spans import records
    from tracing.store.backends import Database

SEQUENCES = {
    "trace": ("tracing_trace",),
    # A dispatch is followed by its receiver calls: they share their numbers.
    "dispatch": ("tracing_dispatch", "tracing_receivercall"),
    "other": ("tracing_bypass", "tracing_orphan", "tracing_hazardoccurrence", "tracing_tasklink"),
}
"""The tables that are numbered together."""

ROLLUP_KEYS = ("hour", "signal_id", "sender_id", "receiver_id", "writer")
ROLLUP_COLUMNS = (
    "count", "error_count", "total_ns", "query_count", "query_ns", "cpu_ns",
    "histogram",
)  # fmt: skip

_SEVERITY = {word: number for number, word in enumerate(models.SEVERITY_CODES)}
_ATTEMPTS: Final = 5


class Writer:
    """Stores batches; knows the names and running traces of its database.

    Each batch takes its labels and ids in short transactions of their own, and one transaction for
    its rows: other writers wait for the rows alone, and a batch that fails leaves nothing.

    Args:
        sums_at_once: Write the statistics of each batch with it, and not from time to time.
    """

    def __init__(self, *, sums_at_once: bool = False) -> None:
        self.sums_at_once = sums_at_once
        self.forget()

    def forget(self) -> None:
        """Forget what is known of the database."""
        self.labels = Labels()
        # In which they were learned; see ``tracing.store.unused_labels``.
        self._epoch = -1
        self.summing = RollupBuffer()
        self.paths = PathBuffer()

    def store(
        self, database: Database, batch: Sequence[records.Trace], *, check: bool = False
    ) -> int:
        """Store *batch*; return how many of its traces are new.

        No trace comes twice in it.

        Args:
            database: Connected.
            batch: Whole traces, or segments of them.
            check: Look up whole traces, too: they may be stored.

        Raises:
            TemporaryError: Labels are being deleted all the time.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._store_once(database, batch, check=check)
            except LabelsPrunedError:
                self._relearn(database)
        raise TemporaryError("names are being pruned again and again")

    def _store_once(
        self, database: Database, batch: Sequence[records.Trace], *, check: bool = False
    ) -> int:
        known = self._known(database, [t for t in batch if check or t.segment or not t.final])
        batch = [trace for trace in batch if not is_stored(trace, known)]
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
            self.labels.resolve(database, batch, decides=not check)
            try:
                rows = self._build(database, batch, known, first)
            except KeyError:
                # Deleted between being written and being looked up.
                database.rollback()
                raise LabelsPrunedError from None
        for table, (columns, values) in rows.tables():
            if values:
                database.insert(table, columns, values)
        for changed in rows.changed:
            changes = ", ".join(f"{database.quote(name)} = %s" for name in CHANGING_COLUMNS)
            database.execute(
                f"UPDATE {database.quote('tracing_trace')} SET {changes} WHERE id = %s",
                (*changed[FIRST_CHANGING:-2], changed[0]),
            )
        self._store_hazards(database, rows)
        database.commit()
        self.summing.add(rows.sums)
        self.paths.add(batch)
        self.write_sums(database, everything=self.sums_at_once)
        return len(batch)

    def _build(
        self,
        database: Database,
        batch: Sequence[records.Trace],
        known: dict[str, StoredTrace],
        first: dict[str, int],
    ) -> TraceRows:
        """Begin the transaction of *batch*, and make its rows.

        A writer of SQLite keeps all others out, so there the rows come before the transaction. A
        server can store the first of them while the next are being made.

        Raises:
            KeyError: A name has no label yet.
        """
        rows = TraceRows(self.labels, known, first)
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
            LabelsPrunedError: Some were since this exporter learned them; nothing has begun.
        """
        database.begin()
        if epoch(database) != self._epoch:
            database.rollback()
            raise LabelsPrunedError

    def _relearn(self, database: Database) -> None:
        """Learn the labels anew; rename those that wait for the rollups."""
        old, self.labels = self.labels, Labels()
        self._epoch = begin_epoch(database)
        kinds: tuple[tuple[str, str, Callable[[Any], dict[str, Any]]], ...] = (
            ("tracing_signallabel", "signals", name_columns),
            ("tracing_senderlabel", "senders", name_columns),
            ("tracing_receiverlabel", "receivers", receiver_columns),
        )
        for place, (table, ids, columns) in enumerate(kinds):
            wanted = self.summing.waiting_ids(place)
            names = {row: name for name, row in getattr(old, ids).items() if row in wanted}
            found = getattr(self.labels, ids)
            if names:
                add_labels(database, table, found, list(names.values()), columns)
            self.summing.rename(place, {row: found[name] for row, name in names.items()})

    def write_sums(self, database: Database, *, everything: bool = False) -> None:
        """Write the rollups that are due, or *everything* that waits.

        What fails waits for the next batch: the batch itself is stored.
        """
        if self.summing.is_due or (everything and not self.summing.is_empty):
            with suppress(Exception), self._undone(database):
                self._write_rollups(database)
        if self.paths.is_due or (everything and not self.paths.is_empty):
            began = time.monotonic()
            with suppress(Exception), self._undone(database):
                self._write_paths(database)
            self.paths.wait(time.monotonic() - began)

    @contextmanager
    def _undone(self, database: Database) -> Iterator[None]:
        """Roll back what the block began if it fails."""
        try:
            yield
        except Exception:
            database.rollback()
            raise

    def _write_rollups(self, database: Database) -> None:
        try:
            self._begin(database)
        except LabelsPrunedError:
            self._relearn(database)
            self._begin(database)
        due = self.summing.due()
        database.upsert(
            "tracing_rollup",
            ROLLUP_KEYS,
            ROLLUP_COLUMNS,
            [
                (hour, *key, writer, *total.columns())
                for hour, writer, totals in due
                for key, total in totals.items()
            ],
        )
        database.commit()
        self.summing.written(due)

    def _write_paths(self, database: Database) -> None:
        due = self.paths.due()
        roots = [root for _, root in due]
        label_ids(database, self.labels, roots)
        try:
            self._begin(database)
        except LabelsPrunedError:
            self._relearn(database)
            label_ids(database, self.labels, roots)
            self._begin(database)
        rows = path_rows(self.paths, due, self.labels)
        database.upsert("tracing_pathrollup", PATH_KEYS, PATH_COLUMNS, rows)
        database.commit()
        self.paths.written()

    def _known(self, database: Database, traces: Sequence[records.Trace]) -> dict[str, StoredTrace]:
        """Return what is stored of *traces*, by root span id."""
        known: dict[str, StoredTrace] = {}
        ids = sorted({trace.root_span_id for trace in traces})
        columns = ("root_span_id", "id", "segment", "final", "mine", "extra")
        for chunk in chunks(ids, KEYS_AT_ONCE):
            for root_span_id, *values in database.rows(
                f"SELECT {', '.join(map(database.quote, columns))} "
                f"FROM {database.quote('tracing_trace')} "
                f"WHERE root_span_id IN {marks(chunk)}",
                chunk,
            ):
                known[root_span_id] = StoredTrace(*values)
        return known

    def _allocate(
        self,
        database: Database,
        batch: Sequence[records.Trace],
        known: dict[str, StoredTrace],
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
                + len(trace.orphans)
                + len(trace.hazards)
                + len(trace.known_hazards)
                + len(task_links(trace, is_new=trace.root_span_id not in known))
                for trace in batch
            ),
        }
        needed = {name: count for name, count in needed.items() if count}
        if not needed:
            return {}
        last = database.allocate(needed)
        if len(last) < len(needed):
            # A new store, or one that was emptied: then the labels are gone as well.
            self.forget()
            self.raise_sequences(database)
            last = database.allocate(needed)
            if len(last) < len(needed):
                raise TemporaryError("the sequences of ids cannot be kept")
        return {name: value + 1 for name, value in last.items()}

    def raise_sequences(self, database: Database) -> None:
        """Make sure that no sequence gives ids away that are in use."""
        quote = database.quote
        for name, tables in SEQUENCES.items():
            last = max(
                database.rows(f"SELECT COALESCE(MAX(id), 0) FROM {quote(table)}")[0][0]
                for table in tables
            )
            with database.transaction():
                database.insert_new("tracing_sequence", ("name", "value"), [(name, last)])
                database.execute(
                    f"UPDATE {quote('tracing_sequence')} SET value = %s "
                    "WHERE name = %s AND value < %s",
                    (last, name, last),
                )

    def _remove_replaced(
        self,
        database: Database,
        batch: Sequence[records.Trace],
        known: dict[str, StoredTrace],
    ) -> None:
        """Remove dispatches of earlier segments that come again."""
        quote = database.quote
        for trace in batch:
            stored = known.get(trace.root_span_id)
            if stored is None:
                continue
            # A segment brings the counts so far.
            database.execute(
                f"DELETE FROM {quote('tracing_orphan')} WHERE trace_id = %s", (stored.row,)
            )
            numbers = [dispatch.number for dispatch in trace.dispatches]
            for chunk in chunks(numbers, KEYS_AT_ONCE):
                for row, count in database.rows(
                    f"SELECT id, receiver_call_count FROM {quote('tracing_dispatch')} "
                    f"WHERE trace_id = %s AND number IN {marks(chunk)}",
                    (stored.row, *chunk),
                ):
                    for table in ("tracing_dispatch", "tracing_receivercall", "tracing_failedcall"):
                        database.execute(
                            f"DELETE FROM {quote(table)} WHERE id BETWEEN %s AND %s",
                            (row, row + count),
                        )

    def _store_hazards(self, database: Database, rows: TraceRows) -> None:
        """Count the hazards by fingerprint, and store each occurrence."""
        if not rows.hazards:
            return
        quote = database.quote
        table = quote("tracing_hazard")
        ids: dict[str, int] = {}
        # In a fixed order, so that two processes never wait for one another in a circle.
        for fingerprint, occurrences in sorted(rows.hazards.items()):
            _, hazard, trace_row, seen_ns = occurrences[-1]
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
                "first_seen_ns": min(seen for *_, seen in occurrences),
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
                    len(occurrences),
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
            "tracing_hazardoccurrence",
            ("id", "hazard_id", "trace_id", "data"),
            [
                (row, ids[fingerprint], trace_row, dump(hazard.values()))
                for fingerprint, occurrences in rows.hazards.items()
                for row, hazard, trace_row, _ in occurrences
            ],
        )


def apart(batch: Sequence[records.Trace]) -> list[Sequence[records.Trace]]:
    """Return *batch* in parts in which no trace comes twice."""
    parts: list[list[records.Trace]] = []
    times: dict[str, int] = {}
    for trace in batch:
        key = trace.root_span_id
        place = times[key] = times.get(key, -1) + 1
        if place == len(parts):
            parts.append([])
        parts[place].append(trace)
    return parts  # type: ignore[return-value]
