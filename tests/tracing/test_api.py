from __future__ import annotations

import asyncio

import pytest
from django.dispatch import Signal
from django.test import Client

import tracing
from tracing import pipeline
from tracing.instrumentation import context, failures, patching, sampling
from tracing.instrumentation.assembly.assembler import assemble_ended
from tracing.instrumentation.patching import is_instrumented
from tracing.instrumentation.sampling import Sampler
from tracing.spans.records import span_id


class Keeper:
    def __init__(self):
        self.ended = []

    def on_start(self, trace):
        pass

    def on_end(self, trace):
        self.ended.append(trace)

    def traces(self):
        return [assemble_ended(live) for live in self.ended]


@pytest.fixture
def keeper():
    keeper = Keeper()
    before = context.set_processor(keeper)
    switch = sampling.switch.sampler, sampling.switch.paused
    sampling.switch.sampler, sampling.switch.paused = Sampler(), False
    was = is_instrumented()
    undo = tracing.instrument()
    yield keeper
    if not was:
        undo()
    sampling.switch.sampler, sampling.switch.paused = switch
    context.set_processor(before)


def signal_with_a_receiver():
    signal = Signal()
    signal.connect(lambda **named: None, weak=False)
    return signal


def test_block_is_a_trace_with_its_attributes_and_dispatches(keeper):
    signal = signal_with_a_receiver()

    with tracing.trace("import", supplier="ACME", count=3) as block:
        signal.send("x")
        inside = tracing.current_trace_id(), tracing.current_span_id()

    [trace] = keeper.traces()
    assert (trace.kind, trace.name, trace.attributes) == (
        "block",
        "import",
        {"supplier": "ACME", "count": "3"},
    )
    assert [d.sender for d in trace.dispatches] == ["'x'"]
    assert inside == (trace.trace_id, span_id(trace.root_span_id, 0))
    assert block.trace_id == trace.trace_id
    assert (tracing.current_trace_id(), tracing.current_span_id()) == ("", "")


def test_block_inside_another_knows_it_and_the_outer_goes_on(keeper):
    with tracing.trace("outer") as outer:
        with tracing.trace("inner") as inner:
            pass
        assert tracing.current_trace_id() == outer.trace_id

    first, second = keeper.traces()
    assert (first.name, first.parent_trace_id) == ("inner", outer.trace_id)
    assert (second.name, second.parent_trace_id) == ("outer", "")
    assert inner.trace_id != outer.trace_id


def test_one_trace_object_may_be_entered_again_inside_itself_and_afterwards(keeper):
    block = tracing.trace("again")

    with block, block:
        pass
    with block:
        pass

    inner, outer, last = keeper.traces()
    assert len({inner.trace_id, outer.trace_id, last.trace_id}) == 3
    assert inner.parent_trace_id == outer.trace_id
    assert context.current() is None


def test_trace_object_that_was_recorded_once_is_not_handed_over_again_when_it_is_not_sampled(
    keeper,
):
    block = tracing.trace("again")
    with block:
        pass
    tracing.pause()
    with block as paused:
        assert paused.trace_id == ""
    tracing.resume()

    assert len(keeper.ended) == 1
    assert context.current() is None


def test_error_that_leaves_a_block_is_kept_and_passes(keeper):
    with pytest.raises(ValueError, match="no"), tracing.trace("failing"):
        raise ValueError("no")

    [trace] = keeper.traces()
    assert (trace.status, trace.error) == ("error", "ValueError: no")


def test_decorated_functions_are_traced_at_each_call(keeper):
    @tracing.trace("sync", kind="task")
    def sync(value):
        return value

    @tracing.trace("async")
    async def asynchronous(value):
        await asyncio.sleep(0)
        return value

    results = [sync(1), sync(2), asyncio.run(asynchronous(3))]

    assert results == [1, 2, 3]
    assert [(t.kind, t.name) for t in keeper.traces()] == [
        ("task", "sync"),
        ("task", "sync"),
        ("block", "async"),
    ]
    assert sync.__name__ == "sync"


def test_async_block_is_a_trace(keeper):
    signal = signal_with_a_receiver()

    async def main():
        async with tracing.trace("async block"):
            await signal.asend("x")

    asyncio.run(main())

    [trace] = keeper.traces()
    assert [d.sender for d in trace.dispatches] == ["'x'"]


@pytest.mark.django_db
def test_suppressed_block_records_nothing_whatever_begins_in_it(keeper):
    signal = signal_with_a_receiver()

    with tracing.suppress():
        signal.send("x")
        asyncio.run(signal.asend("x"))
        with tracing.trace("inside"):
            signal.send("x")
        Client().get("/nowhere/")
        assert tracing.current_trace_id() == ""
    signal.send("after")

    assert [trace.dispatches[0].sender for trace in keeper.traces()] == ["'after'"]


def test_paused_recording_begins_no_traces_until_it_is_resumed(keeper):
    signal = signal_with_a_receiver()

    tracing.pause()
    signal.send("x")
    with tracing.trace("paused"):
        signal.send("x")
    tracing.resume()
    signal.send("resumed")

    assert [trace.name for trace in keeper.traces()] == ["Signal (unnamed) 'resumed'"]


def test_value_without_text_is_named_by_its_type(keeper, monkeypatch):
    monkeypatch.setattr(failures, "counts", failures.Counter())

    class Mute:
        def __str__(self):
            raise ValueError

    with tracing.trace("mute", thing=Mute()):
        pass

    [trace] = keeper.traces()
    assert trace.attributes["thing"].endswith("Mute>")


def test_failure_to_begin_leaves_the_block_alone(keeper, monkeypatch):
    monkeypatch.setattr(failures, "counts", failures.Counter())
    signal = signal_with_a_receiver()

    with monkeypatch.context() as patch:
        patch.setattr("tracing.api.ActiveTrace", lambda *args, **options: 1 / 0)
        with tracing.trace("broken"):
            responses = signal.send("x")

    assert len(responses) == 1
    assert failures.counts["trace: ZeroDivisionError"] == 1
    assert context.current() is None


def test_flush_reports_whether_all_was_written():
    assert tracing.flush(timeout=60) is True
    assert pipeline.statistics().queued == 0


def test_instrument_returns_what_undoes_it():
    was = is_instrumented()
    patches = patching._patches

    undo = tracing.instrument()

    assert tracing.is_instrumented()
    if not was:
        undo()
        assert not tracing.is_instrumented()
    else:
        assert patching._patches is patches


def test_package_has_what_it_names_and_nothing_else():
    assert all(getattr(tracing, name) is not None for name in tracing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        tracing.missing  # noqa: B018
