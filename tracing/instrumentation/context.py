"""What is running now: live traces, and the stream into which each thread writes.

A live trace owns one *stream* per thread that works for it. A stream is one flat list with one
writer, in the order in which things happen:

- each receiver that returns None adds one number, the time at which it returned;
- everything else adds one of the words below and its fields, as many as the word says.

Nesting needs no bookkeeping while the program runs: what stands between an opening and the number that
closes it happened inside. ``assembly`` reads the streams, later and in another thread. Streams hold
numbers, strings, code objects and labels, never an object of the traced program. They are flat, since a
tuple for each of these would be one more object for the garbage collector: it would come as often as
dispatches do, and what interrupts the weakref callbacks and finalizers that run then is lost to the
application.
"""

from __future__ import annotations

import contextvars
import os
import random
import socket
import threading
import time
from itertools import count
from threading import get_ident
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final, Protocol

from tracing.instrumentation.failures import is_own

if TYPE_CHECKING:
    import asyncio
    import weakref

    from tracing.spans.records import Kind

# --- the words of a stream -------------------------------------------------------------------

# (word, start, receiver set, code, instruction, *details): a dispatch of send or send_robust opened; the
# word is the name of the method. The details are those of ``attributes.arguments``, or NO_DETAILS.
NO_DETAILS: Final = (None,)
RETURNED: Final = "returned"
"""(RETURNED, end, type name): a receiver returned something else than None."""
RAISED: Final = "raised"
"""(RAISED, end, type, message, closes): a receiver raised; *closes* if that ended the dispatch."""
CUT: Final = "cut"
"""(CUT, end or 0, type, start): the dispatch that began at *start* ended between its receivers."""
QUERY: Final = "query"
"""(QUERY, start, end, alias, statement or None)."""
TRANSACTION: Final = "transaction"
"""(TRANSACTION, alias, Block or None): the innermost open block of the alias is now this one."""
ASYNC_OPEN: Final = "async_open"
"""(ASYNC_OPEN, start, key, receiver set, method, code, instruction, *details): an asend began."""
ASYNC_PHASE: Final = "async_phase"
"""(ASYNC_PHASE, start, key, in event loop): the async receivers of the open dispatch are next."""
ASYNC_CLOSE: Final = "async_close"
"""(ASYNC_CLOSE, end, key, exception type)."""
BATCH: Final = "batch"
"""(BATCH, start, key, requested): this thread runs the sync receivers of the asend *key*."""
BATCH_END: Final = "batch_end"
"""(BATCH_END,)."""
CALL_END: Final = "call_end"
"""(CALL_END, end, outcome as a word, type, message): the async receiver of this stream is through.

Its first step, and its end where it returned None, are the bare moments outside any dispatch."""
LINK: Final = "link"
"""(LINK, stream number): work handed over from here goes on in that stream."""
BYPASS: Final = "bypass"
"""(BYPASS, start, operation, model label, signals, receivers, rows, code, instruction)."""
SQL_WRITE: Final = "sql_write"
"""(SQL_WRITE, start, statement, rows, code, instruction): the application's own SQL may have written."""
EFFECT: Final = "effect"
"""(EFFECT, start, kind, target, backend, in on_commit, code, instruction): mail, a task, a socket."""
CALLBACK: Final = "callback"
"""(CALLBACK, start, callback number, alias): an on_commit callback began.

The alias is empty unless ``on_commit()`` runs it at once, for want of a transaction of that alias."""
CALLBACK_END: Final = "callback_end"
"""(CALLBACK_END,)."""
REGISTERED: Final = "registered"
"""(REGISTERED, callback number, alias): an on_commit callback was registered here."""
CONNECTION: Final = "connection"
"""(CONNECTION, start, change, SignalReference, sender, ReceiverLabel, code, instruction)."""
LOST_RECEIVER: Final = "lost_receiver"
"""(LOST_RECEIVER, signal, sender, ReceiverLabel, was called): a weak receiver was found dead.

The signal is a SignalReference, or the name itself."""
VALUES: Final = "values"
"""(VALUES, key, dict): redacted named arguments of the async dispatch *key*; of the open one for 0."""

