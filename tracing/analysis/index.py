"""The spans of a trace by number: walks, ancestors, outermost ones.

Nothing recurses: a trace that ended in a ``RecursionError`` is a thousand receivers deep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from tracing.spans.records import Dispatch, LostReceiver, Outcome, ReceiverCall, Status, Trace

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence


Span: TypeAlias = Dispatch | ReceiverCall
_S = TypeVar("_S", bound=Span)


@dataclass(slots=True)
class Visit:
    """One span of a trace, met on a walk."""

    span: Span
    depth: int
    """Spans above it; dispatches and receiver calls both count."""
    parent: Span | None


def roots(trace: Trace) -> list[Dispatch]:
    """Return the dispatches without a parent in this trace or segment.

    In order of start, which is not that of their numbers: what was sent in another thread or task
    (an async view that saves a model, say) has higher numbers than what its own thread sent later.
    """
    known = {call.number for dispatch in trace.dispatches for call in dispatch.receiver_calls}
    top = [
        dispatch
        for dispatch in trace.dispatches
        if dispatch.parent_number is None or dispatch.parent_number not in known
    ]
    top.sort(key=lambda dispatch: dispatch.start_ns)
    return top


Shown: TypeAlias = "Container[int] | None"
"""Numbers of the spans that are shown, and everything above each; None for all."""


def only(spans: Sequence[_S], shown: Shown) -> Sequence[_S]:
    """Return those of *spans* that are *shown*."""
    return spans if shown is None else [span for span in spans if span.number in shown]


def walk(trace: Trace, shown: Shown = None, *, root: Span | None = None) -> Iterator[Visit]:
    """Yield each *shown* span of *trace*, parents first, in order of start.

    Args:
        trace: The trace.
        shown: What to yield; None for all.
        root: Begin with it and yield what is below it alone; None for the whole trace.
    """
    below = Below(trace)
    beside: Sequence[Span] = roots(trace) if root is None else [root]
    stack = [Visit(span, 0, None) for span in only(beside, shown)]
    stack.reverse()
    while stack:
        visit = stack.pop()
        yield visit
        children = only(below(visit.span), shown)
        depth = visit.depth + 1
        stack.extend(Visit(child, depth, visit.span) for child in reversed(children))


class Below:
    """The spans directly below each span of a trace."""

    __slots__ = ("_sent",)

    def __init__(self, trace: Trace) -> None:
        self._sent = trace.sent_by()

    def __call__(self, span: Span) -> Sequence[Span]:
        """Return the calls of a dispatch, or the dispatches of a call."""
        return span.receiver_calls if isinstance(span, Dispatch) else self.sent(span)

    def sent(self, call: ReceiverCall) -> Sequence[Dispatch]:
        """Return what was sent from inside *call*, in order of start."""
        return self._sent.get(call.number, ())

    def of(self, spans: Iterable[Span]) -> list[Span]:
        """Return what is directly below any of *spans*."""
        return [child for span in spans for child in self(span)]


class Index:
    """The spans of a trace by number, what is above each and what is below."""

    __slots__ = ("_below", "_calls", "_dispatches", "_parents", "trace")

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._below: Below | None = None
        dispatches = [*trace.unfinished, *trace.dispatches]
        self._calls: dict[int, ReceiverCall] = {
            call.number: call for dispatch in dispatches for call in dispatch.receiver_calls
        }
        self._parents: dict[int, Dispatch] = {
            call.number: dispatch for dispatch in dispatches for call in dispatch.receiver_calls
        }
        self._dispatches: dict[int, Dispatch] | None = None

    def span(self, number: int | None) -> Span | None:
        """Return the span of that number, None if this trace has none."""
        if number is None:
            return None
        if self._dispatches is None:
            # Most who ask for calls never ask for these.
            dispatches = (*self.trace.unfinished, *self.trace.dispatches)
            self._dispatches = {dispatch.number: dispatch for dispatch in dispatches}
        return self._calls.get(number) or self._dispatches.get(number)

    def call(self, number: int | None) -> ReceiverCall | None:
        """Return the receiver call of that number, None if it is something else."""
        return self._calls.get(number) if number is not None else None

    def dispatch_of(self, call: ReceiverCall) -> Dispatch:
        """Return the dispatch whose receiver call this is."""
        return self._parents[call.number]

    @property
    def below(self) -> Below:
        """Return what is directly below each span."""
        if self._below is None:
            self._below = Below(self.trace)
        return self._below

    def above(self, span: Span) -> Iterator[Span]:
        """Yield what is above *span*, the nearest first."""
        while True:
            parent: Span | None
            if isinstance(span, ReceiverCall):
                parent = self._parents.get(span.number)
            else:
                parent = self.call(span.parent_number)
            if parent is None:
                return
            yield parent
            span = parent


def end_of(span: Span) -> int:
    """Return the moment at which *span* was over."""
    return span.start_ns + span.duration_ns


def outermost(index: Index, calls: Iterable[ReceiverCall]) -> list[ReceiverCall]:
    """Return those of *calls* that lie in no other one of them."""
    calls = list(calls)
    numbers = {call.number for call in calls}
    inside = set()
    for call in calls:
        for above in index.above(call):
            if above.number in numbers:
                inside.add(call.number)
            if above.number in numbers or (isinstance(above, Dispatch) and above.is_detached):
                break
    return [call for call in calls if call.number not in inside]


def extent_ns(trace: Trace) -> int:
    """Return the time from the start of *trace* to its last known end.

    A callback or task may end after the trace itself did.
    """
    return max(1, trace.duration_ns, *(end_of(dispatch) for dispatch in trace.dispatches))


def failed(span: Span) -> bool:
    """Return whether *span* raised, was cancelled or never ran."""
    if isinstance(span, Dispatch):
        return bool(span.exception_type)
    return span.outcome in _FAILURES


def was_made(span: Span) -> bool:
    """Return whether *span* was done: it is no call that was skipped."""
    return isinstance(span, Dispatch) or span.was_called


_FAILURES: Final = frozenset({Outcome.RAISED, Outcome.CANCELLED, Outcome.SKIPPED})


def status_word(trace: Trace) -> str:
    """Return the end of *trace* in one word: ok, error, running, 404."""
    if trace.status is Status.OK and trace.http_status is not None:
        return str(trace.http_status)
    return str(trace.status)


def lost_receivers(trace: Trace) -> list[tuple[LostReceiver, int]]:
    """Return the receivers that a trace found dead, each with a count."""
    found: dict[tuple[Any, ...], list[LostReceiver]] = {}
    for lost in trace.lost_receivers:
        key = (lost.signal, lost.sender, lost.receiver, lost.was_called)
        found.setdefault(key, []).append(lost)
    return [(same[0], len(same)) for same in found.values()]
