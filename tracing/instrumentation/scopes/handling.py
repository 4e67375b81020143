"""The end of requests whose responses are never closed.

``request_finished`` is sent by ``response.close()``, which a server has to call. A test that leaves a
streaming response discard_buffer, an exception that goes through all of Django, a server that forgets: none
of them calls it. Where the middleware saw the response leave is where such a request has ended.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from asyncio import _get_running_loop
from threading import get_ident
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation import buffer as recording_buffer
from tracing.instrumentation import context
from tracing.instrumentation.buffer import LEFT, OVER, Buffer
from tracing.instrumentation.context import enter
from tracing.instrumentation.inlining import code_of
from tracing.spans.records import UNFINISHED, Kind

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from tracing.instrumentation.buffer import ActiveTrace

SENDING: Final = code_of(ASGIHandler.handle)
HANDLERS: Final[set[CodeType | None]] = {code_of(WSGIHandler.__call__), SENDING}
"""Code that is on the stack while a request is being handled, once for each."""

_CLOSING: Final[set[CodeType | None]] = {code_of(HttpResponseBase.close)}
"""Code that is on the stack while a response is being closed or, by a test client, read."""

_INERT: Final[tuple[type, ...]] = (type(iter([])), type(iter(())), type(iter(b"")))
"""Iterators that run no code of the application."""

NOT_CLOSED: Final = (
    "request_finished was not sent: the response was not closed before other work began"
)
"""Why a trace that ended so is unfinished."""


def _know_test_clients() -> None:
    """Learn the handlers of Django's test clients, once imported."""
    client = sys.modules.get("django.test.client")
    if client is None or code_of(client.ClientHandler.__call__) in HANDLERS:
        return
    HANDLERS.update(
        map(code_of, (client.ClientHandler.__call__, client.AsyncClientHandler.__call__))
    )
    for name in ("closing_iterator_wrapper", "aclosing_iterator_wrapper"):
        _CLOSING.add(code_of(getattr(client, name, None)))


class Handling:
    """The handling of one request: who does it, and what was seen of its end."""

    __slots__ = ("ident", "is_known", "is_sent", "left", "response", "sender_task", "task")

    def __init__(self) -> None:
        self.ident = get_ident()
        self.task: weakref.ref[asyncio.Task[Any]] | None = None
        """The task that handles it, under ASGI."""
        self.sender_task: weakref.ref[asyncio.Task[Any]] | None = None
        """The task in which the response left the middleware; Django 5.2 sends it from there."""
        self.left: int | None = None
        """When the response, or what was raised in its place, left the middleware."""
        self.response: weakref.ref[Any] | None = None
        handler = _handler()
        self.is_known = handler is not None
        """Whether a handler of Django's is on the stack: what is not there once may be so always."""
        self.is_sent = handler is SENDING
        """Whether that handler sends the response to the end, and tells so, before its task is over."""
        if _get_running_loop() is not None:
            task = asyncio.current_task()
            self.task = weakref.ref(task) if task is not None else None

    def is_same_place(self) -> bool:
        """Return whether the handling began in this thread and task."""
        if self.ident != get_ident():
            return False
        task = self.task() if self.task is not None else None
        return task is None or (_get_running_loop() is not None and asyncio.current_task() is task)

    def has_no_task(self) -> bool:
        """Return whether the task that handled it is through."""
        if self.task is None:
            return False
        task = self.task()
        return task is None or task.done()

    def is_streaming(self, *, unless_known: bool) -> bool:
        """Return whether the application is making the body at this moment.

        *unless_known* is the answer where nothing tells: the body is made by no generator.
        """
        response = self.response() if self.response is not None else None
        if response is None or isinstance(response, HttpResponse | FileResponse):
            return False
        iterator = getattr(response, "_iterator", None)
        if type(iterator) is GeneratorType:
            return iterator.gi_running
        if type(iterator) is AsyncGeneratorType:
            return iterator.ag_running
        return unless_known and type(iterator) not in _INERT


def _handler() -> CodeType | None:
    """Return the code of the handler that begins the request, if it is near."""
    _know_test_clients()
    frame: FrameType | None = sys._getframe(2)
    for _ in range(6):
        if frame is None or frame.f_code in HANDLERS:
            break
        frame = frame.f_back
    return frame.f_code if frame is not None and frame.f_code in HANDLERS else None


def handling_of(buffer: Buffer | None) -> Handling | None:
    """Return the handling of the request of *buffer*, or None."""
    if buffer is None:
        return None
    root = buffer.trace.root if buffer.trace is not None else buffer
    handling: Handling | None = root.handling
    return handling


def _count(frame: FrameType | None, own: int = 0) -> tuple[int, bool]:
    """Return how many requests the callers handle, and if one is closing.

    The innermost *own* of them are left out.
    """
    handlers = -own
    closing = False
    while frame is not None:
        code = frame.f_code
        if code in HANDLERS:
            handlers += 1
        elif handlers == 0 and code in _CLOSING:
            closing = True
        frame = frame.f_back
    return handlers, closing


