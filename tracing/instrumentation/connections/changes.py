"""Changes of connections while a trace runs, and lost receivers.

``connect``, ``disconnect`` and the clearing of dead receivers note what was different afterwards.
"""

from __future__ import annotations

import os
from collections import deque
from functools import cache
from sys import _getframe as getframe
from threading import get_ident
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ref

from django.db.models.signals import ModelSignal
from django.dispatch import Signal

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.callsites import application_frame
from tracing.instrumentation.buffer import BUFFER_LIMIT
from tracing.instrumentation.connections import journal, missed, registry
from tracing.instrumentation.connections.registry import SignalReference
from tracing.instrumentation.context import current
from tracing.instrumentation.failures import failed, is_own
from tracing.instrumentation.inlining import Calls, Inline
from tracing.instrumentation.recent import forgotten
from tracing.instrumentation.words import CONNECTION, LOST_RECEIVER
from tracing.spans.processes import CONNECTED, DIED, IGNORED
from tracing.spans.records import LostReceiver

if TYPE_CHECKING:
    from tracing.instrumentation.buffer import Buffer
    from tracing.spans.records import ReceiverLabel

DISCONNECTED: Final = missed.DISCONNECTED

WAITING_LIMIT: Final = 1_000
"""Receivers found dead outside any trace that wait for one; the oldest go first."""

_waiting: Final[deque[tuple[SignalReference, str, ReceiverLabel, bool]]] = deque(
    maxlen=WAITING_LIMIT
)

# A forked child leaves those of the parent to the parent.
os.register_at_fork(after_in_child=_waiting.clear)


def take_waiting() -> list[LostReceiver]:
    """Return receivers found dead outside any trace since the last call."""
    note_cleared()
    taken: list[LostReceiver] = []
    while True:
        try:
            signal, sender, label, was_called = _waiting.popleft()
        except IndexError:
            return taken
        taken.append(LostReceiver(signal.name, sender, label, was_called))


def _running_buffer() -> Buffer | None:
    """Return the running trace's buffer for this thread, or None."""
    buffer = current()
    if buffer is None or buffer.events is None or buffer.ended:
        return None
    return buffer if buffer.ident == get_ident() else buffer.here()


# --- connect and disconnect --------------------------------------------------------------------


def _is_receiver(entry: Any, receiver: object) -> bool:
    """Return whether *entry* refers to *receiver*, by identity."""
    held = registry.receiver_of(entry)
    if held is receiver:
        return held is not None
    return (
        type(held) is MethodType
        and type(receiver) is MethodType
        and held.__self__ is receiver.__self__
        and held.__func__ is receiver.__func__
    )


def _entries(signal: Signal) -> list[Any]:
    """Return a copy of the receivers; empty without a list. Never raises."""
    try:
        return list(signal.receivers)
    except Exception as error:
        failed("receivers", error)
        return []


def _last(signal: Signal) -> Any:
    """Return the last connection of *signal*, or None. Never raises."""
    try:
        return signal.receivers[-1]
    except Exception:
        return None


def _note_connected(
    signal: Signal, receiver: object, sender: object, last: Any, dispatch_uid: object
) -> None:
    """Remember the connection added after *last*; note it in the trace."""
    try:
        note_cleared()
        entry = _last(signal)
        if entry is last or entry is None:
            if entry is not None:
                _note_ignored(signal, receiver, sender, dispatch_uid)
            return  # It was connected already.
        if not _is_receiver(entry, receiver):
            # Another thread was at it, too, or a dead one has gone.
            entries = [entry for entry in _entries(signal) if _is_receiver(entry, receiver)]
            if not entries or registry.get(signal, entries[-1]) is not None:
                return
            entry = entries[-1]
        name = names.sender_name(sender)
        asked = journal.answer(signal, receiver, name)
        place = asked if asked is not None else journal.place_of(getframe(2))
        connection = registry.add(signal, entry, sender, receiver, place)
        journal.note(
            CONNECTED, signal, connection.sender, connection.label, place, at_ns=connection.at_ns
        )
        if missed.left:
            missed.note_connected(signal, connection.sender, connection.label)
        _note_change(CONNECTED, signal, connection.sender, connection.label)
    except Exception as error:
        failed("connect", error)


