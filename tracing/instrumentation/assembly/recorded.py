"""Recorded traces in plain values, which another process assembles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import Struct

from tracing.instrumentation.assembly.assembler import Assembly
from tracing.instrumentation.assembly.knowledge import Costs
from tracing.instrumentation.buffer import Buffer
from tracing.spans.records import (
    Callsite,
    LostReceiver,
    MissedReceiver,
    ReceiverLabel,
    Trace,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from tracing.instrumentation.connections.receiver_sets import ReceiverSet


class Receivers(Struct, array_like=True, gc=False):
    """The name of a receiver set."""

    signal: str
    sender: str
    receivers: tuple[ReceiverLabel, ...]
    sync_count: int
    duplicate_of: tuple[int | None, ...]


class Fate(Struct, array_like=True, gc=False):
    """A block of a transaction with the outcome that it had by then."""

    alias: str
    depth: int
    application_depth: int
    outcome: TransactionOutcome

    @property
    def settled(self) -> bool:
        """Return whether the outcome was known."""
        return self.outcome is not TransactionOutcome.UNKNOWN


class RecordedBuffer(Struct, array_like=True, gc=False):
    """The events of one buffer, with numbers in the place of names."""

    number: int
    origin: tuple[str, int, int] | None
    thread: str
    recorded: list[Any]

    taken: ClassVar[int] = 0
    is_over: ClassVar[bool] = True


class Recorded(Struct, array_like=True, gc=False):
    """An ended trace that nobody has read."""

    head: Trace
    """What is known of it without reading its buffers."""
    start: int
    """On the monotonic clock, as all moments of its events."""
    end: int
    costs: tuple[int, int, int]
    """Of a dispatch, a receiver call and a query, in ns."""
    blocks: list[Fate]
    buffers: list[RecordedBuffer]
    orphans: list[tuple[int, int]]
    """(number of a receiver set, count) of dispatches without receivers."""
    lost: list[LostReceiver]
    """Receivers found dead before it, outside any trace."""
    missed: list[MissedReceiver]
    unreadable: list[tuple[str, str, int]]


_ROOT: Final = Buffer(None, 0)
"""Of a trace whose spans are numbered as they are read."""


class _Active:
    """A recorded trace in the place of an active one."""

    def __init__(self, recorded: Recorded) -> None:
        head = recorded.head
        self.trace_id, self.root_span_id = head.trace_id, head.root_span_id
        self.kind, self.name, self.started_ns = head.kind, head.name, head.started_ns
        self.start, self.end = recorded.start, recorded.end
        self.buffers = recorded.buffers
        self.root = _ROOT


class _Assembly(Assembly):
    """The reading of what another process has recorded."""

    def __init__(self, recorded: Recorded, names: dict[int, Any]) -> None:
        super().__init__(_Active(recorded))  # type: ignore[arg-type]
        self._recorded = recorded
        self._names = names
        self._costs = Costs()
        self._costs.dispatch_ns, self._costs.call_ns, self._costs.query_ns = recorded.costs
        for number, count in recorded.orphans:
            self._add_orphans({0: [count, names[number]]}, self._orphans)
        self._unreadable = {(what, why): count for what, why, count in recorded.unreadable}

    # -- What the other process has resolved

    def _receiver_set(self, number: int) -> ReceiverSet:
        found: ReceiverSet = self._names[number]
        return found

    def _site(self, code: Any, _instruction: int) -> Callsite | None:
        return None if code is None else self._names[code]

    def _function(self, code: Any) -> Callsite:
        found: Callsite = self._names[code]
        return found

    def _label(self, label: Any) -> ReceiverLabel:
        found: ReceiverLabel = self._names[label]
        return found

    def _block(self, block: Any) -> Any:
        return None if block is None else self._recorded.blocks[block]

    def _normalised(self, _alias: str, statement: Any) -> str:
        found: str = self._names[statement]
        return found

    @staticmethod
    def _key_text(_label: str, key: Any) -> str:
        found: str = key
        return found

    def _redacted(self, text: str, *_how: Any) -> str:
        return text

    def _redacted_name(self, name: str) -> str:
        return name

    def _head(self, *, final: bool) -> Trace:  # noqa: ARG002 - an ended trace has one.
        head = self._recorded.head
        head.name = self._name()
        return head

    def _count_orphans(self) -> None:
        """Do nothing: they were counted beforehand."""

    def _missed_receivers(self, _dispatches: Any) -> list[MissedReceiver]:
        return self._recorded.missed


def assemble_recorded(recorded: Recorded, names: dict[int, Any]) -> Trace:
    """Return the finished spans of what another process recorded.

    Args:
        recorded: What was recorded. It is used up.
        names: What the numbers in it stand for: texts, labels, callsites and receiver sets.

    Raises:
        KeyError: A name is missing.
    """
    for buffer in recorded.buffers:
        # Tuples come as lists.
        buffer.recorded = [
            tuple(value) if type(value) is list else value for value in buffer.recorded
        ]
    reading = _Assembly(recorded, names)
    reading.read(consume=False)
    trace = reading.segment(final=True)
    trace.lost_receivers[:0] = recorded.lost
    return trace
