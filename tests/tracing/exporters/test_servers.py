"""The store on PostgreSQL and MariaDB, whatever database the other tests run on."""

from __future__ import annotations

import os
import time
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.test import override_settings

from benchmarks.synthetic import Filler
from tests.services import require_service
from tests.tracing.analysis.building import TraceBuilder, label
from tests.tracing.samples import full_trace, plain_trace
from tests.tracing.viewer.traces import identify
from tracing.analysis.histogram import HOUR_NS
from tracing.conf.parts import Retention
from tracing.exporters.database import DatabaseExporter
from tracing.models import (
    Dispatch,
    ObjectIndex,
    PathRollup,
    ReceiverCall,
    ReceiverLabel,
    Rollup,
    Sequence,
    TaskLink,
    Trace,
)
from tracing.pipeline import TemporaryError
from tracing.routers import ROUTER
from tracing.spans.records import Kind
from tracing.store import deadlines, objects
from tracing.store.backends import MissingTablesError, beside_the_application, open_database
from tracing.store.explaining import Wanted, explain
from tracing.store.pages import TraceSearch
from tracing.store.retention import compact_rollups, file_size, prune, store_size
from tracing.store.size import Reader, used_size_of
from tracing.store.task_links import task_links

pytestmark = pytest.mark.services

ALIAS = "elsewhere"
NAME = f"tracing_servers_{os.getpid()}"
ENGINES = {"postgresql": "postgresql", "mariadb": "mysql"}


def connect(service):
    """Return a connection to the server, outside the store."""
    account = {"host": service.host, "port": service.port, "user": service.user}
    if service.name == "postgresql":
        import psycopg

        password = service.password or None
        return psycopg.connect(**account, password=password, dbname="postgres", autocommit=True)
    import pymysql

    pymysql.install_as_MySQLdb()
    return pymysql.connect(**account, password=service.password, autocommit=True)


