"""Coverage of receivers by tests: which ran, and how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tracing.analysis.wiring import ANY
from tracing.spans.records import Outcome, TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tracing.spans.labels import ReceiverLabel
    from tracing.spans.records import Trace

VERSION: Final = 1
"""Of the JSON that processes hand on and users read: goes up when a field changes its meaning."""
UNDONE: Final = frozenset(
    {TransactionOutcome.ROLLED_BACK, TransactionOutcome.SAVEPOINT_ROLLED_BACK}
)


class Connected(msgspec.Struct, omit_defaults=True):
    """A receiver connected to a signal for a sender, and how it ran."""

    signal: str
    sender: str
    """``None`` for any sender."""
    receiver: str
    file: str = ""
    """Absolute; empty for code without a file."""
    line: int = 0
    dispatch_uid: str = ""
    mine: bool = False
    takes_raw: bool = False
    """It asks whether a fixture is being loaded."""
    calls: int = 0
    raised: int = 0
    undone: int = 0
    """Calls whose transaction or savepoint was rolled back by what was tested, not by the test case."""
    raw: int = 0
    """Calls for objects of a fixture that was being loaded."""
    senders: dict[str, int] = {}
    """Of one that hears any sender: its calls by sender."""

    @property
    def key(self) -> tuple[str | int, ...]:
        """Return what it has in common with itself in another process."""
        return (self.signal, self.sender, self.receiver, self.file, self.line, self.dispatch_uid)

    @property
    def never(self) -> list[str]:
        """Return what never happened to it, as ``ran`` or ``raised``."""
        if not self.calls:
            return ["ran"]
        told = (("raised", self.raised), ("rolled back", self.undone))
        missing = [name for name, count in told if not count]
        return [*missing, "raw"] if self.takes_raw and not self.raw else missing

    def add(self, other: Connected) -> None:
        """Add the calls that another process saw."""
        self.takes_raw = self.takes_raw or other.takes_raw
        self.calls += other.calls
        self.raised += other.raised
        self.undone += other.undone
        self.raw += other.raw
        for sender, count in other.senders.items():
            self.senders[sender] = self.senders.get(sender, 0) + count


class Calls:
    """The calls of receivers, counted over many traces."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, int], tuple[ReceiverLabel, Connected]] = {}

    def add(self, trace: Trace) -> None:
        """Count what *trace* holds."""
        for dispatch in trace.dispatches:
            signal, sender = dispatch.signal, dispatch.sender
            undone, raw = dispatch.transaction in UNDONE, dispatch.raw is True
            for call in dispatch.receiver_calls:
                if call.outcome is Outcome.SKIPPED:
                    continue
                label = call.receiver
                # The label itself is kept beside its identity, which is another's otherwise.
                _label, counted = self._found.get((signal, sender, id(label))) or self._new(
                    signal, sender, label
                )
                counted.calls += 1
                counted.raised += call.outcome is Outcome.RAISED
                counted.undone += undone
                counted.raw += raw

    def _new(
        self, signal: str, sender: str, label: ReceiverLabel
    ) -> tuple[ReceiverLabel, Connected]:
        found = label, connected(signal, sender, label)
        self._found[signal, sender, id(label)] = found
        return found

    def of(self, connections: Iterable[Connected]) -> list[Connected]:
        """Return *connections* with their calls, without those that are gone."""
        found = merged([connections])
        by_key = {each.key: each for each in found}
        for label, counted in self._found.values():
            sender, counted.senders = counted.sender, {}
            if label.any_sender:
                counted = msgspec.structs.replace(  # noqa: PLW2901 - as it is connected.
                    counted, sender=ANY, senders={sender: counted.calls}
                )
            if counted.key in by_key:
                by_key[counted.key].add(counted)
        return found


def connected(signal: str, sender: str, label: ReceiverLabel) -> Connected:
    """Return a receiver that is connected and was not called yet."""
    return Connected(
        signal,
        sender,
        label.name,
        file=label.file,
        line=label.line,
        dispatch_uid=label.dispatch_uid,
        mine=label.mine,
        senders={},
    )


def merged(parts: Iterable[Iterable[Connected]]) -> list[Connected]:
    """Return what several processes counted as one, by file and line."""
    found: dict[tuple[str | int, ...], Connected] = {}
    for part in parts:
        for each in part:
            known = found.setdefault(each.key, each)
            if known is not each:
                known.add(each)
    return sorted(found.values(), key=lambda each: (each.file, each.line, *map(str, each.key)))


def without(connections: Iterable[Connected], files: Collection[str]) -> list[Connected]:
    """Return *connections* without the receivers of the tests themselves."""
    return [
        each
        for each in connections
        if each.file not in files and not each.file.endswith("conftest.py")
    ]


def percent(connections: Collection[Connected]) -> float:
    """Return how many of *connections* ran, in percent; 100 if there are none."""
    if not connections:
        return 100.0
    return 100 * sum(1 for each in connections if each.calls) / len(connections)


encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder(list[Connected]).decode
