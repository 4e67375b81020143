"""What recording costs is measured, and the measuring leaves nothing behind."""

from __future__ import annotations

import threading

import pytest
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing import pipeline, setup
from tracing.instrumentation import context, overhead
from tracing.instrumentation.assembly import knowledge
from tracing.instrumentation.assembly.knowledge import Costs
from tracing.instrumentation.patching import instrument

pytestmark = pytest.mark.usefixtures("stock", "no_failures")


@pytest.fixture
def costs(monkeypatch):
    costs = Costs()
    monkeypatch.setattr(knowledge, "costs", costs)
    # A worker that an earlier test has started must not measure meanwhile.
    here, calibrate = threading.get_ident(), overhead.calibrate
    monkeypatch.setattr(
        overhead, "calibrate", lambda: calibrate() if threading.get_ident() == here else None
    )
    return costs


@pytest.fixture
def instrumented(costs):
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()


def test_costs_are_measured_once_and_nobody_hears_of_it(costs, instrumented, keeper):
    running_before = set(context.running)

    overhead.calibrate()
    measured = (costs.dispatch_ns, costs.call_ns, costs.query_ns)
    costs.dispatch_ns = -1
    overhead.calibrate()

    assert costs.measured
    # To note a query takes time; a loop of ours may be as quick as Django's own.
    assert measured[2] > 0
    assert min(measured) >= 0
    assert costs.dispatch_ns == -1
    assert keeper.ended == []
    assert context.current() is None
    assert set(context.running) <= running_before


def test_overhead_of_a_trace_is_its_counts_times_the_costs(costs, instrumented):
    costs.dispatch_ns, costs.call_ns = 100, 7
    signal = Signal()
    for number in range(3):
        signal.connect(lambda **named: None, weak=False, dispatch_uid=number)

    with recording() as recorded:
        signal.send("x")
        signal.send("y")

    assert recorded.trace.overhead_ns == 2 * 100 + 6 * 7


def test_nothing_is_measured_where_signals_are_not_recorded(costs):
    overhead.calibrate()

    assert not costs.measured


def test_nothing_is_measured_where_somebody_else_decides_about_receivers(
    costs, instrumented, monkeypatch
):
    called = []
    original = Signal._live_receivers

    def watched(self, sender):
        called.append(self)
        return original(self, sender)

    monkeypatch.setattr(Signal, "_live_receivers", watched)
    overhead.calibrate()

    assert called == []
    assert (costs.dispatch_ns, costs.call_ns, costs.query_ns) == (0, 0, 0)


def test_traced_thread_never_measures_nor_one_that_reads_nothing(costs, instrumented, monkeypatch):
    measured = []
    here = threading.current_thread()
    for worker, exporters in ((None, [1]), (here, []), (here, [1])):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline.default, "_worker", worker)
            patch.setattr(pipeline.default, "_exporters", exporters)
            setup._calibrate()
        measured.append(costs.measured)

    assert measured == [False, False, True]


def test_calibration_is_short_where_other_threads_take_the_interpreter(monkeypatch):
    now = [0]
    rounds = []

    def others_run(_seconds):
        now[0] += 50_000_000

    monkeypatch.setattr(overhead, "clock", lambda: now[0])
    monkeypatch.setattr(overhead.time, "sleep", others_run)
    overhead._least(lambda: rounds.append(now[0]))

    assert len(rounds) == 2
