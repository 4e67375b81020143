"""Assembly: from the streams of a live trace to finished spans.

Runs in the worker (or wherever a finished trace is wanted now), never on the way of a dispatch. Each
stream is read like a document: an opening pushes a dispatch, each end moves on to the next receiver
and the last one closes it; what stands between belongs inside. Reading may stop anywhere and go on
later, which is how a long trace is exported in segments while it runs.
"""

from __future__ import annotations

from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation import context
from tracing.instrumentation.assembly.events import DETAILS, OPENINGS, READ
from tracing.instrumentation.assembly.segments import Segments
from tracing.instrumentation.assembly.state import Reader, set_block
from tracing.instrumentation.buffer import VALUES_PER_DISPATCH, LiveTrace, Stream
from tracing.instrumentation.connections.changes import take_waiting
from tracing.instrumentation.process import process_lock
from tracing.spans.records import Status, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator


class Assembly(Segments):
    """The reading of one live trace, which may go on over several segments."""

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
            set_block(blocks, alias, block)

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
