"""The buffers of a trace: one for each thread that works for it.

An active trace owns one *buffer* per thread that works for it. A buffer is one flat list with one
writer, in the order in which things happen:

- each receiver that returns None adds one number, the time at which it returned;
- everything else adds one of the ``words`` and its fields, as many as the word says.

Nesting needs no bookkeeping while the program runs: what stands between an opening and the number that
closes it happened inside. ``assembly`` reads the buffers, later and in another thread. Buffers hold
numbers, strings, code objects and labels, never an object of the traced program. They are flat, since a
tuple for each of these would be one more object for the garbage collector: it would come as often as
dispatches do, and what interrupts the weakref callbacks and finalizers that run then is lost to the
application.
"""

from __future__ import annotations

import os
import random
import socket
from itertools import count
from threading import current_thread, get_ident
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import perf_counter_ns as clock
from tracing.clocks import time
from tracing.instrumentation.failures import is_own
from tracing.instrumentation.words import LINK, TRANSACTION

if TYPE_CHECKING:
    import asyncio
    import weakref

    from tracing.spans.records import Kind

BUFFER_LIMIT: Final = 300_000
"""Values one buffer may hold before new ones are dropped, and counted, until it has been drained.

A dispatch is some ten of them. The ends of what has begun are never dropped.
"""
VALUES_PER_DISPATCH: Final = 5
"""At least so many values stand in a buffer for each dispatch."""
LEFT: Final = -1
"""In the place of the thread that writes a buffer: the response of its request has left."""
BUFFERS_LIMIT: Final = 20_000
"""Buffers one trace may hold before work in further threads and tasks is dropped, and counted."""

_random = random.Random()
"""Our own generator: the application's sequence of random numbers stays as it is."""

os.register_at_fork(after_in_child=_random.seed)

_ODD: Final = 1 << 64 | 1
"""The last digit of each of two ids."""

HOST: Final = socket.gethostname()
_numbers = count(1)


OrphanCell = list[Any]
"""[number of dispatches without receivers, their receiver set]."""
OrphanCounts = dict[int, OrphanCell]
"""What was counted, by the number of the receiver set."""


class Buffer:
    """The record of one thread for one trace: one writer, one reader."""

    # Made for each receiver that runs in a task: what is hardly ever set costs nothing until then.
    __slots__ = (
        "__dict__",
        "ended",
        "events",
        "ident",
        "number",
        "origin",
        "orphans",
        "recorded",
        "thread",
        "trace",
    )

    events: list[Any] | None
    """What is appended to. None where nothing is to be recorded, nor any more."""
    recorded: list[Any] | None
    """The same list, also after the trace has ended: what has begun is told its end."""
    orphans: OrphanCounts | None
    """Dispatches without receivers; None where nothing is recorded.

    The buffers of the thread that began the trace share one."""
    thread: str
    """Name of the thread, empty while it is nobody's."""
    ended: bool
    """Whether its trace has ended: what comes now belongs to no trace or to another."""
    in_callback = False
    """Whether an on_commit callback is running."""
    handling: Any = None
    """How the request is handled, for the root of one."""
    counted_before: OrphanCounts | None = None
    """Those before the response of a request left; ``orphans`` are what came after."""
    taken = 0
    """Values that have been read and taken out."""
    finished = False
    """Whether the thread or work item that wrote it is through."""
    task: weakref.ref[asyncio.Task[Any]] | None = None
    """The task that writes it, if one does."""
    late: dict[str, Any] | None = None
    """Open transaction blocks, by connection, that the buffer had no room for; they are read after it."""
    spans: Any = None
    """For the root of a trace: the numbers of its spans, where they are given while it runs."""
    outer: Buffer | None = None
    """What was running before, for the root of a trace and for what is left out as a whole."""
    suppresses = False
    """Whether nothing is recorded, no trace that begins in it either."""

    def __init__(
        self,
        trace: ActiveTrace | None,
        ident: int,
        origin: tuple[str, int, int] | None = None,
        beside: Buffer | None = None,
    ) -> None:
        self.trace = trace
        self.ident = ident
        self.origin = origin
        self.events = self.recorded = [] if trace is not None else None
        self.ended = False
        self.number = next(_numbers)
        if beside is not None and beside.ident == ident:
            # To ask the thread costs more than all the rest; another buffer of it knows.
            self.thread = beside.thread
            self.orphans = beside.orphans
        else:
            if not ident:
                self.thread = ""
            elif trace is not None and not trace.buffers:
                self.thread = trace.thread
            else:
                self.thread = current_thread().name
            self.orphans = {} if trace is not None else None

    def here(self) -> Buffer:
        """Return this trace's buffer for a thread that is not its writer."""
        trace = self.trace
        if trace is None:
            return self
        if self.ident == LEFT:
            return ask_here(self)
        if not self.ident:
            # A child_buffer is taken up: from now on this thread writes it.
            if len(trace.buffers) >= BUFFERS_LIMIT:
                trace.dropped += 1
                return discard_buffer()
            self.ident = get_ident()
            self.thread = current_thread().name
            trace.buffers.append(self)
            return self
        return trace.branch(self, get_ident())

    def child_buffer(self) -> Buffer:
        """Return a buffer for work that is started here and runs elsewhere.

        It is nobody's until its first dispatch. Called by the writer of this buffer. Where the mark
        does not fit any more, nothing is recorded there: it would hang in the wrong place.
        """
        buffer = Buffer(self.trace, 0, ("link", self.number, 0))
        return buffer if self.offer((LINK, buffer.number, 0)) else UNRECORDED

    def offer(self, item: tuple[Any, ...]) -> bool:
        """Append a word and its fields; False, and counted, without room.

        For what begins or stands for itself. The end of what was appended is appended in any case.
        """
        events = self.events
        if events is None:
            return False
        if len(events) >= BUFFER_LIMIT:
            if self.trace is not None:
                self.trace.dropped += 1
            return False
        events += item
        return True

    def note_block(self, key: str, block: Any) -> None:
        """Note that *block*, or None, is the innermost open one of *key*.

        It must not get lost: the fate of all later dispatches hangs on it. Of the blocks that came
        and went while the buffer was full only the last state is kept, which is no loss.
        """
        events = self.events
        if events is None:
            return
        if len(events) >= BUFFER_LIMIT:
            if self.late is None:
                self.late = {}
            self.late[key] = block
            if len(events) >= BUFFER_LIMIT:
                return
            # It was drained in this very moment.
        while self.late:
            try:
                events += (TRANSACTION, *self.late.popitem())
            except KeyError as error:
                if not is_own(error):
                    raise
                break  # The reader was quicker.
        events += (TRANSACTION, key, block)

    @property
    def is_over(self) -> bool:
        """Return whether its writer, a thread or task, is through."""
        if self.finished:
            return True
        if self.task is None:
            return False
        task = self.task()
        return task is None or task.done()


