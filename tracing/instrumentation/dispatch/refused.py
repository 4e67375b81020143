"""Dispatches whose sender Django cannot look up, so that they fail.

A signal that caches keeps its senders by weak references, which strings and numbers have none of.
"""

from __future__ import annotations

from sys import _getframe as getframe
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.attributes.callsites import place_of
from tracing.instrumentation.attributes.names import is_referable
from tracing.instrumentation.buffer import BUFFER_LIMIT
from tracing.instrumentation.connections.receivers import receiver_set_of
from tracing.instrumentation.context import current
from tracing.instrumentation.dispatch.coroutines import dispatch_keys
from tracing.instrumentation.dispatch.orphans import count_orphan
from tracing.instrumentation.failures import failed
from tracing.instrumentation.words import ASYNC_CLOSE, ASYNC_OPEN, NO_DETAILS

if TYPE_CHECKING:
    from types import FrameType

    from django.dispatch import Signal

    from tracing.spans.records import Method


def watched(signal: Signal, sender: Any, method: Method) -> Any:
    """Return *sender*; record a dispatch that cannot look it up. Never raises.

    It fails in the frame of Django's method, which asks next.
    """
    if signal.use_caching and not is_referable(sender):
        try:
            _note(signal, sender, method, getframe(2))
        except Exception as error:
            failed("refused", error)
    return sender


def _note(signal: Signal, sender: Any, method: Method, frame: FrameType) -> None:
    buffer = current()
    if buffer is None or buffer.events is None or buffer.ident != get_ident():
        return
    reached = receiver_set_of(signal, sender)
    if reached is None:
        count_orphan(signal, sender)
    elif len(buffer.events) < BUFFER_LIMIT:
        # Also of send(): only here can a dispatch end of which no receiver was called.
        start, key, (code, instruction) = clock(), next(dispatch_keys), place_of(frame)
        opening = (ASYNC_OPEN, start, key, reached.number, method.value, code, instruction)
        buffer.events += (*opening, *NO_DETAILS, ASYNC_CLOSE, clock(), key, TypeError.__name__)


class _UnseenFrame:
    """Leaves the frame that calls Django's own method out of the traceback."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next


unseen_frame: Final = _UnseenFrame()
