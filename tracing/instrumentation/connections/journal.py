"""The journal: what this process did to its connections, and where.

Written where receivers are connected and disconnected, never where a signal is sent. What is kept are
strings, numbers and labels, in a bounded number.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time_ns
from tracing.instrumentation.attributes import names
from tracing.instrumentation.connections.registry import Place, SignalReference
from tracing.instrumentation.recent import forgotten
from tracing.spans.processes import CONNECTED, IGNORED, Waiting, WiringEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from django.dispatch import Signal

    from tracing.instrumentation.connections.registry import Connection
    from tracing.spans.labels import ReceiverLabel

    Listener = Callable[[str, Signal, str, ReceiverLabel, Place], None]

LIMIT: Final = 2_000
"""Changes that are kept; the oldest go."""
MOST_WAITING: Final = 1_000
"""Connections with the name of a model that has not come."""

_DISPATCHER: Final = tuple(
    os.path.join("django", *path)
    for path in (
        ("dispatch", "dispatcher.py"),
        ("db", "models", "signals.py"),
        ("db", "models", "utils.py"),
        ("apps", "registry.py"),
        ("utils", "functional.py"),
    )
)
_OWN: Final = os.path.dirname(os.path.abspath(sys.modules["tracing"].__file__ or "")) + os.sep


class _Journal:
    """Changes that are kept, and how often there were any."""

    __slots__ = ("began_ns", "events", "listeners", "lost", "ready_ns", "version", "waiting")

    def __init__(self) -> None:
        self.began_ns = time_ns()
        self.ready_ns = 0
        """When the applications were there and recording began, on the wall clock."""
        self.events: deque[tuple[Any, ...]] = deque(maxlen=LIMIT)
        self.listeners: tuple[Listener, ...] = ()
        """Whom each change is told at once, on the thread that makes it."""
        self.lost = 0
        self.version = 0
        """Grows with each change."""
        self.waiting: dict[tuple[int, int, str], _Lazy] = {}
        """Connections to models that have not come, by signal, receiver and the name of the model."""


class _Lazy:
    """A connect() with the name of a model."""

    __slots__ = ("label", "place", "sender", "signal")

    def __init__(
        self, signal: SignalReference, sender: str, label: ReceiverLabel, place: Place
    ) -> None:
        self.signal = signal
        self.sender = sender
        self.label = label
        self.place = place


journal: Final = _Journal()


def clear() -> None:
    """Forget everything, but keep what a forked child's parent holds."""
    journal.events.clear()
    journal.waiting.clear()
    journal.lost = 0
    journal.version += 1


def connecting_frame(frame: FrameType | None) -> FrameType | None:
    """Return the frame, from *frame* outwards, that asked the dispatcher.

    Unlike the frame that sends a signal it may be of Django itself: an application of its own connects.
    """
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.endswith(_DISPATCHER) and not name.startswith(_OWN):
            return frame
        frame = frame.f_back
    return None


def place_of(frame: FrameType | None) -> Place:
    """Return file and line of the frame that asked the dispatcher."""
    found = connecting_frame(frame)
    if found is None:
        return "", 0
    name = found.f_code.co_filename
    return (name if name[:1] in {"/", "<"} else os.path.abspath(name)), found.f_lineno or 0


def note(
    change: str,
    signal: Signal,
    sender: str,
    label: ReceiverLabel,
    place: Place,
    *,
    at_ns: int = 0,
    holder: Connection | ReceiverLabel | None = None,
) -> None:
    """Write down what was done to a connection, at *place*.

    Args:
        change: One of the words of ``tracing.spans.processes``.
        signal: The signal.
        sender: As it was connected.
        label: The receiver.
        place: File and line.
        at_ns: When, on the wall clock; now unless given.
        holder: Of a connect() that was ignored: who is connected already.
    """
    if len(journal.events) == LIMIT:
        journal.lost += 1
        forgotten["changes of connections"] += 1
    journal.events.append(
        (change, at_ns or time_ns(), SignalReference(signal), sender, label, place, holder)
    )
    journal.version += 1
    for listener in journal.listeners:
        listener(change, signal, sender, label, place)


def watch(listener: Listener) -> Callable[[], None]:
    """Have *listener* told of each change; return what ends it."""
    journal.listeners = (*journal.listeners, listener)

    def end() -> None:
        journal.listeners = tuple(each for each in journal.listeners if each is not listener)

    return end


def ask(signal: Signal, receiver: object, model: str, place: Place) -> None:
    """Note that *receiver* is to be connected when a model is loaded."""
    if len(journal.waiting) >= MOST_WAITING:
        journal.waiting.pop(next(iter(journal.waiting)), None)
        journal.lost += 1
    label = names.receiver_label(receiver)
    key = id(signal), id(receiver), model.lower()
    journal.waiting[key] = _Lazy(SignalReference(signal), model, label, place)
    journal.version += 1


def answer(signal: Signal, receiver: object, sender: str) -> Place | None:
    """Return where *receiver* waited for the model *sender*, now loaded."""
    if not journal.waiting:
        return None
    lazy = journal.waiting.pop((id(signal), id(receiver), sender.lower()), None)
    # Both may have died before a model came, and their identities be others' now.
    if lazy is None or not lazy.signal.leads_to(signal):
        return None
    return lazy.place if lazy.label == names.receiver_label(receiver) else None


def connected_at(signal: Signal, label: ReceiverLabel) -> Place:
    """Return where a receiver was last connected; empty and 0 if unknown."""
    for change, _at_ns, reference, _sender, connected, place, _holder in reversed(journal.events):
        if change == CONNECTED and connected == label and reference.leads_to(signal):
            found: Place = place
            return found
    return "", 0


def events() -> list[WiringEvent]:
    """Return what was written down, oldest first."""
    found = []
    for change, at_ns, signal, sender, label, (file, line), holder in list(journal.events):
        event = WiringEvent(change, signal.name, sender, label, at_ns, file, line)
        if change == IGNORED and holder is not None:
            event.holder = getattr(holder, "label", holder)
            event.holder_file = getattr(holder, "file", "") if event.holder is not holder else ""
            event.holder_line = getattr(holder, "line", 0) if event.holder is not holder else 0
        found.append(event)
    return found


def waiting() -> list[Waiting]:
    """Return the connections whose model has not come."""
    return [
        Waiting(each.signal.name, each.sender, each.label, *each.place)
        for each in list(journal.waiting.values())
    ]
