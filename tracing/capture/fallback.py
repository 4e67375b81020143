"""The send methods on a release of Django that was not verified: recorded around Django's own.

Which receivers a dispatch has is known, when each of them ran is not: their outcome is unknown, and
what they send is not put under one of them. A system check says so.
"""

from __future__ import annotations

from itertools import count
from sys import _getframe as getframe
from threading import get_ident
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any

from tracing.capture.context import ASYNC_CLOSE, Stream, current
from tracing.capture.dispatching import Options, opening_of, resolve_live
from tracing.capture.failures import failed
from tracing.capture.names import qualname_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from django.dispatch import Signal

    from tracing.capture.spans import Method

_keys = count(-1, -1)
"""Negative, so that they never meet those of the timed loops."""


def _begin(
    signal: Signal, sender: Any, named: dict[str, Any], method: Method, options: Options
) -> tuple[Stream | None, int]:
    try:
        stream = current()
        if stream is None or stream.events is None or not signal.receivers:
            return None, 0
        if stream.ident != get_ident():
            stream = stream.here()
        wiring, live, live_async = resolve_live(signal, sender)
        if wiring is None or stream.events is None or not (live or live_async):
            return None, 0
        key = next(_keys)
        stream.events.append(opening_of(method, key, wiring, named, getframe(2), options))
        return stream, key
    except Exception as error:
        failed("fallback", error)
        return None, 0


def _end(stream: Stream | None, key: int, escaped: str) -> None:
    if stream is not None and stream.events is not None:
        stream.events.append((ASYNC_CLOSE, clock(), key, escaped))


def whole_sender(
    method: Method, original: Callable[..., Any], options: Options
) -> Callable[..., Any]:
    """Return a ``send`` or ``send_robust`` that records the dispatch as a whole."""

    def send(self: Signal, sender: Any, **named: Any) -> Any:
        stream, key = _begin(self, sender, named, method, options)
        escaped = ""
        try:
            return original(self, sender, **named)
        except BaseException as error:
            escaped = qualname_of(type(error))
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        finally:
            _end(stream, key, escaped)

    return send


def whole_async_sender(
    method: Method, original: Callable[..., Any], options: Options
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return an ``asend`` or ``asend_robust`` that records the dispatch as a whole."""

    async def asend(self: Signal, sender: Any, **named: Any) -> Any:
        stream, key = _begin(self, sender, named, method, options)
        escaped = ""
        try:
            return await original(self, sender, **named)
        except BaseException as error:
            escaped = qualname_of(type(error))
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        finally:
            _end(stream, key, escaped)

    return asend
