from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models import signals as model_signals

from benchmarks.synthetic import Filler
from tests.tracing.samples import plain_trace
from tests.tracing.viewer.traces import store_in_batches
from tracing import conf, pipeline
from tracing.analysis.histogram import HOUR_NS
from tracing.conf import store_alias
from tracing.conf.parts import Retention
from tracing.exporters.database import DatabaseExporter
from tracing.models import Dispatch, PathRollup, ReceiverCall, RecorderState, Rollup, Trace
from tracing.store import retention as pruning
from tracing.store.backends import beside_the_application
from tracing.store.delete import delete_traces
from tracing.store.retention import (
    acquire_lease,
    compact_rollups,
    file_size,
    first_pruned_ns,
    prune,
    release_lease,
    store_size,
)

DAY_NS = 24 * HOUR_NS


@pytest.fixture
def days(transactional_db):
    """Store a trace for each of the last ten days; number 3 failed, number 5 is pinned."""
    now = time.time_ns()
    store_in_batches(
        [
            plain_trace(n, started_ns=now - n * DAY_NS - 1_000, error_count=int(n == 3))
            for n in range(10)
        ]
    )
    Trace.objects.filter(trace_id=f"{5:032x}").update(pinned=True)


pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def numbers():
    return sorted(
        int(trace_id, 16) for trace_id in Trace.objects.values_list("trace_id", flat=True)
    )


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(), [*range(10)]),
        (Retention(older_than=timedelta(days=7)), [0, 1, 2, 3, 4, 5, 6]),
        (Retention(older_than=timedelta(days=1)), [0, 5]),
        (Retention(older_than=timedelta(days=1), keep_failed=True), [0, 3, 5]),
        (Retention(older_than=timedelta(days=1), keep_pinned=False), [0]),
        (Retention(max_rows=4), [5, 7, 8, 9]),
        (Retention(max_rows=100), [*range(10)]),
        (Retention(max_rows=0), [5]),
        (Retention(older_than=timedelta(days=7), max_rows=6), [1, 2, 3, 4, 5, 6]),
    ],
)
def test_prune_keeps_what_it_should(days, retention, left):
    expected = 10 - len(left)

    dry = prune(retention, dry_run=True)
    untouched = numbers()
    done = prune(retention)

    assert untouched == [*range(10)]
    assert numbers() == left
    assert (dry.traces, dry.dispatches) == (done.traces, done.dispatches) == (expected, expected)
    assert Dispatch.objects.count() == ReceiverCall.objects.count() == len(left)


def test_dry_run_counts_no_trace_twice(transactional_db):
    now = time.time_ns()
    old = [plain_trace(n, dispatches=1, started_ns=now - 9 * DAY_NS) for n in range(4)]
    new = [plain_trace(n, dispatches=5, started_ns=now - DAY_NS) for n in range(4, 8)]
    store_in_batches([*old, *new])
    retention = Retention(older_than=timedelta(days=7), max_rows=10)

    dry = prune(retention, dry_run=True)
    done = prune(retention)

    assert (dry.traces, dry.dispatches) == (done.traces, done.dispatches) == (6, 14)


def test_prune_keeps_the_statistics(days):
    prune(Retention(older_than=timedelta(0), keep_pinned=False))

    assert Trace.objects.count() == 0
    assert sum(s.count for s in Rollup.objects.all().by("dispatch")) == 10


def test_prune_of_statistics_by_age(days):
    prune(Retention(keep_rollups=timedelta(days=4)))

    assert 4 <= sum(s.count for s in Rollup.objects.all().by("dispatch")) <= 6


@pytest.mark.thorough
def test_prune_goes_in_steps_and_reports_progress(transactional_db):
    store_in_batches([plain_trace(n, dispatches=30) for n in range(300)])
    steps = []

    prune(Retention(max_rows=0), progress=lambda done, total: steps.append((done, total)))

    assert len(steps) >= 4
    assert steps[-1] == (9_000, 9_000)


def test_prune_stops_when_its_time_is_over(transactional_db):
    store_in_batches([plain_trace(n) for n in range(10)])

    result = prune(Retention(max_rows=0), seconds=-1)

    assert not result.complete
    assert Trace.objects.count() == 10


