"""Connections that were made: what a weak receiver was called, remembered for when it is gone.

When a weak receiver is found dead, nothing is left of it but a lookup key. So its label is resolved
while it lives, and kept under the identity of that key, per signal. What is kept are strings, numbers
and weak references; it goes with the signal.
"""

from __future__ import annotations

import sys
import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ReferenceType, ref

from django.apps import apps
from django.dispatch import Signal
from django.dispatch import dispatcher as _dispatcher

from tracing.capture import names
from tracing.capture.failures import failed
from tracing.capture.spans import ReceiverLabel

if TYPE_CHECKING:
    from collections.abc import Callable

dispatcher: Final[Any] = _dispatcher
"""Its private names are not in the type stubs."""

UNKNOWN: Final = "(unknown)"
"""Name of a receiver that was connected before the recording began and died before it was seen."""


class SignalReference:
    """A signal to be named later, off the traced thread."""

    __slots__ = ("_name", "_signal")

    def __init__(self, signal: Signal) -> None:
        self._signal = ref(signal)
        self._name = ""

    @property
    def name(self) -> str:
        """Return the dotted path of the signal. Slow once."""
        if not self._name:
            signal = self._signal()
            self._name = (
                names.signal_name(signal) if signal is not None else "django.dispatch.Signal (gone)"
            )
        return self._name


class Connection:
    """What is remembered of one weak connection."""

    __slots__ = ("_sender", "label", "parts", "sender", "was_called")

    def __init__(
        self, label: ReceiverLabel, sender: object, sender_text: str, parts: tuple[Any, ...]
    ) -> None:
        self.label = label
        self.sender = sender_text
        """Name of the sender it was connected to, ``None`` for any."""
        self.parts = parts
        """What the lookup key is made of: an identity that was given out again is told by it."""
        self.was_called = False
        """Whether a dispatch has reached it."""
        self._sender: Callable[[], object] | None = None
        if sender is not None:
            with suppress(TypeError):
                self._sender = ref(sender)

    @property
    def is_missed(self) -> bool:
        """Return whether anybody could still send to it: its sender lives, or it heard every sender."""
        return self._sender is None or self._sender() is not None


Connections = dict[int, Connection]
"""By the identity of the lookup key."""

_memory: Final[names.IdentityMemory[Connections]] = names.IdentityMemory()


def receiver_of(entry: Any) -> Any:
    """Return the receiver of an entry of ``Signal.receivers``, None if it has died."""
    reference = entry[1]
    return reference() if is_weak(entry) else reference


def _sender_reference(entry: Any) -> Any:
    """Return the weak reference to the sender that Django 6 keeps in an entry; None where it is not."""
    return entry[2] if len(entry) > 3 else None  # noqa: PLR2004 - three parts on 5, four on 6.


def sender_lives(entry: Any) -> bool:
    """Return whether the sender of an entry is still there, as far as Django knows."""
    reference = _sender_reference(entry)
    return reference is None or reference() is not None


def is_weak(entry: Any) -> bool:
    """Return whether an entry of ``Signal.receivers`` refers to its receiver weakly."""
    # The class is asked, not isinstance(): a receiver may answer for its __class__ itself.
    return issubclass(type(entry[1]), ReferenceType)


def _is_identity(uid: Any, receiver: object) -> bool:
    """Return whether *uid* is what Django puts in the place of a dispatch_uid that was not given."""
    if type(uid) is int:
        return uid == id(receiver)
    # A pair of identities stands for a bound method, or whatever else has __self__ and __func__.
    return type(uid) is tuple and len(uid) == 2 and all(type(part) is int for part in uid)  # noqa: PLR2004


def entry_label(entry: Any) -> ReceiverLabel:
    """Return the label of one entry of ``Signal.receivers``, whose receiver lives."""
    lookup_key = entry[0]
    receiver = receiver_of(entry)
    uid = lookup_key[0]
    if _is_identity(uid, receiver):
        uid = None
    return names.receiver_label(
        receiver,
        dispatch_uid=uid,
        weak=is_weak(entry),
        is_async=entry[-1],
        any_sender=lookup_key[1] == dispatcher.NONE_ID,
    )


def _parts(lookup_key: Any) -> tuple[Any, ...]:
    """Return the numbers and strings that *lookup_key* is made of, without any object in it."""
    first, second = lookup_key
    numbers = first if type(first) is tuple else (first,)
    plain = type(first) is str or all(type(number) is int for number in numbers)
    return (first if plain else None, second)


def connections_of(signal: Signal) -> Connections:
    """Return what is remembered of *signal*; at the first time, of what is connected to it already."""
    known = _memory.get(signal)
    if known is None:
        known = {}
        _memory.put(signal, known)
        senders: dict[Any, Any] | None = None
        for entry in list(signal.receivers):
            if is_weak(entry) and receiver_of(entry) is not None:
                if senders is None:
                    senders = _possible_senders()
                _remember(known, entry, _sender_of(entry, senders))
    return known


