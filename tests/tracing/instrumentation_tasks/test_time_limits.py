"""A soft time limit that comes while a Celery task is followed is the task's: Celery learns of it."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals

import tracing.celery
from tests.tracing.instrumentation import interrupting
from tests.tracing.instrumentation.interrupting import WAYS, Abort, interruptions
from tests.tracing.instrumentation_tasks import worker_project
from tracing.instrumentation import context, failures, sampling
from tracing.instrumentation.sampling import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tracing.instrumentation_tasks.keeping import Keeper


@worker_project.app.task(name="rest")
def rest() -> str:
    """Send nothing: whatever is recorded is recorded by the receivers of Celery's signals."""
    return "rested"


@pytest.fixture
def connected(keeper: Keeper) -> Iterator[Keeper]:
    """Trace the tasks of this process; what interrupts a finalizer is lost without tracing, too."""
    undo = tracing.celery.connect()
    trace = sys.gettrace()
    gc.disable()
    yield keeper
    gc.enable()
    sys.settrace(trace)
    undo()
    context.running.clear()


def run_after(keeper: Keeper) -> None:
    """Prove that nothing is left of an interruption: the next run is recorded as the first was."""
    assert context.current() is None
    assert context.running == {}
    assert tracing.celery._runs == {}
    keeper.traces()
    rest.apply()
    [trace] = keeper.traces()
    assert (trace.name, trace.error, trace.attributes["state"]) == ("rest", "", "SUCCESS")


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [SoftTimeLimitExceeded, KeyError])
def test_soft_time_limit_in_our_receivers_reaches_celery(connected, caplog, kind, way):
    rest.apply()
    known = dict(failures.counts)
    places = []
    for interruption in interruptions(kind, way):
        assert interruption.run(rest.apply) is interruption.sent, interruption.place
        places.append(interruption.place)
        run_after(connected)

    assert len(places) > 50
    assert {place.partition(",")[0] for place in places} >= {"_starting", "_ending", "Run.end"}
    assert dict(failures.counts) == known
    assert not [each for each in caplog.records if "Signal handler" in each.getMessage()]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.thorough
def test_run_that_is_not_recorded_passes_a_soft_time_limit_on(connected, way):
    sampling.switch.sampler = Sampler(by_kind={"task": 0.0})
    for interruption in interruptions(SoftTimeLimitExceeded, way):
        assert interruption.run(rest.apply) is interruption.sent, interruption.place
        assert context.current() is None, interruption.place
        assert tracing.celery._runs == {}, interruption.place

    assert interruption.at > 20


def test_soft_time_limit_where_a_task_is_sent_reaches_the_sender(connected):
    def send() -> None:
        with connected.block():
            rest.apply_async()

    send()
    receiver = tracing.celery._publishing
    for interruption in interruptions(SoftTimeLimitExceeded, "signal"):
        assert interruption.run(send) is interruption.sent, interruption.place
        connected.traces()

    assert receiver in [receiver for _key, receiver in signals.before_task_publish.receivers]
    assert interruption.at > 10


def test_what_ends_the_process_reaches_it(connected):
    for interruption in interruptions(Abort, "signal", every=3):
        assert interruption.run(rest.apply) is interruption.sent, interruption.place
        # Nothing tells of the end where what would tell was stopped at its first instruction.
        context.running.clear()
        context.set_current(None)
        tracing.celery._runs.clear()


def test_one_instruction_of_celery_keeps_what_interrupts_it(connected, monkeypatch, caplog):
    """What is left: where Celery calls what keeps the arguments, in a ``try`` of its own."""
    sends = signals.task_prerun.send.__func__.__code__
    monkeypatch.setattr(interrupting, "is_own", lambda code: code is sends)
    lost = 0
    for interruption in interruptions(SoftTimeLimitExceeded, "signal"):
        reached = interruption.run(rest.apply)
        if interruption.sent and not reached:
            lost += 1
            [trace] = connected.traces()
            assert (trace.name, trace.attributes["state"]) == ("rest", "SUCCESS")
        run_after(connected)

    # Once where the run begins and once where it ends.
    assert lost == 2
    complaints = [each for each in caplog.records if "Signal handler" in each.getMessage()]
    assert len(complaints) == lost


def test_receivers_of_others_run_in_their_order_around_ours(connected):
    seen = []

    def before(**named: Any) -> None:
        seen.append(("before", context.current() is None))

    def after(task_id: Any = None, **named: Any) -> None:
        seen.append(("after", context.current() is None))

    tracing.celery.connect()()
    signals.task_prerun.connect(before)
    undo = tracing.celery.connect()
    signals.task_prerun.connect(after)
    try:
        rest.apply()
    finally:
        signals.task_prerun.disconnect(before)
        signals.task_prerun.disconnect(after)
        undo()

    assert seen == [("before", True), ("after", False)]


def test_undoing_leaves_the_signals_as_they_were(keeper):
    tracing.celery.connect()()
    before = dict(vars(signals.task_prerun))
    undo = tracing.celery.connect()
    assert signals.task_prerun.has_listeners()
    undo()

    assert vars(signals.task_prerun).keys() == before.keys()
