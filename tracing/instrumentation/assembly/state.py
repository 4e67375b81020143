"""What is known of a live trace while its streams are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.instrumentation.attributes.callsites import callsite
from tracing.instrumentation.attributes.names import MAX_NAME, exact, qualname_of
from tracing.instrumentation.attributes.redaction import HIDDEN, redact_text
from tracing.instrumentation.failures import failed
from tracing.spans.intervals import CountedTime, TimeSoFar
from tracing.spans.records import (
    Bypass,
    CallbackQueries,
    ConnectionChange,
    Dispatch,
    LostReceiver,
    ReceiverCall,
    SideEffect,
    Trace,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from tracing.instrumentation.buffer import LiveTrace, Stream, UnheardCounts
    from tracing.instrumentation.connections.receiver_sets import ReceiverSet
    from tracing.instrumentation.database.transactions import Block
    from tracing.spans.records import Callsite


class Costs:
    """What recording costs the traced thread, in nanoseconds; 0 until it has been measured.

    ``tracing.instrumentation.overhead`` measures it, once per process.
    """

    __slots__ = ("call_ns", "dispatch_ns", "measured", "query_ns")

    def __init__(self) -> None:
        self.measured = False
        self.dispatch_ns = self.call_ns = self.query_ns = 0


costs: Final = Costs()


class Open:
    """What is open at a point of a stream: a dispatch whose sync receivers run one after the other."""

    __slots__ = (
        "at_once_on",
        "call",
        "dispatch",
        "is_batch",
        "is_link",
        "label",
        "nested_ns",
        "position",
        "unsaved",
    )

    def __init__(
        self,
        dispatch: Dispatch | None,
        label: ReceiverSet,
        call: ReceiverCall | None = None,
        *,
        is_batch: bool = False,
        is_link: bool = False,
    ) -> None:
        self.dispatch = dispatch
        """None for an on_commit callback, which is no dispatch but sends some."""
        self.label = label
        self.call = call
        """The receiver call that is running."""
        self.is_batch = is_batch
        """The dispatch is async; only its sync receivers run here, and its end is read elsewhere."""
        self.is_link = is_link
        """What is sent from here hangs under a call that did not wait for it."""
        self.at_once_on = ""
        """Alias for which there was no transaction, so that ``on_commit()`` runs its callback now."""
        self.position = 0
        self.nested_ns = 0
        """Time of the dispatches sent from inside the running receiver."""
        self.unsaved: tuple[str, int] | None = None
        """(label, identity) of an instance without a primary key."""

    def began_at(self, since: int) -> bool:
        """Return whether it is a dispatch of this stream that began so long after the trace."""
        dispatch = self.dispatch
        return dispatch is not None and not self.is_batch and dispatch.start_ns == since


class Reader:
    """Where the reading of one stream stands."""

    __slots__ = ("blocks", "call", "done", "outer", "outer_is_link", "place", "stack", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stack: list[Open] = []
        self.blocks: dict[str, Block] = {}
        """The innermost open transaction block by alias; the one opened last comes last."""
        self.outer: ReceiverCall | None = None
        """The receiver call under which this stream's own roots hang."""
        self.call: tuple[int, int] | None = None
        """(key, position) of the async receiver whose stream this is, until its first step is read."""
        self.outer_is_link = False
        self.place = stream.taken
        """Values read so far."""
        self.done = False
        """Nothing more will come."""