def _note_ignored(signal: Signal, receiver: object, sender: object, dispatch_uid: object) -> None:
    """Write down that connect() did nothing, if another has its key."""
    if not dispatch_uid:
        return
    key = dispatch_uid, registry.dispatcher._make_id(sender)
    for entry in _entries(signal):
        # By its type first: a key may hold an object of the application, with its own idea of equality.
        held = entry[0]
        if held[1] != key[1] or type(held[0]) is not type(dispatch_uid) or held[0] != dispatch_uid:
            continue
        if not _is_receiver(entry, receiver):
            holder = registry.get(signal, entry)
            label = names.receiver_label(
                receiver, dispatch_uid=dispatch_uid, any_sender=sender is None
            )
            journal.note(
                IGNORED,
                signal,
                names.sender_name(sender),
                label,
                journal.place_of(getframe(3)),
                holder=holder if holder is not None else registry.entry_label(entry),
            )
        return


def _note_disconnected(
    signal: Signal, before: list[Any] | None, receiver: object, sender: object, dispatch_uid: object
) -> None:
    """Forget the connection gone since *before*; note it in the trace."""
    try:
        note_cleared()
        if before is None:
            return
        gone = _missing(before, signal.receivers)
        gone = [entry for entry in gone if registry.receiver_of(entry) is not None]
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
        connection = registry.get(signal, entry)
        registry.remove(signal, entry)
        label = connection.label if connection is not None else registry.entry_label(entry)
        journal.note(
            DISCONNECTED, signal, names.sender_name(sender), label, journal.place_of(getframe(2))
        )
        if current() is not None:
            _note_change(DISCONNECTED, signal, names.sender_name(sender), label)
    except Exception as error:
        failed("disconnect", error)


def _missing(before: list[Any], after: list[Any]) -> list[Any]:
    """Return what of *before* is not in *after*, which may have more.

    Few are missing of many, most often: each is looked for by halves.
    """
    missing: list[Any] = []
    start = 0
    while start < len(before):
        shift = len(missing)
        low, high = start, len(before)
        while low < high:
            middle = (low + high) // 2
            if middle - shift < len(after) and after[middle - shift] is before[middle]:
                low = middle + 1
            else:
                high = middle
        if low < len(before):
            missing.append(before[low])
        start = low + 1
    return missing


def _note_change(change: str, signal: Signal, sender: str, label: ReceiverLabel) -> None:
    buffer = _running_buffer()
    if buffer is None:
        return
    frame = application_frame(getframe(3))
    moment = clock()
    if change is DISCONNECTED:
        missed.note_disconnected(signal, sender, label, moment, frame)
    buffer.offer(
        (
            CONNECTION,
            moment,
            change,
            SignalReference(signal),
            sender,
            label,
            frame.f_code if frame is not None else None,
            frame.f_lasti if frame is not None else 0,
        )
    )


# --- dead receivers ----------------------------------------------------------------------------


_cleared: Final[deque[tuple[ref[Signal], list[Any]]]] = deque(maxlen=WAITING_LIMIT)
"""Connections that were cleared away because receiver or sender had died, not looked at yet."""


class _Gone:
    """The keys of receivers that died at once."""


_DEAD: Final = ref(_Gone())


def _pared(entry: Any) -> Any:
    """Return *entry* without what keeps its receiver or its signal alive.

    The weak references of an entry call back the signal, and so they hold it.
    """
    receiver = _DEAD if registry.is_weak(entry) and entry[1]() is None else None
    sender = [
        reference and (_DEAD if (alive := reference()) is None else ref(alive))
        for reference in entry[2:-1]  # Django 5 keeps none.
    ]
    return (entry[0], receiver, *sender, entry[-1])


