"""The running traces: their buffers, beginnings and ends."""

from __future__ import annotations

import contextvars
import os
from typing import Final, Protocol

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation import sampling
from tracing.instrumentation.buffer import LEFT, ActiveTrace, Buffer

OWN: Final = "own"
"""Why the tracer's own work is left out."""


class Processor(Protocol):
    """A listener to active traces; the pipeline is one."""

    def on_start(self, trace: ActiveTrace) -> None:
        """Take note of a trace that has begun. Called on the traced thread."""

    def on_end(self, trace: ActiveTrace) -> None:
        """Take over a trace that has ended. Called on the traced thread."""


def _after_fork() -> None:
    """Leave the running traces to the parent process.

    What the child sends from here on are standalone dispatches, which know the trace it was forked in.
    """
    buffers = [buffer for trace in running.values() for buffer in trace.buffers]
    now = current()
    if now is not None and now.trace is not None:
        buffers.append(now)
    for trace in running.values():
        trace.excluded = True
        trace.end = clock()
    running.clear()
    for buffer in buffers:
        buffer.ended = True
        buffer.events = buffer.recorded = buffer.orphans = None


os.register_at_fork(after_in_child=_after_fork)


_current: contextvars.ContextVar[Buffer | None] = contextvars.ContextVar(
    "tracing.buffer", default=None
)
current = _current.get
"""Return the buffer of the running context, None outside any trace."""

set_current = _current.set
"""Make a buffer the running one."""


def running_in(held: contextvars.Context) -> Buffer | None:
    """Return what is the running buffer in *held*."""
    return held.get(_current)


def leave_out(
    word: str, outer: Buffer | None, *, suppresses: bool = False, reason: str = ""
) -> Buffer:
    """Record nothing from now on, until ``close`` is called.

    Args:
        word: What it is that is left out.
        outer: What is running now.
        suppresses: Leave out the traces that begin in it, too.
        reason: Why; the sampling unless given, and nobody is told of ``own``.
    """
    reason = reason or ("paused" if sampling.switch.paused else "sampled")
    if reason != OWN:
        sampling.left_out[reason] += 1
        around = trace_around(outer)
        if around is not None:
            around.left_out += 1
    buffer = Buffer(None, 0, (word, 0, 0))
    buffer.outer = outer
    if suppresses:
        buffer.suppresses = True
    try:
        set_current(buffer)
    except BaseException:
        set_current(outer)  # Somebody interrupts: whoever began it will not learn of it.
        raise
    return buffer


processor: Processor | None = None
"""Who is told of active traces. One per process; set by ``set_processor``."""

running: dict[int, ActiveTrace] = {}
"""Traces that have begun and not ended, by the number of their root buffer."""


def set_processor(new: Processor | None) -> Processor | None:
    """Send active traces to *new*; return what received them before."""
    global processor
    previous, processor = processor, new
    return previous


def begin(trace: ActiveTrace) -> None:
    """Make *trace* the one that the running context records into."""
    # First what may fail: a trace that nobody will finish must not become the running one.
    try:
        if processor is not None:
            processor.on_start(trace)
        running[trace.root.number] = trace
        set_current(trace.root)
    except BaseException:
        # Somebody interrupts: whoever began it will not learn of it.
        trace.excluded = True
        finish(trace)
        raise


def finish(trace: ActiveTrace) -> None:
    """End *trace* and hand it over, back in the context before.

    Idempotent, and done to the end also where somebody interrupts it.
    """
    try:
        _finish(trace)
    except BaseException:
        _finish(trace, again=True)
        raise


def _finish(trace: ActiveTrace, *, again: bool = False) -> None:
    if trace.end is None:
        trace.end = clock()
    for buffer in trace.buffers:
        buffer.ended = True
        buffer.events = None
    close(trace.root)
    if running.pop(trace.root.number, None) is None and not again:
        return  # The worker was quicker.
    if processor is not None and not trace.excluded and not trace.submitted:
        processor.on_end(trace)


def end(buffer: Buffer) -> None:
    """End the trace, or what is left out, of the root *buffer*. Idempotent."""
    if buffer.trace is not None:
        finish(buffer.trace)
    else:
        close(buffer)


def close(buffer: Buffer) -> None:
    """End what *buffer* stands for, and go back to what is around it.

    Blocks may end in another order than they began in: two generators that take turns, say.
    """
    buffer.ended = True
    now = current()
    if now is buffer or (now is not None and now.trace is buffer.trace is not None):
        set_current(living(buffer.outer))


def living(buffer: Buffer | None) -> Buffer | None:
    """Return *buffer*, or what is still running around it if it has ended."""
    while (
        buffer is not None
        and buffer.ended
        # An unrecorded request whose response has left is still around.
        and (buffer.trace is not None or buffer.handling is None)
    ):
        buffer = buffer.outer if buffer.trace is None else buffer.trace.root.outer
    return buffer


def running_buffer() -> Buffer | None:
    """Return what is running, where something is about to begin in it.

    First ends the blocks whose ``with`` statement was left without a word: somebody interrupted there.
    """
    buffer = current()
    while buffer is not None and buffer.trace is not None and is_abandoned(buffer.trace):
        finish(buffer.trace)
        buffer = current()
    return buffer


def is_abandoned(trace: ActiveTrace) -> bool:
    """Return whether *trace* is of a block that was left unsaid."""
    return trace.end is None and trace.holder is not None and trace.holder() is None


def current_trace() -> ActiveTrace | None:
    """Return the trace of the running context; None outside any."""
    return trace_around(current())


def span_id_of(trace: ActiveTrace) -> str:
    """Return the id of the current span of *trace*, a receiver's or its root.

    Receivers have ids while they run only where their spans are current for OpenTelemetry.
    """
    spans = trace.root.spans
    return (spans.current_id() if spans is not None else "") or trace.root_span_id


def trace_around(buffer: Buffer | None) -> ActiveTrace | None:
    """Return the trace around what begins while *buffer* is running."""
    if buffer is None:
        return None
    if buffer.ident == LEFT:
        buffer = buffer.here()
    return buffer.trace if not buffer.ended else None


def enter(buffer: Buffer | None) -> Buffer | None:
    """Make *buffer* the running one and return what was, for ``leave``."""
    before = current()
    _current.set(buffer)
    return before


def leave(before: Buffer | None) -> None:
    """Put back what ``enter`` returned."""
    _current.set(before)
