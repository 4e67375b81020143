"""Recording by hand: live traces are kept and assembled when asked, nothing is exported."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tracing.instrumentation import context, patching, sampling
from tracing.instrumentation.assembly.assembler import assemble_ended
from tracing.instrumentation.buffer import ActiveTrace
from tracing.instrumentation.connections import changes
from tracing.instrumentation.failures import counts
from tracing.instrumentation.sampling import Sampler
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.spans.records import Trace


class Keeper:
    """A processor that keeps what ended and assembles it when asked, as the pipeline would."""

    def __init__(self) -> None:
        self.ended: list[ActiveTrace] = []

    def on_start(self, trace: ActiveTrace) -> None:
        pass

    def on_end(self, trace: ActiveTrace) -> None:
        self.ended.append(trace)

    def traces(self) -> list[Trace]:
        """Return the finished spans of what ended since the last call, in order of ending."""
        ended, self.ended = self.ended, []
        return [assemble_ended(live) for live in ended]

    @contextmanager
    def block(self, name: str = "block") -> Iterator[ActiveTrace]:
        """Run a trace of its own."""
        live = ActiveTrace(Kind.BLOCK, name, outer=context.current())
        context.begin(live)
        try:
            yield live
        finally:
            context.finish(live)


@contextmanager
def keeping() -> Iterator[Keeper]:
    """Instrument, and receive all live traces in place of the pipeline; no failure of our own."""
    keeper = Keeper()
    before = context.set_processor(keeper)
    switch = sampling.switch.sampler, sampling.switch.paused
    sampling.switch.sampler, sampling.switch.paused = Sampler(), False
    failures = dict(counts)
    was_instrumented = patching.is_instrumented()
    undo = patching.instrument()
    changes.take_waiting()
    try:
        yield keeper
    finally:
        if not was_instrumented:
            undo()
        sampling.switch.sampler, sampling.switch.paused = switch
        context.set_processor(before)
        changes.take_waiting()
    assert dict(counts) == failures
    assert context.current() is None