class ActiveTrace:
    """A unit of work that is being recorded."""

    __slots__ = (
        "arrival_key",
        "attributes",
        "branches",
        "buffers",
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
        "left_out",
        "name",
        "parent_span_id",
        "parent_trace_id",
        "reading",
        "redirect_key",
        "root",
        "root_span_id",
        "start",
        "started_ns",
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
        outer: Buffer | None = None,
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
        self.arrival_key = ""
        self.redirect_key = ""
        self.user_id = ""
        self.error = ""
        self.dropped = 0
        self.left_out = 0
        """Blocks in it that are not recorded: suppressed, or not sampled."""
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
        self.branches: dict[tuple[int, int], Buffer] = {}
        self.buffers: list[Buffer] = []
        self.reading: Any = None
        self.thread = current_thread().name
        self.root = self.open_buffer()
        self.root.outer = outer
        self.started_ns = time.time_ns()
        self.start = clock()

    def open_buffer(self, origin: tuple[str, int, int] | None = None) -> Buffer:
        """Return a new buffer for this thread, whose dispatches hang at *origin*."""
        buffers = self.buffers
        buffer = Buffer(self, get_ident(), origin, self.root if buffers else None)
        if len(buffers) >= BUFFERS_LIMIT:
            # It may be written, and nobody reads it.
            self.dropped += 1
            buffer.trace = None
            return buffer
        buffers.append(buffer)
        for key, block in open_blocks():
            buffer.events.extend((TRANSACTION, key, block))  # type: ignore[union-attr]
        return buffer

    def branch(self, buffer: Buffer, ident: int) -> Buffer:
        """Return the buffer in which a thread goes on with the work of *buffer*."""
        key = (buffer.number, ident)
        branch = self.branches.get(key)
        if branch is None:
            branch = self.branches[key] = self.open_buffer(("branch", buffer.number, 0))
        if branch.events is None or not buffer.offer(
            (LINK, branch.number, branch.taken + len(branch.events))
        ):
            return discard_buffer()
        return branch

    def let_go(self) -> None:
        """Forget buffers that have been read for the last time.

        Without this circle all of it is gone at once, and not only when the garbage collector comes.
        """
        for buffer in self.buffers:
            if buffer.orphans is not None:
                # What counts next may know these counts until then: let it hold nothing else.
                buffer.orphans.clear()
                buffer.orphans = None
        root = self.root
        self.root = Buffer(None, 0)
        self.root.outer = root.outer
        self.buffers = []
        self.branches = {}
        self.reading = None

    def duration_ns(self) -> int:
        """Return how long it took, or has taken so far."""
        return (self.end if self.end is not None else clock()) - self.start


def new_ids() -> str:
    """Return a random trace id and span id, neither all zero."""
    return (_random.getrandbits(192) | _ODD).to_bytes(24).hex()


UNRECORDED: Final = Buffer(None, 0)
"""The buffer of work that is not sampled, suppressed or paused: it swallows nothing because
nothing is offered to it."""


def discard_buffer() -> Buffer:
    """Return a buffer of this thread that nobody reads.

    For what is dropped and counted elsewhere.
    """
    buffer = Buffer(None, get_ident())
    buffer.events = buffer.recorded = []
    return buffer


OVER: Final = Buffer(None, 0)
"""The buffer of a thread whose request has ended, though nothing told of it."""
OVER.ended = True


def open_blocks() -> list[tuple[str, Any]]:
    """Return the thread's innermost open blocks and their connections' keys.

    Replaced by ``tracing.instrumentation.database.transactions``, which knows them.
    """
    return []


def ask_here(buffer: Buffer) -> Buffer:
    """Return where to record after the response of the root *buffer* left.

    Replaced by ``tracing.instrumentation.scopes.handling``, which can tell.
    """
    return buffer