@pytest.mark.thorough
def test_prune_to_a_size_shrinks_the_file(transactional_db, monkeypatch):
    if connections[store_alias()].vendor != "sqlite":
        pytest.skip("files of servers do not shrink")
    # What tests before this one connected is written as well, and not pruned: up to 900 kB.
    monkeypatch.setattr(DatabaseExporter, "_write_wiring", lambda *_: None)
    left = store_size()
    # Within few hours: statistics are not pruned, and there should not be much of them.
    store_in_batches(list(Filler(1, newest_ns=time.time_ns(), days=0.1, apps=2).traces(6_000)))
    before = file_size()
    limit = (left + store_size()) // 2

    result = prune(Retention(max_size=limit))

    assert result.bytes_after <= limit
    assert file_size() <= limit * 1.2
    assert file_size() < before
    assert Dispatch.objects.count() > 500


def test_prune_to_a_size_of_a_server_estimates(transactional_db):
    if connections[store_alias()].vendor == "sqlite":
        pytest.skip("about servers")
    store_in_batches(list(Filler(1, newest_ns=time.time_ns()).traces(2_000)))

    prune(Retention(max_size=store_size() // 2))

    assert 0 < Dispatch.objects.count() < 2_000


@pytest.mark.thorough
def test_hours_and_days_are_added_up_without_loss(transactional_db):
    now = 1_800_000_000_000_000_000 // DAY_NS * DAY_NS
    traces = [
        plain_trace(n, dispatches=2, started_ns=now - 10 * DAY_NS + n * HOUR_NS) for n in range(240)
    ]
    # Each exporter is a process of its own: its parts are its own.
    for third in range(3):
        store_in_batches(traces[third::3])
        store_in_batches([plain_trace(1_000 + third, started_ns=now - 10 * DAY_NS + third)])
    before = [(s.count, s.total_ns, s.p95_ns) for s in Rollup.objects.all().by("receiver")]
    rows = Rollup.objects.count() + PathRollup.objects.count()

    went = compact_rollups(now_ns=now)
    again = compact_rollups(now_ns=now)

    assert [(s.count, s.total_ns, s.p95_ns) for s in Rollup.objects.all().by("receiver")] == before
    assert Rollup.objects.count() + PathRollup.objects.count() == rows - went
    # Two keys; seven whole days and three of hours.
    assert Rollup.objects.count() == 2 * (7 + 3 * 24)
    assert again == 0


def test_cpu_time_is_added_up_where_it_was_read(transactional_db):
    day = (time.time_ns() - 10 * DAY_NS) // DAY_NS * DAY_NS
    read = [plain_trace(n, started_ns=day + n * HOUR_NS) for n in range(2)]
    for trace in read:
        trace.dispatches[0].receiver_calls[0].cpu_ns = 700
    store_in_batches([*read, plain_trace(2, started_ns=day)])

    prune(Retention())

    assert {(row.receiver > 0, row.cpu_ns) for row in Rollup.objects.all()} == {
        (False, None), (True, 1_400),
    }  # fmt: skip


@pytest.mark.thorough
def test_adding_up_that_has_no_time_gets_on_step_by_step(transactional_db):
    day = (time.time_ns() - 10 * DAY_NS) // DAY_NS * DAY_NS
    store_in_batches([plain_trace(n, started_ns=day + n * HOUR_NS) for n in range(3)])
    store_in_batches([plain_trace(9, started_ns=day)])

    turns = 0
    complete = False
    while not complete:
        pruned = prune(Retention(), seconds=0)
        complete = pruned.complete
        turns += 1

    # Three hours, then the day, and with it the first hour of the sums by path.
    assert turns == 4 + 3
    assert Rollup.objects.count() == 2
    assert [s.count for s in Rollup.objects.all().by("dispatch")] == [4]


def test_turn_is_taken_by_one(transactional_db):
    with beside_the_application(store_alias()) as database:
        first = acquire_lease(database, "test", 60)
        second = acquire_lease(database, "test", 60)
        release_lease(database, "test")
        third = acquire_lease(database, "test", 60)

    assert (first, second, third) == (True, False, True)


def test_nobody_writes_between_what_pruning_reads_and_what_it_deletes(days, monkeypatch):
    if connections[store_alias()].vendor != "sqlite":
        pytest.skip("about SQLite")
    refused = []

    def delete_beside_a_writer(database, keys):
        name = connections[database.alias].settings_dict["NAME"]
        with closing(sqlite3.connect(name, timeout=0)) as other:
            try:
                other.execute("UPDATE tracing_sequence SET value = value + 1")
                other.commit()
            except sqlite3.OperationalError as error:
                refused.append(str(error))
        return delete_traces(database, keys)

    monkeypatch.setattr(pruning, "delete_traces", delete_beside_a_writer)

    pruned = prune(Retention(older_than=timedelta(days=7), keep_pinned=False))

    assert pruned.traces == 3
    assert refused == ["database is locked"]


SIGNALS = [connection_created, *(getattr(model_signals, name) for name in (
    "pre_init", "post_init", "pre_save", "post_save", "pre_delete", "post_delete",
))]  # fmt: skip


def as_the_worker(function):
    """Run *function* in a thread of its own; return the signals that were sent there."""
    sent = []

    def receive(signal, **_named):
        if threading.current_thread() is worker:
            sent.append(signal)

    worker = threading.Thread(target=function)
    for signal in SIGNALS:
        signal.connect(receive, dispatch_uid="of the worker", weak=False)
    try:
        worker.start()
        worker.join()
    finally:
        for signal in SIGNALS:
            signal.disconnect(dispatch_uid="of the worker")
    return sent


def test_worker_prunes_below_the_orm(days):
    now = time.time_ns()
    exporter = DatabaseExporter(retention=Retention(older_than=timedelta(days=1)), prune_seconds=0)
    failures = []

    def work():
        try:
            exporter.export([plain_trace(20, started_ns=now - 2 * DAY_NS)])
            exporter.export([plain_trace(21, started_ns=now)])
            exporter.tick(pipeline.statistics())
            exporter.shutdown()
            connection = vars(connections._connections).get(store_alias())
            failures.append(connection)
        except BaseException as error:
            failures.append(error)
            raise

    sent = as_the_worker(work)

    assert failures == [None]
    assert sent == []
    assert numbers() == [0, 5, 21]
    assert RecorderState.objects.filter(started_ns=exporter._started_ns).count() == 1


def test_first_deletion_by_default_is_told_once(days, caplog):
    retention = Retention(older_than=timedelta(days=8), is_default=True)
    exporter = DatabaseExporter(retention=retention, prune_seconds=0)
    exporter.export([plain_trace(20)])
    before = first_pruned_ns()
    exporter.tick(pipeline.statistics())
    exporter.retention = Retention(older_than=timedelta(days=1), is_default=True)
    exporter.tick(pipeline.statistics())
    exporter.shutdown()

    assert numbers() == [0, 5, 20]
    assert before is None
    assert abs(first_pruned_ns() - time.time_ns()) < DAY_NS
    [record] = caplog.records
    assert record.getMessage() == (
        "The store keeps the traces of 7d, within 1GB, unless TRACING['PRUNE'] says otherwise: "
        "2 were deleted, for the first time. Pinned traces stay; {} keeps everything."
    )


def test_only_a_sqlite_file_of_its_own_is_pruned_by_default(monkeypatch):
    own = {"ENGINE": "django.db.backends.sqlite3", "NAME": "traces.sqlite3"}
    server = {"ENGINE": "django.db.backends.postgresql", "NAME": "traces"}
    found = {}
    for name, databases in {
        "own": {"default": server, "tracing": own},
        "server": {"default": own, "tracing": server},
        "shared": {"default": own, "tracing": own},
        "only": {"default": own},
    }.items():
        monkeypatch.setattr(conf.django_settings, "DATABASES", databases)
        found[name] = conf.retention_in_force(conf.Settings())

    assert found == {
        "own": Retention(older_than=timedelta(days=7), max_size=10**9, is_default=True),
        "server": None,
        "shared": None,
        "only": None,
    }
    assert conf.retention_in_force(conf.read({"PRUNE": {}})[0]) is None
