"""Receiver sets: known by a number, named when they are read.

A buffer holds numbers only. What they stand for is held by the receivers that Django's caches hold, and
for a while by the memory here, since a buffer is read later. Whatever was forgotten meanwhile is read
as the right number of receivers without names, and counted.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ref

from tracing.instrumentation.attributes.signal_names import GONE, find_signal_name
from tracing.instrumentation.recent import FORGOTTEN, Recent, forgotten
from tracing.spans.records import ReceiverLabel

if TYPE_CHECKING:
    from django.dispatch import Signal

GENERATION: Final = 25_000
"""Receiver sets that are surely remembered: as many as a full buffer can hold dispatches."""

_BITS: Final = 10
_MOST: Final = (1 << _BITS) - 1
"""Receivers that a number can tell of, of each sort."""

_serials = count(1)


class ReceiverSet:
    """The receivers of a signal for a sender, as strings."""

    __slots__ = (
        "__weakref__",
        "_signal",
        "_signal_name",
        "duplicate_of",
        "number",
        "receivers",
        "sender",
        "sync_count",
    )

    def __init__(
        self,
        signal: Signal | None,
        sender: str,
        receivers: tuple[ReceiverLabel, ...],
        sync_count: int,
        duplicate_of: tuple[int | None, ...] = (),
        *,
        signal_name: str = "",
    ) -> None:
        self._signal = ref(signal) if signal is not None else None
        self._signal_name = signal_name
        self.sender = sender
        self.receivers = receivers
        """In calling order: the sync ones, then the async ones."""
        self.sync_count = sync_count
        self.duplicate_of = duplicate_of
        """For each receiver the position of an earlier one that is the same function, or None.

        Empty where all would be None."""
        async_count = min(len(receivers) - sync_count, _MOST)
        shape = min(sync_count, _MOST) << _BITS | async_count
        self.number = next(_serials) << 2 * _BITS | shape
        """Given out once; tells how many receivers there are also after the rest was forgotten."""

    @property
    def signal(self) -> str:
        """Return the signal's dotted path. Slow once; off the traced thread."""
        if self._signal_name:
            return self._signal_name
        signal = self._signal() if self._signal is not None else None
        if signal is None:
            return GONE
        name, is_final = find_signal_name(signal)
        if is_final:
            self._signal_name = name
        return name

    @property
    def is_final(self) -> bool:
        """Return whether its names are known and stay as they are."""
        return self._signal_name not in {"", FORGOTTEN}

    def is_of(self, signal: Signal) -> bool:
        """Return whether this is of *signal* itself, not its address alone."""
        return self._signal is not None and self._signal() is signal


class _Numbers(Recent[int, ReceiverSet]):
    """Receiver sets by number, found while somebody holds them."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        super().__init__(GENERATION, "receiver sets")
        self._held: dict[int, ref[ReceiverSet]] = {}

    def dropped(self, gone: dict[int, ReceiverSet]) -> None:
        self._held = {
            number: reference for number, reference in self._held.items() if reference() is not None
        } | {number: ref(receiver_set) for number, receiver_set in gone.items()}
        super().dropped(gone)

    def get(self, key: int) -> ReceiverSet | None:
        # Nearly always there, and asked for each dispatch.
        found = self._new.get(key) or super().get(key)
        if found is None:
            reference = self._held.get(key)
            found = reference() if reference is not None else None
        return found

    def clear(self) -> None:
        super().clear()
        self._held = {}


_by_number: Final = _Numbers()
_by_parts: Final[Recent[tuple[Any, ...], ReceiverSet]] = Recent(GENERATION)

NOTHING: Final = ReceiverSet(None, "", (), 0)
"""In the place of a receiver set where something is open that is no dispatch."""


def receiver_set(
    signal: Signal,
    sender: str,
    receivers: tuple[ReceiverLabel, ...],
    sync_count: int,
    duplicate_of: tuple[int | None, ...] = (),
) -> ReceiverSet:
    """Return the set of these receivers, the same while it is remembered.

    Keeps nothing but strings, numbers and weak references. Two signals may have one identity, one
    after the other, and so may two tuples of labels: what is found is compared.
    """
    parts = (id(signal), sender, sync_count, *map(id, receivers))
    found = _by_parts.get(parts)
    if found is not None and found.duplicate_of == duplicate_of and found.is_of(signal):
        if _by_number.get(found.number) is None:
            _by_number.put(found.number, found)
        return found
    made = ReceiverSet(signal, sender, receivers, sync_count, duplicate_of)
    _by_number.put(made.number, made)
    _by_parts.put(parts, made)
    return made


def find(number: int) -> ReceiverSet:
    """Return the set of *number*; nameless receivers if it was forgotten."""
    found = _by_number.get(number)
    if found is not None:
        return found
    forgotten["dispatches without names"] += 1
    sync_count, async_count = number >> _BITS & _MOST, number & _MOST
    receivers = (ReceiverLabel(FORGOTTEN),) * sync_count + (
        ReceiverLabel(FORGOTTEN, is_async=True),
    ) * async_count
    nameless = ReceiverSet(None, FORGOTTEN, receivers, sync_count, signal_name=FORGOTTEN)
    nameless.number = number
    return nameless
