"""Connections that change: receivers connected and disconnected while a trace runs, and lost ones.

``connect``, ``disconnect`` and the clearing of dead receivers do what Django's own do, by calling
them, and note what was different afterwards.
"""

from __future__ import annotations

import os
from collections import deque
from functools import update_wrapper
from sys import _getframe as getframe
from threading import get_ident
from time import perf_counter_ns as clock
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import Signal

from tracing.capture import names, remembered
from tracing.capture.callsites import application_frame
from tracing.capture.context import CONNECTION, LOST_RECEIVER, STREAM_LIMIT, current
from tracing.capture.failures import failed
from tracing.capture.remembered import SignalReference
from tracing.capture.spans import LostReceiver

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.capture.context import Stream
    from tracing.capture.spans import ReceiverLabel

CONNECTED: Final = "connected"
DISCONNECTED: Final = "disconnected"

WAITING_LIMIT: Final = 1_000
"""Receivers found dead outside any trace that wait for one; the oldest go first."""

_waiting: Final[deque[tuple[SignalReference, str, ReceiverLabel, bool]]] = deque(
    maxlen=WAITING_LIMIT
)

# A forked child leaves those of the parent to the parent.
os.register_at_fork(after_in_child=_waiting.clear)


def take_waiting() -> list[LostReceiver]:
    """Return the receivers that were found dead outside any trace since the last call."""
    taken: list[LostReceiver] = []
    while True:
        try:
            signal, sender, label, was_called = _waiting.popleft()
        except IndexError:
            return taken
        taken.append(LostReceiver(signal.name, sender, label, was_called))


def _running_stream() -> Stream | None:
    """Return the stream of the running trace for this thread; None outside any trace."""
    stream = current()
    if stream is None or stream.events is None or stream.ended:
        return None
    return stream if stream.ident == get_ident() else stream.here()


# --- connect and disconnect --------------------------------------------------------------------


def _is_receiver(entry: Any, receiver: object) -> bool:
    """Return whether *entry* of ``Signal.receivers`` refers to *receiver*, without comparing."""
    held = remembered.receiver_of(entry)
    if held is receiver:
        return held is not None
    return (
        type(held) is MethodType
        and type(receiver) is MethodType
        and held.__self__ is receiver.__self__
        and held.__func__ is receiver.__func__
    )


def _entries(signal: Signal) -> list[Any]:
    """Return a copy of the receivers, empty for a signal that has not even a list. Never raises."""
    try:
        return list(signal.receivers)
    except Exception as error:
        failed("receivers", error)
        return []


def _note_connected(signal: Signal, receiver: object, sender: object, last: Any) -> None:
    """Remember the connection that was added after *last*, and note it in the running trace."""
    try:
        for entry in reversed(_entries(signal)):
            if entry is last:
                return  # It was connected already.
            if _is_receiver(entry, receiver):
                break
        else:
            return
        if not remembered.is_weak(entry) and current() is None:
            return
        connection = remembered.remember(signal, entry, sender)
        _note_change(CONNECTED, signal, connection.sender, connection.label)
    except Exception as error:
        failed("connect", error)


def _note_disconnected(
    signal: Signal, before: list[Any], receiver: object, sender: object, dispatch_uid: object
) -> None:
    """Forget the connection that is gone since *before*, and note that in the running trace."""
    try:
        kept = {id(entry) for entry in signal.receivers}
        gone = [entry for entry in before if id(entry) not in kept]
        gone = [entry for entry in gone if remembered.receiver_of(entry) is not None]
        if len(gone) > 1:
            # Another thread was at it, too, or a sender has died.
            gone = [
                entry
                for entry in gone
                if entry[0][0] is dispatch_uid or _is_receiver(entry, receiver)
            ]
        if not gone:
            return
        entry = gone[0]
        connection = remembered.recall(signal, entry)
        remembered.forget(signal, entry)
        if current() is not None:
            label = connection.label if connection is not None else remembered.entry_label(entry)
            _note_change(DISCONNECTED, signal, names.sender_name(sender), label)
    except Exception as error:
        failed("disconnect", error)


