"""What is running now: which stream a thread or a task writes, and how traces begin and end."""

from __future__ import annotations

import contextvars
import os
from time import perf_counter_ns as clock
from typing import Protocol

from tracing.instrumentation.buffer import LEFT, LiveTrace, Stream


class Processor(Protocol):
    """What is told of live traces; the pipeline is one."""

    def on_start(self, trace: LiveTrace) -> None:
        """Take note of a trace that has begun. Called on the traced thread."""

    def on_end(self, trace: LiveTrace) -> None:
        """Take over a trace that has ended. Called on the traced thread."""


def _after_fork() -> None:
    """Leave the traces that are running to the parent: it goes on with them and exports them.

    What the child sends from here on are lone dispatches, which know the trace it was forked in.
    """
    streams = [stream for trace in running.values() for stream in trace.streams]
    now = current()
    if now is not None and now.trace is not None:
        streams.append(now)
    for trace in running.values():
        trace.excluded = True
        trace.end = clock()
    running.clear()
    for stream in streams:
        stream.ended = True
        stream.events = stream.recorded = stream.unheard = None


os.register_at_fork(after_in_child=_after_fork)


_current: contextvars.ContextVar[Stream | None] = contextvars.ContextVar(
    "tracing.stream", default=None
)
current = _current.get
"""Return the stream of the running context, None outside any trace."""

make_current = _current.set
"""Make a stream the running one."""


def running_in(held: contextvars.Context) -> Stream | None:
    """Return what is the running stream in *held*."""
    return held.get(_current)


def leave_out(word: str, outer: Stream | None, *, suppresses: bool = False) -> Stream:
    """Record nothing from now on, until ``close`` is called with the stream that is returned.

    Args:
        word: What it is that is left out.
        outer: What is running now.
        suppresses: Leave out the traces that begin in it, too.
    """
    stream = Stream(None, 0, (word, 0, 0))
    stream.outer = outer
    if suppresses:
        stream.suppresses = True
    make_current(stream)
    return stream


processor: Processor | None = None
"""Who is told of live traces. One per process; set by ``set_processor``."""

running: dict[int, LiveTrace] = {}
"""Traces that have begun and not ended, by the number of their root stream."""


def set_processor(new: Processor | None) -> Processor | None:
    """Send live traces to *new* from now on, and return what received them before."""
    global processor
    previous, processor = processor, new
    return previous


def begin(trace: LiveTrace) -> None:
    """Make *trace* the one that the running context records into."""
    # First what may fail: a trace that nobody will finish must not become the running one.
    try:
        if processor is not None:
            processor.on_start(trace)
        running[trace.root.number] = trace
        make_current(trace.root)
    except BaseException:
        # Somebody interrupts: whoever began it will not learn of it.
        trace.excluded = True
        finish(trace)
        raise


def finish(trace: LiveTrace) -> None:
    """End *trace* and hand it over. The context goes back to what it was in before.

    Idempotent, and done to the end also where somebody interrupts it.
    """
    try:
        _finish(trace)
    except BaseException:
        _finish(trace, again=True)
        raise


def _finish(trace: LiveTrace, *, again: bool = False) -> None:
    if trace.end is None:
        trace.end = clock()
    for stream in trace.streams:
        stream.ended = True
        stream.events = None
    close(trace.root)
    if running.pop(trace.root.number, None) is None and not again:
        return  # The worker was quicker.
    if processor is not None and not trace.excluded and not trace.submitted:
        processor.on_end(trace)


def end(stream: Stream) -> None:
    """End the trace whose root *stream* is, or what it leaves out as a whole. Idempotent."""
    if stream.trace is not None:
        finish(stream.trace)
    else:
        close(stream)


def close(stream: Stream) -> None:
    """End what *stream* stands for, and go back to what is still running around it if it is running.

    Blocks may end in another order than they began in: two generators that take turns, say.
    """
    stream.ended = True
    now = current()
    if now is stream or (now is not None and now.trace is stream.trace is not None):
        make_current(living(stream.outer))


def living(stream: Stream | None) -> Stream | None:
    """Return *stream*, or what is still running around it if it has ended."""
    while (
        stream is not None
        and stream.ended
        # An unrecorded request whose response has left is still around.
        and (stream.trace is not None or stream.handling is None)
    ):
        stream = stream.outer if stream.trace is None else stream.trace.root.outer
    return stream


def running_stream() -> Stream | None:
    """Return what is running, where something is about to begin in it.

    First ends the blocks whose ``with`` statement was left without a word: somebody interrupted there.
    """
    stream = current()
    while stream is not None and stream.trace is not None and is_abandoned(stream.trace):
        finish(stream.trace)
        stream = current()
    return stream


def is_abandoned(trace: LiveTrace) -> bool:
    """Return whether *trace* is that of a block that was left, and nobody has said so."""
    return trace.end is None and trace.holder is not None and trace.holder() is None


def current_trace() -> LiveTrace | None:
    """Return the trace of the running context, None outside any or where nothing is recorded."""
    return trace_around(current())


def trace_around(stream: Stream | None) -> LiveTrace | None:
    """Return the trace of which what begins here is part, where *stream* is the running one."""
    if stream is None:
        return None
    if stream.ident == LEFT:
        stream = stream.here()
    return stream.trace if not stream.ended else None


def enter(stream: Stream | None) -> Stream | None:
    """Make *stream* the running one and return what was, for ``leave``."""
    before = current()
    _current.set(stream)
    return before


def leave(before: Stream | None) -> None:
    """Put back what ``enter`` returned."""
    _current.set(before)
