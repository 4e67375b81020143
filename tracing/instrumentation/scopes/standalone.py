"""Lone dispatches: a dispatch outside any request, command, task, test or block is its own trace."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

from django.core.signals import request_finished
from django.utils.autoreload import autoreload_started, file_changed

from tracing.instrumentation import context
from tracing.instrumentation.buffer import LEFT, OVER, LiveTrace, Stream, unread
from tracing.instrumentation.context import current, make_current, running
from tracing.instrumentation.failures import failed
from tracing.instrumentation.sampling import decide, switch
from tracing.instrumentation.scopes.handling import around_unrecorded
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.dispatch import Signal


def begin_lone(signal: Signal) -> Stream | None:
    """Begin the trace of a lone dispatch and return its stream; None if it is not to be recorded.

    What the development server's reloader sends is not: one dispatch for each file that it sees changed.
    """
    try:
        if (
            not switch.installed
            or signal is file_changed
            or signal is autoreload_started
            or not decide(Kind.DISPATCH, "")
        ):
            return None
        outer = current()
        if outer is not None and outer.trace is None and outer.handling is not None:
            # A request that is not recorded has been answered.
            around = around_unrecorded(outer)
            if around is outer:
                return None
            if around is not None and not around.ended:
                return around
        # What goes on after the end of its trace, or in a process forked from it, knows that trace.
        ended = outer.trace if outer is not None and outer.ended else None
        trace = LiveTrace(
            Kind.DISPATCH,
            "",
            parent_trace_id=ended.trace_id if ended is not None else "",
            outer=outer if ended is None else None,
        )
        context.begin(trace)
        return trace.root
    except Exception as error:
        failed("begin_lone", error)
        return None


def record_elsewhere(
    signal: Signal, stream: Stream
) -> tuple[Stream, Callable[[Stream | None], None] | None]:
    """Return where the running thread, which does not write *stream*, records a dispatch of *signal*.

    And what ends it, if it is a trace of its own: the request of *stream* may be over.
    """
    if stream.ident == LEFT and signal is request_finished:
        # It ends the request; nobody need ask whether that is over.
        handling = stream.handling
        if handling is None or handling.ident == get_ident():
            return stream, None
        return stream.trace.branch(stream, get_ident()), None  # type: ignore[union-attr]
    found = stream.here()
    if found is not OVER:
        return (found if found.events is not None else unread()), None
    begun = begin_lone(signal)
    if begun is None or begun.events is None:
        return unread(), None
    return begun, finish_lone


def finish_lone(stream: Stream | None) -> None:
    """End the trace that ``begin_lone`` began. Idempotent."""
    trace = stream.trace if stream is not None else None
    # After the end of an unrecorded request the stream may be that of what is around it.
    if trace is None or trace.kind is not Kind.DISPATCH or trace.root is not stream:
        return
    try:
        context.finish(trace)
    except RecursionError:
        # At the end of the stack there is no frame left to finish in: it is given up here, by calls of
        # C functions alone.
        stream.ended = True
        stream.events = None
        running.pop(stream.number, None)
        if current() is stream:
            make_current(stream.outer)
    except Exception as error:
        failed("finish_lone", error)
