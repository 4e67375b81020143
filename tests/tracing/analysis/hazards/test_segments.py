"""Tests of the diagnosis of a long trace, which is exported in segments while it runs."""

from __future__ import annotations

import functools
import operator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Group
from django.core.mail import send_mail
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import Signal
from msgspec.structs import replace

from tests.tracing.analysis.building import TraceBuilder, label
from tracing.analysis.hazards import find
from tracing.analysis.hazards.segments import (
    KEPT,
    KEPT_PER_SENDER,
    RunningDiagnosis,
    diagnose_segment,
)
from tracing.api import instrument
from tracing.instrumentation import context
from tracing.instrumentation.assembly.assembler import Assembly, assemble
from tracing.instrumentation.buffer import ActiveTrace
from tracing.spans.records import CallbackQueries, Carried, Kind, Method, Outcome

SQL = "SELECT price FROM cars WHERE id = %s"


def cut(trace, *places):
    """Return *trace* in segments that begin with the dispatches at these places."""
    borders = [0, *places, len(trace.dispatches)]
    last = len(places)
    return [
        replace(
            trace,
            segment=number,
            final=number == last,
            dispatches=trace.dispatches[borders[number] : borders[number + 1]],
        )
        for number in range(last + 1)
    ]


def diagnosed(segments):
    """Return the ids found in each segment, and the count that the last one has."""
    for segment in segments:
        diagnose_segment(segment)
    return [[hazard.hazard for hazard in segment.hazards] for segment in segments], segments[
        -1
    ].hazard_count


def loop(times, *, statements=(), **options):
    build = TraceBuilder(Kind.COMMAND, "long")
    for number in range(times):
        sent = build.dispatch(instance=f"cars.Car:{number}", **options)
        build.call(sent, statements=list(statements))
    return build.build()


def test_loop_that_no_segment_shows_alone_is_found_once():
    assert diagnosed(cut(loop(9), 3, 4, 7)) == ([[], [], ["repeated-receiver"], []], 1)


def test_same_finding_in_each_segment_is_told_once():
    trace = loop(30, statements=[(SQL, 1, 100)])
    found, count = diagnosed(cut(trace, 10, 20))

    assert [sorted(ids) for ids in found] == [["n-plus-one", "repeated-receiver"], [], []]
    assert count == 2


def test_finding_of_a_later_segment_is_told_there_and_counted_with_the_others():
    build = TraceBuilder(Kind.COMMAND)
    for number in range(6):
        build.call(build.dispatch(instance=f"cars.Car:{number}"))
    late = build.dispatch(at="core.views.other:3", method=Method.SEND_ROBUST)
    build.call(late, "core.fail", outcome=Outcome.RAISED, exception_type="ValueError")

    assert diagnosed(cut(build.build(), 6)) == ([["repeated-receiver"], ["swallowed-error"]], 2)


def test_receiver_that_hears_one_model_per_segment_is_unfiltered():
    build = TraceBuilder(Kind.COMMAND)
    for number in range(5):
        sent = build.dispatch(sender=f"shop.Model{number}", at=f"core.views.v:{number}")
        build.call(sent, label("core.audit.log", any_sender=True))

    found, _count = diagnosed(cut(build.build(), 1, 2, 3, 4))
    assert found == [[], [], [], [], ["unfiltered-receiver"]]


def test_queries_of_all_segments_count_against_the_budget(settings):
    settings.TRACING = {
        **settings.TRACING,
        "BUDGETS": [
            {"name": "long", "receiver_queries": 7},
            {"name": "lon*", "receiver_queries": 8},
        ],
        "HAZARDS": {"repeated-receiver": False, "n-plus-one": False},
    }
    segments = cut(loop(8, statements=[(SQL, 1, 100)]), 2, 4)

    assert diagnosed(segments) == ([[], [], ["budget-exceeded"]], 1)
    assert segments[-1].hazards[0].message.startswith("long used 8 queries in receivers")


@pytest.mark.thorough
def test_what_is_remembered_is_bounded():
    ongoing = RunningDiagnosis()
    for sender in range(60):
        build = TraceBuilder(Kind.COMMAND)
        for number in range(80):
            build.call(build.dispatch(sender=f"shop.M{sender}", instance=f"shop.M:{number}"))
        ongoing.diagnose(replace(build.build(), final=False))

    kept = [len(dispatches) for dispatches in ongoing._earlier.values()]
    assert max(kept) == KEPT_PER_SENDER
    assert sum(kept) == ongoing._kept <= KEPT


def test_trace_of_one_segment_is_diagnosed_as_a_whole():
    trace = loop(6)
    diagnose_segment(trace)

    assert [hazard.hazard for hazard in trace.hazards] == [hazard.hazard for hazard in find(trace)]


