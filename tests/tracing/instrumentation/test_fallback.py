"""A release of Django that was not verified: dispatches as a whole, and nothing that changes."""

from __future__ import annotations

import asyncio

import pytest
from django.core.signals import request_finished, request_started
from django.dispatch import Signal
from django.test import RequestFactory

from tests.tracing.instrumentation.conftest import recording
from tests.tracing.instrumentation.test_faults import program, run
from tracing.instrumentation import context, failures, patching
from tracing.instrumentation.dispatch import fallback
from tracing.instrumentation.patching import STOCK_SENDS, instrument
from tracing.spans.records import Outcome

pytestmark = pytest.mark.usefixtures("stock", "keeper")


@pytest.fixture
def unverified(monkeypatch):
    monkeypatch.setattr(patching, "sends_are_verified", lambda: False)
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()
    assert context.current() is None


def nothing(**named):
    return 1


def test_dispatches_are_recorded_with_receivers_whose_end_is_unknown(unverified, no_failures):
    signal, silent = Signal(), Signal()

    def failing(**named):
        raise ValueError("no")

    signal.connect(nothing, weak=False)
    with recording() as recorded:
        responses = signal.send("a"), asyncio.run(signal.asend("b"))
        signal.connect(failing, weak=False)
        with pytest.raises(ValueError, match="no"):
            signal.send("c")
        silent.send("nobody")

    trace = recorded.trace
    assert responses == ([(nothing, 1)], [(nothing, 1)])
    assert [(d.sender, d.method, d.exception_type) for d in trace.dispatches] == [
        ("'a'", "send", ""),
        ("'b'", "asend", ""),
        ("'c'", "send", "ValueError"),
    ]
    assert trace.dispatches[0].receiver_calls[0].outcome is Outcome.UNKNOWN
    assert trace.dispatches[0].callsite.file == __file__
    assert trace.orphan_count == 1


def test_lone_dispatches_and_requests_are_traces_too(unverified, keeper, no_failures):
    signal = Signal()
    signal.connect(nothing, weak=False)

    signal.send("lone")
    asyncio.run(signal.asend("lone"))
    kept = [(ends, ends.receivers) for ends in (request_started, request_finished)]
    for ends, _receivers in kept:
        ends.receivers = []
    request_started.send(Signal, environ=RequestFactory().get("/here/").environ)
    signal.send("inside")
    request_finished.send(Signal)
    for ends, receivers in kept:
        ends.receivers = receivers

    traces = keeper.traces()
    assert [(t.kind, [d.sender for d in t.dispatches]) for t in traces] == [
        ("dispatch", ["'lone'"]),
        ("dispatch", ["'lone'"]),
        ("request", ["'inside'"]),
    ]
    assert traces[2].http_path == "/here/"


def test_full_stream_drops_and_counts(unverified, monkeypatch):
    signal = Signal()
    signal.connect(nothing, weak=False)
    monkeypatch.setattr(fallback, "BUFFER_LIMIT", 20)
    with recording() as recorded:
        for _ in range(5):
            signal.send("x")

    assert recorded.trace.dispatch_count + recorded.trace.dropped_count == 5
    assert recorded.trace.dropped_count > 0


@pytest.mark.parametrize("method", [method.value for method in STOCK_SENDS])
@pytest.mark.parametrize("place", ["", "opening_of", "resolve_live", "begin_standalone", "current"])
def test_programs_do_what_they_do_on_stock_django(monkeypatch, frozen_heap, method, place):
    monkeypatch.setattr(failures, "counts", failures.Counter())
    expected = run(program(method))

    monkeypatch.setattr(patching, "sends_are_verified", lambda: False)
    undo = instrument(sql=False, side_effects=False)
    with monkeypatch.context() as patch:
        if place:
            patch.setattr(fallback, place, lambda *args: 1 / 0)
        actual = run(program(method))
    undo()

    for mine, stock in zip(actual[:-1], expected[:-1], strict=True):
        if mine[0] != "warnings":  # Django's method is one frame further down.
            assert mine == stock
