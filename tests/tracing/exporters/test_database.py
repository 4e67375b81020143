from __future__ import annotations

import gc
import itertools
import json
import os
import sqlite3
import stat
import threading
import warnings
from collections import defaultdict
from contextlib import closing
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from msgspec.structs import replace

from benchmarks.synthetic import Filler
from tests.tracing.analysis.building import MS, TraceBuilder, label
from tests.tracing.samples import full_trace, plain_trace
from tracing import __version__, models
from tracing.analysis.histogram import GAMMA, HOUR_NS, RELATIVE_ERROR, Histogram
from tracing.conf import store_alias
from tracing.conf.parts import PipelineOptions, Retention
from tracing.exporters.build import (
    build_exporter,
    in_order,
)
from tracing.exporters.database import DatabaseExporter
from tracing.exporters.log import LogExporter
from tracing.exporters.log_import import import_logs
from tracing.models import ReceiverLabel, RecorderControl, RecorderState, Rollup, Trace
from tracing.pipeline import Pipeline, PipelineStatistics, TemporaryError, news
from tracing.spans.intervals import time_once
from tracing.spans.records import Carried, Outcome
from tracing.store import retention
from tracing.store.backends import MissingTablesError, open_database

stored = pytest.mark.django_db(transaction=True, databases="__all__")
in_transaction = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def exporter():
    exporter = DatabaseExporter()
    yield exporter
    exporter.shutdown()


def is_sqlite():
    return connections[store_alias()].vendor == "sqlite"


@stored
def test_batch_is_stored_once_however_often_it_is_sent(exporter):
    batch = [plain_trace(number) for number in range(5)]

    exporter.export(batch)
    exporter.export([*batch, plain_trace(9)])
    exporter.force_flush()

    assert Trace.objects.count() == 6
    assert sum(Rollup.objects.filter(receiver=0).values_list("count", flat=True)) == 6


@stored
def test_hazards_of_each_trace_keep_their_order(exporter):
    hazard = full_trace().hazards[0]
    other = replace(hazard, receiver="shop.receivers.other")
    batch = [
        replace(plain_trace(1), hazards=[hazard, other, hazard]),
        replace(plain_trace(2), hazards=[other, hazard]),
    ]

    exporter.export(batch)

    for trace in batch:
        loaded = Trace.objects.load(trace.trace_id)
        assert [found.receiver for found in loaded.hazards] == [
            found.receiver for found in trace.hazards
        ]


@pytest.mark.thorough
@stored
def test_two_exporters_share_labels_and_numbers(exporter):
    other = DatabaseExporter()
    for number in range(0, 20, 2):
        exporter.export([plain_trace(number, dispatches=3)])
        other.export([plain_trace(number + 1, dispatches=3)])
    other.shutdown()

    assert ReceiverLabel.objects.count() == 1
    assert [Trace.objects.load(f"{n:032x}") for n in range(20)] == [
        plain_trace(n, dispatches=3) for n in range(20)
    ]


@stored
def test_text_that_no_database_takes_is_replaced(exporter):
    trace = plain_trace(1, user_id="a\x00b", error="\ud800", name="na\x00me")
    trace.dispatches[0].receiver_calls[0].response_type = "\x00"

    exporter.export([trace, plain_trace(2)])

    loaded = Trace.objects.load(trace.trace_id)
    assert loaded.trace_id == trace.trace_id
    assert Trace.objects.count() == 2
    if not is_sqlite():
        assert "\x00" not in loaded.name + loaded.user_id


@stored
def test_texts_that_are_too_long_are_cut(exporter):
    trace = plain_trace(
        1, name="n" * 999, error="e" * 9_999, http_path="/" * 999, user_id="u" * 99, host="h" * 999
    )
    trace.dispatches[0].instance = "shop.Other:" + "9" * 999
    trace.dispatches[0].sender = "s" * 999

    exporter.export([trace])

    loaded = Trace.objects.load(trace.trace_id)
    assert (len(loaded.name), len(loaded.error), len(loaded.dispatches[0].sender)) == (
        255,
        500,
        255,
    )


@stored
def test_names_that_differ_in_case_alone_stay_apart(exporter):
    one, two = plain_trace(1, name="Shop"), plain_trace(2, name="shop")

    exporter.export([one, two])

    assert [Trace.objects.load(t.trace_id).name for t in (one, two)] == ["Shop", "shop"]


