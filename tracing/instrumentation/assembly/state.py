"""The state of an active trace while its buffers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from tracing.instrumentation.assembly.knowledge import Knowledge
from tracing.instrumentation.assembly.numbers import Given, SpanNumbers
from tracing.instrumentation.connections.receiver_sets import ReceiverSet
from tracing.spans.intervals import CountedTime, TimeSoFar
from tracing.spans.records import (
    Bypass,
    CallbackQueries,
    ConnectionChange,
    Dispatch,
    LostReceiver,
    ReceiverCall,
    SideEffect,
    SilentWrite,
    Trace,
)

if TYPE_CHECKING:
    from types import CodeType

    from tracing.instrumentation.buffer import ActiveTrace, Buffer, OrphanCounts
    from tracing.instrumentation.database.transactions import Block


class Registered(NamedTuple):
    """A registration of an on_commit callback."""

    call: ReceiverCall | None
    block: Block | None
    """The innermost block that was open; None in autocommit."""
    alias: str
    callback: CodeType | None
    """The code of the callback, if it is a function or holds one."""
    code: CodeType | None
    instruction: int
    """Where ``on_commit()`` was called."""


class Open(Struct, gc=False):
    """A dispatch that is open at a point of a buffer."""

    dispatch: Dispatch | None
    """None for an on_commit callback, which is no dispatch but sends some."""
    label: ReceiverSet
    call: ReceiverCall | None = None
    """The receiver call that is running."""
    is_batch: bool = False
    """The dispatch is async; only its sync receivers run here, and its end is read elsewhere."""
    is_link: bool = False
    """What is sent from here hangs under a call that did not wait for it."""
    at_once_on: str = ""
    """Alias for which there was no transaction, so that ``on_commit()`` runs its callback now."""
    position: int = 0
    nested_ns: int = 0
    """Time of the dispatches sent from inside the running receiver."""
    cpu_began: int = 0
    cpu_at: int | None = None
    """The thread's CPU clock as it was read last; None where it was not."""
    cpu_inside_ns: int | None = 0
    """What the running receiver's queries and dispatches took of it; None where that is unknown."""
    unsaved: tuple[str, int] | None = None
    """(label, identity) of an instance without a primary key."""

    def began_at(self, since: int) -> bool:
        """Return whether it is a dispatch of this buffer that began then."""
        dispatch = self.dispatch
        return dispatch is not None and not self.is_batch and dispatch.start_ns == since


class Reader:
    """The place that the reading of one buffer has come to."""

    __slots__ = (
        "blocks",
        "buffer",
        "call",
        "done",
        "given",
        "outer",
        "outer_is_link",
        "place",
        "stack",
    )

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.stack: list[Open] = []
        self.blocks: dict[str, Block] = {}
        """The innermost open transaction block by alias; the one opened last comes last."""
        self.outer: ReceiverCall | None = None
        """The receiver call under which this buffer's own roots hang."""
        self.call: tuple[int, int] | None = None
        """(key, position) of the async receiver whose buffer this is, until its first step is read."""
        self.outer_is_link = False
        self.place = buffer.taken
        """Values read so far."""
        self.given: Given | None = None
        """The numbers of the opening that comes next."""
        self.done = False
        """Nothing more will come."""


class State(Knowledge):
    """The state of an active trace that is being read."""

    def __init__(self, active: ActiveTrace) -> None:
        super().__init__(active)
        self._began = active.start
        self.trace = Trace(
            trace_id=active.trace_id,
            root_span_id=active.root_span_id,
            kind=active.kind,
            name=active.name,
            started_ns=active.started_ns,
            duration_ns=0,
        )
        spans = active.root.spans
        self._numbers = SpanNumbers(None if spans is None else spans.numbers)
        self._readers: dict[int, Reader] = {}
        self._by_key: dict[int, tuple[Dispatch, ReceiverSet]] = {}
        """Dispatches whose receivers run in buffers of their own, by key."""
        self._closing: list[tuple[Dispatch, str]] = []
        """(dispatch, exception type) of async dispatches that have ended."""
        self._links: dict[int, list[tuple[int, ReceiverCall | None]]] = {}
        """(item, call): what handed work over to the buffer of that number, from which item on."""
        self._sent: dict[int, list[Dispatch]] = {}
        """What was sent from inside each receiver call that is not exported, by its number."""
        self._awaited: set[int] = set()
        """Calls that handed work over and may have waited for it."""
        self._depths: dict[int, int] = {}
        """Depth of the dispatch of each receiver call, by the call's number."""
        self._callbacks: dict[int, Registered] = {}
        """What registered each callback that has not begun, and in which transaction."""
        self._blocks: list[tuple[Dispatch | SideEffect, tuple[Block, ...]]] = []
        self._orphans: dict[tuple[str, str], int] = {}
        self._orphans_before: dict[tuple[str, str], int] = {}
        """What was counted in the buffers that have been let go."""
        self._done: list[Dispatch] = []
        self._complete_until = 0
        """Since the start: what had begun before has been read."""
        self._is_cut = False
        """Buffers are left to be read: those of async receivers whose dispatch has ended, maybe."""
        self._roots = TimeSoFar()
        self._inside: dict[int, TimeSoFar] = {}
        """Time of the dispatches that async calls waited for, by the call's number, as exported."""
        self._counted = CountedTime()
        self._bypasses: list[Bypass] = []
        self._silent: list[SilentWrite] = []
        self._effects: list[SideEffect] = []
        self._lost: list[LostReceiver] = []
        self._changes: list[ConnectionChange] = []
        self._statements: dict[
            int, tuple[ReceiverCall | CallbackQueries, dict[str, list[int]]]
        ] = {}
        """Who asked, and [count, ns] of each statement, by the identity of who asked."""
        self._asked_later: dict[int, CallbackQueries] = {}
        """What callbacks asked of the database, by the number of the call that registered them."""
        self._on_commit: list[int] = []
        """Numbers of the dispatches that callbacks have sent."""
        self._segment = 0

    def _running_call(self, reader: Reader) -> ReceiverCall | None:
        """Return the receiver call in which the next item of the buffer happens."""
        if reader.stack:
            return reader.stack[-1].call
        return self._call_around(reader)

    def _call_around(self, reader: Reader) -> ReceiverCall | None:
        """Return the receiver call in which this buffer is written."""
        links = self._links.get(reader.buffer.number)
        if links is None:
            return reader.outer
        # Another thread goes on with work that was handed over, perhaps several times.
        found = None
        for place, call in links:
            if place > reader.place:
                break
            found = call
        return found

    def _since(self, moment: int) -> int:
        since = moment - self._began
        return 0 if since < 0 else since  # noqa: FURB136 - a call costs more.

    def _add_orphans(
        self, counts: OrphanCounts | None, counted: dict[tuple[str, str], int]
    ) -> None:
        """Add *counts* of one thread, by signal and sender, to *counted*."""
        for count, receiver_set in list((counts or {}).values()):
            key = (self._signal(receiver_set), receiver_set.sender)
            counted[key] = counted.get(key, 0) + count


def set_block(blocks: dict[str, Block], key: str, block: Block | None) -> None:
    """Make *block* the innermost of the connection *key*, and the last of all."""
    blocks.pop(key, None)
    if block is not None:
        blocks[key] = block
