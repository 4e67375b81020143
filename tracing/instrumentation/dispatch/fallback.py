"""The send methods on a release of Django that was not verified.

Which receivers a dispatch has is known, when each of them ran is not: their outcome is unknown, and
what they send is not put under one of them. A system check says so.
"""

from __future__ import annotations

from itertools import count
from sys import _getframe as getframe
from threading import get_ident
from typing import TYPE_CHECKING, Any

from django.core.signals import request_finished, request_started
from django.db.models.signals import post_init, pre_init

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.attributes.names import qualname_of
from tracing.instrumentation.boundaries import begin as begin_boundary
from tracing.instrumentation.boundaries import both, boundaries
from tracing.instrumentation.buffer import BUFFER_LIMIT, Buffer
from tracing.instrumentation.context import current
from tracing.instrumentation.dispatch.asynchronous import opening_of
from tracing.instrumentation.dispatch.coroutines import drop
from tracing.instrumentation.dispatch.orphans import count_orphan
from tracing.instrumentation.dispatch.receivers import resolve_live
from tracing.instrumentation.failures import failed
from tracing.instrumentation.scopes import requests
from tracing.instrumentation.scopes.standalone import (
    begin_standalone,
    finish_standalone,
    record_elsewhere,
)
from tracing.instrumentation.words import ASYNC_CLOSE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from django.dispatch import Signal

    from tracing.instrumentation.dispatch.options import Options
    from tracing.spans.records import Method

_keys = count(-1, -1)
"""Negative, so that they never meet those of the timed loops."""


class UntimedDispatch:
    """A dispatch that is recorded whole, and nothing inside it."""

    __slots__ = ("_after", "_buffer", "_key", "_root")

    def __init__(self) -> None:
        self._buffer: Buffer | None = None
        self._key = 0
        self._after: Callable[[Buffer | None], None] | None = None
        self._root: Buffer | None = None

    def begin(
        self, signal: Signal, sender: Any, named: dict[str, Any], method: Method, options: Options
    ) -> None:
        """Open it in the running trace, or in one of its own. Never raises."""
        try:
            if signal is request_started:
                requests.started(named)
            elif signal is request_finished:
                self._after = requests.finished
            elif id(signal) in boundaries:
                self._after = begin_boundary(signal, named)
            elif not signal.receivers and (signal is pre_init or signal is post_init):
                return
            self._open(signal, sender, named, method, options)
        except Exception as error:
            failed("fallback", error)

    def _open(
        self, signal: Signal, sender: Any, named: dict[str, Any], method: Method, options: Options
    ) -> None:
        cached, live, live_async = (
            resolve_live(signal, sender) if signal.receivers else (None, [], [])
        )
        buffer = current()
        if not live and not live_async:
            if buffer is not None:
                count_orphan(signal, sender)
            return
        if buffer is None or buffer.ended:
            after = self._after
            self._after = finish_standalone if after is None else both(finish_standalone, after)
            self._root = buffer = begin_standalone(signal)
        if buffer is None or buffer.events is None or cached is None:
            return
        if buffer.ident != get_ident():
            buffer, ends = record_elsewhere(signal, buffer)
            if ends is not None:
                self._root, self._after = buffer, ends
        events = buffer.events
        if events is None or len(events) >= BUFFER_LIMIT:
            drop(buffer)
            return
        key = next(_keys)
        # Three frames out: this one, begin() and the method that stands in for Django's.
        opening = opening_of(method, key, cached, sender, named, getframe(3), options)
        self._buffer, self._key = buffer, key
        events += opening

    def end(self, escaped: str) -> None:
        """Close it; *escaped* names what left it, if anything. Never raises."""
        try:
            if self._buffer is not None and self._buffer.recorded is not None:
                self._buffer.recorded.extend((ASYNC_CLOSE, clock(), self._key, escaped))
            if self._after is not None:
                self._after(self._root)
        except Exception as error:
            failed("fallback", error)


def whole_sender(
    method: Method, original: Callable[..., Any], options: Options
) -> Callable[..., Any]:
    """Return a ``send`` that records the dispatch as a whole."""

    def send(self: Signal, sender: Any, **named: Any) -> Any:
        whole = UntimedDispatch()
        escaped = ""
        try:
            whole.begin(self, sender, named, method, options)
            return original(self, sender, **named)
        except BaseException as error:
            escaped = qualname_of(type(error))
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        finally:
            try:
                whole.end(escaped)
            except BaseException:
                whole.end(escaped)
                raise

    return send


def whole_async_sender(
    method: Method, original: Callable[..., Any], options: Options
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return an ``asend`` that records the dispatch as a whole."""

    async def asend(self: Signal, sender: Any, **named: Any) -> Any:
        whole = UntimedDispatch()
        escaped = ""
        try:
            whole.begin(self, sender, named, method, options)
            return await original(self, sender, **named)
        except BaseException as error:
            escaped = qualname_of(type(error))
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        finally:
            try:
                whole.end(escaped)
            except BaseException:
                whole.end(escaped)
                raise

    return asend