STREAM_LIMIT: Final = 300_000
"""Values one stream may hold before new ones are dropped, and counted, until it has been drained.

A dispatch is some ten of them. The ends of what has begun are never dropped.
"""
VALUES_PER_DISPATCH: Final = 5
"""At least so many values stand in a stream for each dispatch."""
LEFT: Final = -1
"""In the place of the thread that writes a stream: the response of its request has left."""
STREAMS_LIMIT: Final = 20_000
"""Streams one trace may hold before work in further threads and tasks is dropped, and counted."""

_random = random.Random()
"""Our own generator: the application's sequence of random numbers stays as it is."""

os.register_at_fork(after_in_child=_random.seed)

_ODD: Final = 1 << 64 | 1
"""The last digit of each of two ids."""

HOST: Final = socket.gethostname()
_numbers = count(1)


UnheardCell = list[Any]
"""[number of dispatches that nobody received, their receiver set]."""
UnheardCounts = dict[int, UnheardCell]
"""What was counted, by the number of the receiver set."""


class Stream:
    """What one thread has recorded for one trace. One writer; drained from the worker."""

    # Made for each receiver that runs in a task: what is hardly ever set costs nothing until then.
    __slots__ = (
        "__dict__",
        "ended",
        "events",
        "ident",
        "number",
        "origin",
        "recorded",
        "thread",
        "trace",
        "unheard",
    )

    events: list[Any] | None
    """What is appended to. None where nothing is to be recorded, nor any more."""
    recorded: list[Any] | None
    """The same list, also after the trace has ended: what has begun is told its end."""
    unheard: UnheardCounts | None
    """Dispatches that nobody received; None where nothing is recorded.

    The streams of the thread that began the trace share one."""
    thread: str
    """Name of the thread, empty while it is nobody's."""
    ended: bool
    """Whether its trace has ended: what comes now belongs to no trace or to another."""
    in_callback = False
    """Whether an on_commit callback is running."""
    handling: Any = None
    """How the request is handled, for the root of one."""
    counted_before: UnheardCounts | None = None
    """What nobody received before the response of a request left; ``unheard`` is what came after."""
    taken = 0
    """Values that have been read and taken out."""
    finished = False
    """Whether the thread or work item that wrote it is through."""
    task: weakref.ref[asyncio.Task[Any]] | None = None
    """The task that writes it, if one does."""
    late: dict[str, Any] | None = None
    """Open transaction blocks by alias that the stream had no room for; they are read after it."""
    outer: Stream | None = None
    """What was running before, for the root of a trace and for what is left out as a whole."""
    suppresses = False
    """Whether nothing is recorded, no trace that begins in it either."""

    def __init__(
        self,
        trace: LiveTrace | None,
        ident: int,
        origin: tuple[str, int, int] | None = None,
        beside: Stream | None = None,
    ) -> None:
        self.trace = trace
        self.ident = ident
        self.origin = origin
        self.events = self.recorded = [] if trace is not None else None
        self.ended = False
        self.number = next(_numbers)
        if beside is not None and beside.ident == ident:
            # To ask the thread costs more than all the rest; another stream of it knows.
            self.thread = beside.thread
            self.unheard = beside.unheard
        else:
            if not ident:
                self.thread = ""
            elif trace is not None and not trace.streams:
                self.thread = trace.thread
            else:
                self.thread = threading.current_thread().name
            self.unheard = {} if trace is not None else None

    def here(self) -> Stream:
        """Return the stream of this trace for the running thread, which is not the writer of this one."""
        trace = self.trace
        if trace is None:
            return self
        if self.ident == LEFT:
            return ask_here(self)
        if not self.ident:
            # A continuation is taken up: from now on this thread writes it.
            if len(trace.streams) >= STREAMS_LIMIT:
                trace.dropped += 1
                return unread()
            self.ident = get_ident()
            self.thread = threading.current_thread().name
            trace.streams.append(self)
            return self
        return trace.branch(self, get_ident())

    def continuation(self) -> Stream:
        """Return a stream for work that is started here and runs elsewhere.

        It is nobody's until its first dispatch. Called by the writer of this stream. Where the mark
        does not fit any more, nothing is recorded there: it would hang in the wrong place.
        """
        stream = Stream(self.trace, 0, ("link", self.number, 0))
        return stream if self.offer((LINK, stream.number, 0)) else UNRECORDED

    def offer(self, item: tuple[Any, ...]) -> bool:
        """Append a word and its fields and return True, or count it as dropped where there is no room.

        For what begins or stands for itself. The end of what was appended is appended in any case.
        """
        events = self.events
        if events is None:
            return False
        if len(events) >= STREAM_LIMIT:
            if self.trace is not None:
                self.trace.dropped += 1
            return False
        events += item
        return True

    def note_block(self, alias: str, block: Any) -> None:
        """Note that *block*, a ``Block`` or None, is now the innermost open one of *alias*.

        It must not get lost: the fate of all later dispatches hangs on it. Of the blocks that came
        and went while the stream was full only the last state is kept, which is no loss.
        """
        events = self.events
        if events is None:
            return
        if len(events) >= STREAM_LIMIT:
            if self.late is None:
                self.late = {}
            self.late[alias] = block
            if len(events) >= STREAM_LIMIT:
                return
            # It was drained in this very moment.
        while self.late:
            try:
                events += (TRANSACTION, *self.late.popitem())
            except KeyError as error:
                if not is_own(error):
                    raise
                break  # The reader was quicker.
        events += (TRANSACTION, alias, block)

    @property
    def is_over(self) -> bool:
        """Return whether its writer is through: the thread, the work item or the task has ended."""
        if self.finished:
            return True
        if self.task is None:
            return False
        task = self.task()
        return task is None or task.done()