@stored
@pytest.mark.thorough
def test_emptied_store_is_filled_again_without_ghosts(exporter):
    exporter.export([full_trace(), plain_trace(1)])
    call_command("flush", database=store_alias(), interactive=False, verbosity=0)

    exporter.export([full_trace()])

    assert Trace.objects.load(full_trace().trace_id) == full_trace()
    assert sum(Rollup.objects.filter(receiver=0).values_list("count", flat=True)) == 3


@stored
def test_ids_taken_behind_its_back_are_skipped(exporter):
    exporter.export([plain_trace(1)])
    models.Sequence.objects.update(value=0)

    exporter.export([plain_trace(2)])

    assert {Trace.objects.load(f"{n:032x}").name for n in (1, 2)} == {"shop:list"}


@stored
def test_application_transaction_neither_holds_back_nor_takes_back_traces(exporter):
    if is_sqlite() and store_alias() == "default":
        pytest.skip("about a store of its own")

    with transaction.atomic():
        exporter.export([plain_trace(1)])
        transaction.set_rollback(True)

    assert Trace.objects.count() == 1


@stored
def test_export_runs_no_query_that_the_application_sees(exporter, django_assert_num_queries):
    with (
        django_assert_num_queries(0),
        django_assert_num_queries(0, connection=connections[store_alias()]),
    ):
        exporter.export([full_trace()])


@in_transaction
def test_shared_connection_writes_into_the_transaction_of_the_test():
    exporter = DatabaseExporter(shared_connection=True)

    exporter.export([full_trace()])
    exporter.export([plain_trace(1)])

    assert Trace.objects.load(full_trace().trace_id) == full_trace()
    assert connections[store_alias()].in_atomic_block


@in_transaction
def test_shared_connection_left_nothing_from_the_test_before():
    assert Trace.objects.count() == 0


@pytest.fixture
def unmigrated(tmp_path, settings, monkeypatch, django_db_blocker):
    """Make the alias ``fresh``: a SQLite file that is not there yet, outside the test database."""
    path = tmp_path / "fresh.sqlite3"
    database = connections.databases[store_alias()] | {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {},
    }
    monkeypatch.setitem(connections.databases, "fresh", database)
    settings.TRACING = {"DATABASE": "fresh"}
    with django_db_blocker.unblock():
        yield path
    connections["fresh"].close()
    delattr(connections._connections, "fresh")


def migrate():
    call_command("migrate", "tracing", database="fresh", verbosity=0)


@pytest.mark.thorough
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
@pytest.mark.parametrize("first", ["migrate", "worker"])
def test_file_of_traces_is_for_its_owner_alone(unmigrated, umask, first):
    exporter = DatabaseExporter("fresh")
    before = os.umask(umask)
    try:
        if first == "worker":
            with pytest.raises(TemporaryError):
                exporter.export([plain_trace(1)])
        migrate()
        exporter.export([plain_trace(1)])
    finally:
        os.umask(before)
    modes = {
        path.name.removeprefix(unmigrated.name): stat.S_IMODE(path.stat().st_mode)
        for path in unmigrated.parent.glob(f"{unmigrated.name}*")
    }
    exporter.shutdown()

    assert modes == dict.fromkeys(("", "-wal", "-shm"), 0o600)


@pytest.mark.thorough
def test_file_of_traces_that_exists_keeps_its_mode(unmigrated):
    unmigrated.touch()
    unmigrated.chmod(0o660)
    migrate()
    exporter = DatabaseExporter("fresh")
    exporter.export([plain_trace(1)])
    exporter.shutdown()

    assert stat.S_IMODE(unmigrated.stat().st_mode) == 0o660


@pytest.mark.thorough
def test_missing_tables_are_said_in_one_line_and_waited_for(unmigrated, caplog):
    pipeline = Pipeline(PipelineOptions(batch_seconds=0.01))
    pipeline.add_exporter(DatabaseExporter("fresh"))

    for number in range(3):
        pipeline.submit(plain_trace(number))
        pipeline.force_flush()
    messages = [r.getMessage() for r in caplog.records if r.name == "tracing"]
    migrate()
    recovered = pipeline.force_flush()
    pipeline.shutdown()

    assert len(messages) == 1
    assert "manage.py migrate --database fresh" in messages[0]
    assert not caplog.records[0].exc_info
    assert recovered
    assert Trace.objects.using("fresh").count() == 3