# --- recorded ------------------------------------------------------------------------------------

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.filterwarnings("ignore:.*MAILERS"),
]

started = Signal()


@pytest.fixture(autouse=True)
def no_rule_about_time(settings):
    """Leave out what depends on how fast the machine is."""
    settings.TRACING = {
        **settings.TRACING,
        "HAZARDS": {"slow-receiver": False, "async-hop": False},
    }


class Segments:
    """A running trace whose segments are taken by hand."""

    def __init__(self, live):
        self._live = live
        self.found = []

    def cut(self):
        """Take a segment now and diagnose it, as the worker does."""
        if self._live.reading is None:
            self._live.reading = Assembly(self._live)
        self._live.reading.read()
        self.take(self._live.reading.segment(final=False))

    def take(self, segment):
        diagnose_segment(segment)
        self.found.append(sorted(hazard.hazard for hazard in segment.hazards))


@contextmanager
def long_trace():
    live = ActiveTrace(Kind.COMMAND, "long", outer=context.current())
    live.held = True
    segments = Segments(live)
    undo = instrument()
    before = context.set_processor(None)
    context.begin(live)
    try:
        yield segments
    finally:
        context.finish(live)
        context.set_processor(before)
        undo()
        segments.take(assemble(live))


@contextmanager
def connected(signal, receiver, sender=None):
    signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


def test_save_again_is_found_though_the_save_around_it_ends_in_a_later_segment():
    group = Group.objects.create(name="sellers")

    def save_again(sender, instance, **kwargs):
        if not instance.name.endswith("!"):
            instance.name += "!"
            instance.save()
            segments.cut()

    with long_trace() as segments, connected(post_save, save_again, Group):
        group.save()

    assert segments.found == [["repeated-save"], []]


def test_recursion_is_found_though_its_levels_end_in_different_segments():
    group = Group.objects.create(name="a")

    def longer(sender, instance, **kwargs):
        if len(instance.name) < 4:
            instance.name += "!"
            instance.save()
            segments.cut()

    with long_trace() as segments, connected(post_save, longer, Group):
        group.save()

    assert sorted(functools.reduce(operator.iadd, segments.found, [])) == [
        "recursion",
        "repeated-save",
    ]


@pytest.mark.parametrize(
    ("rolls_back", "hazard"),
    [(False, "side-effect-in-transaction"), (True, "rolled-back-side-effect")],
)
def test_side_effect_is_judged_when_its_transaction_has_ended(rolls_back, hazard):
    def mail(sender, **kwargs):
        send_mail("Sold", "", "shop@example.com", ["buyer@example.com"])

    with long_trace() as segments, connected(post_save, mail, Group), transaction.atomic():
        Group.objects.create(name="sellers")
        segments.cut()
        Group.objects.count()
        segments.cut()
        transaction.set_rollback(rolls_back)

    assert segments.found == [[], [], [hazard]]


def test_command_that_is_one_dispatch_is_diagnosed_while_it_runs():
    def work(sender, **kwargs):
        for number in range(6):
            Group.objects.create(name=f"g{number}")
            segments.cut()

    def index(sender, **kwargs):
        pass

    with (
        long_trace() as segments,
        connected(started, work),
        connected(post_save, index, Group),
    ):
        started.send(sender=None)

    assert segments.found[:4] == [[], [], [], []]
    assert "repeated-receiver" in segments.found[4]
    assert "repeated-receiver" not in segments.found[5]


def test_queries_of_callbacks_are_counted_over_segments_and_told_once():
    trace = loop(8, at="core.views.checkout:0")
    segments = cut(trace, 3, 6)
    for segment in segments:
        segment.diagnosis_context = Carried(
            callback_queries=[
                CallbackQueries(call.number, call.receiver, [(SQL, 1, 100)])
                for dispatch in segment.dispatches
                for call in dispatch.receiver_calls
            ]
        )
    found, count = diagnosed(segments)

    assert found == [[], ["n-plus-one"], []]
    assert count == 1
    assert " runs one query 6 times in on_commit callbacks that it registered in 6 calls" in (
        segments[1].hazards[0].message
    )


def test_queries_of_callbacks_whose_calls_are_not_remembered_are_counted():
    trace = loop(1)
    made_by = trace.dispatches[0].receiver_calls[0].receiver
    trace.diagnosis_context = Carried(
        callback_queries=[CallbackQueries(1_000 + n, made_by, [(SQL, 1, 100)]) for n in range(7)]
    )
    (hazard,) = find(trace)

    assert " runs one query 7 times in on_commit callbacks that it registered in 7 calls" in (
        hazard.message
    )
    assert hazard.numbers == []
