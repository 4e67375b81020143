"""What is recorded of a trace: a stream for each thread that works for it.

A live trace owns one *stream* per thread that works for it. A stream is one flat list with one
writer, in the order in which things happen:

- each receiver that returns None adds one number, the time at which it returned;
- everything else adds one of the ``words`` and its fields, as many as the word says.

Nesting needs no bookkeeping while the program runs: what stands between an opening and the number that
closes it happened inside. ``assembly`` reads the streams, later and in another thread. Streams hold
numbers, strings, code objects and labels, never an object of the traced program. They are flat, since a
tuple for each of these would be one more object for the garbage collector: it would come as often as
dispatches do, and what interrupts the weakref callbacks and finalizers that run then is lost to the
application.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from itertools import count
from threading import get_ident
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.failures import is_own
from tracing.instrumentation.words import LINK, TRANSACTION

if TYPE_CHECKING:
    import asyncio
    import weakref

    from tracing.spans.records import Kind

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