@pytest.mark.thorough
@pytest.mark.parametrize("wish", ["", "PRAGMA Journal_Mode = WAL"])
def test_mode_of_a_file_is_not_changed_beside_the_migrate_that_makes_its_tables(unmigrated, wish):
    connections.databases["fresh"]["OPTIONS"] = {"init_command": f"PRAGMA cache_size = 9; {wish}"}
    exporter = DatabaseExporter("fresh")
    with pytest.raises(MissingTablesError):
        exporter.export([plain_trace(1)])
    with closing(sqlite3.connect(unmigrated)) as connection:
        [before] = connection.execute("PRAGMA journal_mode").fetchall()
    migrate()
    exporter.export([plain_trace(1)])
    size, mode = (exporter._database.rows(f"PRAGMA {x}") for x in ("cache_size", "journal_mode"))
    exporter.shutdown()

    assert (before, size, mode) == (("delete",), [(9,)], [("wal",)])


@pytest.mark.thorough
def test_own_file_has_a_log_and_can_shrink(unmigrated):
    migrate()
    exporter = DatabaseExporter("fresh")
    exporter.export([plain_trace(1)])
    exporter.shutdown()

    with sqlite3.connect(unmigrated) as connection:
        modes = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "auto_vacuum")
        ]
    connection.close()

    # 2 is incremental.
    assert modes == ["wal", 2]


@pytest.mark.thorough
def test_worker_that_loses_the_race_for_a_new_file_tries_again(unmigrated):
    migrate()
    switches = []

    class Unlucky(sqlite3.Connection):
        def execute(self, statement, *parameters):
            if statement == "PRAGMA journal_mode = WAL":
                switches.append(statement)
                if len(switches) < 3:
                    raise sqlite3.OperationalError("database is locked")
            return super().execute(statement, *parameters)

    database = open_database("fresh")
    database._wrapper.settings_dict["OPTIONS"] = {"factory": Unlucky}
    database.connect()
    mode, synchronous = (
        database.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")
    )
    database.close()

    assert (len(switches), mode) == (3, "wal")
    # 1 is NORMAL.
    assert synchronous == 1


@pytest.mark.thorough
def test_connection_that_could_not_be_set_up_is_not_used(unmigrated, monkeypatch):
    monkeypatch.setattr("tracing.store.backends.sqlite.BUSY_SECONDS", 0.05)
    migrate()

    class Locked(sqlite3.Connection):
        def execute(self, statement, *parameters):
            if statement == "PRAGMA journal_mode = WAL":
                raise sqlite3.OperationalError("database is locked")
            return super().execute(statement, *parameters)

    database = open_database("fresh")
    database._wrapper.settings_dict["OPTIONS"] = {"factory": Locked}

    with pytest.raises(sqlite3.OperationalError):
        database.connect()

    assert database.raw is None


@pytest.mark.thorough
def test_deleted_file_is_noticed(unmigrated):
    migrate()
    exporter = DatabaseExporter("fresh")
    exporter.export([plain_trace(1)])
    connections["fresh"].close()
    for part in unmigrated.parent.glob("fresh.sqlite3*"):
        part.unlink()

    with pytest.raises(MissingTablesError):
        exporter.export([plain_trace(2)])
    migrate()
    exporter.export([plain_trace(2)])
    exporter.shutdown()

    assert Trace.objects.using("fresh").count() == 1


def test_alias_that_is_not_there_is_a_temporary_error():
    exporter = DatabaseExporter("elsewhere")

    with pytest.raises(TemporaryError, match="there is no database 'elsewhere' in DATABASES"):
        exporter.export([plain_trace(1)])


def test_damaged_file_is_a_temporary_error(unmigrated):
    unmigrated.write_bytes(b"no database at all " * 1_000)
    exporter = DatabaseExporter("fresh")

    # Django leaves a connection whose first statement fails to the garbage collector.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        with pytest.raises(TemporaryError):
            exporter.export([plain_trace(1)])
        gc.collect()
    exporter.shutdown()


