"""Blocks that end in another order than they began in, that are left out, or that are given odd facts."""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import ExitStack
from contextvars import copy_context

import pytest
from django.contrib.auth.models import User
from django.db.models import TextChoices
from django.dispatch import Signal

import tracing
from tracing.instrumentation import context, sampling
from tracing.instrumentation.assembly.assembler import assemble_ended
from tracing.instrumentation.sampling import Sampler
from tracing.spans.records import Kind


class Keeper:
    def __init__(self):
        self.ended = []

    def on_start(self, trace):
        pass

    def on_end(self, trace):
        self.ended.append(trace)

    def counts(self):
        """Return the number of dispatches by the name of the block, "lone" for those outside any."""
        return {
            "lone" if active.kind is Kind.DISPATCH else active.name: assemble_ended(
                active
            ).dispatch_count
            for active in self.ended
        }


@pytest.fixture
def keeper():
    keeper = Keeper()
    before = context.set_processor(keeper)
    switch = sampling.switch.sampler, sampling.switch.paused
    sampling.switch.sampler, sampling.switch.paused = Sampler(), False
    undo = tracing.instrument()
    yield keeper
    undo()
    sampling.switch.sampler, sampling.switch.paused = switch
    context.set_processor(before)


@pytest.fixture
def signal():
    signal = Signal()
    signal.connect(lambda **named: None, weak=False)
    return signal


def rows(name, signal):
    with tracing.trace(name):
        signal.send("x")
        yield 1


def test_blocks_of_generators_that_take_turns_take_nothing_of_each_other(keeper, signal):
    one, other = rows("one", signal), rows("other", signal)
    for generator in (one, other, one, other):
        next(generator, None)

    assert tracing.current_trace_id() == ""
    signal.send("x")
    assert keeper.counts() == {"one": 1, "other": 1, "lone": 1}


def test_what_a_generator_leaves_is_what_is_still_running(keeper, signal):
    with tracing.trace("around"):
        one, other = rows("one", signal), rows("other", signal)
        for generator in (one, other, one, other):
            next(generator, None)
        signal.send("x")

    assert keeper.counts() == {"one": 1, "other": 1, "around": 1}


@pytest.mark.parametrize("sampled", [True, False])
def test_blocks_that_are_not_recorded_end_in_any_order(keeper, signal, sampled):
    sampling.switch.sampler = Sampler(by_path=[("one", 0.0), ("other", float(sampled))])
    one, other = rows("one", signal), rows("other", signal)
    for generator in (one, other, one):
        next(generator, None)
    signal.send("x")
    next(other, None)
    signal.send("x")

    assert context.current() is None
    assert keeper.counts() == ({"other": 2, "lone": 1} if sampled else {"lone": 1})


def test_suppressed_blocks_end_in_any_order(keeper, signal):
    first, second = tracing.suppress(), tracing.suppress()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    signal.send("x")
    second.__exit__(None, None, None)
    signal.send("x")

    assert context.current() is None
    assert keeper.counts() == {"lone": 1}


def test_blocks_of_an_exit_stack_end_as_they_are_told(keeper, signal):
    with ExitStack() as outer:
        with ExitStack() as inner:
            inner.enter_context(tracing.trace("kept open"))
            moved = inner.pop_all()
        outer.enter_context(tracing.trace("second"))
        moved.close()
        signal.send("x")

    assert context.current() is None
    assert keeper.counts() == {"kept open": 0, "second": 1}


def test_async_generators_put_back_what_is_running(keeper, signal):
    async def buffer(name):
        with tracing.trace(name):
            signal.send("x")
            yield 1

    async def main():
        one, other = buffer("one"), buffer("other")
        await anext(one)
        await anext(other)
        await anext(one, None)
        await anext(other, None)
        signal.send("x")

    asyncio.run(main())

    assert keeper.counts() == {"one": 1, "other": 1, "lone": 1}


def test_context_copied_in_a_block_records_nothing_into_it_after_its_end(keeper, signal):
    with tracing.trace("over"):
        copied = copy_context()
    copied.run(signal.send, "x")

    assert copied.run(tracing.current_trace_id) == ""
    assert keeper.counts() == {"over": 0, "lone": 1}


def test_block_records_nothing_where_django_is_not_instrumented(keeper, signal):
    tracing.uninstrument()
    with tracing.trace("block") as block:
        signal.send("x")

    assert block.trace_id == ""
    assert keeper.ended == []
    tracing.instrument()


class State(TextChoices):
    PAID = "paid"


class Rude:
    def __str__(self):
        raise KeyboardInterrupt


class Zone(dt.tzinfo):
    def utcoffset(self, _moment):
        raise KeyboardInterrupt


@pytest.mark.django_db
def test_facts_about_a_block_are_not_asked(keeper, django_assert_num_queries):
    with (
        django_assert_num_queries(0),
        tracing.trace(
            "block",
            people=User.objects.all(),
            rude=Rude(),
            state=State.PAID,
            number=10**5_000,
            moment=dt.datetime(2026, 1, 2, tzinfo=Zone()),
        ),
    ):
        pass

    attributes = keeper.ended[0].attributes
    assert attributes["people"] == "<django.db.models.query.QuerySet>"
    assert attributes["rude"].endswith("Rude>")
    assert attributes["state"] == "paid"
    assert attributes["moment"].startswith("2026-01-02")
