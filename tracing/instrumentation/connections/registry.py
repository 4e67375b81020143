"""Connections made: receivers described once for all their dispatches.

When a weak receiver is found dead, nothing is left of it but a lookup key. So its label is resolved
while it lives, and kept under the identity of that key, per signal. What is kept are strings, numbers
and weak references; it goes with the signal.
"""

from __future__ import annotations

import sys
import types
from functools import cache
from itertools import repeat
from operator import is_
from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ReferenceType, ref

from django.apps import apps
from django.dispatch import Signal
from django.dispatch import dispatcher as _dispatcher

from tracing.clocks import time_ns
from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.equality import outline, twins_among
from tracing.instrumentation.attributes.signal_names import GONE, signal_name
from tracing.instrumentation.failures import failed
from tracing.spans.records import ReceiverLabel

if TYPE_CHECKING:
    from collections.abc import Callable

dispatcher: Final[Any] = _dispatcher
"""Its private names are not in the type stubs."""

Place = tuple[str, int]
"""File and line; empty and 0 where nobody saw it."""

UNKNOWN: Final = "(unknown)"
"""Name of a receiver that was connected before the recording began and died before it was seen."""


class SignalReference:
    """A signal to be named later, off the traced thread."""

    __slots__ = ("_name", "_signal")

    def __init__(self, signal: Signal) -> None:
        self._signal = ref(signal)
        self._name = ""

    def leads_to(self, signal: Signal) -> bool:
        """Return whether it is *signal* that is to be named."""
        return self._signal() is signal

    @property
    def name(self) -> str:
        """Return the dotted path of the signal. Slow once."""
        if not self._name:
            signal = self._signal()
            self._name = signal_name(signal) if signal is not None else GONE
        return self._name


class Connection:
    """The memory of one connection."""

    __slots__ = (
        "_sender",
        "at_ns",
        "file",
        "is_late",
        "key",
        "label",
        "line",
        "outline",
        "sender",
        "was_called",
    )

    def __init__(
        self, label: ReceiverLabel, sender: object, sender_text: str, lookup_key: Any
    ) -> None:
        self.label = label
        self.sender = sender_text
        """Name of the sender it was connected to, ``None`` for any."""
        self.key = lookup_key if is_plain(lookup_key) else _parts(lookup_key)
        """The lookup key itself, so that its identity is given out to no other; numbers and strings.

        What it is made of where it holds an object of the application, which is not kept alive."""
        self.outline: int | None = None
        """What the receiver looks like, once it was compared; see ``twins``."""
        self.was_called = False
        """Whether a dispatch has reached it."""
        self.at_ns = 0
        """When it was connected, on the wall clock; 0 for before anybody watched."""
        self.is_late = False
        """Whether that was after the applications were ready."""
        self.file = ""
        self.line = 0
        """Where connect() was called, if that was seen."""
        self._sender: Callable[[], object] | None = None
        if sender is not None and names.is_referable(sender):
            self._sender = ref(sender)

    @property
    def is_missed(self) -> bool:
        """Return whether its sender lives, or it heard every sender."""
        return self._sender is None or self._sender() is not None


class Connections(dict[int, Connection]):
    """The connections of one signal, by the identity of the lookup key."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        super().__init__()
        self.reached: tuple[list[Any], Labels] = ([], ((), ()))
        """Lookup keys that the last sender reached, mostly those that the next one does, and labels."""

    def find(self, lookup_key: Any) -> Connection | None:
        """Return what is remembered of the connection with this key, or None."""
        found = self.get(id(lookup_key))
        if found is not None and found.key is not lookup_key and found.key != _parts(lookup_key):
            return None  # Its identity was another's.
        return found


Labels = tuple[tuple[ReceiverLabel, ...], tuple[int | None, ...]]
"""Labels of receivers in calling order, and for each the position of an earlier twin, or None.

The second is empty where all would be None."""

_memory: Final[names.IdentityMemory[Connections]] = names.IdentityMemory()


def entries_of(signal: Signal) -> list[Any]:
    """Return the entries of a signal, without what somebody else put there."""
    found: Any = signal.receivers
    found = list(found) if isinstance(found, list) else ()
    tuples = [each for each in found if type(each) is tuple and len(each) > 2]  # noqa: PLR2004
    pairs = [each for each in tuples if type(each[0]) is tuple and len(each[0]) == 2]  # noqa: PLR2004
    return [each for each in pairs if type(each[-1]) is bool]


def receiver_of(entry: Any) -> Any:
    """Return the receiver of an entry, None if it has died."""
    reference = entry[1]
    return reference() if is_weak(entry) else reference


def _sender_reference(entry: Any) -> Any:
    """Return the weak reference to the sender, which Django 6 keeps."""
    return entry[2] if len(entry) > 3 else None  # noqa: PLR2004 - three parts on 5, four on 6.


def sender_lives(entry: Any) -> bool:
    """Return whether an entry's sender is there, as far as Django knows."""
    reference = _sender_reference(entry)
    return reference is None or reference() is not None


