"""Receivers of a signal for a sender, known by number.

For a signal that caches, they are kept where Django stores the same fact: as the value in
``sender_receivers_cache``. It is a list with the items that Django puts there, so Django's own code
goes on working with it, and Django forgets it whenever it forgets its own (connect, disconnect, a
dead receiver). For other signals it is found by the identities of the parts.
"""

from __future__ import annotations

from itertools import repeat
from operator import is_
from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ref

from django import VERSION
from django.dispatch import Signal
from django.dispatch import dispatcher as _dispatcher

from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.arguments import Details, details_reader
from tracing.instrumentation.attributes.equality import outline, twins_among
from tracing.instrumentation.boundaries import boundaries
from tracing.instrumentation.connections.changes import note_cleared
from tracing.instrumentation.connections.receiver_sets import ReceiverSet, receiver_set
from tracing.instrumentation.connections.registry import (
    entry_label,
    is_of_sender,
    reached,
    receiver_of,
    sender_lives,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.spans.records import ReceiverLabel

dispatcher: Final[Any] = _dispatcher
"""Django's module, untyped: its private names are looked up when they are needed."""


class CachedReceivers(list[Any]):
    """Django's cached receivers of a sender, with what recording needs."""

    __slots__ = ("async_derefs", "derefs", "details", "number", "receiver_set")

    number: int
    """The number of its receiver set."""
    receiver_set: ReceiverSet
    """Held here, so that it is not forgotten before Django forgets the receivers."""
    derefs: tuple[Callable[[], Any], ...]
    """What to call to have each live sync receiver, in order; None from one that died."""
    async_derefs: tuple[Callable[[], Any], ...]
    details: Details | None


def entry_labels(signal: Signal, sender: Any) -> list[ReceiverLabel]:
    """Return the labels of the receivers that a send would reach."""
    if not signal.receivers:
        return []
    with signal.lock:
        entries = _reached(signal.receivers, dispatcher.NONE_ID, dispatcher._make_id(sender))
    return [entry_label(entry) for entry in entries if receiver_of(entry) is not None]


def receiver_set_of(signal: Signal, sender: Any) -> ReceiverSet | None:
    """Return the live receivers that a send would reach, None if none."""
    with signal.lock:
        entries = _reached(signal.receivers, dispatcher.NONE_ID, dispatcher._make_id(sender))
    entries = [entry for entry in entries if receiver_of(entry) is not None]
    return _receiver_set(signal, sender, entries) if entries else None


def _deref(reference: Any) -> Callable[[], Any]:
    """Return a callable for the receiver: a weak reference is one."""
    if isinstance(reference, ref):
        return reference
    return repeat(reference).__next__


def _receiver_set(signal: Signal, sender: Any, entries: list[Any]) -> ReceiverSet:
    """Return what is recorded of *entries* for a send from *sender*."""
    sync = [entry for entry in entries if not entry[-1]]
    sync_count = len(sync)
    if sync_count < len(entries):
        entries = sync + [entry for entry in entries if entry[-1]]
    labels, duplicate_of = reached(signal, sender, entries)
    return receiver_set(signal, names.sender_name(sender), labels, sync_count, duplicate_of)


def cached_receivers(signal: Signal, sender: Any) -> CachedReceivers | None:
    """Return a caching signal's receivers, left in its cache; or None.

    Does what ``Signal._live_receivers`` does on a miss, with the same lock, and raises what it
    raises for a sender that cannot be weakly referenced. Nothing else is done under the lock: it is not
    re-entrant, and what is made there may start a collection, with finalisers that send.
    """
    with signal.lock:
        signal._clear_dead_receivers()  # type: ignore[attr-defined]
        none_id = dispatcher.NONE_ID
        sender_id = dispatcher._make_id(sender)
        entries = _reached(signal.receivers, none_id, sender_id)
        if not entries:
            signal.sender_receivers_cache[sender] = dispatcher.NO_RECEIVERS
        else:
            # The items are what this release of Django caches: the entry without its lookup key.
            cached = CachedReceivers([entry[1:] for entry in entries])
            cached.derefs = UNFINISHED
            signal.sender_receivers_cache[sender] = cached
    note_cleared()
    if not entries:
        return None
    if _KEEPS_SENDERS and any(not is_of_sender(entry, sender) for entry in entries):
        raise ValueError("connected to another sender")  # Django finds out with each dispatch.
    cached.details = details_reader(signal, sender)
    cached.receiver_set = _receiver_set(signal, sender, entries)
    cached.number = cached.receiver_set.number
    cached.async_derefs = tuple([_deref(entry[1]) for entry in entries if entry[-1]])
    cached.derefs = tuple([_deref(entry[1]) for entry in entries if not entry[-1]])
    return cached


UNFINISHED: Final = (repeat(None).__next__,)
"""Finds a dead receiver: whoever finds receivers before they are finished resolves the receivers himself."""


class UncachedReceivers:
    """The receivers of a signal without a cache, and proof they still are."""

    __slots__ = (
        "async_derefs",
        "connections",
        "derefs",
        "details",
        "number",
        "receiver_set",
        "sender",
    )

    def __init__(
        self, signal: Signal, sender: Any, connections: list[Any], entries: list[Any]
    ) -> None:
        self.connections = connections
        """All connections of the signal. The same ones lead to the same receivers, and lists of the
        same tuples are found equal by their identities."""
        self.sender = sender_reference(sender)
        self.derefs = tuple([_deref(entry[1]) for entry in entries if not entry[-1]])
        self.async_derefs = tuple([_deref(entry[1]) for entry in entries if entry[-1]])
        self.details = details_reader(signal, sender)
        self.receiver_set = _receiver_set(signal, sender, entries)
        self.number = self.receiver_set.number


def _nobody() -> object:
    return _nobody


def sender_reference(sender: Any) -> Callable[[], Any]:
    """Return what gives *sender* while it lives and something else afterwards."""
    if sender is None or type(sender) is str:
        return repeat(sender).__next__
    return ref(sender) if names.is_referable(sender) else _nobody


def uncached_receivers(
    signal: Signal, sender: Any
) -> tuple[UncachedReceivers | None, list[Any], list[Any]]:
    """Return (cached, live sync, live async) of a signal without a cache.

    Scans as ``Signal._live_receivers`` does, under the same lock. The cached is None without live
    receivers.
    """
    with signal.lock:
        if signal._dead_receivers:  # type: ignore[attr-defined]
            signal._clear_dead_receivers()  # type: ignore[attr-defined]
        connections = list(signal.receivers)
    note_cleared()
    sender_id = dispatcher._make_id(sender)
    entries = []
    live: list[Any] = []
    live_async: list[Any] = []
    for entry in _reached(connections, dispatcher.NONE_ID, sender_id):
        receiver = receiver_of(entry)
        # Django 6 passes over a connection whose sender has died; its identity came again.
        if receiver is not None and sender_lives(entry):
            entries.append(entry)
            (live_async if entry[-1] else live).append(receiver)
    if not entries:
        return None, live, live_async
    cached = UncachedReceivers(signal, sender, connections, entries)
    # Django keeps an empty dictionary here for signals that do not cache, asks it for senders and
    # clears it with every connect and disconnect: the right place for a memory keyed by sender id.
    # Not the id itself: a sender that hashes as its id would be compared with it, by its own code.
    memory = signal.sender_receivers_cache
    if type(memory) is dict and type(sender_id) is int and id(signal) not in boundaries:
        if len(memory) >= PLAIN_LIMIT:
            memory.clear()
        memory[-id(sender)] = cached
    return cached, live, live_async


PLAIN_LIMIT: Final = 1_000
"""Senders remembered per signal."""


def _reached(receivers: list[Any], none_id: Any, sender_id: Any) -> list[Any]:
    """Return the entries of receivers that a send from a sender reaches.

    Raises:
        Exception: If Django cannot read them, or calls what is no receiver. It is asked to do that then.
    """
    found = _REACHED(receivers, none_id, sender_id)
    if [entry for entry in found if entry[1] is None]:
        raise ValueError("None is connected")
    return found


def _reached_of_5(receivers: list[Any], none_id: Any, sender_id: Any) -> list[Any]:
    return [
        entry
        for entry in receivers
        for (_, key), _receiver, _is_async in (entry,)
        if key in (none_id, sender_id)
    ]


def _reached_of_6(receivers: list[Any], none_id: Any, sender_id: Any) -> list[Any]:
    return [
        entry
        for entry in receivers
        for (_, key), _receiver, _sender, _is_async in (entry,)
        if key in (none_id, sender_id)
    ]


_KEEPS_SENDERS: Final = VERSION >= (6, 0)
"""Whether an entry refers to its sender."""
_REACHED: Final = _reached_of_6 if _KEEPS_SENDERS else _reached_of_5


def is_stock(cached: Any, signal: Signal, sender: Any) -> bool:
    """Return whether *cached* is what Django would put into its cache.

    Anything else was put there by somebody, and Django goes by it.
    """
    with signal.lock:
        entries = _reached(signal.receivers, dispatcher.NONE_ID, dispatcher._make_id(sender))
    return (
        type(cached) is list
        and len(cached) == len(entries)
        and all(
            type(item) is tuple and len(item) + 1 == len(entry) and all(map(is_, item, entry[1:]))
            for item, entry in zip(cached, entries, strict=True)
        )
    )


class ResolvedReceivers:
    """Receivers that an override of ``_live_receivers`` resolved."""

    __slots__ = ("details", "number", "receiver_set")

    def __init__(
        self,
        signal: Signal,
        sender: Any,
        live: list[Any],
        live_async: list[Any],
        own: UncachedReceivers | None = None,
        stands_for: Callable[[Any, Any], bool] = is_,
    ) -> None:
        connected = (
            [
                (deref(), label)
                for deref, label in zip(
                    (*own.derefs, *own.async_derefs), own.receiver_set.receivers, strict=True
                )
            ]
            if own is not None
            else []
        )

        def label_of(receiver: Any, is_async: bool) -> ReceiverLabel:
            """Return the label of the connection that *receiver* is or wraps."""
            for inner, label in connected:
                if inner is not None and stands_for(receiver, inner):
                    return label
            return names.receiver_label(receiver, is_async=is_async)

        receivers = [*live, *live_async]
        labels = tuple(
            [label_of(receiver, False) for receiver in live]
            + [label_of(receiver, True) for receiver in live_async]
        )
        duplicate_of = twins_among(labels, lambda n: outline(receivers[n]), receivers.__getitem__)
        self.details = details_reader(signal, sender)
        self.receiver_set = receiver_set(
            signal, names.sender_name(sender), labels, len(live), duplicate_of
        )
        self.number = self.receiver_set.number
