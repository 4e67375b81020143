"""Names that nothing refers to any more, deleted beside writers that know their ids by heart."""

from __future__ import annotations

import random
import threading
import time
from datetime import timedelta

import pytest
from django.apps import apps

from tests.tracing.analysis.building import TraceBuilder, label
from tests.tracing.samples import plain_trace
from tracing import models
from tracing.conf import store_alias
from tracing.conf.parts import Retention
from tracing.exporters import database as database_module
from tracing.exporters.database import DatabaseExporter
from tracing.pipeline import PipelineStatistics, TemporaryError
from tracing.spans.records import Callsite, Kind, derived_root_span_id
from tracing.store import labels, summing, unused_labels
from tracing.store.backends import beside_the_application
from tracing.store.retention import prune
from tracing.store.unused_labels import LABELS, sweep

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

EVERYTHING = Retention(older_than=timedelta(), keep_rollups=timedelta(days=-1))


def model_of(table):
    return next(m for m in apps.get_app_config("tracing").get_models() if m._meta.db_table == table)


def counts():
    return {table: model_of(table).objects.count() for table in LABELS}


def trace_of(number, *, name="one"):
    """Return a trace that has a name of each kind that is its own."""
    build = TraceBuilder(Kind.BLOCK, f"block {name}")
    sent = build.dispatch(
        "order_placed", f"shop.Sender{name}", at=f"shop.views.place:{number}", named=(name,)
    )
    build.call(sent, f"shop.receivers.on_{name}", statements=[(f"SELECT {name}", 1, 1_000)])
    skipped = Callsite("/app/shop/views.py", number, "skip")
    build.bypass(callsite=skipped, receivers=(label(f"shop.receivers.skipped_{name}"),))
    trace = build.build()
    trace.orphans = [("django.db.models.signals.post_init", f"shop.Orphan{name}", 2)]
    trace.orphan_count = 2
    trace.trace_id, trace.started_ns = f"{number:032x}", time.time_ns() - 10**9
    trace.root_span_id = derived_root_span_id(trace.trace_id, trace.started_ns)
    return trace


def test_every_table_of_labels_is_swept_and_every_reference_to_one_is_known():
    referring = {
        (model._meta.db_table, field.column, field.related_model._meta.db_table)
        for model in apps.get_app_config("tracing").get_models()
        for field in model._meta.get_fields()
        if field.is_relation and field.concrete and field.related_model._meta.db_table in LABELS
    }
    known = {
        (source.table, source.column, table)
        for table, sources in LABELS.items()
        for source in sources
    }
    labels = {
        model._meta.db_table
        for model in apps.get_app_config("tracing").get_models()
        if model.__name__.endswith(("Label", "Attributes"))
    }

    assert labels == set(LABELS)
    assert referring <= known
    # No foreign keys, but columns of ids and of JSON.
    assert {column for _, column, _ in known - referring} == {
        "extra", "receiver_id", "receivers",
    }  # fmt: skip


@pytest.mark.thorough
def test_names_of_what_is_left_stay_and_all_others_go(transactional_db):
    exporter = DatabaseExporter()
    exporter.export([trace_of(1, name="old"), trace_of(2, name="kept")])
    exporter.shutdown()
    models.Trace.objects.filter(label__name="block kept").update(pinned=True)
    before = counts()

    pruned = prune(EVERYTHING)
    left = counts()
    [trace] = [row.load() for row in models.Trace.objects.all()]

    assert pruned.labels == sum(before.values()) - sum(left.values())
    assert all(left[table] < before[table] for table in LABELS if "signal" not in table)
    [dispatch] = trace.dispatches
    [call] = dispatch.receiver_calls
    assert (trace.name, dispatch.sender, dispatch.named) == (
        "block kept", "shop.Senderkept", ("kept",),
    )  # fmt: skip
    assert dispatch.callsite is not None
    assert call.receiver.name == "shop.receivers.on_kept"
    assert call.statements == (("SELECT kept", 1, 1_000),)
    assert [sender for _, sender, _ in trace.orphans] == ["shop.Orphankept"]
    [bypass] = trace.bypasses
    assert bypass.callsite == Callsite("/app/shop/views.py", 2, "skip")
    assert [each.name for each in bypass.receivers] == ["shop.receivers.skipped_kept"]


def test_statistics_keep_their_names(transactional_db):
    exporter = DatabaseExporter()
    exporter.export([trace_of(1, name="old")])
    exporter.shutdown()

    prune(Retention(older_than=timedelta()))

    assert models.SenderLabel.objects.filter(name="shop.Senderold").exists()
    assert models.ReceiverLabel.objects.filter(name="shop.receivers.on_old").exists()
    assert not models.SenderLabel.objects.filter(name="shop.Orphanold").exists()
    assert not models.TraceLabel.objects.exists()


def test_writer_that_knew_a_label_by_heart_learns_that_it_is_gone(transactional_db):
    exporter = DatabaseExporter()
    exporter.export([trace_of(1)])
    prune(EVERYTHING)

    exporter.export([trace_of(2)])
    exporter.shutdown()

    [trace] = [row.load() for row in models.Trace.objects.all()]
    assert (trace.name, trace.dispatches[0].sender) == ("block one", "shop.Senderone")
    found = models.Rollup.objects.all().by("receiver")
    assert [(s.receiver, s.count) for s in found] == [("shop.receivers.on_one", 1)]


