"""The dispatches of a block of a test: ``capture_dispatches()``."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from copy import deepcopy
from threading import RLock
from typing import TYPE_CHECKING, Final

from tracing.analysis import index
from tracing.instrumentation import context
from tracing.instrumentation.assembly.assembler import snapshot
from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.values import error_text
from tracing.instrumentation.buffer import ActiveTrace
from tracing.instrumentation.database.transactions import open_blocks
from tracing.instrumentation.sampling import Sampler, switch
from tracing.spans.records import Dispatch, Kind, ReceiverCall
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Generator

    from tracing.instrumentation.context import Processor
    from tracing.spans.records import Bypass, ConnectionChange, Hazard, SideEffect, Trace


class Captured:
    """The dispatches of a block; while it runs, those so far."""

    def __init__(
        self, active: ActiveTrace, *, is_alone: bool = False, all_threads: bool = False
    ) -> None:
        self.is_alone = is_alone
        """Django is instrumented for this capture only: nothing is recorded for anybody else."""
        self._all_threads = all_threads
        self._active = active
        self._running: list[ActiveTrace] = []
        self._ended: list[tuple[int, Trace]] = []
        """When each began, on the monotonic clock, and what it held."""
        self._parts: list[tuple[int, Trace]] = []
        self._trace: Trace | None = None

    def __repr__(self) -> str:
        trace = self.trace
        return (
            f"<Captured {trace.name!r}: {plural(trace.dispatch_count, 'dispatch', 'dispatches')}>"
        )

    @property
    def trace(self) -> Trace:
        """Return the trace of the block, requests and blocks inside it included."""
        if self._trace is not None:
            return self._trace
        trace = _joined(self._all_parts())
        if self._parts:
            self._trace = trace
        return trace

    @property
    def parts(self) -> list[Trace]:
        """Return the trace of the block alone, then those begun inside it."""
        return [part for _start, part in self._all_parts()]

    @property
    def dispatches(self) -> list[Dispatch]:
        """Return every dispatch that had a receiver, parents before children."""
        return self.trace.dispatches

    @property
    def receiver_calls(self) -> list[ReceiverCall]:
        """Return every receiver call, skipped ones too, by dispatch."""
        return [call for dispatch in self.dispatches for call in dispatch.receiver_calls]

    @property
    def hazards(self) -> list[Hazard]:
        """Return the hazards in it, worst first, without known ones."""
        from tracing.analysis.hazards import diagnose  # noqa: PLC0415 - many rules, rarely asked.

        return diagnose(self.trace)

    def tree(self, *, limit: int = 60) -> str:
        """Return it as text, repetitions folded, of at most *limit* lines."""
        from tracing.presentation.text import dispatch_tree  # noqa: PLC0415 - as above.

        return dispatch_tree(self.trace, limit=limit)

    def _follows(self, trace: ActiveTrace) -> bool:
        """Return whether *trace* began inside this block, or at its time."""
        if self._all_threads:
            return trace is not self._active
        outer = trace.root.outer
        while outer is not None:
            if outer.trace is self._active:
                return True
            outer = outer.trace.root.outer if outer.trace is not None else outer.outer
        return False

    def _begun(self, trace: ActiveTrace) -> None:
        if self._follows(trace):
            trace.held = True
            self._running.append(trace)

    def _over(self, trace: ActiveTrace) -> None:
        if trace in self._running:
            self._running.remove(trace)
            # Now, not later: the pipeline is about to empty its streams.
            self._ended.append((trace.start, snapshot(trace)))

    def _all_parts(self) -> list[tuple[int, Trace]]:
        if self._parts:
            return self._parts
        # Of a transaction that began inside the block, only now it shows whether it is a test's.
        open_blocks()
        return [
            (self._active.start, snapshot(self._active)),
            *self._ended,
            *((running.start, snapshot(running)) for running in self._running),
        ]

    def _finish(self) -> None:
        self._parts = self._all_parts()
        self._running.clear()
        self._ended.clear()


def _joined(parts: list[tuple[int, Trace]]) -> Trace:
    """Return one trace of all *parts*, which stay as they are."""
    (began, whole), *inner = parts
    if not inner:
        return whole
    whole = deepcopy(whole)
    for start, part in inner:
        _merge(whole, deepcopy(part), start - began)
    _renumber(whole)
    return whole


def _merge(trace: Trace, other: Trace, offset_ns: int) -> None:
    """Add what *other* holds to *trace*; it began *offset_ns* later."""
    # Numbers must not meet before everything is numbered anew.
    above = 1 + max(
        (span.number for dispatch in trace.dispatches for span in _spans(dispatch)), default=0
    )
    for dispatch in other.dispatches:
        for span in _spans(dispatch):
            span.number += above
            span.start_ns += offset_ns
        if dispatch.parent_number is not None:
            dispatch.parent_number += above
    for note in _notes(other):
        note.start_ns += offset_ns
        if note.parent_number is not None:
            note.parent_number += above
    counts: dict[tuple[str, str], int] = {}
    for signal, sender, count in (*trace.orphans, *other.orphans):
        counts[signal, sender] = counts.get((signal, sender), 0) + count
    trace.orphans = [(signal, sender, count) for (signal, sender), count in counts.items()]
    for name in _ADDED:
        setattr(trace, name, getattr(trace, name) + getattr(other, name))


_ADDED: Final = (
    *("dispatches", "bypasses", "side_effects", "lost_receivers", "connection_changes"),
    *("unreadable", "missed_receivers", "waiting_callbacks", "silent_writes"),
    *("discarded_callbacks", "dispatch_count", "receiver_call_count", "query_count", "query_ns"),
    *("signal_ns", "error_count", "dropped_count", "orphan_count", "overhead_ns"),
)
"""The lists and the counts of a trace that are added up."""


def _notes(trace: Trace) -> list[Bypass | SideEffect | ConnectionChange]:
    return [*trace.bypasses, *trace.side_effects, *trace.connection_changes]


def _spans(dispatch: Dispatch) -> tuple[Dispatch | ReceiverCall, ...]:
    return (dispatch, *dispatch.receiver_calls)


def _renumber(trace: Trace) -> None:
    """Give the spans of *trace* numbers in the order of time, parents first."""
    numbers: dict[int, int] = {}
    ordered: list[Dispatch] = []
    for visit in index.walk(trace):
        numbers[visit.span.number] = len(numbers) + 1
        if isinstance(visit.span, Dispatch):
            ordered.append(visit.span)
    for dispatch in ordered:
        dispatch.parent_number = numbers.get(dispatch.parent_number or 0)
        for span in _spans(dispatch):
            span.number = numbers[span.number]
    for note in _notes(trace):
        note.parent_number = numbers.get(note.parent_number or 0)
    trace.dispatches = ordered


class _RecordAll(Sampler):
    """A sampler that records every trace while something is captured.

    What would not have been recorded otherwise is handed to nobody.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stood = switch.sampler
        self._paused = switch.paused
        self._refused = threading.local()
        switch.sampler = self
        switch.paused = False

    def undo(self) -> None:
        """Put back what stood there; a sampler or a pause that came later stays."""
        if switch.sampler is self:
            switch.sampler = self._stood
        switch.paused = switch.paused or self._paused

    def decide(
        self,
        kind: Kind,
        name: str,
        parent_sampled: bool | None = None,  # noqa: FBT001 - as in the class above.
    ) -> bool:
        """Return True, and remember what would have been decided."""
        sampled = not self._paused and self._stood.decide(kind, name, parent_sampled)
        self._refused.now = not sampled
        return True

    def was_refused(self) -> bool:
        """Return whether this thread's new trace was not meant to be recorded."""
        refused: bool = getattr(self._refused, "now", False)
        self._refused.now = False
        return refused


