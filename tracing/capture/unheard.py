"""Dispatches that nobody received: counted per signal and sender, no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.capture.context import Stream, current
from tracing.capture.failures import failed
from tracing.capture.names import sender_name
from tracing.capture.wirings import sender_reference, wiring_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.dispatch import Signal

LIMIT: Final = 2_000
"""Pairs of signal and sender told apart in one stream; the rest are counted together."""


class Unheard:
    """How often one signal was sent by one sender without a receiver."""

    __slots__ = ("count", "number", "sender")

    def __init__(self, number: int, sender: Callable[[], Any]) -> None:
        self.number = number
        """Wiring number: it leads to the names."""
        self.sender = sender
        self.count = 0


def count_unheard(signal: Signal, sender: Any) -> None:
    """Count a dispatch of *signal* from *sender* in the running trace. Never raises."""
    try:
        stream = current()
        if stream is None or stream.events is None:
            return
        key = (id(signal), id(sender))
        unheard: dict[Any, Unheard] = stream.unheard
        entry = unheard.get(key)
        if entry is None or entry.sender() is not sender:
            entry = _first(stream, key, signal, sender)
        entry.count += 1
    except Exception as error:
        failed("count_unheard", error)


def _first(stream: Stream, key: Any, signal: Signal, sender: Any) -> Unheard:
    unheard: dict[Any, Unheard] = stream.unheard
    if len(unheard) >= LIMIT:
        return unheard.setdefault(None, Unheard(0, sender_reference(None)))
    number = wiring_number(signal, sender_name(sender), (), 0)
    # Senders that cannot be weakly referenced, and ids given out again, are counted by name.
    reference = sender_reference(sender)
    if key in unheard or reference() is not sender:
        return unheard.setdefault(number, Unheard(number, reference))
    entry = unheard[key] = Unheard(number, reference)
    return entry