def is_of_sender(entry: Any, sender: object) -> bool:
    """Return whether an entry is one of any sender, or refers to *sender*."""
    reference = _sender_reference(entry)
    return reference is None or (type(reference) is ref and reference() is sender)


def is_weak(entry: Any) -> bool:
    """Return whether an entry refers to its receiver weakly."""
    # The class is asked, not isinstance(): a receiver may answer for its __class__ itself.
    return issubclass(type(entry[1]), ReferenceType)


def _is_identity(uid: Any, receiver: object) -> bool:
    """Return whether *uid* stands for a dispatch_uid that was not given."""
    if type(uid) is int:
        return uid == id(receiver)
    # A pair of identities stands for a bound method, or whatever else has __self__ and __func__.
    return type(uid) is tuple and len(uid) == 2 and all(type(part) is int for part in uid)  # noqa: PLR2004


def entry_label(entry: Any, receiver: object = None) -> ReceiverLabel:
    """Return the label of one entry, whose receiver lives."""
    lookup_key = entry[0]
    if receiver is None:
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


def is_plain(lookup_key: Any) -> bool:
    """Return whether *lookup_key* is made of numbers and strings only."""
    first = lookup_key[0]
    numbers = first if type(first) is tuple else (first,)
    return type(first) is str or all(type(number) is int for number in numbers)


def _parts(lookup_key: Any) -> tuple[Any, ...]:
    """Return the numbers and strings in *lookup_key*, without objects."""
    return (lookup_key[0] if is_plain(lookup_key) else None, lookup_key[1])


def connections_of(signal: Signal, new: Any = None) -> Connections:
    """Return what is remembered of *signal*, or is connected already.

    Of the connection *new* nothing is remembered yet: that is left to the caller, who knows more.
    """
    known = _memory.get(signal)
    if known is None:
        known = Connections()
        _memory.put(signal, known)
        senders = cache(possible_senders)
        for entry in entries_of(signal):
            if is_weak(entry) and entry is not new and receiver_of(entry) is not None:
                _remember(known, entry, sender_of(entry, senders))
    return known


def possible_senders() -> dict[Any, Any]:
    """Return the models by identity, all that Django 5.2 keeps of one."""
    if not apps.models_ready:
        return {}
    return {dispatcher._make_id(model): model for model in apps.get_models(True, True)}


def sender_of(entry: Any, senders: Callable[[], dict[Any, Any]]) -> Any:
    """Return the sender of an entry, None if it is not known or is everybody."""
    reference = _sender_reference(entry)
    if reference is not None:
        return reference()
    key = entry[0][1]
    return None if key == dispatcher.NONE_ID else senders().get(key)


def _remember(known: Connections, entry: Any, sender: Any, receiver: object = None) -> Connection:
    connection = _describe(entry, sender, receiver)
    known[id(entry[0])] = connection
    return connection


def _describe(entry: Any, sender: Any, receiver: object = None) -> Connection:
    """Return what is kept of *entry*, which may be asked for its receiver."""
    lookup_key = entry[0]
    any_sender = lookup_key[1] == dispatcher.NONE_ID
    if any_sender:
        sender = None
    text = names.sender_name(sender) if sender is not None or any_sender else UNKNOWN
    if receiver is None:
        receiver = receiver_of(entry)
    if receiver is not None:
        label = entry_label(entry, receiver)
    else:
        uid = lookup_key[0] if type(lookup_key[0]) is str else ""
        label = ReceiverLabel(
            UNKNOWN,
            dispatch_uid=uid[: names.MAX_NAME],
            is_async=bool(entry[-1]),
            any_sender=any_sender,
        )
    return Connection(label, sender, text, lookup_key)


def add(
    signal: Signal, entry: Any, sender: Any, receiver: object, place: Place = ("", 0)
) -> Connection:
    """Remember a new connection, and return what is kept of it.

    Args:
        signal: The signal.
        entry: The entry of ``Signal.receivers``.
        sender: For whom it was connected.
        receiver: The receiver.
        place: File and line of the ``connect()``.
    """
    known = connections_of(signal, entry)
    _forget_some(known, signal)
    connection = _remember(known, entry, sender, receiver)
    connection.at_ns, connection.is_late = time_ns(), apps.ready
    connection.file, connection.line = place
    return connection


def _forget_some(known: Connections, signal: Signal) -> None:
    """Forget what is not connected any more, once it is the greater part.

    Not everybody tells: not a disconnection while nothing runs, nor whoever empties
    ``Signal.receivers`` by hand.
    """
    if len(known) > 2 * len(signal.receivers) + 16:
        alive = {id(other[0]) for other in list(signal.receivers)}
        for key in [key for key in list(known) if key not in alive]:
            known.pop(key, None)