def tell(service, *statements):
    with closing(connect(service)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def alias_of(service, name, **changes):
    """Make the alias for the block."""
    database = connections.databases["default"] | {
        "ENGINE": f"django.db.backends.{ENGINES[service.name]}",
        "NAME": name,
        "HOST": service.host,
        "PORT": service.port,
        "USER": service.user,
        "PASSWORD": service.password,
        "OPTIONS": {"charset": "utf8mb4"} if service.name == "mariadb" else {},
        **changes,
    }
    # The routers are named, too: Django makes them anew then, whatever other tests made of them.
    chosen = {"TRACING": {"DATABASE": ALIAS}, "DATABASE_ROUTERS": [ROUTER]}
    with pytest.MonkeyPatch.context() as patch, override_settings(**chosen):
        patch.setitem(connections.databases, ALIAS, database)
        assert Trace.objects.db == ALIAS
        yield
        connections[ALIAS].close()
        delattr(connections._connections, ALIAS)


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def service(request, django_db_blocker):
    """Return a server with a migrated store behind the alias."""
    service = require_service(request.param)
    tell(service, f"CREATE DATABASE {NAME}")
    try:
        with django_db_blocker.unblock(), alias_of(service, NAME):
            call_command("migrate", "tracing", database=ALIAS, verbosity=0)
            yield service
    finally:
        tell(service, f"DROP DATABASE {NAME}")


@pytest.fixture
def store(service, django_db_blocker):
    """Return the server with an empty store."""
    with django_db_blocker.unblock():
        yield service
        call_command("flush", database=ALIAS, interactive=False, verbosity=0)


@pytest.fixture
def exporter(store):
    exporter = DatabaseExporter()
    yield exporter
    exporter.shutdown()


def test_whole_trace_comes_out_as_it_went_in(exporter):
    exporter.export([full_trace(), plain_trace(1)])
    exporter.force_flush()

    assert Trace.objects.load(full_trace().trace_id) == full_trace()
    assert Trace.objects.load(f"{1:032x}") == plain_trace(1)


def test_batch_is_stored_once_however_often_it_is_sent(exporter):
    batch = [plain_trace(number) for number in range(5)]

    exporter.export(batch)
    exporter.export([*batch, plain_trace(9)])
    exporter.force_flush()

    assert Trace.objects.count() == 6
    assert sum(Rollup.objects.filter(receiver=0).values_list("count", flat=True)) == 6


def test_statistics_that_are_written_again_replace_the_earlier_ones(exporter):
    for number in range(3):
        exporter.export([plain_trace(number)])
        exporter.force_flush()

    assert list(Rollup.objects.filter(receiver=0).values_list("count", flat=True)) == [3]


def test_sums_over_signals_and_senders_are_asked_of_every_server(exporter):
    build = TraceBuilder()
    outer = build.call(build.dispatch("post_save", "shop.Order"), query_count=1)
    build.call(build.dispatch("post_save", "shop.Car", outer), query_count=1)
    build.call(build.dispatch("pre_save", "shop.Car", outer), query_count=1)
    trace = build.build()

    exporter.export([trace])
    exporter.force_flush()

    rollups = Rollup.objects.all()
    whole = (trace.dispatches[0].duration_ns, 3)
    (post_save, pre_save), (of_order, of_car) = rollups.by("signal"), rollups.by("sender")
    assert (post_save.total_ns, post_save.query_count) == (whole[0], 3)
    assert (pre_save.count, of_car.count, pre_save.query_count) == (1, 2, 1)
    assert (of_order.total_ns, of_order.query_count) == whole
    assert (rollups.of_all().total_ns, rollups.of_all().query_count) == whole
    assert len(rollups.by("dispatch")) == 3


def test_sums_by_path_are_written_again_added_up_and_asked(exporter):
    for number in range(3):
        exporter.export([plain_trace(number, started_ns=time.time_ns() - 5 * 24 * HOUR_NS)])
        exporter.force_flush()
    names = plain_trace(1).dispatches[0]

    written = explain(Wanted(names.sender, names.signal))
    rows = PathRollup.objects.count()
    compact_rollups()
    merged = explain(Wanted(names.receiver_calls[0].receiver.name))

    # What is long past is of a writer of its own each time.
    assert (written.source, written.asked_count) == ("sums", 3)
    assert (rows, PathRollup.objects.count()) == (6, 2)
    assert (merged.source, merged.asked_count) == ("sums", 3)
    assert {row.writer for row in PathRollup.objects.all()} == {"merged"}


def test_object_is_found_by_its_index_and_in_what_is_newer(exporter, monkeypatch):
    monkeypatch.setattr(objects, "WIDTH", 8)
    traces = [plain_trace(number) for number in range(12)]
    for number, trace in enumerate(traces):
        trace.dispatches[0].instance = f"shop.Order:{number % 2}"
    exporter.export(traces)
    exporter.force_flush()
    last = ReceiverCall.objects.last().pk

    with beside_the_application(ALIAS) as database:
        for until in (last // 2, last // 2):
            assert objects.index_until(database, until, lambda: False)
    found = Trace.objects.search(TraceSearch(instance="shop.Order:1"), seconds=60).traces
    prune(Retention(max_rows=0, keep_pinned=False))

    assert 0 < objects.WIDTH < last // 2
    assert [int(trace.trace_id, 16) for trace in found] == [11, 9, 7, 5, 3, 1]
    assert not ObjectIndex.objects.exists()


def test_cpu_time_is_summed_and_the_rest_comes_last(exporter):
    trace = plain_trace(1)
    trace.dispatches[0].receiver_calls[0].cpu_ns = 700
    build = TraceBuilder()
    build.call(build.dispatch(), label("shop.unread"))
    exporter.export([trace, build.build()])
    exporter.force_flush()

    rows = Rollup.objects.all().by("receiver", order_by="-cpu_ns")

    assert [row.cpu_ns for row in rows] == [700, None]


def test_segments_become_one_trace(exporter):
    first = plain_trace(1, final=False, dispatches=2)
    last = plain_trace(1, final=True, segment=1, dispatches=0, duration_ns=9_000)

    exporter.export([first])
    exporter.export([last])

    trace = Trace.objects.get()
    assert (trace.final, trace.segment, trace.duration_ns) == (True, 1, 9_000)
    assert Dispatch.objects.count() == 2


def test_text_that_no_database_takes_is_replaced(exporter):
    exporter.export([plain_trace(1, user_id="a\x00b", error="\ud800"), plain_trace(2)])

    assert Trace.objects.count() == 2
    assert Trace.objects.get(trace_id=f"{1:032x}").user_id == "a\N{REPLACEMENT CHARACTER}b"


def test_two_exporters_share_labels_and_numbers(exporter):
    other = DatabaseExporter()
    for number in range(0, 6, 2):
        exporter.export([plain_trace(number)])
        other.export([plain_trace(number + 1)])
    other.shutdown()

    assert ReceiverLabel.objects.count() == 1
    assert [Trace.objects.load(f"{n:032x}") for n in range(6)] == [plain_trace(n) for n in range(6)]


def test_ids_taken_behind_its_back_are_skipped(exporter):
    exporter.export([plain_trace(1)])
    Sequence.objects.update(value=0)

    exporter.export([plain_trace(2)])

    assert Trace.objects.count() == 2


def end_of_other_connections(service):
    if service.name == "postgresql":
        theirs = f"datname = '{NAME}' AND application_name = 'tracing'"
        return [f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}"]
    with closing(connect(service)) as connection, connection.cursor() as cursor:
        own = connections[ALIAS].connection
        cursor.execute(
            "SELECT id FROM information_schema.processlist "
            f"WHERE db = '{NAME}' AND id <> {own.thread_id() if own else 0}"
        )
        return [f"KILL {number}" for (number,) in cursor.fetchall()]


def test_connection_that_the_server_ends_is_opened_anew(exporter, store):
    exporter.export([plain_trace(1)])
    tell(store, *end_of_other_connections(store))

    with pytest.raises(TemporaryError):
        exporter.export([plain_trace(2)])
    exporter.export([plain_trace(2)])

    assert Trace.objects.count() == 2


def test_server_that_refuses_is_a_temporary_error(service, django_db_blocker):
    with django_db_blocker.unblock(), alias_of(service, NAME, PORT=1):
        exporter = DatabaseExporter()

        with pytest.raises(TemporaryError):
            exporter.export([plain_trace(1)])
        exporter.shutdown()


def test_database_without_tables_is_named(service, django_db_blocker):
    bare = f"{NAME}_bare"
    tell(service, f"CREATE DATABASE {bare}")
    try:
        with django_db_blocker.unblock(), alias_of(service, bare):
            exporter = DatabaseExporter()
            with pytest.raises(MissingTablesError, match=f"migrate --database {ALIAS}"):
                exporter.export([plain_trace(1)])
            exporter.shutdown()
    finally:
        tell(service, f"DROP DATABASE {bare}")


def test_task_is_joined_to_its_sender_until_one_of_them_is_pruned(exporter):
    build = TraceBuilder(name="sender")
    build.side_effect(None, "task", target="wash", task_id="7f3a")
    sender = identify(build.build(), 1)
    run = identify(TraceBuilder(Kind.TASK, "wash", attributes={"task_id": "7f3a"}).build(), 2)

    exporter.export([run])
    exporter.export([sender])
    exporter.force_flush()
    [task] = task_links(sender).enqueued
    [enqueued_by] = task_links(run).enqueued_by
    assert [each.summary.address for each in task.runs] == [run.address]
    assert enqueued_by.summary.address == sender.address

    Trace.objects.called(sender.address).delete()
    assert task_links(run).was_pruned

    Trace.objects.called(run.address).delete()
    assert not TaskLink.objects.exists()


def test_size_and_retention(exporter):
    exporter.export([plain_trace(n, dispatches=10, started_ns=n + 1) for n in range(60)])
    size = store_size()

    rows = prune(Retention(max_rows=200))
    kept = Dispatch.objects.count()
    aged = prune(Retention(older_than=timedelta(0), keep_rollups=timedelta(0)))

    assert size > 50_000
    assert file_size() is None
    assert (rows.dispatches, kept) == (400, 200)
    assert (aged.traces, Trace.objects.count()) == (20, 0)


def tell_sizes(store):
    """Have the server know how many rows there are: its sessions tell it when it suits them.

    What a session has not told is added to what a VACUUM has counted.
    """
    if store.name == "postgresql":
        with connections[ALIAS].cursor() as cursor:
            if connections[ALIAS].pg_version >= 150_000:
                cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute("VACUUM ANALYZE")


def test_store_that_is_too_large_is_estimated(exporter, store):
    exporter.export([plain_trace(number, dispatches=10) for number in range(60)])
    exporter.shutdown()
    tell_sizes(store)

    prune(Retention(max_size=used_size_of(Reader(ALIAS)) // 2))

    assert 0 < Dispatch.objects.count() < 600


# -- PostgreSQL without its C parts --------------------------------------------------------------

ODD = "a\tb\nc\rd\\e"


on_postgresql = pytest.mark.parametrize("service", ["postgresql"], indirect=True)


@on_postgresql
def test_copy_as_text_stores_what_copy_as_binary_does(exporter, monkeypatch):
    monkeypatch.setattr("tracing.store.backends.postgresql._is_in_c", lambda: False)
    odd = plain_trace(2, error=ODD, http_status=None)

    exporter.export([full_trace(), odd])

    assert Trace.objects.load(full_trace().trace_id) == full_trace()
    assert Trace.objects.load(odd.trace_id) == odd


class WithoutCopy:
    """A connection whose cursors know no COPY, as those of psycopg 2."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def cursor(self):
        cursor = self._connection.cursor()

        class Cursor:
            execute, fetchall, close = cursor.execute, cursor.fetchall, cursor.close

        return Cursor()


@on_postgresql
@pytest.mark.usefixtures("store")
def test_driver_without_copy_inserts_many_rows_at_once():
    database = open_database(ALIAS)
    database.connect()
    database.raw = WithoutCopy(database.raw)
    rows = [(f"{number:032x}", ODD) for number in range(450)]

    database.insert("tracing_signallabel", ("key", "name"), rows)
    found = database.rows("SELECT key, name FROM tracing_signallabel ORDER BY key")
    database.close()

    assert found == rows


@pytest.mark.slow
def test_pruning_to_a_size_comes_to_an_end(exporter, store):
    if store.name != "postgresql":
        pytest.skip("about files that stay as large as they were")
    for trace in Filler(3, newest_ns=time.time_ns(), days=1).traces(4_000):
        exporter.export([trace])
    exporter.shutdown()
    tell_sizes(store)
    limit = used_size_of(Reader(ALIAS)) * 3 // 4

    # Labels and statistics stay, so that each round takes only a part of what is still too much.
    for _ in range(10):
        prune(Retention(max_size=limit))
        tell_sizes(store)

    assert store_size() > limit
    assert used_size_of(Reader(ALIAS)) <= limit * 1.1
    assert Dispatch.objects.count() > 400


SLEEPING = {"postgresql": "SELECT pg_sleep(600)", "mariadb": "SELECT SLEEP(600)"}
LIMIT = {"postgresql": "SHOW statement_timeout", "mariadb": "SELECT @@max_statement_time"}


def test_server_stops_what_is_read_beyond_its_time_and_keeps_its_own_limit(store):
    def ask(statement):
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()

    before = ask(LIMIT[store.name])
    with deadlines.reading(ALIAS, 1.5) as deadline:
        raw = connections[ALIAS]
        assert ask(LIMIT[store.name]) != before
        with pytest.raises(DatabaseError):
            ask(SLEEPING[store.name])
        assert deadline.is_over()
        kept, raw.close = raw.close, lambda: None
    # Still open, as behind a proxy that gives it to somebody else next.
    with raw.cursor() as cursor:
        cursor.execute(LIMIT[store.name])
        after = cursor.fetchone()
    kept()

    assert (after, ask(LIMIT[store.name])) == (before, before)


def test_server_stops_no_statement_before_its_time(store):
    for tenths_of_ms in range(600, 620):
        with deadlines.reading(ALIAS, tenths_of_ms / 10_000) as deadline:
            with pytest.raises(DatabaseError), connections[ALIAS].cursor() as cursor:
                cursor.execute(SLEEPING[store.name])
            assert deadline.is_over()


def test_limit_that_was_set_for_a_share_does_not_stop_the_whole(store):
    with deadlines.reading(ALIAS, 1.2) as deadline, connections[ALIAS].cursor() as cursor:
        with deadlines.share(0.9):
            cursor.execute("SELECT 1")
        with pytest.raises(DatabaseError):
            cursor.execute(SLEEPING[store.name])
        assert deadline.is_over()


def test_server_that_only_reads_is_read(store):
    read_only = {
        "postgresql": {"options": "-c default_transaction_read_only=on"},
        "mariadb": {"init_command": "SET SESSION TRANSACTION READ ONLY"},
    }[store.name]
    settings = connections[ALIAS].settings_dict
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(settings, "OPTIONS", {**settings["OPTIONS"], **read_only})
        with deadlines.reading(ALIAS, 60):
            assert Trace.objects.count() == 0
            with pytest.raises(DatabaseError):
                Trace.objects.update(pinned=True)
