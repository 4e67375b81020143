from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connections
from msgspec.structs import fields, replace

from tests.tracing.samples import decided, full_trace, plain_trace
from tracing import models
from tracing.conf import store_alias
from tracing.exporters.database import DatabaseExporter
from tracing.spans import records

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def exporter():
    exporter = DatabaseExporter()
    yield exporter
    exporter.shutdown()


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (models.KIND_CODES, records.Kind),
        (models.STATUS_CODES, records.Status),
        (models.METHOD_CODES, records.Method),
        (models.OUTCOME_CODES, records.Outcome),
        (models.TRANSACTION_CODES, records.TransactionOutcome),
    ],
)
def test_codes_cover_every_word_once(codes, words):
    assert sorted(codes) == sorted(words)


def test_trace_with_everything_is_loaded_as_it_was_stored(exporter):
    trace = full_trace()

    exporter.export([trace])

    assert models.Trace.objects.load(trace.trace_id) == trace


def test_what_is_mine_is_stored_with_the_receiver_and_the_trace(exporter):
    trace = full_trace()

    exporter.export([trace, plain_trace(1)])

    assert decided(models.Trace.objects.load(trace.trace_id)) == decided(trace)
    stored = dict(models.Trace.objects.values_list("trace_id", "mine"))
    assert stored == {trace.trace_id: True, plain_trace(1).trace_id: False}


def test_trace_stays_mine_though_its_last_segment_is_not(exporter):
    whole = plain_trace(1, dispatches=2)
    (call,) = whole.dispatches[0].receiver_calls
    call.receiver = replace(call.receiver, mine=True)
    running = replace(
        whole, dispatches=whole.dispatches[:1], status=records.Status.RUNNING, final=False
    )

    exporter.export([running])
    exporter.export([replace(whole, segment=1, dispatches=whole.dispatches[1:])])

    assert models.Trace.objects.get().mine


def test_receiver_is_mine_as_was_decided_last_by_a_recording_process(exporter):
    """An import decides nothing: its lines may be of a release that knew nothing of it."""
    earlier, later = plain_trace(1), plain_trace(2)
    (call,) = later.dispatches[0].receiver_calls
    call.receiver = replace(call.receiver, mine=True)
    decisions = []

    for verb, trace in (
        ("export", earlier),
        ("export", later),
        ("store_new", plain_trace(3)),
        ("export", plain_trace(4)),
    ):
        # As a process that has just started, to which no label is known.
        exporter.shutdown()
        getattr(exporter, verb)([trace])
        decisions.append(models.ReceiverLabel.objects.get().mine)

    assert decisions == [False, True, True, False]


def test_sample_trace_leaves_no_field_at_its_default():
    trace = full_trace()

    root, nested, m2m = trace.dispatches
    merged = {}
    for span in (root, nested, m2m, *root.receiver_calls, *nested.receiver_calls):
        for item in fields(span):
            if getattr(span, item.name) != item.default:
                merged.setdefault(type(span).__name__, set()).add(item.name)

    assert merged["Dispatch"] == {item.name for item in fields(records.Dispatch)}
    assert merged["ReceiverCall"] == {item.name for item in fields(records.ReceiverCall)}
    left = {item.name for item in fields(trace) if getattr(trace, item.name) == item.default}
    assert left == {"final", "diagnosis_context"}


def test_unknown_trace_does_not_exist():
    with pytest.raises(models.Trace.DoesNotExist):
        models.Trace.objects.load("0" * 32)


def test_words_are_filtered_and_read_as_words_and_kept_as_numbers(exporter):
    exporter.export([full_trace(), plain_trace(1)])

    words = set(models.ReceiverCall.objects.values_list("outcome", flat=True))
    raised = models.ReceiverCall.objects.filter(outcome="raised").count()
    with connections[store_alias()].cursor() as cursor:
        cursor.execute("SELECT DISTINCT outcome FROM tracing_receivercall")
        numbers = {row[0] for row in cursor.fetchall()}

    assert words == {"returned", "raised", "cancelled", "skipped"}
    assert raised == 1
    assert numbers == {0, 1, 2, 3}