def _possible_senders() -> dict[Any, Any]:
    """Return the models by their identity: Django 5.2 keeps no more than that of a sender."""
    if not apps.models_ready:
        return {}
    return {dispatcher._make_id(model): model for model in apps.get_models(True, True)}


def _sender_of(entry: Any, senders: dict[Any, Any]) -> Any:
    """Return the sender of an entry, None if it is not known or is everybody."""
    reference = _sender_reference(entry)
    if reference is not None:
        return reference()
    key = entry[0][1]
    return None if key == dispatcher.NONE_ID else senders.get(key)


def _remember(known: Connections, entry: Any, sender: Any) -> Connection:
    lookup_key = entry[0]
    any_sender = lookup_key[1] == dispatcher.NONE_ID
    text = names.sender_name(sender) if sender is not None or any_sender else UNKNOWN
    connection = Connection(entry_label(entry), sender, text, _parts(lookup_key))
    known[id(lookup_key)] = connection
    return connection


def remember(signal: Signal, entry: Any, sender: Any) -> Connection:
    """Remember the new connection *entry* of *signal*, whose receiver lives, and return what is kept.

    A strong one is described, too, but not kept: it cannot be lost.
    """
    known = connections_of(signal)
    if not is_weak(entry):
        return _remember({}, entry, sender)
    # Whoever empties ``Signal.receivers`` by hand leaves us entries that nobody takes out.
    if len(known) > 2 * len(signal.receivers) + 16:
        alive = {id(other[0]) for other in list(signal.receivers)}
        for key in [key for key in known if key not in alive]:
            del known[key]
    return _remember(known, entry, sender)


def recall(signal: Signal, entry: Any) -> Connection | None:
    """Return what is remembered of the connection *entry*; None if nothing is."""
    found = connections_of(signal).get(id(entry[0]))
    if found is not None and found.parts == _parts(entry[0]):
        return found
    return None


def forget(signal: Signal, entry: Any) -> None:
    """Forget the connection *entry*, which is no more."""
    connections_of(signal).pop(id(entry[0]), None)


def reached(signal: Signal, sender: Any, entries: list[Any]) -> None:
    """Note that a dispatch of *signal* from *sender* calls the receivers of *entries*. Never raises."""
    try:
        known = connections_of(signal)
        for entry in entries:
            if not is_weak(entry):
                continue
            found = known.get(id(entry[0]))
            if found is None or found.parts != _parts(entry[0]):
                if receiver_of(entry) is None:
                    continue
                any_sender = entry[0][1] == dispatcher.NONE_ID
                found = _remember(known, entry, None if any_sender else sender)
            found.was_called = True
    except Exception as error:
        failed("reached", error)


def describe_dead(signal: Signal, entry: Any) -> Connection | None:
    """Return what is known of *entry*, whose receiver has died; None if nobody misses it."""
    found = recall(signal, entry)
    if found is not None:
        return found if found.is_missed else None
    reference = _sender_reference(entry)
    if reference is not None and reference() is None:
        return None
    lookup_key = entry[0]
    any_sender = lookup_key[1] == dispatcher.NONE_ID
    uid = lookup_key[0] if type(lookup_key[0]) is str else ""
    label = ReceiverLabel(
        UNKNOWN,
        dispatch_uid=uid[: names.MAX_NAME],
        is_async=bool(entry[-1]),
        any_sender=any_sender,
    )
    sender = None if any_sender else _sender_of(entry, _possible_senders())
    text = names.sender_name(sender) if sender is not None or any_sender else UNKNOWN
    return Connection(label, sender, text, _parts(lookup_key))


_adopted: set[str] = set()


def adopt_known_signals() -> None:
    """Remember what is connected to the signals that loaded modules hold. Never raises.

    For what was connected before the recording began; some milliseconds, at the start of a process.
    """
    try:
        for name, module in list(sys.modules.items()):
            if name in _adopted or type(module) is not types.ModuleType:
                continue
            _adopted.add(name)
            for value in list(module.__dict__.values()):
                # The class is asked, not isinstance(): a lazy object would wake up.
                if issubclass(type(value), Signal):
                    connections_of(value)
    except Exception as error:
        failed("adopt_known_signals", error)


def living_signals() -> list[Signal]:
    """Return the signals of loaded modules and their classes, and all others that were connected to.

    The collector's list of objects is not asked: whoever holds that list makes ``tuple(generator)``
    fail in other threads (``SystemError``), the application's among them.
    """
    found = {id(signal): signal for signal in names.signals_of_modules()}
    for reference, _known in list(_memory.values()):
        signal = reference()
        if signal is not None:
            found[id(signal)] = signal
    return list(found.values())
