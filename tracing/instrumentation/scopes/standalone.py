"""Standalone dispatches: outside any unit of work each is its own trace."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

from django.core.signals import request_finished
from django.utils.autoreload import autoreload_started, file_changed

from tracing.instrumentation import context
from tracing.instrumentation.buffer import LEFT, OVER, ActiveTrace, Buffer, discard_buffer
from tracing.instrumentation.context import current, running, set_current
from tracing.instrumentation.failures import failed
from tracing.instrumentation.sampling import decide, switch
from tracing.instrumentation.scopes.handling import around_unrecorded
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.dispatch import Signal


def begin_standalone(signal: Signal) -> Buffer | None:
    """Begin the trace of a standalone dispatch; None if it is not recorded.

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
        trace = ActiveTrace(
            Kind.DISPATCH,
            "",
            parent_trace_id=ended.trace_id if ended is not None else "",
            outer=outer if ended is None else None,
        )
        context.begin(trace)
        return trace.root
    except Exception as error:
        try:
            failed("begin_standalone", error)
        except RecursionError:
            pass  # The end of the stack is the application's to meet.
        return None


def record_elsewhere(
    signal: Signal, buffer: Buffer
) -> tuple[Buffer, Callable[[Buffer | None], None] | None]:
    """Return where a thread that does not write *buffer* records.

    And what ends it, if it is a trace of its own: the request of *buffer* may be over.
    """
    if buffer.ident == LEFT and signal is request_finished:
        # It ends the request; nobody need ask whether that is over.
        handling = buffer.handling
        if handling is None or handling.ident == get_ident():
            return buffer, None
        return buffer.trace.branch(buffer, get_ident()), None  # type: ignore[union-attr]
    found = buffer.here()
    if found is not OVER:
        return (found if found.events is not None else discard_buffer()), None
    begun = begin_standalone(signal)
    if begun is None or begun.events is None:
        return discard_buffer(), None
    return begun, finish_standalone


def finish_standalone(buffer: Buffer | None) -> None:
    """End the trace that ``begin_standalone`` began. Idempotent."""
    trace = buffer.trace if buffer is not None else None
    # After the end of an unrecorded request the buffer may be that of what is around it.
    if trace is None or trace.kind is not Kind.DISPATCH or trace.root is not buffer:
        return
    try:
        context.finish(trace)
    except RecursionError:
        # At the end of the stack there is no frame left to finish in: it is given up here, by calls of
        # C functions alone.
        buffer.ended = True
        buffer.events = None
        running.pop(buffer.number, None)
        if current() is buffer:
            set_current(buffer.outer)
    except Exception as error:
        failed("finish_standalone", error)
