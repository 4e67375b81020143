"""The exporter that writes traces into the store."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from os import getpid
from typing import TYPE_CHECKING, Any, Literal

from django.db import connections
from msgspec.structs import asdict

from tracing import __version__
from tracing.analysis.why_not.process import this_process, version
from tracing.clocks import time
from tracing.conf import store_alias
from tracing.conf.parts import Retention
from tracing.instrumentation.assembly.repair import repaired
from tracing.instrumentation.in_tests import is_test_database, is_test_run
from tracing.instrumentation.recent import FORGOTTEN
from tracing.pipeline import TemporaryError
from tracing.pipeline.news import News
from tracing.store.backends import Database, MissingTablesError, open_database
from tracing.store.columns import dump
from tracing.store.processes import WiringReports, decode, encode
from tracing.store.retention import acquire_lease, announce_first, prune_in_turn, release_lease
from tracing.store.unused_labels import sweep
from tracing.store.writer import Writer, apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tracing.pipeline import PipelineStatistics
    from tracing.spans import records

logger = logging.getLogger("tracing")

_KEYS = ("host", "process", "started_ns")
"""What tells the state of one process from the others."""
_STATE = ("seen_ns", "recorded", "dropped", "queued", "exporters", "version")
"""How its recorder is doing."""

_COMPACT_SECONDS = 3_600
"""How often statistics are added up where nothing is pruned."""
_SWEEP_SECONDS = 0.5
"""How long a worker looks for unused names at each beat."""
_PRUNE_SECONDS = 1.0
"""How long a worker prunes before it looks after its queue again."""

InTests = Literal["store", "test_database", "share", "skip"]


def _row(state: Mapping[str, Any], columns: Sequence[str]) -> tuple[Any, ...]:
    values = {**state, "exporters": dump(state["exporters"])}
    return tuple(values[name] for name in (*_KEYS, *columns))


class DatabaseExporter:
    """Write traces into the store.

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
        self._writer = Writer(sums_at_once=shared_connection)
        self._started_ns = time.time_ns()
        self._paused: bool | None = None
        self._works = False
        self._sweep: Iterator[int] | None = None
        self._swept: Database | None = None
        self._news = News()
        """Of the wiring that is stored."""
        self._reports = WiringReports()

    # -- The exporter's protocol -------------------------------------------------------------

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Store what is new of *batch* in one transaction.

        Raises:
            TemporaryError: The database cannot take it now.
        """
        with self._lock:
            if not self._may_store():
                return
            for part in apart(batch):
                self._export(part)

    def _may_store(self) -> bool:
        """Return whether to write: in a run of tests, only to its database.

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
        self._writer.forget()
        self._works = False

    def _share(self) -> bool:
        """Use Django's connection of this thread from now on, if that may be.

        Tests that are to do without a database do without its traces.
        """
        if not self._shared:
            self._disconnect()
            self._shared = self._writer.sums_at_once = True
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
            self._writer.forget()
        try:
            self._writer.store(database, batch)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like.
            database.rollback()
            raised = database.translate(error)
            if isinstance(raised, TemporaryError):
                self._works = False
                database.close()
                if isinstance(raised, MissingTablesError):
                    self._writer.forget()
                raise raised from None
            if isinstance(error, database.errors.IntegrityError):
                # Stored already, or the ids were taken by a restored backup.
                self._recover(database, batch)
                return
            self._store_repaired(database, batch, type(error).__name__)
        self._works = True

    def store_new(self, batch: Sequence[records.Trace]) -> int:
        """Store those of *batch* that are not stored; return how many.

        Raises:
            TemporaryError: The database cannot take it now.
        """
        with self._lock:
            database = self._connected()
            try:
                return sum(
                    self._writer.store(database, [repaired(trace) for trace in part], check=True)
                    for part in apart(batch)
                )
            except Exception as error:  # noqa: BLE001 - drivers raise what they like.
                database.rollback()
                raise database.translate(error) from None

    def force_flush(self) -> None:
        """Write the statistics of the last seconds; traces are committed."""
        with self._lock:
            if not self._works or not self._may_store():
                return
            if not (self._writer.summing.is_empty and self._writer.paths.is_empty):
                # A database that is gone is noticed, and told, with the next batch.
                with suppress(TemporaryError):
                    self._writer.write_sums(self._connected(), everything=True)
            if not self._shared:
                self._ask(self._write_wiring)

    def shutdown(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._database is not None:
                self._news.hurry()
                self.force_flush()
                self._database.close()
                self._database = None
                self._writer.forget()

    def tick(self, statistics: PipelineStatistics) -> None:
        """Tell the store how this process does; obey what it says."""
        with self._lock:
            if not self._works or self._shared or not self._may_store():
                return
            self._ask(lambda database: self._beat(database, statistics))

    def _ask(self, work: Callable[[Database], None]) -> None:
        """Do *work* with the database; leave failures to the next export."""
        try:
            database = self._connected()
        except TemporaryError:
            return
        try:
            work(database)
        except Exception as error:
            database.close()
            raised = database.translate(error)
            if isinstance(raised, TemporaryError):
                self._works = False
                return
            raise

    def begin(self, *, paused: bool) -> None:
        """Ask the store before the first export, too; *paused* is what holds."""
        self._works, self._paused = True, paused

    def tell_of(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Tell the store about processes whose traces this one exports."""
        if not states:
            return
        with self._lock:
            if self._works and self._may_store():
                self._ask(lambda database: self._tell_of(database, states))

    def _tell_of(self, database: Database, states: Sequence[Mapping[str, Any]]) -> None:
        for columns in (_STATE, (*_STATE, "wiring")):
            # What a process has connected comes where that is news.
            rows = [
                _row(each, columns)
                for each in states
                if ("wiring" in each) == ("wiring" in columns)
            ]
            if rows:
                database.upsert("tracing_recorderstate", _KEYS, columns, rows)
        processes = {(each["host"], each["process"], each["started_ns"]): each for each in states}
        for process, each in processes.items():
            if (wiring := decode(each.get("wiring", ""))) is not None:
                self._reports.tell(database, process, wiring)
        self._reports.refresh(database, processes)

    def after_fork(self) -> None:
        """Leave the connection to the parent process."""
        self._lock = threading.RLock()
        if self._database is not None:
            self._database.forget()
            self._database = None
        self._writer.forget()
        self._started_ns = time.time_ns()
        self._news.forget()
        self._reports.forget()
        self._works = False

    # -- Connecting --------------------------------------------------------------------------

    def _connected(self) -> Database:
        alias = self._alias or store_alias()
        if self._database is None or self._database.alias != alias or self._database.is_elsewhere():
            if self._database is not None:
                self._database.close()
            self._writer.forget()
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
            self._writer.forget()
        return database

    def _recover(self, database: Database, batch: Sequence[records.Trace]) -> None:
        """Store what is new in *batch*, after something in it was there already."""
        self._writer.forget()
        try:
            self._writer.raise_sequences(database)
            self._writer.store(database, batch, check=True)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like.
            database.rollback()
            raise database.translate(error) from None
        self._works = True

    def _store_repaired(self, database: Database, batch: Sequence[records.Trace], why: str) -> None:
        """Store *batch* without the values that databases refuse."""
        try:
            self._writer.store(database, [repaired(trace, why) for trace in batch])
        except Exception as error:  # noqa: BLE001 - drivers raise what they like.
            database.rollback()
            raise database.translate(error) from None

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
        if not acquire_lease(database, "prune", self.prune_seconds):
            return
        retention = self.retention or Retention()
        pruned = prune_in_turn(database, retention, _PRUNE_SECONDS)
        if pruned.traces and retention.is_default:
            announce_first(database, pruned)
        if pruned.complete:
            self._sweep, self._swept = sweep(database, every=False), database
        else:
            # There is more: go on at the next beat, whoever's that is.
            release_lease(database, "prune")
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

    def _write_wiring(self, database: Database) -> None:
        """Store what this process has connected, if that is news and due."""
        found, keys = version(), self._keys()
        self._reports.refresh(database, (keys,))
        if self._reports.knows(keys) and not self._news.is_due(found):
            return
        wiring = this_process()
        self._reports.tell(database, keys, wiring)
        text = encode(wiring)
        columns = ("seen_ns", "wiring")
        updating = database.execute(
            f"UPDATE {database.quote('tracing_recorderstate')} SET seen_ns = %s, wiring = %s "
            "WHERE host = %s AND process = %s AND started_ns = %s",
            (time.time_ns(), text, *keys),
        )
        changed = updating.rowcount
        updating.close()
        if not changed:
            database.upsert(
                "tracing_recorderstate",
                _KEYS,
                (*columns, "recorded", "dropped", "queued", "exporters", "version"),
                [(*keys, time.time_ns(), text, 0, 0, 0, "", __version__)],
            )
        self._news.written(found, len(text))

    def _keys(self) -> tuple[str, int, int]:
        return socket.gethostname()[:100], getpid(), self._started_ns

    def _beat(self, database: Database, statistics: PipelineStatistics) -> None:
        self._writer.write_sums(database)
        self._prune_in_turn(database)
        exporters: dict[str, Any] = {
            name: asdict(values) for name, values in statistics.exporters.items()
        }
        if statistics.forgotten:
            exporters[FORGOTTEN] = statistics.forgotten
        dropped = statistics.dropped + statistics.failed
        self._write_wiring(database)
        state = {
            **dict(zip(_KEYS, self._keys(), strict=True)),
            "seen_ns": time.time_ns(),
            "recorded": statistics.recorded,
            "dropped": dropped,
            "queued": statistics.queued,
            "exporters": exporters,
            "version": __version__,
        }
        database.upsert("tracing_recorderstate", _KEYS, _STATE, [_row(state, _STATE)])
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
