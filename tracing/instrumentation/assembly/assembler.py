"""Assembly: from the streams of a live trace to finished spans.

Runs in the worker (or wherever a finished trace is wanted now), never on the way of a dispatch. Each
stream is read like a document: an opening pushes a dispatch, each end moves on to the next receiver
and the last one closes it; what stands between belongs inside. Reading may stop anywhere and go on
later, which is how a long trace is exported in segments while it runs.
"""

from __future__ import annotations

from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from tracing.instrumentation import context
from tracing.instrumentation.assembly.statements import normalised, quotes_text
from tracing.instrumentation.attributes.arguments import (
    CREATED,
    HAS_CREATED,
    HAS_RAW,
    HAS_REVERSE,
    M2M,
    NAMED,
    RAW,
    REVERSE,
    SAVE,
)
from tracing.instrumentation.attributes.callsites import callsite
from tracing.instrumentation.attributes.names import MAX_NAME, exact, qualname_of
from tracing.instrumentation.attributes.redaction import (
    HIDDEN,
    key_text,
    policy,
    redact_error,
    redact_path,
    redact_text,
)
from tracing.instrumentation.buffer import HOST, VALUES_PER_DISPATCH, LiveTrace, Stream
from tracing.instrumentation.connections import missed
from tracing.instrumentation.connections.changes import take_waiting
from tracing.instrumentation.connections.receiver_sets import NOTHING, ReceiverSet, find
from tracing.instrumentation.database.raw_sql import writes_past_receivers
from tracing.instrumentation.failures import failed
from tracing.instrumentation.process import identity, process_lock
from tracing.instrumentation.words import (
    ASYNC_CLOSE,
    ASYNC_OPEN,
    ASYNC_PHASE,
    BATCH,
    BATCH_END,
    BYPASS,
    CALL_END,
    CALLBACK,
    CALLBACK_END,
    CONNECTION,
    CUT,
    EFFECT,
    LINK,
    LOST_RECEIVER,
    QUERY,
    RAISED,
    REGISTERED,
    RETURNED,
    SQL_WRITE,
    TRANSACTION,
    VALUES,
)
from tracing.spans.intervals import CountedTime, TimeSoFar, covered_within
from tracing.spans.records import (
    Bypass,
    CallbackQueries,
    Carried,
    ConnectionChange,
    Dispatch,
    Kind,
    LostReceiver,
    Method,
    MissedReceiver,
    Outcome,
    ReceiverCall,
    SideEffect,
    Status,
    Trace,
    TransactionOutcome,
    WaitingCallback,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

    from tracing.instrumentation.buffer import UnheardCounts
    from tracing.instrumentation.database.transactions import Block
    from tracing.spans.records import Callsite

SERVER_ERROR: Final = 500
"""HTTP statuses from here on are failures of the application."""


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


class Assembly:
    """The reading of one live trace, which may go on over several segments."""

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

    # -- reading -----------------------------------------------------------------------------

    def read(self, *, consume: bool = True, most: int | None = None) -> bool:
        """Read what the streams hold now; take it out of them unless *consume* is False.

        Args:
            consume: Take out of the streams what has been read.
            most: Values to read of one stream. The streams after one that holds more are left for the
                next time, too: what they hold may be announced in what is still to be read.

        Returns:
            Whether all was read.
        """
        moment = self._since(clock())
        streams = list(self.live.streams)
        # Before the reading: of one that is over now, all has been written.
        over = {stream.number for stream in streams if stream.is_over}
        # Lengths from the last stream to the first: what a later one holds was announced in an
        # earlier one before, so no item is read whose announcement is not.
        lengths = [len(stream.recorded or ()) for stream in reversed(streams)][::-1]
        for stream, length in zip(streams, lengths, strict=True):
            events = stream.recorded
            if events is None:
                continue
            reader = self._reader(stream)
            before = reader.place
            is_cut = most is not None and length > most
            try:
                self._read(reader, events[: most if is_cut else length])
            finally:
                if consume:
                    del events[: reader.place - before]
                    stream.taken = reader.place
            if is_cut:
                self._is_cut = True
                return False
            if consume and stream.late:
                self._read_late(stream)
        self._is_cut = False
        self._complete_until = moment
        if consume:
            self._forget_done(streams, over)
        return True

    def _read_late(self, stream: Stream) -> None:
        """Read the open blocks for which the stream had no room while it was full."""
        blocks = self._readers[stream.number].blocks
        while stream.late:
            try:
                alias, block = stream.late.popitem()
            except KeyError:
                return  # The writer was quicker, and has appended them.
            _set_block(blocks, alias, block)

    def _forget_done(self, streams: list[Stream], over: set[int]) -> None:
        """Let go of the streams of async receivers, threads and tasks that have ended.

        A long trace has many. One that is written all the same, by a callback of the event loop that
        was set up there, is nobody's again and is taken up by its next dispatch.
        """
        gone = set()
        for stream in streams:
            reader = self._readers.get(stream.number)
            if reader is None:
                continue
            parent = stream.origin[1] if stream.origin is not None else 0
            is_over = reader.done or stream.number in over
            if stream.origin is not None and stream.origin[0] == "branch":
                is_over = parent in gone
            if is_over and not reader.stack:
                gone.add(stream.number)
                stream.ident = 0
                root = self.live.root
                if stream.unheard not in (root.unheard, root.counted_before):
                    self._add_unheard(stream.unheard, self._unheard_before)
                stream.unheard = {}
                self.live.streams.remove(stream)
                del self._readers[stream.number]
        if gone:
            for key in [key for key in list(self.live.branches) if key[0] in gone]:
                self.live.branches.pop(key, None)

    def _read(self, reader: Reader, items: list[Any]) -> None:
        place, end = 0, len(items)
        began = reader.place
        while place < end:
            size = 1
            try:
                word = items[place]
                if type(word) is int:
                    self._returned(reader, word, "")
                else:
                    size, read = _READ[word]
                    shape = place + size
                    if word in _OPENINGS:
                        size += _DETAILS[items[shape]] if shape < end else 1
                    if place + size > end:
                        return  # The writer is not through with it.
                    read(self, reader, items[place + 1 : place + size])
            except Exception as error:
                # One that cannot be read costs itself alone; the rest of the trace is kept.
                self._note_unreadable("an event", error)
            place += size
            reader.place = began + place

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

    def _reader(self, stream: Stream) -> Reader:
        reader = self._readers.get(stream.number)
        if reader is None:
            reader = self._readers[stream.number] = Reader(stream)
            if stream.origin is not None:
                word, key, position = stream.origin
                reader.outer_is_link = word == "link"
                if word == "call":
                    reader.call = key, position
        return reader

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

    # -- dispatches --------------------------------------------------------------------------

    def _new_dispatch(
        self,
        reader: Reader,
        start: int,
        number: int,
        method: Method,
        code: Any,
        instruction: int,
        details: list[Any],
    ) -> tuple[Dispatch, ReceiverSet]:
        label = find(number)
        call = self._running_call(reader)
        parent_is_link = reader.stack[-1].is_link if reader.stack else reader.outer_is_link
        dispatch = Dispatch(
            number=self._number(),
            signal=self._signal(label),
            sender=label.sender,
            method=method,
            start_ns=self._since(start),
            duration_ns=0,
            depth=self._depth_below(call),
            parent_number=call.number if call is not None else None,
            parent_is_link=call is not None and parent_is_link,
            callsite=self._site(code, instruction),
            thread=reader.stream.thread,
        )
        if details[0] is not None:
            try:
                _put_details(dispatch, details)
            except Exception as error:
                self._note_unreadable("the details of a dispatch", error)
        self._note_block(reader, dispatch)
        if call is not None:
            beside = self._sent.get(call.number)
            if beside is None:
                self._sent[call.number] = [dispatch]
            else:
                beside.append(dispatch)
        elif self._first_root is None:
            self._first_root = dispatch
        self.trace.dispatch_count += 1
        return dispatch, label

    def _depth_below(self, call: ReceiverCall | None) -> int:
        return self._depths.get(call.number, 0) + 1 if call is not None else 0

    def _note_block(self, reader: Reader, dispatch: Dispatch) -> None:
        block = reader.blocks.get(dispatch.using) if dispatch.using else None
        if block is None and not dispatch.using and reader.blocks:
            block = next(reversed(reader.blocks.values()))
        if block is not None:
            self._blocks.append((dispatch, (block,)))
            dispatch.transaction = TransactionOutcome.UNKNOWN
            dispatch.transaction_depth = block.depth

    def _call(
        self, dispatch: Dispatch, label: ReceiverSet, position: int, start: int
    ) -> ReceiverCall:
        call = ReceiverCall(
            number=self._number(),
            position=position,
            receiver=label.receivers[position],
            start_ns=self._since(start),
            duration_ns=0,
            outcome=Outcome.RUNNING,
            same_as=label.same_as[position] if position < len(label.same_as) else None,
        )
        self._depths[call.number] = dispatch.depth
        dispatch.receiver_calls.append(call)
        self.trace.receiver_call_count += 1
        return call

    def _open(self, reader: Reader, fields: list[Any], method: Method) -> None:
        start, number, code, instruction, *details = fields
        dispatch, label = self._new_dispatch(
            reader, start, number, method, code, instruction, details
        )
        first = self._call(dispatch, label, 0, start) if label.sync_count else None
        opened = Open(dispatch, label, first)
        if details[0] is not None and type(details[2]) is tuple and len(details[2]) == 1:
            opened.unsaved = (details[1], details[2][0])
            dispatch.same_instance_as = next(
                (
                    above.dispatch.number
                    for above in reader.stack
                    if above.unsaved == opened.unsaved and above.dispatch is not None
                ),
                None,
            )
        reader.stack.append(opened)

    def _read_send(self, reader: Reader, fields: list[Any]) -> None:
        self._open(reader, fields, Method.SEND)

    def _read_send_robust(self, reader: Reader, fields: list[Any]) -> None:
        self._open(reader, fields, Method.SEND_ROBUST)

    def _returned(self, reader: Reader, end: int, response_type: str) -> None:
        opened = reader.stack[-1] if reader.stack else None
        if opened is None:
            self._stepped(reader, end)
            return
        if opened.call is None:
            return
        opened.call.response_type = response_type
        self._end_call(opened.call, end, Outcome.RETURNED, opened.nested_ns)
        self._advance(reader, opened, end)

    def _end_call(self, call: ReceiverCall, end: int, outcome: Outcome, nested_ns: int) -> None:
        duration = end - self._began - call.start_ns
        call.duration_ns = duration = 0 if duration < 0 else duration  # noqa: FURB136
        call.self_ns = duration - nested_ns if duration > nested_ns else 0
        call.outcome = outcome

    def _advance(self, reader: Reader, opened: Open, end: int) -> None:
        """Go on with the next sync receiver, or close the dispatch after the last one."""
        dispatch, label = opened.dispatch, opened.label
        opened.position += 1
        opened.nested_ns = 0
        opened.call = None
        if dispatch is None:
            return
        if opened.position < label.sync_count:
            if opened.is_batch:
                opened.call = dispatch.receiver_calls[opened.position]
                opened.call.start_ns = self._since(end)
            else:
                opened.call = self._call(dispatch, label, opened.position, end)
        elif not opened.is_batch and label.sync_count == len(label.receivers):
            self._close(reader, end)
        # Otherwise ASYNC_CLOSE or BATCH_END will say that it is over.

    def _read_returned(self, reader: Reader, fields: list[Any]) -> None:
        end, name = fields
        self._returned(reader, end, _name(name))

    def _read_raised(self, reader: Reader, fields: list[Any]) -> None:
        end, name, message, closes = fields
        opened = reader.stack[-1] if reader.stack else None
        if opened is None or opened.call is None or opened.dispatch is None:
            return
        call = opened.call
        name = _name(name)
        self._end_call(call, end, _outcome_of(name), opened.nested_ns)
        call.exception_type, call.exception_message = name, self._redacted(message)
        self.trace.error_count += 1
        if not closes:
            self._advance(reader, opened, end)
        elif opened.is_batch:
            opened.call = None
        else:
            opened.dispatch.exception_type = name
            self._close(reader, end)

    def _read_cut(self, reader: Reader, fields: list[Any]) -> None:
        """Close the dispatch that began at that time, and what is open inside it, if it still is."""
        end, name, start = fields
        since = self._since(start)
        if not any(opened.began_at(since) for opened in reader.stack):
            return
        opened = reader.stack[-1]
        while not opened.began_at(since):
            self._cut(reader, opened, end, name)
            opened = reader.stack[-1]
        self._cut(reader, opened, end, name)

    def _cut(self, reader: Reader, opened: Open, end: int, name: str) -> None:
        """Close what is open without the end of its running receiver being known."""
        dispatch, call = opened.dispatch, opened.call
        if dispatch is None or opened.is_batch:
            reader.stack.pop()
            return
        end = end or self._last_moment(dispatch)
        if call is not None and call.outcome is Outcome.RUNNING:
            if (
                call.position
                and dispatch.receiver_calls[call.position - 1].outcome is Outcome.RAISED
            ):
                # The receiver after the failed one: Django's report of the failure failed.
                call.outcome = Outcome.SKIPPED
            else:
                self._end_call(call, end, Outcome.UNKNOWN, opened.nested_ns)
        dispatch.exception_type = _name(name)
        self._close(reader, end)

    def _last_moment(self, dispatch: Dispatch) -> int:
        starts = [dispatch.start_ns, *(call.start_ns for call in dispatch.receiver_calls)]
        return self.live.start + max(starts)

    def _close(self, reader: Reader, end: int) -> None:
        opened = reader.stack.pop()
        dispatch = opened.dispatch
        if dispatch is None:
            return
        duration = end - self._began - dispatch.start_ns
        dispatch.duration_ns = 0 if duration < 0 else duration  # noqa: FURB136
        if len(dispatch.receiver_calls) < len(opened.label.receivers):
            self._skip_rest(dispatch, opened.label, end)
        if reader.stack:
            reader.stack[-1].nested_ns += dispatch.duration_ns
        self._finished(dispatch)

    def _skip_rest(self, dispatch: Dispatch, label: ReceiverSet, end: int) -> None:
        """Record the receivers that were not called because an earlier one raised."""
        for position in range(len(dispatch.receiver_calls), len(label.receivers)):
            call = self._call(dispatch, label, position, end)
            call.outcome = Outcome.SKIPPED
            self.trace.receiver_call_count -= 1

    def _finished(self, dispatch: Dispatch) -> None:
        """Add a closed dispatch to what is done."""
        self._done.append(dispatch)

    # -- async -------------------------------------------------------------------------------

    def _read_async_open(self, reader: Reader, fields: list[Any]) -> None:
        start, key, number, method, code, instruction, *details = fields
        dispatch, label = self._new_dispatch(
            reader, start, number, _METHODS[method], code, instruction, details
        )
        for position in range(len(label.receivers)):
            self._call(dispatch, label, position, start)
        self._by_key[key] = (dispatch, label)

    def _read_async_phase(self, reader: Reader, fields: list[Any]) -> None:
        start, key, in_event_loop = fields
        opened = reader.stack[-1] if reader.stack else None
        if opened is None or opened.dispatch is None:
            return
        opened.dispatch.in_event_loop = in_event_loop
        for position in range(opened.label.sync_count, len(opened.label.receivers)):
            self._call(opened.dispatch, opened.label, position, start)
        self._by_key[key] = (opened.dispatch, opened.label)

    def _read_async_close(self, reader: Reader, fields: list[Any]) -> None:
        end, key, escaped = fields
        dispatch = self._by_key.get(key, (None,))[0]
        if dispatch is None:
            return
        if reader.stack and reader.stack[-1].dispatch is dispatch:
            reader.stack.pop()
        if reader.stack:
            reader.stack[-1].nested_ns += max(self._since(end) - dispatch.start_ns, 0)
        # Now: the receiver that awaited it may end before all of it has been read.
        dispatch.duration_ns = max(self._since(end) - dispatch.start_ns, 0)
        self._closing.append((dispatch, _name(escaped)))

    def _settle_async(self) -> None:
        """Close the async dispatches that have ended, once their receivers' streams are read."""
        if self._is_cut:
            return
        # Inner ones were opened later: they go first, so that their queries reach the outer ones.
        for dispatch, escaped in sorted(self._closing, key=_by_opening, reverse=True):
            dispatch.exception_type = escaped
            for call in dispatch.receiver_calls:
                if call.outcome is Outcome.RUNNING:
                    # It never took a step, or its end is not known.
                    call.outcome = Outcome.SKIPPED if escaped else Outcome.UNKNOWN
            self._finished(dispatch)
        self._closing.clear()

    def _stepped(self, reader: Reader, moment: int) -> None:
        """Begin or end the async receiver call whose stream this is."""
        if reader.call is None:
            if reader.outer is not None and reader.stream.origin[0] == "call":  # type: ignore[index]
                self._end_async_call(reader, moment, Outcome.RETURNED, "", "")
            return
        (key, position), reader.call = reader.call, None
        dispatch = self._by_key.get(key, (None,))[0]
        if dispatch is not None and position < len(dispatch.receiver_calls):
            reader.outer = dispatch.receiver_calls[position]
            reader.outer.start_ns = self._since(moment)

    def _read_call_end(self, reader: Reader, fields: list[Any]) -> None:
        end, word, name, message = fields
        self._end_async_call(reader, end, _OUTCOMES[word], name, message)

    def _end_async_call(
        self, reader: Reader, end: int, outcome: Outcome, name: str, message: str
    ) -> None:
        call = reader.outer
        reader.done = True
        if call is None:
            return
        self._end_call(call, end, outcome, 0)
        exported = self._inside.pop(call.number, None) if self._inside else None
        if exported is not None:
            inside = [_interval(inner) for inner in self._waited_for(call)]
            call.self_ns = max(call.self_ns - exported.with_those(inside), 0)
        elif call.number in self._sent:
            # It may have sent several at the same time.
            call.self_ns -= covered_within(call, self._waited_for(call))
        if outcome is Outcome.RETURNED:
            call.response_type = _name(name)
        else:
            call.exception_type, call.exception_message = _name(name), self._redacted(message)
            self.trace.error_count += outcome is Outcome.RAISED

    def _read_batch(self, reader: Reader, fields: list[Any]) -> None:
        start, key, requested = fields
        dispatch, label = self._by_key.get(key, (None, None))
        if dispatch is None or label is None or not dispatch.receiver_calls:
            return
        first = dispatch.receiver_calls[0]
        first.start_ns = self._since(start)
        first.hop_ns = max(start - requested, 0)
        reader.stack.append(Open(dispatch, label, first, is_batch=True))

    def _read_batch_end(self, reader: Reader, _fields: list[Any]) -> None:
        reader.done = True
        if reader.stack and reader.stack[-1].is_batch:
            reader.stack.pop()

    # -- what else happens -------------------------------------------------------------------

    def _read_query(self, reader: Reader, fields: list[Any]) -> None:
        start, end, alias, statement = fields
        self.trace.query_count += 1
        self.trace.query_ns += end - start
        opened = reader.stack[-1] if reader.stack else None
        if opened is not None and opened.dispatch is None:
            self._read_query_of_callback(reader, opened, end - start, alias, statement)
            return
        call = self._running_call(reader)
        if call is not None:
            call.query_count += 1
            call.query_ns += end - start
            if statement:
                self._count_statement(call, alias, statement, end - start)

    def _count_statement(
        self,
        asking: ReceiverCall | CallbackQueries,
        alias: str,
        statement: str,
        nanoseconds: int,
    ) -> None:
        mysql = self._mysql.get(alias)
        if mysql is None:
            mysql = self._mysql[alias] = quotes_text(alias)
        known = self._statements.get(id(asking))
        if known is None:
            known = self._statements[id(asking)] = (asking, {})
        counted = known[1].setdefault(normalised(statement, mysql), [0, 0])
        counted[0] += 1
        counted[1] += nanoseconds

    def _read_query_of_callback(
        self,
        reader: Reader,
        opened: Open,
        nanoseconds: int,
        alias: str,
        statement: str | None,
    ) -> None:
        """Count a query for the call that waits for the running callback, if there is one.

        The call that registered it has mostly returned: what it left for the commit is not its own.
        """
        waiting = self._waiting_call(reader)
        if waiting is not None:
            waiting.query_count += 1
            waiting.query_ns += nanoseconds
        if not statement:
            return
        registered_in = opened.call
        if opened.is_link and registered_in is not None:
            asked = self._asked_later.get(registered_in.number)
            if asked is None:
                asked = CallbackQueries(registered_in.number, registered_in.receiver)
                self._asked_later[registered_in.number] = asked
            self._count_statement(asked, alias, statement, nanoseconds)
        elif waiting is not None:
            self._count_statement(waiting, alias, statement, nanoseconds)

    def _waiting_call(self, reader: Reader) -> ReceiverCall | None:
        """Return the receiver call inside which the running callbacks run."""
        for opened in reversed(reader.stack):
            if opened.dispatch is not None:
                return opened.call
        return self._call_around(reader)

    def _read_transaction(self, reader: Reader, fields: list[Any]) -> None:
        alias, block = fields
        _set_block(reader.blocks, alias, block)

    def _read_values(self, reader: Reader, fields: list[Any]) -> None:
        key, values = fields
        if key:
            dispatch = self._by_key.get(key, (None,))[0]
        else:
            dispatch = reader.stack[-1].dispatch if reader.stack else None
        if dispatch is not None:
            dispatch.values = {
                name[:MAX_NAME]: self._redacted(text) for name, text in values.items()
            }

    def _read_link(self, reader: Reader, fields: list[Any]) -> None:
        number, place = fields
        call = self._running_call(reader)
        self._links.setdefault(number, []).append((place, call))
        if call is not None:
            self._awaited.add(call.number)

    def _read_bypass(self, reader: Reader, fields: list[Any]) -> None:
        start, operation, model, signals, receivers, rows, code, instruction = fields
        call = self._running_call(reader)
        self._bypasses.append(
            Bypass(
                operation=operation,
                model=model,
                signals=signals,
                receivers=receivers,
                rows=rows,
                start_ns=self._since(start),
                callsite=self._site(code, instruction),
                parent_number=call.number if call is not None else None,
            )
        )

    def _read_sql_write(self, reader: Reader, fields: list[Any]) -> None:
        """Tell what the application's own SQL wrote as bypasses, if the models have receivers."""
        start, sql, rows, code, instruction = fields
        try:
            writes = writes_past_receivers(sql)
        except Exception as error:
            failed("raw SQL", error)
            return
        for operation, model, signals, receivers in writes:
            bypass = [start, operation, model, signals, receivers, rows, code, instruction]
            self._read_bypass(reader, bypass)

    def _read_effect(self, reader: Reader, fields: list[Any]) -> None:
        start, kind, target, backend, in_on_commit, code, instruction = fields
        call = self._running_call(reader)
        at_once_on = next(
            (each.at_once_on for each in reversed(reader.stack) if each.at_once_on), ""
        )
        effect = SideEffect(
            kind=kind,
            target=self._redacted(target),
            start_ns=self._since(start),
            parent_number=call.number if call is not None else None,
            backend=backend,
            in_on_commit=in_on_commit,
            callsite=self._site(code, instruction),
            ran_at_once_on=at_once_on,
        )
        blocks = tuple(reader.blocks.values())
        if blocks:
            if reader.stack and reader.stack[-1].dispatch is not None:
                # By a receiver of what a callback sent, in a transaction that began after the commit.
                effect.in_on_commit = False
            effect.using = blocks[-1].alias
            effect.transaction = TransactionOutcome.UNKNOWN
            effect.transaction_depth = max(block.application_depth for block in blocks)
            self._blocks.append((effect, blocks))
        self._effects.append(effect)

    def _read_registered(self, reader: Reader, fields: list[Any]) -> None:
        number, alias = fields
        self._callbacks[number] = self._running_call(reader), reader.blocks.get(alias)

    def _read_callback(self, reader: Reader, fields: list[Any]) -> None:
        _start, number, at_once_on = fields
        registered_in, _block = self._callbacks.pop(number, (None, None))
        if registered_in is None:
            registered_in = self._running_call(reader)
        # The receiver whose own transaction ends inside its call waits for what it left to the end.
        waits = bool(at_once_on) or any(opened.call is registered_in for opened in reader.stack)
        opened = Open(None, NOTHING, registered_in, is_link=not waits)
        opened.at_once_on = at_once_on
        reader.stack.append(opened)

    def _read_callback_end(self, reader: Reader, _fields: list[Any]) -> None:
        while reader.stack:
            ended = reader.stack.pop()
            if ended.dispatch is None:
                if reader.stack:
                    # Of the call that waited it is time of dispatches, whoever registered them.
                    reader.stack[-1].nested_ns += ended.nested_ns
                return

    def _read_lost_receiver(self, _reader: Reader, fields: list[Any]) -> None:
        signal, sender, label, was_called = fields
        name = signal if type(signal) is str else signal.name
        self._lost.append(LostReceiver(name, sender, label, was_called))

    def _read_connection(self, reader: Reader, fields: list[Any]) -> None:
        start, change, signal, sender, label, code, instruction = fields
        call = self._running_call(reader)
        self._changes.append(
            ConnectionChange(
                change=change,
                signal=signal.name,
                sender=sender,
                receiver=label,
                start_ns=self._since(start),
                parent_number=call.number if call is not None else None,
                callsite=self._site(code, instruction),
            )
        )

    # -- finishing ---------------------------------------------------------------------------

    @property
    def unsettled(self) -> bool:
        """Return whether the fate of a transaction of this trace is not known yet."""
        return any(not block.settled for _span, blocks in self._blocks for block in blocks)

    @property
    def pending(self) -> int:
        """Return how many finished dispatches wait to be exported."""
        return len(self._done) + (0 if self._is_cut else len(self._closing))

    def _settle_blocks(self, *, final: bool) -> None:
        waiting = []
        for span, blocks in self._blocks:
            outcomes = [block.outcome for block in blocks]
            worst = next((o for o in _GRAVEST if o in outcomes), outcomes[0])
            span.transaction = worst
            if worst is TransactionOutcome.UNKNOWN and not final:
                waiting.append((span, blocks))
        self._blocks = waiting

    def segment(self, *, final: bool) -> Trace:
        """Return what has been read since the last segment as a trace; *final* if no more follows."""
        self._settle_async()
        live, trace = self.live, self.trace
        if final:
            self._close_open()
        self._settle_blocks(final=final)
        self._count_unheard()
        for asking, counts in self._statements.values():
            asking.statements = tuple((sql, count, ns) for sql, (count, ns) in counts.items())
        dispatches = sorted(self._done, key=_by_number)
        self._sum_up(dispatches)
        effects, unsettled = self._told_effects(final=final)
        result = Trace(
            trace_id=trace.trace_id,
            root_span_id=trace.root_span_id,
            kind=live.kind,
            name=self._name(),
            started_ns=live.started_ns,
            duration_ns=live.duration_ns(),
            status=_status(live, final=final),
            parent_span_id=live.parent_span_id,
            parent_trace_id=live.parent_trace_id,
            http_method=_name(live.http_method),
            http_path=self._path(),
            http_status=live.http_status,
            user_id=_name(live.user_id),
            host=HOST,
            process=identity.pid,
            thread=self._redacted(_name(live.thread)),
            release=_name(identity.release),
            error=self._redacted(exact(live.error), redact_error),
            attributes={
                exact(name)[:MAX_NAME]: HIDDEN
                if policy.is_sensitive(exact(name))
                else self._redacted(exact(text))
                for name, text in live.attributes.items()
            },
            dispatch_count=trace.dispatch_count,
            receiver_call_count=trace.receiver_call_count,
            query_count=trace.query_count,
            query_ns=trace.query_ns,
            signal_ns=self._time_of_roots(dispatches, final=final),
            error_count=trace.error_count,
            dropped_count=live.dropped,
            unheard_count=sum(self._unheard.values()),
            overhead_ns=trace.dispatch_count * costs.dispatch_ns
            + trace.receiver_call_count * costs.call_ns
            + trace.query_count * costs.query_ns,
            segment=self._segment,
            final=final,
            dispatches=dispatches,
            bypasses=self._bypasses,
            unheard=[(signal, sender, count) for (signal, sender), count in self._unheard.items()],
            side_effects=effects,
            carried=Carried(
                unfinished=[] if final else self._unfinished(),
                counted=self._counted.known,
                unsettled=unsettled,
                asked_later=list(self._asked_later.values()),
            ),
            lost_receivers=self._lost,
            connection_changes=self._changes,
            unreadable=[(what, why, count) for (what, why), count in self._unreadable.items()],
            missed_receivers=self._missed_receivers(dispatches) if final else [],
            waiting_callbacks=self._waiting_callbacks() if final else [],
        )
        self._segment += 1
        if not final:
            self._counted.count(dispatches, result.unfinished, self._complete_until)
            self._let_go()
        self._done, self._bypasses, self._effects, self._lost = [], [], unsettled, []
        self._changes = []
        self._unreadable = {}
        self._statements.clear()
        self._asked_later.clear()
        return result

    def _told_effects(self, *, final: bool) -> tuple[list[SideEffect], list[SideEffect]]:
        """Return (side effects to be told now, those that wait for the end of their transaction)."""
        if final:
            return self._effects, []
        waiting = {id(span) for span, _blocks in self._blocks}
        unsettled = [effect for effect in self._effects if id(effect) in waiting][-MAX_UNSETTLED:]
        later = {id(effect) for effect in unsettled}
        return [effect for effect in self._effects if id(effect) not in later], unsettled

    def _missed_receivers(self, dispatches: list[Dispatch]) -> list[MissedReceiver]:
        sent = [(dispatch.signal, dispatch.sender) for dispatch in dispatches]
        return missed.find([*sent, *self._unheard], self.live.start)

    def _waiting_callbacks(self) -> list[WaitingCallback]:
        """Return the callbacks that have not begun since a TestCase never commits."""
        found: dict[tuple[str, int | None], WaitingCallback] = {}
        for call, block in self._callbacks.values():
            if block is None or block.outcome is not TransactionOutcome.TEST:
                continue
            key = block.alias, call.number if call is not None else None
            if key in found:
                found[key].count += 1
            else:
                found[key] = WaitingCallback(key[0], parent_number=key[1])
        return list(found.values())

    def _unfinished(self) -> list[Dispatch]:
        """Return what is open, as it is now: with what was sent inside it since the last segment."""
        begun = self._begun_calls()
        return [
            replace(
                dispatch,
                receiver_calls=[
                    replace(
                        call,
                        outcome=Outcome.UNKNOWN
                        if call.outcome is Outcome.RUNNING and call.number not in begun
                        else call.outcome,
                    )
                    for call in dispatch.receiver_calls
                ],
            )
            for dispatch in self._open_dispatches()
        ]

    def _begun_calls(self) -> set[int]:
        """Return the numbers of the calls that are running; those of an ``asend`` begin one by one."""
        found: set[int] = set()
        for reader in self._readers.values():
            found.update(opened.call.number for opened in reader.stack if opened.call is not None)
            if reader.outer is not None and not reader.done:
                found.add(reader.outer.number)
        return found

    def _open_dispatches(self) -> list[Dispatch]:
        """Return the dispatches that have begun and not ended, each once."""
        opened = [each.dispatch for reader in self._readers.values() for each in reader.stack]
        found = {dispatch.number: dispatch for dispatch in opened if dispatch is not None}
        if self._by_key:
            ended = {dispatch.number for dispatch in self._done}
            for dispatch, _label in self._by_key.values():
                if dispatch.number not in ended:
                    found[dispatch.number] = dispatch
        return list(found.values())

    def _sum_up(self, dispatches: list[Dispatch]) -> None:
        """Add to each of *dispatches*, ordered by number, the queries of all that is below it.

        What is below has a higher number. A task that was started and awaited lies within the call
        that started it, and counts there.
        """
        if self._awaited:
            self._settle_links(dispatches)
        sent = self._sent
        for dispatch in reversed(dispatches):
            for call in dispatch.receiver_calls:
                dispatch.query_count += call.query_count
                dispatch.query_ns += call.query_ns
                for inner in sent.get(call.number, ()):
                    if not inner.parent_is_link:
                        dispatch.query_count += inner.query_count
                        dispatch.query_ns += inner.query_ns

    def _settle_links(self, dispatches: list[Dispatch]) -> None:
        """Put what was sent by work that a call handed over and waited for into that call."""
        calls = {call.number: call for dispatch in dispatches for call in dispatch.receiver_calls}
        waited: dict[int, ReceiverCall] = {}
        for dispatch in dispatches:
            number = dispatch.parent_number
            if not dispatch.parent_is_link or number is None or number not in self._awaited:
                continue
            call = calls.get(number)
            if call is None:
                continue
            ending = call.start_ns + call.duration_ns
            if dispatch.start_ns + dispatch.duration_ns <= ending:
                if number not in waited:
                    waited[number] = call
                    # What it sent itself has been taken out of its own time already.
                    call.self_ns += covered_within(call, self._waited_for(call))
                dispatch.parent_is_link = False
        for call in waited.values():
            call.self_ns = max(call.self_ns - covered_within(call, self._waited_for(call)), 0)

    def _waited_for(self, call: ReceiverCall) -> list[Dispatch]:
        """Return what *call* sent itself, or handed over and waited for."""
        sent = self._sent.get(call.number, ())
        return [dispatch for dispatch in sent if not dispatch.parent_is_link]

    def _time_of_roots(self, dispatches: list[Dispatch], *, final: bool) -> int:
        """Return the time in which any root dispatch ran, *dispatches* being those of this segment."""
        roots = [_interval(each) for each in dispatches if each.parent_number is None]
        if final:
            return self._roots.with_those(roots)
        running = [each.start_ns for each in self._open_dispatches() if each.parent_number is None]
        self._roots.add(roots, running, self._complete_until)
        return self._roots.with_those(())

    def _path(self) -> str:
        """Return the path of the request without what may be a token."""
        live = self.live
        path = exact(live.http_path)
        return path if live.is_routed or not path else self._redacted(path, _read_path)

    def _name(self) -> str:
        live = self.live
        name = exact(live.name)
        if live.kind is Kind.DISPATCH and not live.name and self._first_root is not None:
            signal = self._first_root.signal.rpartition(".")[2]
            return f"{signal} {self._first_root.sender}"[:MAX_NAME]
        return self._redacted(name[:MAX_NAME])

    def _let_go(self) -> None:
        """Take what has been exported out of the calls that are still open, and keep its queries.

        Else a command that is one long dispatch would hold all that was sent inside it.
        """
        exported = {dispatch.number for dispatch in self._done}
        in_streams = {known[0].number for known in self._by_key.values()}
        sent: dict[int, list[Dispatch]] = {}
        for dispatch in self._open_dispatches():
            for call in dispatch.receiver_calls:
                kept, gone = [], []
                for inner in self._sent.get(call.number, ()):
                    if inner.number not in exported:
                        kept.append(inner)
                    elif not inner.parent_is_link:
                        gone.append(inner)
                for inner in gone:
                    dispatch.query_count += inner.query_count
                    dispatch.query_ns += inner.query_ns
                if gone and dispatch.number in in_streams:
                    self._note_inside(call, gone, kept)
                if kept:
                    sent[call.number] = kept
        self._sent = sent
        self._forget(exported)

    def _note_inside(self, call: ReceiverCall, gone: list[Dispatch], kept: list[Dispatch]) -> None:
        """Note how long an async call waited for what is *gone* and has run for what is *kept*."""
        inside = self._inside.setdefault(call.number, TimeSoFar())
        running = [inner.start_ns for inner in kept if not inner.parent_is_link]
        inside.add([_interval(inner) for inner in gone], running, self._complete_until)

    def _forget(self, exported: set[int]) -> None:
        """Keep of the calls that have been exported only what something may still hang under."""
        self._by_key = {
            key: known for key, known in self._by_key.items() if known[0].number not in exported
        }
        live = {stream.number for stream in self.live.streams}
        self._links = {number: links for number, links in self._links.items() if number in live}
        while len(self._callbacks) > MAX_CALLBACKS:
            # Registered in transactions that were rolled back, most likely: they never run.
            del self._callbacks[next(iter(self._callbacks))]
        needed: set[int] = set()
        for reader in self._readers.values():
            if reader.outer is not None:
                needed.add(reader.outer.number)
            for opened in reader.stack:
                if opened.dispatch is not None:
                    needed.update(call.number for call in opened.dispatch.receiver_calls)
        for dispatch, _label in self._by_key.values():
            needed.update(call.number for call in dispatch.receiver_calls)
        for links in self._links.values():
            needed.update(call.number for _place, call in links if call is not None)
        needed.update(call.number for call, _block in self._callbacks.values() if call is not None)
        self._depths = {n: depth for n, depth in self._depths.items() if n in needed}
        self._awaited &= needed
        self._inside = {n: inside for n, inside in self._inside.items() if n in needed}

    def _close_open(self) -> None:
        """Give an end to what never came to one: the trace is over."""
        ending = self.live.end if self.live.end is not None else clock()
        for reader in self._readers.values():
            while reader.stack:
                opened = reader.stack.pop()
                if opened.dispatch is None or opened.is_batch:
                    continue
                if opened.call is not None and opened.call.outcome is Outcome.RUNNING:
                    self._end_call(opened.call, ending, Outcome.UNKNOWN, opened.nested_ns)
                opened.dispatch.duration_ns = self._since(ending) - opened.dispatch.start_ns
                self._finished(opened.dispatch)

    def _count_unheard(self) -> None:
        counted = dict(self._unheard_before)
        # Streams of one thread share their counts.
        each = {id(stream.unheard): stream.unheard for stream in self.live.streams}
        before = self.live.root.counted_before
        for counts in ({id(before): before} | each).values():
            self._add_unheard(counts, counted)
        self._unheard = counted

    def _add_unheard(
        self, counts: UnheardCounts | None, counted: dict[tuple[str, str], int]
    ) -> None:
        """Add *counts* of one thread, by signal and sender, to *counted*."""
        for count, receiver_set in list((counts or {}).values()):
            key = (self._signal(receiver_set), receiver_set.sender)
            counted[key] = counted.get(key, 0) + count


_READ: Final[dict[str, tuple[int, Callable[[Assembly, Reader, list[Any]], None]]]] = {
    Method.SEND.value: (5, Assembly._read_send),
    Method.SEND_ROBUST.value: (5, Assembly._read_send_robust),
    RETURNED: (3, Assembly._read_returned),
    RAISED: (5, Assembly._read_raised),
    CUT: (4, Assembly._read_cut),
    QUERY: (5, Assembly._read_query),
    TRANSACTION: (3, Assembly._read_transaction),
    ASYNC_OPEN: (7, Assembly._read_async_open),
    ASYNC_PHASE: (4, Assembly._read_async_phase),
    ASYNC_CLOSE: (4, Assembly._read_async_close),
    BATCH: (4, Assembly._read_batch),
    BATCH_END: (1, Assembly._read_batch_end),
    CALL_END: (5, Assembly._read_call_end),
    VALUES: (3, Assembly._read_values),
    LINK: (3, Assembly._read_link),
    BYPASS: (9, Assembly._read_bypass),
    EFFECT: (8, Assembly._read_effect),
    SQL_WRITE: (6, Assembly._read_sql_write),
    REGISTERED: (3, Assembly._read_registered),
    CALLBACK: (4, Assembly._read_callback),
    CALLBACK_END: (1, Assembly._read_callback_end),
    LOST_RECEIVER: (5, Assembly._read_lost_receiver),
    CONNECTION: (8, Assembly._read_connection),
}
"""Of each word of a stream, how many values it stands for with its fields, and how they are read."""

_OPENINGS: Final = frozenset({Method.SEND.value, Method.SEND_ROBUST.value, ASYNC_OPEN})
"""Words whose fields are followed by details."""
_DETAILS: Final = {None: 1, SAVE: 6, M2M: 7, NAMED: 4}
"""How many values details are, by the first of them."""

_GRAVEST: Final = (
    TransactionOutcome.ROLLED_BACK,
    TransactionOutcome.SAVEPOINT_ROLLED_BACK,
    TransactionOutcome.UNKNOWN,
    TransactionOutcome.TEST,
)
"""Of several open blocks, the worst fate is told."""


def _set_block(blocks: dict[str, Block], alias: str, block: Block | None) -> None:
    """Make *block* the innermost open one of *alias*, and the last one of them all."""
    blocks.pop(alias, None)
    if block is not None:
        blocks[alias] = block


def _by_number(dispatch: Dispatch) -> int:
    return dispatch.number


def _interval(dispatch: Dispatch) -> tuple[int, int]:
    return dispatch.start_ns, dispatch.start_ns + dispatch.duration_ns


def _by_opening(closing: tuple[Dispatch, str]) -> int:
    return closing[0].number


_METHODS: Final = {method.value: method for method in Method}
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


def _outcome_of(exception_type: str) -> Outcome:
    """Return cancelled for the exceptions that mean so, else raised."""
    if exception_type in {"asyncio.exceptions.CancelledError", "GeneratorExit"}:
        return Outcome.CANCELLED
    return Outcome.RAISED


def _status(live: LiveTrace, *, final: bool) -> Status:
    if not final:
        return Status.RUNNING
    if live.http_status is not None and live.http_status >= SERVER_ERROR:
        return Status.ERROR
    if live.cancelled:
        return Status.CANCELLED
    return Status.ERROR if live.error else Status.OK


MOST_NAMES: Final = 200
"""Names that are kept of fields and arguments."""
UNREADABLE: Final = "(unreadable)"


def _name(text: str) -> str:
    """Return *text* as a plain string of bearable length."""
    return exact(text)[:MAX_NAME]


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return *texts* as they are; the first of them and cut if somebody sends very many or long ones."""
    if len(texts) > MOST_NAMES or sum(map(len, texts)) > MOST_NAMES * MAX_NAME:
        return tuple([text[:MAX_NAME] for text in texts[:MOST_NAMES]])
    return texts


def _read_path(path: str) -> str:
    """Return a path that matched no route, or of which it is not known, without what may be a token."""
    return redact_path(path, None, ())


def _put_details(dispatch: Dispatch, details: list[Any]) -> None:
    """Put what ``tracing.instrumentation.attributes.arguments`` has kept into the fields of *dispatch*."""
    shape, label, pk = details[:3]
    if label:
        if type(pk) is int:
            # Most are small, and this runs for each dispatch.
            key = str(pk) if -MAX_PLAIN_KEY < pk < MAX_PLAIN_KEY else key_text(label, pk)
        elif type(pk) is tuple and len(pk) == 1:
            # No key: none yet, or none that could be read.
            key = "None" if pk[0] > 0 else ""
        else:
            key = key_text(label, pk)
        dispatch.instance = (f"{label}:{key}" if key else label)[:MAX_NAME]
    if shape == SAVE:
        flags, using, update_fields = details[3:]
        dispatch.using = using[:MAX_NAME]
        if flags & HAS_CREATED:
            dispatch.created = bool(flags & CREATED)
        if flags & HAS_RAW:
            dispatch.raw = bool(flags & RAW)
        dispatch.update_fields = None if update_fields is None else _names(update_fields)
    elif shape == M2M:
        action, flags, dispatch.pk_count, using = details[3:]
        dispatch.action, dispatch.using = action[:MAX_NAME], using[:MAX_NAME]
        if flags & HAS_REVERSE:
            dispatch.reverse = bool(flags & REVERSE)
    else:
        names = details[3]
        dispatch.named = _names(tuple([name for name in names if name != "instance"]))


MAX_PLAIN_KEY: Final = 2**63


_lock: Final = process_lock()
"""A trace is read by one thread at a time: the worker, or whoever assembles it meanwhile."""


def assemble(live: LiveTrace) -> Trace:
    """Return the finished spans of a trace that has ended, or its last segment."""
    with _lock:
        if live.reading is None:
            live.reading = Assembly(live)
        reading: Assembly = live.reading
        reading.read()
        for stream in live.streams:
            # Whoever still holds one, a thread that outlives the trace, fills nothing any more.
            stream.ended = True
            stream.events = stream.recorded = None
        finished = reading.segment(final=True)
        live.let_go()
        return finished


def assemble_ended(live: LiveTrace) -> Trace:
    """Return the same with the receivers that were found dead before any trace could tell of them.

    Called once for each trace, after its end, off the traced thread.
    """
    trace = assemble(live)
    trace.lost_receivers[:0] = take_waiting()
    return trace


def snapshot(live: LiveTrace) -> Trace:
    """Return the spans of a trace that may still run, leaving its streams as they are.

    Raises nothing of its own; what was exported in earlier segments is not in it.
    """
    reading = Assembly(live)
    reading.read(consume=False)
    trace = reading.segment(final=True)
    trace.final = live.end is not None
    if live.end is None:
        trace.status = Status.RUNNING
    return trace


def keep_numbers(live: LiveTrace) -> None:
    """Read a running trace now, so that the spans of a snapshot taken just before keep their numbers.

    Spans are numbered as they are read, and what comes later may stand in an earlier stream.
    """
    with _lock:
        if live.reading is None:
            live.reading = Assembly(live)
        live.reading.read()


MAX_UNSETTLED: Final = 1_000
"""Side effects of a running trace that wait for the end of their transaction; older ones are told."""
MAX_CALLBACKS: Final = 10_000
"""on_commit callbacks of a running trace whose registration is remembered."""
SEGMENT_DISPATCHES: Final = 2_000
SEGMENT_VALUES: Final = 20_000
"""Values that are read at a time: those of so many dispatches, so that a segment stays about as small.

What packs, sorts or writes a segment keeps the interpreter from the traced threads meanwhile.
"""
SEGMENT_SECONDS: Final = 5.0


def drain() -> Iterator[Trace]:
    """Read what running traces have recorded so far; yield segments of those that have much or are old.

    Called in the worker, several times a second. Keeps the streams short, so that a command of hours
    takes no more memory than a short one. One segment after the other: spans that are alive together
    are what a full garbage collection looks at, while the traced threads wait.
    """
    for live in list(context.running.values()):
        if live.end is not None or live.excluded or live.held:
            continue
        waiting = sum(len(stream.recorded or ()) for stream in live.streams)
        age_ns = live.duration_ns()
        if waiting < SEGMENT_DISPATCHES * VALUES_PER_DISPATCH and age_ns < SEGMENT_SECONDS * 1e9:
            continue
        is_read = False
        while not is_read:
            segment = None
            with _lock:
                if live.reading is None:
                    live.reading = Assembly(live)
                is_read = live.reading.read(most=SEGMENT_VALUES)
                if live.reading.pending >= SEGMENT_DISPATCHES or (
                    live.reading.pending and age_ns >= SEGMENT_SECONDS * 1e9
                ):
                    segment = live.reading.segment(final=False)
            if segment is not None:
                yield segment