def test_calls_of_a_dispatch_have_the_ids_after_its_own(exporter):
    exporter.export([full_trace()])

    dispatch = models.Dispatch.objects.get(number=1)
    calls = models.ReceiverCall.objects.filter(dispatch=dispatch)

    assert [(call.dispatch_id, call.number) for call in calls] == [
        (dispatch.pk, 2),
        (dispatch.pk, 3),
    ]
    assert [call.pk for call in calls] == [dispatch.pk + 1, dispatch.pk + 2]


def test_instance_of_the_sender_is_kept_short_and_found_whole(exporter):
    exporter.export([full_trace()])

    stored = models.Dispatch.objects.exclude(instance="").values_list("instance", flat=True)
    found = [each.instance for each in models.Trace.objects.get().load().dispatches]

    assert {":42", "shop.Order:42"} <= {*stored}
    assert found.count("shop.Order:42") == 2


def test_segments_of_a_long_trace_become_one(exporter):
    whole = plain_trace(1, dispatches=4)
    running = replace(
        whole,
        dispatches=whole.dispatches[:2],
        status=records.Status.RUNNING,
        final=False,
        dispatch_count=2,
        duration_ns=1_000,
        orphans=[("a", "b", 1)],
        side_effects=[records.SideEffect("mail", "1 recipient", 5)],
    )
    # The last dispatch of the first segment comes again: it was still running then.
    last = replace(
        whole,
        segment=1,
        dispatches=whole.dispatches[1:],
        orphans=[("a", "b", 3)],
        side_effects=[records.SideEffect("mail", "2 recipients", 9)],
    )

    exporter.export([running])
    seen_while_running = models.Trace.objects.load(whole.trace_id)
    exporter.export([last])

    assert seen_while_running == running
    assert models.Trace.objects.load(whole.trace_id) == replace(
        last,
        dispatches=whole.dispatches,
        side_effects=running.side_effects + last.side_effects,
    )
    assert models.Trace.objects.count() == 1
    assert models.Dispatch.objects.count() == 4


def test_segments_in_one_batch_become_one(exporter):
    whole = plain_trace(1, dispatches=2)
    first = replace(whole, dispatches=whole.dispatches[:1], final=False)
    second = replace(whole, dispatches=whole.dispatches[1:], segment=1)

    exporter.export([first, plain_trace(2), second])

    assert models.Trace.objects.load(whole.trace_id) == replace(whole, segment=1)
    assert models.Trace.objects.count() == 2


def test_hazard_seen_twice_is_one_row_with_two_occurrences(exporter):
    first = full_trace()
    second = replace(full_trace(), trace_id="2" * 32, root_span_id="2" * 16)

    exporter.export([first])
    exporter.export([second])

    hazard = models.Hazard.objects.get()
    assert (hazard.hazard, hazard.severity, hazard.count) == ("slow-receiver", "warning", 2)
    assert hazard.occurrences.count() == 2


def test_migrations_have_all_changes_of_the_models():
    call_command("makemigrations", "tracing", check=True, dry_run=True, verbosity=0)


def test_ids_are_the_rowids_of_sqlite():
    connection = connections[store_alias()]
    if connection.vendor != "sqlite":
        pytest.skip("about SQLite")

    with connection.cursor() as cursor:
        cursor.execute("PRAGMA index_list(tracing_receivercall)")
        indexes = {row[1] for row in cursor.fetchall()}

    assert indexes == {"tracing_call_receiver"}


def test_traces_of_one_id_and_one_moment_are_stored_apart_and_once(exporter):
    first = full_trace()
    second = replace(full_trace(), root_span_id="f" * 16, name="second")

    exporter.export([first, second])
    exporter.export([second, first])

    rows = models.Trace.objects.called(first.trace_id)
    assert [row.root_span_id for row in rows.order_by("pk")] == [first.root_span_id, "f" * 16]
    assert models.Trace.objects.load(second.root_span_id).name == "second"
    assert models.Trace.objects.load(first.address).name == first.name
