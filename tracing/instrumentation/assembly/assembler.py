"""Assembly: from the buffers of an active trace to finished spans.

Runs in the worker (or wherever a finished trace is wanted now), never on the way of a dispatch. Each
buffer is read like a document: an opening pushes a dispatch, each end moves on to the next receiver
and the last one closes it; what stands between belongs inside. Reading may stop anywhere and go on
later, which is how a long trace is exported in segments while it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.assembly import templates, unread
from tracing.instrumentation.assembly.dispatches import interval
from tracing.instrumentation.assembly.events import DETAILS, OPENINGS, READ
from tracing.instrumentation.assembly.segments import Segments
from tracing.instrumentation.assembly.state import Reader, set_block
from tracing.instrumentation.assembly.unread import close, reading_lock
from tracing.instrumentation.connections.changes import take_waiting
from tracing.instrumentation.failures import failed
from tracing.spans.records import Dispatch, Status, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.instrumentation.buffer import ActiveTrace, Buffer


class SoFar(NamedTuple):
    """Sums of a trace that may run."""

    receiver_calls: int
    signal_ns: int
    """Time in which any dispatch ran."""
    queries: int
    query_ns: int


class Assembly(Segments):
    """The reading of one active trace, which may go on over several segments."""

    def read(self, *, consume: bool = True, most: int | None = None) -> bool:
        """Read what the buffers hold now, and *consume* it or not.

        Args:
            consume: Take out of the buffers what has been read.
            most: Values to read of one buffer. The buffers after one that holds more are left for the
                next time, too: what they hold may be announced in what is still to be read.

        Returns:
            Whether all was read.
        """
        moment = self._since(clock())
        buffers = list(self.active.buffers)
        # Before the reading: of one that is over now, all has been written.
        over = {buffer.number for buffer in buffers if buffer.is_over}
        # Lengths from the last buffer to the first: what a later one holds was announced in an
        # earlier one before, so no item is read whose announcement is not.
        lengths = [len(buffer.recorded or ()) for buffer in reversed(buffers)][::-1]
        for buffer, length in zip(buffers, lengths, strict=True):
            events = buffer.recorded
            if events is None:
                continue
            reader = self._reader(buffer)
            before = reader.place
            is_cut = most is not None and length > most
            try:
                self._read(reader, events[: most if is_cut else length])
            finally:
                if consume:
                    del events[: reader.place - before]
                    buffer.taken = reader.place
            if is_cut:
                self._is_cut = True
                return False
            if consume and buffer.late:
                self._read_late(buffer)
        self._is_cut = False
        self._complete_until = moment
        if consume:
            self._forget_done(buffers, over)
        return True

    def recall(self, items: list[Any]) -> bool:
        """Take the spans from a template; False if there is none."""
        try:
            found = templates.recall(items, self.active)
            if found is None:
                return False
            template, values = found
            self._done = template.spans(values, self.active.root.thread, self._key_text)
        except Exception as error:
            failed("a template", error)
            return False
        trace = self.trace
        self._first_root = self._done[0]
        self._pairs = template.pairs
        trace.dispatch_count = len(self._done)
        trace.receiver_call_count = template.call_count
        trace.query_count, trace.query_ns = len(values.asked), sum(values.asked)
        return True

    def learn(self, items: list[Any], dispatches: list[Dispatch]) -> None:
        """Make a template of what was read, if its like comes again."""
        try:
            templates.learn(items, self.active, dispatches, self)
        except Exception as error:
            failed("a template", error)

    def so_far(self) -> SoFar:
        """Return the sums of what has been read; nothing is settled by that."""
        ended = [*self._done, *(dispatch for dispatch, _ in self._closing)]
        roots = [interval(each) for each in ended if each.parent_number is None]
        trace = self.trace
        return SoFar(
            trace.receiver_call_count,
            self._roots.with_those(roots),
            trace.query_count,
            trace.query_ns,
        )

    def _read_late(self, buffer: Buffer) -> None:
        """Read the open blocks for which the buffer had no room while it was full."""
        blocks = self._readers[buffer.number].blocks
        while buffer.late:
            try:
                key, block = buffer.late.popitem()
            except KeyError:
                return  # The writer was quicker, and has appended them.
            set_block(blocks, key, block)

    def _forget_done(self, buffers: list[Buffer], over: set[int]) -> None:
        """Let go of the buffers of receivers, threads and tasks that ended.

        A long trace has many. One that is written all the same, by a callback of the event loop that
        was set up there, is nobody's again and is taken up by its next dispatch.
        """
        gone = set()
        for buffer in buffers:
            reader = self._readers.get(buffer.number)
            if reader is None:
                continue
            parent = buffer.origin[1] if buffer.origin is not None else 0
            is_over = reader.done or buffer.number in over
            if buffer.origin is not None and buffer.origin[0] == "branch":
                is_over = parent in gone
            if is_over and not reader.stack:
                gone.add(buffer.number)
                buffer.ident = 0
                root = self.active.root
                if buffer.orphans not in (root.orphans, root.counted_before):
                    self._add_orphans(buffer.orphans, self._orphans_before)
                buffer.orphans = {}
                self.active.buffers.remove(buffer)
                del self._readers[buffer.number]
        if gone:
            for key in [key for key in list(self.active.branches) if key[0] in gone]:
                self.active.branches.pop(key, None)

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
                    size, read = READ[word]
                    shape = place + size
                    if word in OPENINGS:
                        size += DETAILS[items[shape]] if shape < end else 1
                    if place + size > end:
                        return  # The writer is not through with it.
                    read(self, reader, items[place + 1 : place + size])
            except Exception as error:
                # One that cannot be read costs itself alone; the rest of the trace is kept.
                self._note_unreadable("an event", error)
            place += size
            reader.place = began + place

    def _reader(self, buffer: Buffer) -> Reader:
        reader = self._readers.get(buffer.number)
        if reader is None:
            reader = self._readers[buffer.number] = Reader(buffer)
            if buffer.origin is not None:
                word, key, position = buffer.origin
                reader.outer_is_link = word == "link"
                if word == "call":
                    reader.call = key, position
        return reader


def assemble(active: ActiveTrace) -> Trace:
    """Return the finished spans of an ended trace, or its last segment."""
    with reading_lock:
        items = None
        if active.reading is None:
            active.reading = Assembly(active)
            items = templates.recorded_in(active)
        reading: Assembly = active.reading
        is_recalled = items is not None and reading.recall(items)
        if not is_recalled:
            reading.read(consume=items is None)
        close(active)
        finished = reading.segment(final=True)
        if items is not None and not is_recalled:
            reading.learn(items, finished.dispatches)
        active.let_go()
        return finished


def assemble_ended(active: ActiveTrace) -> Trace:
    """Return the same with receivers found dead outside any trace.

    Called once for each trace, after its end, off the traced thread.
    """
    trace = assemble(active)
    trace.lost_receivers[:0] = take_waiting()
    return trace


def snapshot(active: ActiveTrace) -> Trace:
    """Return the spans of a trace that may run, leaving its buffers.

    Raises nothing of its own; what was exported in earlier segments is not in it.
    """
    reading = Assembly(active)
    reading.read(consume=False)
    trace = reading.segment(final=True)
    trace.final = active.end is not None
    if active.end is None:
        trace.status = Status.RUNNING
    return trace


def keep_numbers(active: ActiveTrace) -> None:
    """Read a running trace now, to keep the numbers of a snapshot.

    Spans are numbered as they are read, and what comes later may stand in an earlier buffer.
    """
    with reading_lock:
        if active.reading is None:
            active.reading = Assembly(active)
        active.reading.read()


def sums_so_far(active: ActiveTrace) -> SoFar | None:
    """Return the sums of a running trace, on its own thread; None if unknown.

    Never waits: not for the worker, which may be reading, nor for much to be read.
    """
    if not reading_lock.acquire(blocking=False):
        return None
    try:
        # What the worker has begun to read goes on; else the buffers are left as they are.
        reading: Assembly = active.reading or Assembly(active)
        is_read = reading.read(consume=active.reading is not None, most=SEGMENT_VALUES)
        return reading.so_far() if is_read else None
    finally:
        reading_lock.release()


SEGMENT_VALUES: Final = 20_000
"""Values that are read at a time: those of so many dispatches, so that a segment stays about as small.

What packs, sorts or writes a segment keeps the interpreter from the traced threads meanwhile.
"""


def drain() -> Iterator[Trace]:
    """Read what running traces have recorded; yield due segments.

    Called in the worker, several times a second. Keeps the buffers short, so that a command of hours
    takes no more memory than a short one. One segment after the other: spans that are alive together
    are what a full garbage collection looks at, while the traced threads wait.
    """
    for active in unread.due():
        age_ns = active.duration_ns()
        is_read = False
        while not is_read:
            segment = None
            with reading_lock:
                if active.reading is None:
                    active.reading = Assembly(active)
                is_read = active.reading.read(most=SEGMENT_VALUES)
                if active.reading.pending >= unread.SEGMENT_DISPATCHES or (
                    active.reading.pending and age_ns >= unread.SEGMENT_SECONDS * 1e9
                ):
                    segment = active.reading.segment(final=False)
            if segment is not None:
                yield segment