class _Watch:
    """A processor that tells captures of the traces inside them."""

    def __init__(self) -> None:
        self._captures: list[Captured] = []
        self._before: Processor | None = None
        self._sampling: _RecordAll | None = None
        self._lock = RLock()

    def add(self, captured: Captured) -> None:
        with self._lock:
            if not self._captures:
                self._before = context.set_processor(self)
                self._sampling = _RecordAll()
            self._captures = [*self._captures, captured]

    def remove(self, captured: Captured) -> None:
        with self._lock:
            self._captures = [other for other in self._captures if other is not captured]
            if self._captures:
                return
            if context.processor is self:
                context.set_processor(self._before)
            self._before = None
            if self._sampling is not None:
                self._sampling.undo()
                self._sampling = None

    def ended(self, trace: ActiveTrace) -> None:
        for captured in self._captures:
            captured._over(trace)  # noqa: SLF001 - the two belong together.

    def on_start(self, trace: ActiveTrace) -> None:
        refused = self._sampling is not None and self._sampling.was_refused()
        if refused or any(captured.is_alone for captured in self._captures):
            trace.excluded = True
        for captured in self._captures:
            captured._begun(trace)  # noqa: SLF001 - the same.
        if self._before is not None:
            self._before.on_start(trace)

    def on_end(self, trace: ActiveTrace) -> None:
        self.ended(trace)
        if self._before is not None:
            self._before.on_end(trace)


_watch: Final = _Watch()


@contextmanager
def capture_dispatches(
    name: str = "block", *, kind: Kind | str = Kind.BLOCK, all_threads: bool = False
) -> Generator[Captured]:
    """Record every dispatch of the block, and hand it to nobody.

    Instruments Django meanwhile, if it is not. Requests of the test client are traces of their own, and
    part of the block as well; so are threads that asgiref starts for it.

    Args:
        name: The name of the trace.
        kind: Its kind.
        all_threads: Also what any other thread (a live server) begins meanwhile.

    Yields:
        What is captured, which may be asked during the block and after it.
    """
    import tracing  # noqa: PLC0415 - the package's own functions need all rooms below this one.

    undo = None if tracing.is_instrumented() else tracing.instrument()
    outer = context.current()
    parent = context.trace_around(outer)
    active = ActiveTrace(
        Kind(kind), name, parent_trace_id=parent.trace_id if parent else "", outer=outer
    )
    active.excluded = True
    captured = Captured(active, is_alone=undo is not None, all_threads=all_threads)
    try:
        _watch.add(captured)
        context.begin(active)
        yield captured
    except BaseException as error:
        active.error = ": ".join(filter(None, error_text(error)))[: names.MAX_NAME]
        raise
    finally:
        context.finish(active)
        _watch.remove(captured)
        captured._finish()  # noqa: SLF001 - the two belong together.
        # An excluded trace is not announced: captures around this one hear of it here.
        _watch.ended(active)
        if undo is not None:
            undo()