def get(signal: Signal, entry: Any) -> Connection | None:
    """Return what is remembered of the connection *entry*; None if nothing is."""
    return connections_of(signal).find(entry[0])


def recall_or_describe(signal: Signal, entry: Any) -> Connection:
    """Return what is remembered of *entry*, described if nobody saw it."""
    found = get(signal, entry)
    if found is None:
        sender = sender_of(entry, possible_senders)
        found = _remember(connections_of(signal), entry, sender)
    return found


def remove(signal: Signal, entry: Any) -> None:
    """Forget the connection *entry*, which is no more."""
    connections_of(signal).pop(id(entry[0]), None)


def reached(signal: Signal, sender: Any, entries: list[Any]) -> Labels:
    """Return the labels of *entries* that a dispatch from *sender* calls."""
    try:
        return _reached(signal, sender, entries)
    except Exception as error:
        failed("reached", error)
        return tuple([entry_label(entry) for entry in entries]), ()


def _reached(signal: Signal, sender: Any, entries: list[Any]) -> Labels:
    """Return the same, and remember it.

    Where it reaches the very connections that the last sender reached, they are described already.
    """
    known = connections_of(signal)
    keys = [entry[0] for entry in entries]
    keys_before, labels_before = known.reached
    if len(keys) == len(keys_before) and all(map(is_, keys, keys_before)):
        return labels_before
    connections = []
    keeps_nothing = True
    for entry in entries:
        lookup_key = entry[0]
        found = known.get(id(lookup_key))
        if found is None or found.key is not lookup_key:
            found = known.find(lookup_key)
            if found is None:
                found = _remember(known, entry, sender)
            keeps_nothing = keeps_nothing and found.key is lookup_key
        found.was_called = True
        connections.append(found)
    labels = tuple([found.label for found in connections])
    result = labels, _twins(labels, connections, entries)
    if keeps_nothing:
        known.reached = keys, result
    return result


def _twins(
    labels: tuple[ReceiverLabel, ...], connections: list[Connection], entries: list[Any]
) -> tuple[int | None, ...]:
    """Return each connection's earlier twin by position; empty if none."""

    def outline_at(position: int) -> int:
        connection = connections[position]
        if connection.outline is None:
            connection.outline = outline(receiver_of(entries[position]))
        return connection.outline

    return twins_among(labels, outline_at, lambda position: receiver_of(entries[position]))


def describe_dead(
    signal: Signal, entry: Any, senders: Callable[[], dict[Any, Any]]
) -> Connection | None:
    """Return what is known of a dead *entry*; None if nobody misses it."""
    found = get(signal, entry)
    if found is not None:
        return found if found.is_missed else None
    reference = _sender_reference(entry)
    if reference is not None and reference() is None:
        return None
    return _describe(entry, sender_of(entry, senders))


_adopted: set[str] = set()


def adopt_known_signals() -> None:
    """Remember what loaded modules' signals have connected. Never raises.

    For what was connected before the recording began; some milliseconds, at the start of a process.
    """
    try:
        kinds = [Signal]
        for kind in kinds:
            kinds += type.__subclasses__(kind)
        for name, module in list(sys.modules.items()):
            if name in _adopted or type(module) is not types.ModuleType:
                continue
            _adopted.add(name)
            values = list(module.__dict__.values())
            for kind in kinds:
                # Their class and its identity are asked in C, for ten thousands of values. A lazy object
                # would wake up at isinstance(), and some classes cannot be compared.
                if any(map(is_, map(type, values), repeat(kind))):
                    for value in values:
                        if type(value) is kind:
                            connections_of(value)
    except Exception as error:
        failed("adopt_known_signals", error)


def describe_anew() -> None:
    """Label the remembered receivers anew, when all applications are there.

    Never raises.
    """
    try:
        for reference, known in list(_memory.values()):
            signal = reference()
            for entry in list(signal.receivers) if signal is not None else ():
                connection = known.find(entry[0])
                receiver = receiver_of(entry)
                if connection is not None and receiver is not None:
                    connection.label = entry_label(entry, receiver)
            known.reached = [], ((), ())
    except Exception as error:
        failed("describe_anew", error)


def remembered_signals() -> list[Signal]:
    """Return the living signals of which connections are remembered."""
    found = [reference() for reference, _known in list(_memory.values())]
    return [signal for signal in found if signal is not None]


def living_signals() -> list[Signal]:
    """Return the signals of loaded modules, and all connected ones.

    The collector's list of objects is not asked: whoever holds that list makes ``tuple(generator)``
    fail in other threads (``SystemError``), the application's among them.
    """
    found = {id(signal): signal for _path, signal in names.held_by_modules(Signal)}
    found |= {id(signal): signal for signal in remembered_signals()}
    return list(found.values())