def test_sums_that_wait_while_names_go_find_them_again(transactional_db, monkeypatch):
    monkeypatch.setattr(summing, "_WRITE_SECONDS", 3_600)
    exporter = DatabaseExporter()
    exporter.export([trace_of(1)])
    exporter.force_flush()
    exporter.export([trace_of(2, name="two")])
    prune(EVERYTHING)

    exporter.shutdown()

    [found] = models.Rollup.objects.filter(receiver__gt=0).values_list("receiver", flat=True)
    assert models.ReceiverLabel.objects.get(pk=found).name == "shop.receivers.on_two"


@pytest.mark.thorough
def test_rows_written_while_labels_are_looked_for_keep_theirs(transactional_db, monkeypatch):
    exporter = DatabaseExporter()
    exporter.export([trace_of(1), plain_trace(5)])
    models.Trace.objects.all().delete()
    models.Rollup.objects.all().delete()
    monkeypatch.setattr(unused_labels, "_IDS_AT_ONCE", 1)

    with beside_the_application(store_alias()) as database:
        for step, _ in enumerate(sweep(database, every=True)):
            if step % 3 == 0:
                exporter.export([trace_of(10 + step)])
    exporter.shutdown()

    traces = [row.load() for row in models.Trace.objects.all()]
    assert len(traces) > 1
    assert {trace.dispatches[0].sender for trace in traces} == {"shop.Senderone"}
    assert {call.receiver.name for t in traces for call in t.dispatches[0].receiver_calls} == {
        "shop.receivers.on_one"
    }


def test_worker_does_not_read_all_dispatches_for_a_few_names(transactional_db):
    exporter = DatabaseExporter()
    exporter.export([trace_of(1)])
    models.Trace.objects.all().delete()

    with beside_the_application(store_alias()) as database:
        list(sweep(database, every=False))
    exporter.shutdown()

    assert models.CallsiteLabel.objects.exists()
    assert not models.TraceLabel.objects.exists()


def dangling():
    """Return how many rows refer to labels that are not there."""
    found = {}
    for table, sources in LABELS.items():
        known = set(model_of(table).objects.values_list("pk", flat=True))
        for source in sources:
            if source.key is None:
                rows = model_of(source.table).objects.values_list(
                    "receiver" if source.column == "receiver_id" else source.column, flat=True
                )
                missing = set(rows) - known - {None, 0}
                if missing:
                    found[source.table, source.column] = missing
    return found


def taken(exporter, trace):
    try:
        exporter.export([trace])
    except TemporaryError:
        return False
    return True


@pytest.mark.thorough
def test_writers_and_sweepers_at_work_leave_no_row_without_its_name(transactional_db):
    failures = []

    def write(seed):
        roll = random.Random(seed)
        exporter = DatabaseExporter()
        try:
            for number in range(25):
                trace = trace_of(seed * 1_000 + number, name=f"n{roll.randrange(4)}")
                # As the pipeline does: a store that is busy is asked again.
                while not taken(exporter, trace):
                    pass
                exporter.force_flush()
            exporter.shutdown()
        except Exception as error:  # noqa: BLE001 - told by the test.
            failures.append(error)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        prune(Retention(max_rows=3, keep_rollups=timedelta(days=-1)))
    for writer in writers:
        writer.join()

    assert failures == []
    assert dangling() == {}


def test_name_that_is_deleted_before_it_is_looked_up_is_written_again(
    transactional_db, monkeypatch
):
    find, deleted = labels._find_labels, []

    def find_after_a_sweep(database, table, keyed, keys, ids):
        if (
            table == "tracing_callsitelabel"
            and models.CallsiteLabel.objects.exists()
            and len(deleted) < 3
        ):
            deleted.append(models.CallsiteLabel.objects.all()._raw_delete(store_alias()))
        find(database, table, keyed, keys, ids)

    monkeypatch.setattr(labels, "_find_labels", find_after_a_sweep)
    exporter = DatabaseExporter()
    exporter.export([trace_of(1)])
    exporter.shutdown()

    assert len(deleted) == 3
    assert models.Trace.objects.get().load().dispatches[0].callsite is not None
    assert dangling() == {}


def test_worker_goes_on_with_the_names_from_beat_to_beat(transactional_db, monkeypatch):
    exporter = DatabaseExporter(retention=Retention(older_than=timedelta()), prune_seconds=1_000)
    exporter.export([trace_of(number, name=f"n{number}") for number in range(5)])
    monkeypatch.setattr(database_module, "_SWEEP_SECONDS", -1)
    monkeypatch.setattr(unused_labels, "_LABELS_AT_ONCE", 2)
    exporter._prune_at = 0
    left = []
    for _ in range(4):
        exporter.tick(PipelineStatistics())
        left.append(models.TraceLabel.objects.count())
    exporter.shutdown()

    assert not models.Trace.objects.exists()
    assert left == [5, 3, 1, 0]
