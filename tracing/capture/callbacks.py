"""Callbacks of ``on_commit``: what they send hangs under the receiver that registered them.

A callback is not wrapped: ``run_on_commit`` holds what Django would hold. The entry that Django made
is known by its identity, and the loop that runs the entries is replaced by one that does the same
and says which one is running.
"""

from __future__ import annotations

import logging
from itertools import count
from threading import get_ident
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final

import django

from tracing.capture.context import (
    CALLBACK,
    CALLBACK_END,
    REGISTERED,
    Stream,
    current,
    enter,
    leave,
)
from tracing.capture.failures import failed

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("django.db.backends.base")
_numbers = count(1)
_registered: dict[int, tuple[int, Stream]] = {}
"""(number, stream) by the identity of the entry in ``run_on_commit``.

An identity that is given out again belongs to a newer entry, which was registered here too.
"""
_LIMIT: Final = 10_000


def registering_on_commit(original: Callable[..., None]) -> Callable[..., None]:
    """Return an ``on_commit`` that also notes from where it was called."""

    def on_commit(self: Any, func: Any, robust: bool = False) -> None:
        entries = self.run_on_commit
        before = len(entries)
        try:
            original(self, func, robust)
        except BaseException as error:
            # Not a frame of the application's: it leaves no trace in the traceback.
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        stream = current()
        if stream is not None and stream.events is not None:
            try:
                _note(stream, self.run_on_commit, before)
            except Exception as error:
                failed("on_commit", error)

    return on_commit


def _note(stream: Stream, entries: list[Any], before: int) -> None:
    if len(entries) != before + 1:
        return
    if stream.ident != get_ident():
        stream = stream.here()
    number = next(_numbers)
    if not stream.offer((REGISTERED, number)):
        return
    if len(_registered) >= _LIMIT:
        _registered.clear()
    _registered[id(entries[-1])] = (number, stream)


def _log_failure(func: Any, error: Exception) -> None:
    """Log a failed robust callback in the words of the installed Django."""
    if django.VERSION >= (6, 1):
        name = getattr(func, "__qualname__", func)
        message = "Error calling %s in on_commit() during transaction (%s)."
        _logger.error(message, name, error, exc_info=error)
    else:
        message = f"Error calling {func.__qualname__} in on_commit() during transaction (%s)."
        _logger.error(message, error, exc_info=error)


def _begin(entry: Any) -> tuple[Stream | None, Stream | None, bool]:
    """Say that the callback of *entry* begins; return (stream, running one before, whether to restore)."""
    known = _registered.pop(id(entry), None)
    running = current()
    if known is None:
        return None, None, False
    number, origin = known
    stream = running
    restore = False
    if stream is None or stream.events is None or stream.trace is not origin.trace:
        if origin.trace is None or origin.trace.end is not None:
            return None, None, False
        stream, restore = origin, True
        enter(stream)
    if stream.ident != get_ident():
        stream = stream.here()
    if not stream.offer((CALLBACK, clock(), number)):
        return None, running, restore
    stream.in_callback = True
    return stream, running, restore


def running_commit_hooks(_original: Callable[..., None]) -> Callable[..., None]:
    """Return a ``run_and_clear_commit_hooks`` that says which callback is running."""

    def run_and_clear_commit_hooks(self: Any) -> None:
        self.validate_no_atomic_block()
        entries = self.run_on_commit
        self.run_on_commit = []
        while entries:
            entry = entries.pop(0)
            _, func, robust = entry
            try:
                stream, before, restore = _begin(entry)
            except Exception as error:
                failed("commit hook", error)
                stream, before, restore = None, None, False
            try:
                if robust:
                    try:
                        func()
                    except Exception as error:
                        _log_failure(func, error)
                else:
                    func()
            finally:
                if stream is not None and stream.events is not None:
                    stream.events.append((CALLBACK_END, clock()))
                    stream.in_callback = False
                if restore:
                    leave(before)

    return run_and_clear_commit_hooks