@pytest.mark.thorough
def test_locked_file_is_a_temporary_error(unmigrated, monkeypatch):
    monkeypatch.setattr("tracing.store.backends.sqlite.BUSY_SECONDS", 0.05)
    migrate()
    exporter = DatabaseExporter("fresh")
    exporter.export([plain_trace(1)])
    exporter.shutdown()
    exporter._database = open_database("fresh")
    exporter._database._wrapper.settings_dict["OPTIONS"] = {"timeout": 0.05}
    locker = sqlite3.connect(unmigrated, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")

    with pytest.raises(TemporaryError, match="locked"):
        exporter.export([plain_trace(2)])
    locker.execute("COMMIT")
    locker.close()
    exporter.export([plain_trace(2)])
    exporter.shutdown()

    assert Trace.objects.using("fresh").count() == 2


@pytest.mark.thorough
def test_applications_own_file_keeps_its_settings(unmigrated, monkeypatch):
    migrate()
    # The same file under another alias: the application's.
    monkeypatch.setitem(django_settings.DATABASES, "other", {"NAME": str(unmigrated)})
    exporter = DatabaseExporter("fresh")
    exporter.export([plain_trace(1)])
    exporter.shutdown()

    connection = sqlite3.connect(unmigrated)
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    connection.close()

    assert mode == "delete"


@pytest.mark.thorough
@pytest.mark.parametrize("work", ["export", "prune"])
def test_application_that_reads_and_then_writes_its_own_file_is_let_go_first(
    unmigrated, monkeypatch, work
):
    migrate()
    exporter = DatabaseExporter("fresh")
    exporter.export([plain_trace(1, started_ns=1)])
    exporter.shutdown()
    # The same file under another alias: the application's, which has no write-ahead log.
    monkeypatch.setitem(django_settings.DATABASES, "other", {"NAME": str(unmigrated)})
    application = sqlite3.connect(unmigrated, isolation_level=None, check_same_thread=False)
    application.execute("PRAGMA journal_mode = DELETE")
    application.execute("CREATE TABLE shop (price)")
    application.execute("BEGIN")
    application.execute("SELECT * FROM shop").fetchall()
    failures = []

    def write():
        try:
            application.execute("INSERT INTO shop VALUES (7)")
        except sqlite3.OperationalError as error:
            failures.append(str(error))
        application.execute("COMMIT")

    timer = threading.Timer(0.3, write)
    timer.start()
    if work == "export":
        exporter.export([plain_trace(2, started_ns=2)])
        exporter.shutdown()
    else:
        retention.prune(Retention(older_than=timedelta(days=7)), using="fresh")
    timer.join()
    application.close()

    assert failures == []
    assert Trace.objects.using("fresh").count() == (2 if work == "export" else 0)


# -- How the recorder is doing


@stored
def test_worker_reports_how_it_is_doing_and_obeys(exporter):
    heard = []
    exporter.on_control = heard.append
    pipeline = Pipeline(PipelineOptions(batch_seconds=0.01))
    pipeline.add_exporter(exporter)
    pipeline.submit(plain_trace(1))
    pipeline.force_flush()
    for paused in (True, False):
        RecorderControl.objects.update_or_create(pk=1, defaults={"paused": paused})
        exporter.tick(pipeline.statistics())
    pipeline.shutdown()

    state = RecorderState.objects.get()
    assert state.version == __version__
    assert (state.recorded, state.dropped) == (1, 0)
    assert json.loads(state.exporters)["database"]["exported"] == 1
    assert heard == [True, False]


@stored
@pytest.mark.thorough
def test_a_large_wiring_that_changes_all_the_time_is_stored_now_and_then(exporter, monkeypatch):
    now, changes, stored = [1000.0], itertools.count(), []

    def encode(_wiring):
        stored.append(now[0])
        return "x" * 900_000

    monkeypatch.setattr(news, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("tracing.exporters.database.version", lambda: next(changes))
    monkeypatch.setattr("tracing.exporters.database.encode", encode)
    exporter.export([plain_trace(1)])
    for _ in range(40):
        exporter.tick(PipelineStatistics())
        now[0] += 5

    assert stored == [1000, 1090, 1180]
    exporter.shutdown()  # What came last is told all the same.
    assert stored == [1000, 1090, 1180, 1200]


@stored
def test_worker_prunes_in_its_turn(exporter):
    exporter.export([plain_trace(number, started_ns=number + 1) for number in range(5)])
    exporter.retention = Retention(older_than=timedelta(days=7))
    exporter._prune_at = 0

    exporter.tick(Pipeline().statistics())

    assert Trace.objects.count() == 0


@stored
def test_worker_adds_statistics_up_where_nothing_is_pruned(exporter):
    for part in range(3):
        # Hours long past: each batch is a writer of its own.
        exporter.export([plain_trace(part, started_ns=HOUR_NS * (100 * part + 5))])
        exporter.export([plain_trace(10 + part, started_ns=HOUR_NS * (100 * part + 6))])
        exporter.force_flush()
    before = [(s.count, s.p95_ns) for s in Rollup.objects.all().by("receiver")]

    # Six hours, then three days: on a slow machine each takes a turn.
    for _ in range(9):
        exporter._prune_at = 0
        exporter.tick(Pipeline().statistics())

    assert Trace.objects.count() == 6
    assert {rollup.writer for rollup in Rollup.objects.all()} == {"merged"}
    assert [(s.count, s.p95_ns) for s in Rollup.objects.all().by("receiver")] == before


# -- Statistics


@stored
@pytest.mark.thorough
def test_rollups_add_up_to_the_traces(exporter):
    traces = list(Filler(5, newest_ns=1_800_000_000_000_000_000, days=0.2, apps=3).traces(1_000))
    for start in range(0, len(traces), 20):
        exporter.export(traces[start : start + 20])
    exporter.force_flush()
    dispatches = [dispatch for trace in traces for dispatch in trace.dispatches]
    calls = [c for dispatch in dispatches for c in dispatch.receiver_calls if c.was_called]

    by_dispatch = Rollup.objects.all().by("dispatch", limit=1_000)
    by_receiver = Rollup.objects.all().by("receiver", order_by="-count", limit=1_000)
    by_call = Rollup.objects.all().by("call", limit=5)

    assert sum(s.count for s in by_dispatch) == len(dispatches)
    of_each = defaultdict(list)
    for trace in traces:
        for dispatch in trace.dispatches:
            of_each[trace.trace_id, dispatch.signal, dispatch.sender].append(dispatch)
    # A dispatch inside one of its like takes no time of its own.
    assert sum(s.total_ns for s in by_dispatch) == sum(map(time_once, of_each.values()))
    assert sum(s.count for s in by_receiver) == len(calls)
    assert sum(s.error_count for s in by_receiver) == sum(c.outcome == "raised" for c in calls)
    assert [s.count for s in by_receiver] == sorted((s.count for s in by_receiver), reverse=True)
    assert len(by_call) == 5
    for statistics in by_dispatch:
        durations = sorted(
            dispatch.duration_ns
            for dispatch in dispatches
            if (dispatch.signal, dispatch.sender) == (statistics.signal, statistics.sender)
        )
        exact = durations[int(0.95 * (len(durations) - 1))]
        assert abs(statistics.p95_ns - exact) <= RELATIVE_ERROR * exact + 1
    of_all = Rollup.objects.all().of_all()
    assert of_all.count == len(dispatches)
    assert of_all.total_ns == sum(time_once(trace.dispatches) for trace in traces)
    assert of_all.query_count == sum(root.query_count for trace in traces for root in trace.roots)


@stored
@pytest.mark.parametrize("most_senders", [900, 0])
@pytest.mark.thorough
def test_statistics_of_what_is_mine_are_of_its_receivers_and_what_they_heard(
    exporter, monkeypatch, most_senders
):
    monkeypatch.setattr("tracing.store.rollups.KEYS_AT_ONCE", most_senders)
    own, other = label("shop.count", mine=True), label("reversion.save")
    build = TraceBuilder()
    for signal, sender, receivers in (
        ("post_save", "shop.Order", [own, other]),
        ("post_save", "shop.Seat", [other]),
        ("pre_save", "shop.Order", [other]),
        ("post_delete", "shop.Order", [own]),
    ):
        dispatch = build.dispatch(signal, sender)
        for receiver in receivers:
            build.call(dispatch, receiver)
    exporter.export([build.build()])
    exporter.force_flush()
    rollups = Rollup.objects.all()

    def names(found):
        return {
            " ".join(filter(None, (s.signal.rpartition(".")[2], s.sender, s.receiver)))
            for s in found
        }

    pairs = {"post_save shop.Order", "post_delete shop.Order"}
    expected = {
        "receiver": {"shop.count"},
        "call": {"post_save shop.Order shop.count", "post_delete shop.Order shop.count"},
        "signal": {"post_save", "post_delete"},
        "sender": {"shop.Order"},
        "dispatch": pairs,
    }
    for subject, mine in expected.items():
        found, hidden = rollups.by_mine(subject, "-total_ns", 100)
        assert names(found) == mine
        assert hidden == len(rollups.by(subject)) - len(found)
        first, others = rollups.by_mine(subject, "-total_ns", 1)
        assert (names(first), others) == (names(found[:1]), hidden)
        if subject == "dispatch" and not most_senders:
            # Of a signal with very many senders, all count.
            mine = pairs | {"post_save shop.Seat"}  # noqa: PLW2901
        assert names(rollups.of_mine(subject).by(subject)) == mine
    # A statement within the statement is run for each row by some servers.
    with CaptureQueriesContext(connections[rollups.db]) as asked:
        assert list(rollups.of_mine("signal"))
    assert ("(SELECT" in asked[-1]["sql"]) is (most_senders == 0)


@stored
def test_statistics_count_a_receiver_inside_itself_once(exporter):
    build = TraceBuilder()
    under = None
    for _ in range(13):
        saved = build.dispatch("post_save", "shop.Folder", under, instance="shop.Folder:1")
        under = build.call(saved, "shop.receivers.touch_parent", own_ns=3 * MS, query_count=1)
    trace = build.build()

    exporter.export([trace])
    exporter.force_flush()

    (by_receiver,) = Rollup.objects.all().by("receiver")
    (by_dispatch,) = Rollup.objects.all().by("dispatch")
    outer = trace.dispatches[0]
    assert (by_receiver.count, by_receiver.query_count) == (13, 13)
    assert by_receiver.total_ns == outer.receiver_calls[0].duration_ns < trace.duration_ns
    assert (by_dispatch.count, by_dispatch.query_count) == (13, 13)
    assert by_dispatch.total_ns == outer.duration_ns
    mean = sum(dispatch.duration_ns for dispatch in trace.dispatches) / 13
    assert abs(by_dispatch.mean_ns - mean) <= RELATIVE_ERROR * mean + 1


@stored
def test_statistics_count_a_receiver_inside_itself_once_over_segments(exporter):
    build = TraceBuilder()
    outer = build.dispatch("post_save", "shop.Folder")
    call = build.call(outer, "shop.receivers.touch_parent")
    build.call(build.dispatch("post_save", "shop.Folder", call), "shop.receivers.touch_parent")
    whole = build.build()
    running = replace(call, outcome=Outcome.RUNNING, duration_ns=0)
    first = replace(
        whole,
        final=False,
        dispatches=whole.dispatches[1:],
        diagnosis_context=Carried(
            unfinished=[replace(outer, duration_ns=0, receiver_calls=[running])]
        ),
    )

    exporter.export([first])
    exporter.export([replace(whole, segment=1, dispatches=[outer])])
    exporter.force_flush()

    (by_receiver,) = Rollup.objects.all().by("receiver")
    (by_dispatch,) = Rollup.objects.all().by("dispatch")
    assert (by_receiver.count, by_receiver.total_ns) == (2, call.duration_ns)
    assert (by_dispatch.count, by_dispatch.total_ns) == (2, outer.duration_ns)


@stored
def test_statistics_of_a_signal_or_a_sender_count_each_moment_and_query_once(exporter):
    build = TraceBuilder()
    under = None
    for signal, sender in (
        ("post_save", "shop.Order"),
        ("post_save", "shop.Car"),
        ("pre_save", "shop.Car"),
        ("post_save", "shop.Order"),
    ):
        sent = build.dispatch(signal, sender, under)
        under = build.call(sent, "shop.receivers.touch", own_ns=3 * MS, query_count=1)
    trace = build.build()
    order, car, pre_car, _ = trace.dispatches

    exporter.export([trace])
    exporter.force_flush()

    def told(statistics):
        return statistics.count, statistics.total_ns, statistics.query_count

    rollups = Rollup.objects.all()
    post_save, pre_save = rollups.by("signal")
    of_order, of_car = rollups.by("sender")
    assert told(post_save) == (3, order.duration_ns, 4)
    assert told(pre_save) == (1, pre_car.duration_ns, 2)
    assert told(of_order) == (2, order.duration_ns, 4)
    assert told(of_car) == (2, car.duration_ns, 3)
    assert told(rollups.of_all()) == (4, order.duration_ns, 4)
    assert [len(rollups.by(subject)) for subject in ("signal", "sender", "dispatch")] == [2, 2, 3]
    assert [told(each) for each in rollups.by("signal", order_by="query_count")] == [
        told(pre_save),
        told(post_save),
    ]


@stored
def test_sums_over_senders_survive_an_hour_that_is_added_up(exporter):
    for number in range(2):
        build = TraceBuilder()
        build.trace.root_span_id = f"{number + 1:016x}"
        outer = build.call(build.dispatch("post_save", "shop.Order"), "shop.receivers.touch")
        build.call(build.dispatch("post_save", "shop.Car", outer), "shop.receivers.touch")
        exporter.export([build.build()])
        exporter.force_flush()
    before = [Rollup.objects.all().by("signal")[0].total_ns, Rollup.objects.all().of_all().total_ns]

    retention.compact_rollups(now_ns=build.trace.started_ns + 200 * HOUR_NS)

    assert [
        Rollup.objects.all().by("signal")[0].total_ns,
        Rollup.objects.all().of_all().total_ns,
    ] == before


@stored
def test_skipped_calls_are_no_calls_of_the_statistics(exporter):
    build = TraceBuilder()
    for error in (None, "ValueError"):
        sent = build.dispatch("post_save", "shop.Order")
        raised = {"outcome": Outcome.RAISED, "exception_type": error} if error else {}
        build.call(sent, "shop.receivers.check", own_ns=2 * MS, **raised)
        outcome = Outcome.SKIPPED if error else Outcome.RETURNED
        build.call(sent, "shop.receivers.charge", own_ns=0 if error else 5 * MS, outcome=outcome)
        if error:
            build.call(sent, "shop.receivers.never", own_ns=0, outcome=outcome)

    exporter.export([build.build()])
    exporter.force_flush()

    charge, check = Rollup.objects.all().by("receiver")
    assert [charge.receiver, check.receiver] == ["shop.receivers.charge", "shop.receivers.check"]
    assert (charge.count, check.count, check.error_count) == (1, 2, 1)
    assert charge.mean_ns == charge.total_ns
    assert abs(charge.p50_ns - charge.total_ns) <= RELATIVE_ERROR * charge.total_ns + 1


@stored
def test_calls_without_a_time_are_counted_and_pull_no_percentile_down(exporter):
    build = TraceBuilder()
    for own_ns in (0, 4 * MS):
        sent = build.dispatch("post_save", "shop.Order")
        outcome = Outcome.RETURNED if own_ns else Outcome.UNKNOWN
        build.call(sent, "shop.receivers.charge", own_ns=own_ns, outcome=outcome)

    exporter.export([build.build()])
    exporter.force_flush()

    (charge,) = Rollup.objects.all().by("receiver")
    assert charge.count == 2
    for told in (charge.mean_ns, charge.p50_ns, charge.p95_ns):
        assert abs(told - charge.total_ns) <= RELATIVE_ERROR * charge.total_ns + 1


@stored
def test_busy_process_writes_rollups_now_and_then(exporter):
    for number in range(5):
        exporter.export([plain_trace(number)])
    before = sum(Rollup.objects.filter(receiver=0).values_list("count", flat=True))
    exporter.force_flush()
    after = sum(Rollup.objects.filter(receiver=0).values_list("count", flat=True))

    assert before < after == 5


@stored
def test_rollups_are_selected_by_time(exporter):
    start = 1_800_000_000_000_000_000 // HOUR_NS * HOUR_NS
    exporter.export([plain_trace(n, started_ns=start + n * HOUR_NS) for n in range(4)])

    chosen = Rollup.objects.between(start + HOUR_NS, start + 3 * HOUR_NS).by("dispatch")

    assert [statistics.count for statistics in chosen] == [2]


def test_histogram_is_within_two_percent_and_adds_up():
    values = [int(1.7**n) + n for n in range(1, 60)]
    one, two = Histogram(), Histogram()
    one.add(values[::2])
    two.add(values[1::2])

    one = Histogram.decode(one.encode(), two.encode())

    assert GAMMA**0.5 - 1 <= 0.02
    assert one.count == len(values)
    for fraction in (0, 0.25, 0.5, 0.95, 0.99, 1):
        exact = sorted(values)[int(fraction * (len(values) - 1))]
        assert abs(one.quantile(fraction) - exact) <= 0.02 * exact
    assert Histogram().quantile(0.5) is None


# -- Import


@stored
@pytest.mark.thorough
def test_log_is_imported_once_and_comes_out_as_it_went_in(tmp_path):
    traces = [full_trace(), *Filler(2, newest_ns=1_800_000_000_000_000_000).traces(400)]
    log = LogExporter(tmp_path / "a.jsonl", max_bytes=100_000)
    for trace in traces:
        log.export([trace])
    log.shutdown()
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"event": "other"}\n{torn\n')
    files = sorted(tmp_path.glob("a.*"))
    progress = []

    first = import_logs(files, progress=lambda done, total: progress.append((done, total)))
    second = import_logs(files)

    assert len(files) > 3
    assert (first.traces, first.known, first.incomplete) == (len(traces), 0, 0)
    assert (first.other_lines, first.bad_lines) == (1, 1)
    assert first.errors[0].startswith(f"{files[-1]}:")
    assert (second.traces, second.known) == (0, len(traces))
    assert list(Trace.objects.load_rows(Trace.objects.order_by("pk"))) == traces
    assert progress[-1][0] == progress[-1][1]


# -- Settings


def test_exporters_are_built_from_the_settings(tmp_path, settings):
    from tracing.conf import get_settings

    settings.TRACING = {
        "EXPORTERS": ["database", "log", "memory", "tracing.exporters.memory.MemoryExporter"],
        "LOG": {"PATH": tmp_path / "x.jsonl", "MAX_SIZE": "2MB", "EVERY": "day"},
        "PIPELINE": {"QUEUE_LIMIT": 5},
        "PRUNE": {"OLDER_THAN": "7d", "MAX_SIZE": "2GiB"},
    }

    chosen = get_settings()
    exporters = [build_exporter(name, chosen) for name in in_order(chosen.exporters)]

    assert [exporter.name for exporter in exporters] == ["memory", "log", "database", "memory"]
    assert exporters[1]._file.max_bytes == 2_000_000
    assert exporters[1]._file.every_seconds == 86_400
    assert exporters[2].retention == Retention(older_than=timedelta(days=7), max_size=2 * 1024**3)
    assert get_settings().pipeline.queue_limit == 5


def test_unknown_exporter_is_refused(settings):
    from tracing.conf import get_settings

    settings.TRACING = {"EXPORTERS": ["nonsense"]}

    with pytest.raises(ValueError, match="TRACING"):
        build_exporter("nonsense", get_settings())


def test_histogram_keeps_counts_of_any_size():
    histogram = Histogram({0: 1, 3: 255, 4: 256, 7: 2**17, 9: 2**40})

    assert Histogram.decode(histogram.encode()).buckets == histogram.buckets
    both = Histogram({3: 255, 4: 256}).encode(), "", Histogram({3: 1}).encode()
    assert Histogram.decode(*both).buckets == {3: 256, 4: 256}
    assert Histogram.decode(Histogram({1_500: 2}).encode()).buckets == {1_500: 2}
    # More than fit into the slots in which they are added up at once.
    full = Histogram({5: 2**16 - 1, 6: 1}).encode()
    assert Histogram.decode(*[full] * (2**16 + 9)).buckets == {
        5: (2**16 - 1) * (2**16 + 9),
        6: 2**16 + 9,
    }
    assert not Histogram().encode()


@stored
def test_what_the_recorder_forgot_is_told_with_its_state(exporter):
    exporter.export([plain_trace(1)])

    exporter.tick(PipelineStatistics(forgotten={"receiver sets": 3}))

    assert json.loads(RecorderState.objects.get().exporters)["(forgotten)"] == {"receiver sets": 3}


@stored
@pytest.mark.thorough
def test_names_of_very_many_senders_are_forgotten_and_found_again(exporter, monkeypatch):
    monkeypatch.setattr("tracing.store.labels._LARGEST_CACHE", 50)
    for number in range(10):
        trace = plain_trace(number)
        [dispatch] = trace.dispatches
        trace.dispatches = [
            replace(dispatch, number=place, sender=f"job-{number}-{place}")
            for place in range(1, 21)
        ]
        exporter.export([trace])
        held = max(
            len(ids) for ids in vars(exporter._writer.labels).values() if isinstance(ids, dict)
        )
        assert held < 50 + 25

    assert models.SenderLabel.objects.filter(name__startswith="job-").count() == 200
    assert models.Dispatch.objects.filter(sender__name="job-0-1").count() == 1


@stored
def test_sums_of_an_hour_with_very_many_keys_go_on_by_another_writer(exporter, monkeypatch):
    monkeypatch.setattr("tracing.store.summing._MOST_KEYS", 1)
    for number in range(3):
        exporter.export([plain_trace(number)])
        exporter.force_flush()

    rows = Rollup.objects.filter(receiver=0)
    assert len(set(rows.values_list("writer", flat=True))) == 3
    assert sum(rows.values_list("count", flat=True)) == 3