def is_inside(buffer: Buffer, beginning: Handling | None = None) -> bool:
    """Return whether what runs here is part of the request of *buffer*.

    Args:
        buffer: The root of a request that is the running one.
        beginning: Another request that is about to begin, whose handler may be on the stack as well.
    """
    handling = buffer.handling
    if handling is None:
        return True
    if handling.has_no_task():
        return False
    if not handling.is_known or not handling.is_same_place():
        return True
    if handling.left is not None and handling.is_streaming(unless_known=beginning is None):
        return True
    own = beginning.is_known if beginning is not None else 0
    handlers, closing = _count(sys._getframe(1), own)
    return closing or handlers >= 1 + _handled_around(buffer, handling)


def is_over(handling: Handling) -> bool:
    """Return whether nothing can tell of the end of a request any more."""
    if handling.has_no_task():
        return True
    return handling.left is not None and (handling.response is None or handling.response() is None)


def _handled_around(buffer: Buffer, handling: Handling) -> int:
    """Return how many requests around that of *buffer* are on this stack."""
    count = 0
    outer = buffer.outer
    while outer is not None:
        root = outer.trace.root if outer.trace is not None else outer
        around = root.handling
        if around is not None and around.is_known and around.left is None:
            count += around.ident == handling.ident and around.task == handling.task
        outer = root.outer
    return count


def response_left(buffer: Buffer, response: HttpResponseBase | None) -> None:
    """Note that the request of *buffer* is answered.

    Whatever is recorded from here on, in the thread that handles it, asks first whether it still is
    part of it.

    Args:
        buffer: What was the running one when the request came to the middleware.
        response: What was answered; None if an exception left in its place.
    """
    root = buffer.trace.root if buffer.trace is not None else buffer
    handling = root.handling
    if handling is None or root.ended:
        return
    _end_inner(buffer)
    handling.left = clock()
    handling.response = weakref.ref(response) if response is not None else None
    if _get_running_loop() is not None:
        task = asyncio.current_task()
        handling.sender_task = weakref.ref(task) if task is not None else None
    if root.trace is None:
        # Nothing is recorded into it; that it has ended makes a dispatch ask.
        root.ended = True
        return
    if root.ident == handling.ident:
        # Orphans are counted without asking: apart, until it is known whose it is.
        root.counted_before, root.orphans = root.orphans, {}
        root.ident = LEFT


def _end_inner(buffer: Buffer) -> None:
    """End the inner requests of *buffer* that were never closed."""
    inner = context.current()
    while inner is not None and inner is not buffer:
        handling = inner.handling
        if handling is None or handling.left is None:
            return
        if inner.trace is not None and inner.trace.end is None:
            end_untold(inner.trace)
        else:
            enter(inner.outer)
        inner = context.current()


def ask_here(buffer: Buffer) -> Buffer:
    """Return where to record after the response of *buffer* left.

    What a body does that is read later is part of the request; what is done meanwhile is not.
    """
    handling = buffer.handling
    trace = buffer.trace
    if handling is None or trace is None:
        return buffer
    if is_inside(buffer):
        if handling.ident != get_ident():
            return trace.branch(buffer, get_ident())
        handling.left = clock()
        return buffer
    outer = buffer.outer
    if is_over(handling):
        end_untold(trace)
    while outer is not None and outer.ended:
        outer = outer.outer
    if outer is None:
        return OVER
    return outer if outer.ident == get_ident() else outer.here()


recording_buffer.ask_here = ask_here


def around_unrecorded(buffer: Buffer) -> Buffer | None:
    """Return an unrecorded request's *buffer*, or what is around it."""
    handling = buffer.handling
    if handling is None or is_inside(buffer):
        return buffer
    if is_over(handling) and context.current() is buffer:
        enter(buffer.outer)
    return buffer.outer


def around(buffer: Buffer | None) -> Buffer | None:
    """Return *buffer*, or what is around it if its request is answered."""
    if buffer is None:
        return None
    if buffer.ident == LEFT:
        found = ask_here(buffer)
        return found if found is not OVER else None
    handling = buffer.handling
    if buffer.trace is None and handling is not None and handling.left is not None:
        return around_unrecorded(buffer)
    return buffer


def end_untold(trace: ActiveTrace) -> None:
    """End *trace* where its response left, its end untold."""
    root = trace.root
    handling = root.handling
    if handling is not None and handling.left is not None:
        trace.end = trace.end or handling.left
        if root.counted_before is not None:
            root.orphans, root.counted_before = root.counted_before, None
    trace.attributes[UNFINISHED] = NOT_CLOSED
    context.finish(trace)


def was_cut(buffer: Buffer) -> bool:
    """Return whether the task sending the response was cancelled."""
    handling = handling_of(buffer)
    if handling is None or handling.sender_task is None:
        return False
    task = handling.sender_task()
    return task is not None and task.cancelling() > 0


def end_abandoned() -> list[Any]:
    """End the requests whose end nobody can tell; a drain.

    Their task is over, since a server that cancels it lets it send no ``request_finished``; or their
    response is gone and was not closed.
    """
    for trace in list(context.running.values()):
        handling = trace.root.handling
        if handling is None or trace.end is not None or trace.kind is not Kind.REQUEST:
            continue
        if handling.has_no_task():
            if not trace.error and (trace.http_status is None or handling.is_sent):
                trace.cancelled = True
            end_untold(trace)
        elif _is_forgotten(handling):
            end_untold(trace)
    return []


def _is_forgotten(handling: Handling) -> bool:
    """Return whether the response left its handler and is gone."""
    if handling.left is None or handling.task is not None or not handling.is_known:
        return False
    return is_over(handling) and _count(sys._current_frames().get(handling.ident))[0] == 0
