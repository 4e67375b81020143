"""Fixtures of the recording's own tests: Django without it, and traces taken by hand."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.tracing.by_spool import assembled
from tests.tracing.instrumentation.programs import heap
from tracing.instrumentation import context, patching, sampling
from tracing.instrumentation.boundaries import boundaries
from tracing.instrumentation.buffer import ActiveTrace
from tracing.instrumentation.failures import counts
from tracing.instrumentation.sampling import Sampler
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.spans.records import Trace


@pytest.fixture
def stock() -> Iterator[None]:
    """Take the recording out of Django for the test, and put the very same functions back after it."""
    patches = patching._patches
    made = list(patches._made) if patches is not None else []
    inlined = list(patches._inlined) if patches is not None else []
    around = dict(boundaries)
    patching.uninstrument()
    yield
    patching.uninstrument()
    for owner, name, _original, replacement in made:
        setattr(owner, name, replacement)
    for function, _original, code in inlined:
        function.__code__ = code
    boundaries.update(around)
    if patches is not None:
        patches._made[:] = made
        patches._inlined[:] = inlined
    patching._patches = patches


class Keeper:
    """A processor that keeps the active traces which ended."""

    def __init__(self) -> None:
        self.ended: list[ActiveTrace] = []

    def on_start(self, trace: ActiveTrace) -> None:
        pass

    def on_end(self, trace: ActiveTrace) -> None:
        self.ended.append(trace)

    def traces(self) -> list[Trace]:
        """Return the finished spans of those that ended since the last call."""
        ended, self.ended = self.ended, []
        return [assembled(active) for active in ended]


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    """Receive all active traces in place of the pipeline."""
    keeper = Keeper()
    before = context.set_processor(keeper)
    switch = sampling.switch.sampler, sampling.switch.paused
    sampling.switch.sampler, sampling.switch.paused = Sampler(), False
    yield keeper
    sampling.switch.sampler, sampling.switch.paused = switch
    context.set_processor(before)


@pytest.fixture
def no_failures() -> Iterator[None]:
    """Prove that nothing in the recording failed."""
    before = dict(counts)
    yield
    assert dict(counts) == before


@pytest.fixture
def unfinished() -> Iterator[None]:
    """Let go of the traces that a broken recording cannot end: their segments would be exported."""
    before = set(context.running)
    yield
    for number in set(context.running) - before:
        del context.running[number]


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """Make collections quick: what exists now is left out of them."""
    gc.collect()
    gc.freeze()
    heap.is_frozen = True
    yield
    heap.is_frozen = False


class Recording:
    """A trace taken by hand; ``trace`` is there after the block."""

    trace: Trace

    def __init__(self, active: ActiveTrace) -> None:
        self.active = active


@contextmanager
def recording(name: str = "test", *, segments: bool = False) -> Iterator[Recording]:
    """Record the block as a trace and have it assembled when it ends."""
    active = ActiveTrace(Kind.BLOCK, name, outer=context.current())
    active.held = not segments
    recorded = Recording(active)
    before = context.set_processor(None)
    context.begin(active)
    try:
        yield recorded
    finally:
        context.finish(active)
        context.set_processor(before)
        recorded.trace = assembled(active)
