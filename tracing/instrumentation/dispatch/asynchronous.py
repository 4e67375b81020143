"""The timed ``Signal.asend`` and ``asend_robust``; see ``synchronous``."""

from __future__ import annotations

import asyncio
from functools import partial
from sys import _getframe as getframe
from threading import get_ident
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.dispatch import Signal, dispatcher

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.attributes.callsites import place_of
from tracing.instrumentation.attributes.names import qualname_of
from tracing.instrumentation.boundaries import begin as begin_boundary
from tracing.instrumentation.boundaries import both, boundaries
from tracing.instrumentation.buffer import BUFFER_LIMIT, Buffer
from tracing.instrumentation.context import current
from tracing.instrumentation.dispatch.coroutines import (
    RUNS_PARALLEL,
    awaitables,
    call_batch,
    dispatch_keys,
    drop,
    no_receivers,
)
from tracing.instrumentation.dispatch.orphans import count_orphan
from tracing.instrumentation.dispatch.receivers import is_orphan, is_overridden, labelled, resolved
from tracing.instrumentation.dispatch.refused import unseen_frame, watched
from tracing.instrumentation.failures import failed
from tracing.instrumentation.scopes import requests
from tracing.instrumentation.scopes.handling import SENDING
from tracing.instrumentation.scopes.standalone import (
    begin_standalone,
    finish_standalone,
    record_elsewhere,
)
from tracing.instrumentation.words import ASYNC_CLOSE, ASYNC_OPEN, NO_DETAILS, VALUES
from tracing.spans.records import Method

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from types import FrameType

    from tracing.instrumentation.connections.receivers import (
        CachedReceivers,
        ResolvedReceivers,
        UncachedReceivers,
    )
    from tracing.instrumentation.dispatch.options import Options


def opening_of(
    method: Method,
    key: int,
    cached: CachedReceivers | UncachedReceivers | ResolvedReceivers,
    sender: Any,
    named: dict[str, Any],
    frame: FrameType | None,
    options: Options,
) -> tuple[Any, ...]:
    """Return the item with which an async dispatch opens."""
    code = None
    instruction = 0
    if options.callsite:
        code, instruction = place_of(frame)
    details: tuple[Any, ...] = NO_DETAILS
    if options.details and cached.details is not None:
        details = cached.details(sender, named)
    return (ASYNC_OPEN, clock(), key, cached.number, method.value, code, instruction, *details)


def end_of_request(frame: FrameType | None) -> Callable[..., None]:
    """Return what ends a request whose end *frame* has sent."""
    if frame is not None and frame.f_code is SENDING:
        return requests.finished_without_response
    return requests.finished


def async_sender(
    method: Method, original: Callable[..., Any], options: Options
) -> Callable[..., Coroutine[Any, Any, list[tuple[Any, Any]]]]:
    """Return the timed ``asend`` that stands in for *original*.

    One function, as ``send`` is: what it awaits has to be awaited by the frame that Django has there.
    """
    robust = method is Method.ASEND_ROBUST

    async def asend(self: Signal, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        after: Callable[[Buffer | None], None] | None = None
        if self is request_started:
            requests.started(named)
        elif id(self) in boundaries:
            after = begin_boundary(self, named)
        cache = self.sender_receivers_cache
        if not self.receivers or is_orphan(cache.get(watched(self, sender, method))):
            if current() is not None:
                count_orphan(self, sender)
                if self is request_finished:
                    end_of_request(getframe(1))()
            if after is not None:
                after(None)
            return []
        if "signal" in named:
            with unseen_frame:
                return await original(self, sender, **named)  # type: ignore[no-any-return]
        cached: Any
        cached, live, live_async = resolved(self, sender)
        if live_async is None:
            live, live_async = self._live_receivers(sender)
            if is_overridden(self):
                cached = labelled(self, sender, live, live_async)
        if not live and not live_async:
            if current() is not None:
                count_orphan(self, sender)
            cached = None

        merged = {"signal": self, "sender": sender, **named}
        buffer: Buffer | None = None
        root: Buffer | None = None
        opened: list[Any] | None = None
        key, escaped = 0, ""
        try:
            buffer = current()
            if self is request_finished:
                after = end_of_request(getframe(1))
            if (buffer is None or buffer.ended) and (live or live_async):
                buffer = None
                after = finish_standalone if after is None else both(finish_standalone, after)
                root = buffer = begin_standalone(self)
            root = buffer
            try:
                if buffer is not None and buffer.events is not None and buffer.ident != get_ident():
                    buffer, ends = record_elsewhere(self, buffer)
                    if ends is not None:
                        root, after = buffer, ends
                events = buffer.events if buffer is not None else None
                if buffer is None or events is None or cached is None:
                    buffer = None
                elif len(events) >= BUFFER_LIMIT:
                    drop(buffer)
                    buffer = None
                else:
                    key = next(dispatch_keys)
                    opening = opening_of(method, key, cached, sender, named, getframe(1), options)
                    opened = events
                    events += opening
                    if options.values is not None:
                        events += (VALUES, key, options.values.named(named))
            except Exception as error:
                failed("async opening", error)
                buffer = None

            sync_send: Callable[[], Awaitable[list[tuple[Any, Any]]]]
            if live:
                sync_send = sync_to_async(
                    partial(call_batch, self, live, merged, robust, buffer, key, clock())
                )
            else:
                sync_send = no_receivers

            waiting: Generator[Any, None, None]
            if buffer is None and not robust:
                waiting = (receiver(**merged) for receiver in live_async)
            else:
                waiting = awaitables(self, merged, live_async, robust, buffer, key, len(live))
            if RUNS_PARALLEL:
                # Django 6.1 finishes the sync receivers first.
                responses = await sync_send()
                async_responses = await dispatcher._run_parallel(*waiting)  # type: ignore[attr-defined]
            else:
                responses, async_responses = await asyncio.gather(
                    sync_send(), asyncio.gather(*waiting)
                )
            responses.extend(zip(live_async, async_responses, strict=False))
            return responses
        except BaseException as err:
            __tracebackhide__ = True
            escaped = qualname_of(type(err))
            raise
        finally:
            try:
                if opened is not None:
                    end = 0
                    try:
                        end = clock()
                    finally:
                        # Nothing is called between, so that nobody can interrupt again.
                        opened += (ASYNC_CLOSE, end, key, escaped)
            finally:
                if after is not None:
                    try:
                        after(root)
                    except BaseException:
                        after(root)
                        raise

    return asend
