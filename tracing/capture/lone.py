"""Lone dispatches: a dispatch outside any request, command, task, test or block is its own trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.autoreload import autoreload_started, file_changed

from tracing.capture import context
from tracing.capture.context import LiveTrace, Stream, current
from tracing.capture.failures import failed
from tracing.capture.sampling import decide
from tracing.capture.spans import Kind

if TYPE_CHECKING:
    from django.dispatch import Signal


def begin_lone(signal: Signal) -> Stream | None:
    """Begin the trace of a lone dispatch and return its stream; None if it is not to be recorded.

    What the development server's reloader sends is not: one dispatch for each file that it sees changed.
    """
    try:
        if signal is file_changed or signal is autoreload_started or not decide(Kind.DISPATCH, ""):
            return None
        outer = current()
        # What goes on after the end of its trace, or in a process forked from it, knows that trace.
        ended = outer if outer is not None and outer.ended else None
        trace = LiveTrace(
            Kind.DISPATCH,
            "",
            parent_trace_id=ended.trace.trace_id if ended and ended.trace else "",
            outer=None if ended else outer,
        )
        context.begin(trace)
        return trace.root
    except Exception as error:
        failed("begin_lone", error)
        return None


def finish_lone(stream: Stream | None) -> None:
    """End the trace that ``begin_lone`` began."""
    try:
        if stream is not None and stream.trace is not None:
            context.finish(stream.trace)
    except Exception as error:
        failed("finish_lone", error)
