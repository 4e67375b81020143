"""Receivers that do not run during a block of a test."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import Signal, dispatcher

from tracing.analysis.wiring import all_signals
from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.callsites import application_frame
from tracing.instrumentation.connections import journal, registry
from tracing.instrumentation.patching import is_following
from tracing.spans.processes import MUTED, UNMUTED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class _AnySender:
    """The sender that stands for every sender; None is a sender of its own."""

    def __repr__(self) -> str:
        return "ANY_SENDER"


ANY_SENDER: Final = _AnySender()


class Muted:
    """Stands in the place of a muted receiver: it is called and does nothing."""

    def __init__(self, entry: tuple[Any, ...]) -> None:
        self.entry = entry
        """What stood in ``Signal.receivers``: put back when nobody mutes it any more."""
        self.count = 1
        self.is_async = bool(entry[-1])

    def __call__(self, **_named: Any) -> Any:
        """Return None, or what gives None when it is awaited."""
        return _nothing() if self.is_async else None


async def _nothing() -> None:
    pass


@contextmanager
def mute(*targets: Signal | Callable[..., Any], sender: Any = ANY_SENDER) -> Generator[None]:
    """Keep receivers from running during the block, in the whole process.

    Whatever is connected or disconnected meanwhile stays so, the order does not change, blocks may be
    nested or overlap, and no receiver is kept alive. A muted one stands in the list of responses with
    None.

    Args:
        targets: Signals (all their receivers) and receivers (of whatever signal).
        sender: Only connections for exactly this sender; None for those made without one.

    Raises:
        LookupError: A receiver among the targets is connected to no signal.
    """
    muted: list[tuple[Signal, Muted]] = []
    try:
        for target in targets:
            if isinstance(target, Signal):
                _mute_signal(target, sender, muted)
            else:
                _mute_receiver(target, sender, muted)
        _note(MUTED, muted)
        yield
    finally:
        for signal, stand_in in muted:
            _unmute(signal, stand_in)
        _note(UNMUTED, muted)


def _note(change: str, muted: list[tuple[Signal, Muted]]) -> None:
    """Write down what is muted from now on, or no more."""
    if not is_following():
        return
    frame = application_frame(sys._getframe(1))  # noqa: SLF001 - the test that mutes.
    place = (frame.f_code.co_filename, frame.f_lineno or 0) if frame is not None else ("", 0)
    for signal, stand_in in muted:
        known = registry.recall_or_describe(signal, stand_in.entry)
        journal.note(change, signal, known.sender, known.label, place)


def _mute_receiver(target: Any, sender: Any, muted: list[tuple[Signal, Muted]]) -> None:
    before = len(muted)
    for signal in all_signals():
        _mute_signal(signal, sender, muted, only=target)
    if len(muted) == before:
        raise LookupError(f"{names.receiver_label(target).name} is connected to no signal")


def _mute_signal(
    signal: Signal, sender: Any, muted: list[tuple[Signal, Muted]], only: Any = None
) -> None:
    wanted = dispatcher._make_id(sender)  # type: ignore[attr-defined]  # noqa: SLF001 - Django's key.
    with signal.lock:
        for index, entry in enumerate(signal.receivers):
            if sender is not ANY_SENDER and entry[0][1] != wanted:
                continue
            receiver = entry[1]
            if isinstance(receiver, Muted):
                if only is None or is_one(registry.receiver_of(receiver.entry), only):
                    receiver.count += 1
                    muted.append((signal, receiver))
                continue
            if only is not None and not is_one(registry.receiver_of(entry), only):
                continue
            stand_in = Muted(entry)
            signal.receivers[index] = (entry[0], stand_in, *entry[2:])
            muted.append((signal, stand_in))
        signal.sender_receivers_cache.clear()


def is_one(receiver: Any, target: Any) -> bool:
    """Return whether both are one receiver, a bound method included."""
    if isinstance(receiver, MethodType) and isinstance(target, MethodType):
        return receiver.__self__ is target.__self__ and receiver.__func__ is target.__func__
    return receiver is target


def _unmute(signal: Signal, stand_in: Muted) -> None:
    with signal.lock:
        stand_in.count -= 1
        if stand_in.count:
            return
        for index, entry in enumerate(signal.receivers):
            if entry[1] is stand_in:
                signal.receivers[index] = stand_in.entry
                break
        # It may have died meanwhile; Django then clears it away at the next chance.
        signal._dead_receivers = True  # type: ignore[attr-defined]  # noqa: SLF001 - Django's flag.
        signal.sender_receivers_cache.clear()
