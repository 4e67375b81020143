"""Where the time of a trace went: the time of a span itself, and the path that it was waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracing.analysis.index import Below, Index, Span, end_of, roots
from tracing.spans.intervals import covered_within
from tracing.spans.records import Dispatch, Method, ReceiverCall, Trace

if TYPE_CHECKING:
    from collections.abc import Sequence


def self_ns(span: Span) -> int:
    """Return the time of *span* in which nothing below it ran, in nanoseconds.

    Of a receiver call the recording has worked it out. Work that a span only started (an on_commit
    callback, a thread, a task) is not below it in time.
    """
    if isinstance(span, ReceiverCall):
        return span.self_ns
    return max(0, span.duration_ns - covered_within(span, span.receiver_calls))


def self_times(trace: Trace) -> dict[int, int]:
    """Return the self time of each receiver call of *trace* by its number, to be added up.

    Async receivers wait at the same time: of such a moment each has an equal part, so that what is
    added up of one thread is no more than the time that went by.
    """
    times = {call.number: call.self_ns for each in trace.dispatches for call in each.receiver_calls}
    threads: dict[str, list[ReceiverCall]] = {}
    for dispatch in trace.dispatches:
        threads.setdefault(dispatch.thread, []).extend(dispatch.receiver_calls)
    concurrent = {each.thread for each in trace.dispatches if each.method in _ASYNC}
    if not concurrent:
        return times
    below = Below(trace)
    for thread in concurrent:
        for number, part in _parts(threads[thread], below).items():
            times[number] = min(times[number], part)
    return times


_ASYNC: Final = (Method.ASEND, Method.ASEND_ROBUST)


def _parts(calls: list[ReceiverCall], below: Below) -> dict[int, int]:
    """Return the time that each of *calls* alone accounts for, divided by how many do at a moment."""
    moments: list[tuple[int, int, int]] = []
    for call in calls:
        for start, end in _stretches(below.sent(call), call.start_ns, end_of(call))[0]:
            moments += [(start, 1, call.number), (end, 0, call.number)]
    moments.sort()
    parts = dict.fromkeys([call.number for call in calls], 0.0)
    running: dict[int, None] = {}
    before = 0
    for moment, begins, number in moments:
        if running and moment > before:
            for each in running:
                parts[each] += (moment - before) / len(running)
        before = moment
        if begins:
            running[number] = None
        else:
            running.pop(number, None)
    return {number: int(part) for number, part in parts.items()}


@dataclass(slots=True)
class PathPiece:
    """A stretch of the critical path: time that one span alone accounts for."""

    number: int | None
    """Span number; None for code outside any dispatch."""
    start_ns: int
    duration_ns: int


def critical_path(trace: Trace) -> list[PathPiece]:
    """Return what the duration of *trace* was made of, in order of time, without a gap.

    From the end of a span backwards: the child that finished last is on the path, then the one that
    finished last before that one began, and so on; what is between them is the span's own.
    """
    pieces: list[PathPiece] = []
    below_of = Below(trace)
    # (number, children, from, until): a span and the stretch of it that is on the path.
    stack: list[tuple[int | None, Sequence[Span], int, int]] = [
        (None, _waited_for(trace), 0, trace.duration_ns)
    ]
    while stack:
        number, children, begin, until = stack.pop()
        own, below = _stretches(children, begin, until)
        pieces += [PathPiece(number, start, end - start) for start, end in own]
        stack += [(child.number, below_of(child), start, end) for child, start, end in below]
    pieces.sort(key=lambda piece: piece.start_ns)
    return pieces


class CriticalPath:
    """The critical path of a trace, worked out only as far down as it is asked for."""

    def __init__(self, index: Index) -> None:
        self._index = index
        _, below = _stretches(_waited_for(index.trace), 0, index.trace.duration_ns)
        self._within = {child.number: (start, end) for child, start, end in below}
        self._own: dict[int, list[tuple[int, int]]] = {}

    def of(self, span: Span) -> list[tuple[int, int]]:
        """Return the stretches (start and end, ns) that *span* alone accounts for."""
        own = self._own.get(span.number)
        if own is not None:
            return own
        if span.number not in self._within:
            unknown = []
            for above in self._index.above(span):
                if above.number in self._own:
                    break
                unknown.append(above)
            for above in reversed(unknown):
                self._descend(above)
        return self._descend(span)

    def _descend(self, span: Span) -> list[tuple[int, int]]:
        within = self._within.get(span.number)
        own, below = _stretches(self._index.below(span), *within) if within else ([], [])
        self._own[span.number] = own
        for child, start, end in below:
            self._within[child.number] = (start, end)
        return own


def _waited_for(trace: Trace) -> list[Dispatch]:
    return [root for root in roots(trace) if not root.parent_is_link]


def _stretches(
    children: Sequence[Span], begin: int, until: int
) -> tuple[list[tuple[int, int]], list[tuple[Span, int, int]]]:
    """Return which stretches between two moments no child accounts for, and which ones each does."""
    own: list[tuple[int, int]] = []
    below: list[tuple[Span, int, int]] = []
    cursor = until
    for child in sorted(children, key=end_of, reverse=True) if len(children) > 1 else children:
        if isinstance(child, Dispatch) and child.parent_is_link:
            continue
        end = min(end_of(child), cursor)
        start = max(child.start_ns, begin)
        if end <= start:
            continue
        if end < cursor:
            own.append((end, cursor))
        below.append((child, start, end))
        cursor = start
    if cursor > begin:
        own.append((begin, cursor))
    return own, below


def critical_numbers(trace: Trace) -> set[int]:
    """Return the numbers of the spans that the critical path goes through."""
    index = Index(trace)
    found: set[int] = set()
    for number in {piece.number for piece in critical_path(trace)}:
        span = index.span(number)
        if span is None:
            continue
        found.add(span.number)
        for above in index.above(span):
            if above.number in found:
                break
            found.add(above.number)
    return found