def note_cleared() -> None:
    """Note which weak receivers were found dead.

    They are found under the signal's lock, where nothing may send, connect or be named; so it is done
    as soon as the lock is free. Never raises.
    """
    while _cleared:
        try:
            reference, gone = _cleared.popleft()
            signal = reference()
            if signal is None:
                continue
            senders = cache(registry.possible_senders)
            for entry in gone:
                if registry.is_weak(entry) and entry[1]() is None:
                    connection = registry.describe_dead(signal, entry, senders)
                    if connection is not None:
                        _note_lost(signal, connection)
                registry.remove(signal, entry)
        except IndexError:
            return  # Another thread has taken them.
        except Exception as error:
            failed("dead receivers", error)


def _note_lost(signal: Signal, connection: registry.Connection) -> None:
    place = connection.file, connection.line
    label = connection.label
    journal.note(DIED, signal, connection.sender, label, place)
    if missed.is_librarys(label) and "<" not in label.name and "(" not in label.name:
        return  # A method of an object of Django's, as each storage has one, dies by design.
    facts = (
        SignalReference(signal),
        connection.sender,
        label,
        connection.was_called,
    )
    buffer = _running_buffer()
    if buffer is not None and buffer.events is not None and len(buffer.events) < BUFFER_LIMIT:
        buffer.events.extend((LOST_RECEIVER, *facts))
    else:
        if len(_waiting) == WAITING_LIMIT:
            forgotten["lost receivers"] += 1
        _waiting.append(facts)


class _Hook:
    """The hooks in functions that change the receivers of a signal."""

    __slots__ = ()

    last = staticmethod(_last)

    before = staticmethod(_entries)

    def ask(self, signal: Signal, receiver: object, sender: object) -> None:
        """Note that *receiver* is to be connected when a model is loaded."""
        try:
            if type(sender) is str:
                journal.ask(signal, receiver, sender, journal.place_of(getframe(1)))
        except RecursionError:
            return  # The end of the stack is the application's to meet.
        except Exception as error:
            failed("connect", error)

    def connected(
        self, signal: Signal, receiver: object, sender: object, last: Any, dispatch_uid: object
    ) -> None:
        """Note the connection that was added after *last*."""
        try:
            _note_connected(signal, receiver, sender, last, dispatch_uid)
        except RecursionError:
            return  # The end of the stack is the application's to meet.

    def disconnected(
        self,
        signal: Signal,
        before: list[Any] | None,
        receiver: object,
        sender: object,
        dispatch_uid: object,
        value: Any,
    ) -> Any:
        """Note what was disconnected; return *value*, whether anything was."""
        if value is True:
            try:
                _note_disconnected(signal, before, receiver, sender, dispatch_uid)
            except RecursionError:
                return value
        return value

    def cleared(self, signal: Signal, before: list[Any] | None) -> None:
        """Note which receivers of *before* were dead; None if none is cleared."""
        if before is not None:
            try:
                gone = [_pared(entry) for entry in _missing(before, signal.receivers)]
                if gone:
                    _cleared.append((ref(signal), gone))
            except (RecursionError, IndexError, TypeError) as error:
                if type(error) is not RecursionError and not is_own(error):
                    raise
                return  # The end of the stack, or entries that are not Django's: nothing to say here.


_CALLS: Final = {
    # Django puts a weak reference into the place of the receiver.
    "connect": Calls(
        before="_tracing = hook.last(self), receiver",
        returned="hook.connected(self, _tracing[1], sender, _tracing[0], dispatch_uid)",
    ),
    "disconnect": Calls(
        before="_tracing = hook.before(self)",
        returned="hook.disconnected(self, _tracing, receiver, sender, dispatch_uid, _value)",
    ),
    "_clear_dead_receivers": Calls(
        before="_tracing = self.receivers if self._dead_receivers else None",
        returned="hook.cleared(self, _tracing)",
    ),
}


def inlines() -> list[Inline]:
    """Return what notes changes of the receivers of a signal."""
    hook = _Hook()
    return [
        Inline(
            ModelSignal.__dict__["connect"], hook, Calls(before="hook.ask(self, receiver, sender)")
        ),
        *(
            Inline(Signal.__dict__[name], hook, calls)
            for name, calls in _CALLS.items()
            if name in Signal.__dict__
        ),
    ]