def _note_change(change: str, signal: Signal, sender: str, label: ReceiverLabel) -> None:
    stream = _running_stream()
    if stream is None:
        return
    frame = application_frame(getframe(3))
    stream.offer(
        (
            CONNECTION,
            clock(),
            change,
            SignalReference(signal),
            sender,
            label,
            frame.f_code if frame is not None else None,
            frame.f_lasti if frame is not None else 0,
        )
    )


def noting_connect(original: Callable[..., None]) -> Callable[..., None]:
    """Return a ``Signal.connect`` that also notes what it has added."""

    def connect(
        self: Any, receiver: Any, sender: Any = None, weak: Any = True, dispatch_uid: Any = None
    ) -> None:
        try:
            entries = _entries(self)
            last = entries[-1] if entries else None
            original(self, receiver, sender, weak, dispatch_uid)
        except BaseException as error:
            # The frame is not Django's: it leaves no entry in the traceback.
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        try:
            _note_connected(self, receiver, sender, last)
        except RecursionError:
            return  # The end of the stack is the application's to meet.

    return connect


def noting_disconnect(original: Callable[..., bool]) -> Callable[..., bool]:
    """Return a ``Signal.disconnect`` that also notes what it has removed."""

    def disconnect(
        self: Any, receiver: Any = None, sender: Any = None, dispatch_uid: Any = None
    ) -> bool:
        try:
            before = _entries(self)
            disconnected = original(self, receiver, sender, dispatch_uid)
        except BaseException as error:
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        if disconnected is True:
            try:
                _note_disconnected(self, before, receiver, sender, dispatch_uid)
            except RecursionError:
                return disconnected
        return disconnected

    return disconnect


# --- dead receivers ----------------------------------------------------------------------------


def _note_dead(signal: Signal, before: list[Any]) -> None:
    """Note which weak receivers of *before* were found dead.

    Called under the signal's lock: nothing here may send, connect or search for names.
    """
    try:
        kept = {id(entry) for entry in signal.receivers}
        for entry in before:
            if id(entry) in kept:
                continue
            if remembered.is_weak(entry) and entry[1]() is None:
                connection = remembered.describe_dead(signal, entry)
                if connection is not None:
                    _note_lost(signal, connection)
            remembered.forget(signal, entry)
    except Exception as error:
        failed("dead receivers", error)


def _note_lost(signal: Signal, connection: remembered.Connection) -> None:
    facts = (
        SignalReference(signal),
        connection.sender,
        connection.label,
        connection.was_called,
    )
    stream = _running_stream()
    if stream is not None and stream.events is not None and len(stream.events) < STREAM_LIMIT:
        stream.events.append((LOST_RECEIVER, *facts))
    else:
        _waiting.append(facts)


def noting_dead(original: Callable[..., None]) -> Callable[..., None]:
    """Return a ``Signal._clear_dead_receivers`` that also notes which receivers were dead."""

    def _clear_dead_receivers(self: Any) -> None:
        before = self.receivers if self._dead_receivers else None
        try:
            original(self)
        except BaseException as error:
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        if before is not None:
            try:
                _note_dead(self, before)
            except RecursionError:
                return

    return _clear_dead_receivers


def replacements() -> list[tuple[Any, str, Callable[..., Any]]]:
    """Return (class, name, replacement) for what changes the receivers of a signal."""
    places: list[tuple[str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = [
        ("connect", noting_connect),
        ("disconnect", noting_disconnect),
        ("_clear_dead_receivers", noting_dead),
    ]
    return [
        (Signal, name, update_wrapper(make(Signal.__dict__[name]), Signal.__dict__[name]))
        for name, make in places
        if name in Signal.__dict__
    ]