class State:
    """What is known of a live trace that is being read."""

    def __init__(self, live: LiveTrace) -> None:
        self.live = live
        self._began = live.start
        self.trace = Trace(
            trace_id=live.trace_id,
            root_span_id=live.root_span_id,
            kind=live.kind,
            name=live.name,
            started_ns=live.started_ns,
            duration_ns=0,
        )
        self._next = 1
        self._readers: dict[int, Reader] = {}
        self._by_key: dict[int, tuple[Dispatch, ReceiverSet]] = {}
        """Dispatches whose receivers run in streams of their own, by key."""
        self._closing: list[tuple[Dispatch, str]] = []
        """(dispatch, exception type) of async dispatches that have ended."""
        self._links: dict[int, list[tuple[int, ReceiverCall | None]]] = {}
        """(item, call): what handed work over to the stream of that number, from which item on."""
        self._sent: dict[int, list[Dispatch]] = {}
        """What was sent from inside each receiver call that is not exported, by its number."""
        self._awaited: set[int] = set()
        """Calls that handed work over and may have waited for it."""
        self._depths: dict[int, int] = {}
        """Depth of the dispatch of each receiver call, by the call's number."""
        self._callbacks: dict[int, tuple[ReceiverCall | None, Block | None]] = {}
        """What registered each callback that has not begun, and in which transaction."""
        self._blocks: list[tuple[Dispatch | SideEffect, tuple[Block, ...]]] = []
        self._unheard: dict[tuple[str, str], int] = {}
        self._unheard_before: dict[tuple[str, str], int] = {}
        """What was counted in the streams that have been let go."""
        self._done: list[Dispatch] = []
        self._complete_until = 0
        """Since the start: what had begun before has been read."""
        self._is_cut = False
        """Streams are left to be read: those of async receivers whose dispatch has ended, maybe."""
        self._roots = TimeSoFar()
        self._inside: dict[int, TimeSoFar] = {}
        """Time of the dispatches that async calls waited for, by the call's number, as exported."""
        self._counted = CountedTime()
        self._bypasses: list[Bypass] = []
        self._effects: list[SideEffect] = []
        self._lost: list[LostReceiver] = []
        self._changes: list[ConnectionChange] = []
        self._statements: dict[
            int, tuple[ReceiverCall | CallbackQueries, dict[str, list[int]]]
        ] = {}
        """Who asked, and [count, ns] of each statement, by the identity of who asked."""
        self._asked_later: dict[int, CallbackQueries] = {}
        """What callbacks asked of the database, by the number of the call that registered them."""
        self._segment = 0
        self._first_root: Dispatch | None = None
        self._unreadable: dict[tuple[str, str], int] = {}
        """How often something could not be read, by what it was and why."""
        self._mysql: dict[str, bool] = {}
        """Whether double quotes hold text, by the alias of the database."""

    def _note_unreadable(self, what: str, error: Exception) -> None:
        """Count something that could not be read, which the trace tells of."""
        failed("assembly", error)
        key = what, exact(qualname_of(type(error)))[:MAX_NAME]
        self._unreadable[key] = self._unreadable.get(key, 0) + 1

    def _redacted(self, text: str, redact: Callable[[str], str] = redact_text) -> str:
        """Return *text* without its secrets; hidden as a whole if they cannot be told."""
        try:
            return redact(text)
        except Exception as error:
            self._note_unreadable("a text", error)
            return HIDDEN

    def _signal(self, label: ReceiverSet) -> str:
        """Return the path of a signal, which is looked for among all that is loaded."""
        try:
            return label.signal
        except Exception as error:
            self._note_unreadable("the name of a signal", error)
            return UNREADABLE

    def _site(self, code: CodeType | None, instruction: int) -> Callsite | None:
        """Return file, line and function of *code*; None if there is none or it cannot be told."""
        if code is None:
            return None
        try:
            return callsite(code, instruction)
        except Exception as error:
            self._note_unreadable("a callsite", error)
            return None

    def _running_call(self, reader: Reader) -> ReceiverCall | None:
        """Return the receiver call in which the next item of the stream happens."""
        if reader.stack:
            return reader.stack[-1].call
        return self._call_around(reader)

    def _call_around(self, reader: Reader) -> ReceiverCall | None:
        """Return the receiver call in which what is written into this stream happens."""
        links = self._links.get(reader.stream.number)
        if links is None:
            return reader.outer
        # Another thread goes on with work that was handed over, perhaps several times.
        found = None
        for place, call in links:
            if place > reader.place:
                break
            found = call
        return found

    def _number(self) -> int:
        number = self._next
        self._next += 1
        return number

    def _since(self, moment: int) -> int:
        since = moment - self._began
        return 0 if since < 0 else since  # noqa: FURB136 - a call costs more.

    def _add_unheard(
        self, counts: UnheardCounts | None, counted: dict[tuple[str, str], int]
    ) -> None:
        """Add *counts* of one thread, by signal and sender, to *counted*."""
        for count, receiver_set in list((counts or {}).values()):
            key = (self._signal(receiver_set), receiver_set.sender)
            counted[key] = counted.get(key, 0) + count


def set_block(blocks: dict[str, Block], alias: str, block: Block | None) -> None:
    """Make *block* the innermost open one of *alias*, and the last one of them all."""
    blocks.pop(alias, None)
    if block is not None:
        blocks[alias] = block


UNREADABLE: Final = "(unreadable)"
