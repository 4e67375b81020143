"""Notes on a trace: what its tree does not show, in sentences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracing.analysis.names import place, short_receiver, short_signal
from tracing.instrumentation.connections.missed import DISCONNECTED
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tracing.spans.records import (
        ConnectionChange,
        MissedReceiver,
        ReceiverCall,
        Trace,
        WaitingCallback,
    )


@dataclass(frozen=True, slots=True)
class Note:
    """One thing worth a line below the tree."""

    kind: str
    """One word: missed, waiting, connected, disconnected, no receivers."""
    text: str
    count: int = 1
    receiver: str = ""
    """Of a receiver that did not run: its name."""
    mine: bool = True
    """It is about no receiver, or about one of the project's own."""


def notes(trace: Trace) -> list[Note]:
    """Return notes on *trace*: idle receivers, waiting callbacks."""
    calls = {call.number: call for each in trace.dispatches for call in each.receiver_calls}
    found = Counter(
        ("missed", _missed(missed), missed.receiver.name, missed.receiver.mine)
        for missed in trace.missed_receivers
    )
    for waiting in trace.waiting_callbacks:
        found["waiting", _waiting(waiting, calls), "", True] += 1
    return [
        Note(kind, text, count, receiver, mine)
        for (kind, text, receiver, mine), count in found.items()
    ]


def further_notes(trace: Trace) -> Iterator[Note]:
    """Yield further notes: changed receivers, dispatches that had none."""
    for (kind, text), count in Counter(map(_change, trace.connection_changes)).items():
        yield Note(kind, text, count)
    yield from orphan_notes(trace.orphans)


def orphan_notes(orphans: Iterable[tuple[str, str, int]]) -> Iterator[Note]:
    """Yield the dispatches without receivers, the most frequent first."""
    for signal, sender, count in sorted(orphans, key=lambda orphan: (-orphan[2], *orphan[:2])):
        yield Note("no receivers", _dispatched(signal, sender), count)


def _dispatched(signal: str, sender: str) -> str:
    return f"{short_signal(signal)} {sender}" if sender != "None" else short_signal(signal)


def _missed(missed: MissedReceiver) -> str:
    receiver = missed.receiver
    where = place(receiver.file, receiver.line)
    who = f"{short_receiver(receiver.name)} ({where})" if where else short_receiver(receiver.name)
    signal = _dispatched(missed.signal, missed.sender)
    if missed.reason == DISCONNECTED:
        site = missed.callsite
        at = f" by {site.function} ({place(site.file, site.line)})" if site is not None else ""
        return f"{who} did not run for {signal}: it was disconnected{at} before, and is so still"
    of = missed.connected_for
    return f"{who} did not run for {signal}: it is connected for {of}, {missed.reason}"


def _waiting(waiting: WaitingCallback, calls: Mapping[int, ReceiverCall]) -> str:
    number = waiting.parent_number
    call = calls.get(number) if number is not None else None
    of = f" of {short_receiver(call.receiver.name)}" if call is not None else ""
    waits = "waits" if waiting.count == 1 else "wait"
    return (
        f"{plural(waiting.count, 'on_commit callback')}{of} {waits} for a commit of {waiting.using!r} "
        "that the test's own transaction never makes: captureOnCommitCallbacks(execute=True) runs it"
    )


def _change(change: ConnectionChange) -> tuple[str, str]:
    site = change.callsite
    at = f" at {place(site.file, site.line)} {site.function}" if site is not None else ""
    signal = _dispatched(change.signal, change.sender)
    return change.change, f"{short_receiver(change.receiver.name)} for {signal}{at}"