class Processor(Protocol):
    """What is told of live traces; the pipeline is one."""

    def on_start(self, trace: LiveTrace) -> None:
        """Take note of a trace that has begun. Called on the traced thread."""

    def on_end(self, trace: LiveTrace) -> None:
        """Take over a trace that has ended. Called on the traced thread."""


class LiveTrace:
    """A unit of work that is being recorded."""

    __slots__ = (
        "attributes",
        "branches",
        "cancelled",
        "dropped",
        "end",
        "error",
        "excluded",
        "held",
        "holder",
        "http_method",
        "http_path",
        "http_status",
        "is_routed",
        "kind",
        "name",
        "parent_span_id",
        "parent_trace_id",
        "reading",
        "root",
        "root_span_id",
        "start",
        "started_ns",
        "streams",
        "submitted",
        "tags",
        "thread",
        "trace_id",
        "user_id",
    )

    def __init__(
        self,
        kind: Kind,
        name: str,
        *,
        trace_id: str = "",
        parent_span_id: str = "",
        parent_trace_id: str = "",
        outer: Stream | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        ids = new_ids()
        self.trace_id = trace_id or ids[:32]
        self.root_span_id = ids[32:]
        """What tells it from others with its trace id, which may have come from outside."""
        self.parent_span_id = parent_span_id
        self.parent_trace_id = parent_trace_id
        self.attributes: dict[str, str] = {}
        self.http_method = ""
        self.http_path = ""
        self.http_status: int | None = None
        self.is_routed = False
        """Its path was read by the route that it matched: what else looks like a token is none."""
        self.user_id = ""
        self.error = ""
        self.dropped = 0
        self.excluded = False
        self.held = False
        """Somebody wants the whole of it at its end: it is not exported in segments meanwhile."""
        self.tags: set[str] | None = None
        self.cancelled = False
        """Somebody cancelled it, as an ASGI server does when the client has gone."""
        self.holder: weakref.ref[Any] | None = None
        """What the ``with`` statement of a block holds until it is left, told or not."""
        self.submitted = False
        """Whether it was handed over."""
        self.end: int | None = None
        self.branches: dict[tuple[int, int], Stream] = {}
        self.streams: list[Stream] = []
        self.reading: Any = None
        self.thread = threading.current_thread().name
        self.root = self.open_stream()
        self.root.outer = outer
        self.started_ns = time.time_ns()
        self.start = clock()

    def open_stream(self, origin: tuple[str, int, int] | None = None) -> Stream:
        """Return a new stream for the running thread; *origin* says under what its dispatches hang."""
        streams = self.streams
        stream = Stream(self, get_ident(), origin, self.root if streams else None)
        if len(streams) >= STREAMS_LIMIT:
            # It may be written, and nobody reads it.
            self.dropped += 1
            stream.trace = None
            return stream
        streams.append(stream)
        for block in open_blocks():
            stream.events.extend((TRANSACTION, block.alias, block))  # type: ignore[union-attr]
        return stream

    def branch(self, stream: Stream, ident: int) -> Stream:
        """Return the stream in which thread *ident* goes on with the work of *stream*."""
        key = (stream.number, ident)
        branch = self.branches.get(key)
        if branch is None:
            branch = self.branches[key] = self.open_stream(("branch", stream.number, 0))
        if branch.events is None or not stream.offer(
            (LINK, branch.number, branch.taken + len(branch.events))
        ):
            return unread()
        return branch

    def let_go(self) -> None:
        """Forget the streams, which have been read for the last time and still know their trace.

        Without this circle all of it is gone at once, and not only when the garbage collector comes.
        """
        for stream in self.streams:
            if stream.unheard is not None:
                # What counts next may know these counts until then: let it hold nothing else.
                stream.unheard.clear()
                stream.unheard = None
        root = self.root
        self.root = Stream(None, 0)
        self.root.outer = root.outer
        self.streams = []
        self.branches = {}
        self.reading = None

    def duration_ns(self) -> int:
        """Return how long it took, or has taken so far."""
        return (self.end if self.end is not None else clock()) - self.start


def new_ids() -> str:
    """Return a random W3C trace id and span id, one after the other; neither is all zero."""
    return (_random.getrandbits(192) | _ODD).to_bytes(24).hex()


def _after_fork() -> None:
    """Leave the traces that are running to the parent: it goes on with them and exports them.

    What the child sends from here on are lone dispatches, which know the trace it was forked in.
    """
    streams = [stream for trace in running.values() for stream in trace.streams]
    now = current()
    if now is not None and now.trace is not None:
        streams.append(now)
    for trace in running.values():
        trace.excluded = True
        trace.end = clock()
    running.clear()
    for stream in streams:
        stream.ended = True
        stream.events = stream.recorded = stream.unheard = None


os.register_at_fork(after_in_child=_after_fork)


# --- now ---------------------------------------------------------------------------------------

_current: contextvars.ContextVar[Stream | None] = contextvars.ContextVar(
    "tracing.stream", default=None
)
current = _current.get
"""Return the stream of the running context, None outside any trace."""

make_current = _current.set
"""Make a stream the running one."""


def running_in(held: contextvars.Context) -> Stream | None:
    """Return what is the running stream in *held*."""
    return held.get(_current)


UNRECORDED: Final = Stream(None, 0)
"""The stream of work that is not sampled, suppressed or paused: it swallows nothing because
nothing is offered to it."""


def unread() -> Stream:
    """Return a stream of the running thread that may be written and that nobody reads.

    For what is dropped and counted elsewhere.
    """
    stream = Stream(None, get_ident())
    stream.events = stream.recorded = []
    return stream


OVER: Final = Stream(None, 0)
"""The stream of a thread whose request has ended, though nothing told of it."""
OVER.ended = True


def leave_out(word: str, outer: Stream | None, *, suppresses: bool = False) -> Stream:
    """Record nothing from now on, until ``close`` is called with the stream that is returned.

    Args:
        word: What it is that is left out.
        outer: What is running now.
        suppresses: Leave out the traces that begin in it, too.
    """
    stream = Stream(None, 0, (word, 0, 0))
    stream.outer = outer
    if suppresses:
        stream.suppresses = True
    make_current(stream)
    return stream


processor: Processor | None = None
"""Who is told of live traces. One per process; set by ``set_processor``."""

running: dict[int, LiveTrace] = {}
"""Traces that have begun and not ended, by the number of their root stream."""


def open_blocks() -> list[Any]:
    """Return the open transaction blocks of the running thread, innermost per alias.

    Replaced by ``tracing.instrumentation.database.transactions``, which knows them.
    """
    return []


def ask_here(stream: Stream) -> Stream:
    """Return where the running thread records after the response of the root *stream* has left.

    Replaced by ``tracing.instrumentation.scopes.handling``, which can tell.
    """
    return stream


def set_processor(new: Processor | None) -> Processor | None:
    """Send live traces to *new* from now on, and return what received them before."""
    global processor
    previous, processor = processor, new
    return previous


def begin(trace: LiveTrace) -> None:
    """Make *trace* the one that the running context records into."""
    # First what may fail: a trace that nobody will finish must not become the running one.
    try:
        if processor is not None:
            processor.on_start(trace)
        running[trace.root.number] = trace
        make_current(trace.root)
    except BaseException:
        # Somebody interrupts: whoever began it will not learn of it.
        trace.excluded = True
        finish(trace)
        raise


def finish(trace: LiveTrace) -> None:
    """End *trace* and hand it over. The context goes back to what it was in before.

    Idempotent, and done to the end also where somebody interrupts it.
    """
    try:
        _finish(trace)
    except BaseException:
        _finish(trace, again=True)
        raise


def _finish(trace: LiveTrace, *, again: bool = False) -> None:
    if trace.end is None:
        trace.end = clock()
    for stream in trace.streams:
        stream.ended = True
        stream.events = None
    close(trace.root)
    if running.pop(trace.root.number, None) is None and not again:
        return  # The worker was quicker.
    if processor is not None and not trace.excluded and not trace.submitted:
        processor.on_end(trace)


def end(stream: Stream) -> None:
    """End the trace whose root *stream* is, or what it leaves out as a whole. Idempotent."""
    if stream.trace is not None:
        finish(stream.trace)
    else:
        close(stream)


def close(stream: Stream) -> None:
    """End what *stream* stands for, and go back to what is still running around it if it is running.

    Blocks may end in another order than they began in: two generators that take turns, say.
    """
    stream.ended = True
    now = current()
    if now is stream or (now is not None and now.trace is stream.trace is not None):
        make_current(living(stream.outer))


def living(stream: Stream | None) -> Stream | None:
    """Return *stream*, or what is still running around it if it has ended."""
    while (
        stream is not None
        and stream.ended
        # An unrecorded request whose response has left is still around.
        and (stream.trace is not None or stream.handling is None)
    ):
        stream = stream.outer if stream.trace is None else stream.trace.root.outer
    return stream


def running_stream() -> Stream | None:
    """Return what is running, where something is about to begin in it.

    First ends the blocks whose ``with`` statement was left without a word: somebody interrupted there.
    """
    stream = current()
    while stream is not None and stream.trace is not None and is_abandoned(stream.trace):
        finish(stream.trace)
        stream = current()
    return stream


def is_abandoned(trace: LiveTrace) -> bool:
    """Return whether *trace* is that of a block that was left, and nobody has said so."""
    return trace.end is None and trace.holder is not None and trace.holder() is None


def current_trace() -> LiveTrace | None:
    """Return the trace of the running context, None outside any or where nothing is recorded."""
    return trace_around(current())


def trace_around(stream: Stream | None) -> LiveTrace | None:
    """Return the trace of which what begins here is part, where *stream* is the running one."""
    if stream is None:
        return None
    if stream.ident == LEFT:
        stream = stream.here()
    return stream.trace if not stream.ended else None


def enter(stream: Stream | None) -> Stream | None:
    """Make *stream* the running one and return what was, for ``leave``."""
    before = current()
    _current.set(stream)
    return before


def leave(before: Stream | None) -> None:
    """Put back what ``enter`` returned."""
    _current.set(before)
