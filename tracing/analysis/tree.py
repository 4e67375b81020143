"""The tree of a trace: walking, waterfall rows, critical path, folding, totals, flame graph.

Everything here takes finished spans and returns values ready to be shown: percentages, depths and
sentences are worked out here, so that templates and terminals need no arithmetic. Nothing recurses:
a trace that ended in a ``RecursionError`` is a thousand receivers deep.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from tracing.analysis.names import (
    callsite_text,
    place,
    short_receiver,
    short_signal,
    shorten_middle,
)
from tracing.spans.intervals import covered_within, time_once
from tracing.spans.records import (
    Dispatch,
    LostReceiver,
    Method,
    Outcome,
    ReceiverCall,
    Status,
    Trace,
)
from tracing.units import format_ns, query_text

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

Span: TypeAlias = Dispatch | ReceiverCall
_S = TypeVar("_S", bound=Span)

TIMES: Final = "\N{MULTIPLICATION SIGN}"
"""Between a count and what it counts."""


# --- walking -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Visit:
    """One span of a trace, met on a walk."""

    span: Span
    depth: int
    """Spans above it; dispatches and receiver calls both count."""
    parent: Span | None


def roots(trace: Trace) -> list[Dispatch]:
    """Return the dispatches at the top: without a parent, or whose parent is in another segment.

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


def walk(trace: Trace, shown: Shown = None) -> Iterator[Visit]:
    """Yield every span of *trace* that is *shown*, parents before children, in order of start."""
    return walk_from(roots(trace), shown)


def walk_from(spans: Sequence[Span], shown: Shown = None) -> Iterator[Visit]:
    """Yield *spans* and everything below them, parents before children."""
    stack = [Visit(span, 0, None) for span in only(spans, shown)]
    stack.reverse()
    while stack:
        visit = stack.pop()
        yield visit
        children = only(_children(visit.span), shown)
        depth = visit.depth + 1
        stack.extend(Visit(child, depth, visit.span) for child in reversed(children))


def _children(span: Span) -> Sequence[Span]:
    return span.receiver_calls if isinstance(span, Dispatch) else span.dispatches


class Index:
    """The spans of a trace by number, and who is above whom."""

    __slots__ = ("_calls", "_dispatches", "_parents", "trace")

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        dispatches = [*trace.carried.unfinished, *trace.dispatches]
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
            dispatches = (*self.trace.carried.unfinished, *self.trace.dispatches)
            self._dispatches = {dispatch.number: dispatch for dispatch in dispatches}
        return self._calls.get(number) or self._dispatches.get(number)

    def call(self, number: int | None) -> ReceiverCall | None:
        """Return the receiver call of that number, None if it is something else."""
        return self._calls.get(number) if number is not None else None

    def dispatch_of(self, call: ReceiverCall) -> Dispatch:
        """Return the dispatch whose receiver call this is."""
        return self._parents[call.number]

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


# --- time ----------------------------------------------------------------------------------------


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
    for thread in concurrent:
        for number, part in _parts(threads[thread]).items():
            times[number] = min(times[number], part)
    return times


_ASYNC: Final = (Method.ASEND, Method.ASEND_ROBUST)


def _parts(calls: list[ReceiverCall]) -> dict[int, int]:
    """Return the time that each of *calls* alone accounts for, divided by how many do at a moment."""
    moments: list[tuple[int, int, int]] = []
    for call in calls:
        for start, end in _stretches(call.dispatches, call.start_ns, _end(call))[0]:
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
    # (number, children, from, until): a span and the stretch of it that is on the path.
    stack: list[tuple[int | None, Sequence[Span], int, int]] = [
        (None, _waited_for(trace), 0, trace.duration_ns)
    ]
    while stack:
        number, children, begin, until = stack.pop()
        own, below = _stretches(children, begin, until)
        pieces += [PathPiece(number, start, end - start) for start, end in own]
        stack += [(child.number, _children(child), start, end) for child, start, end in below]
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
        own, below = _stretches(_children(span), *within) if within else ([], [])
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
    for child in sorted(children, key=_end, reverse=True) if len(children) > 1 else children:
        if isinstance(child, Dispatch) and child.parent_is_link:
            continue
        end = min(_end(child), cursor)
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


def _end(span: Span) -> int:
    return span.start_ns + span.duration_ns


def outermost(index: Index, calls: Iterable[ReceiverCall]) -> list[ReceiverCall]:
    """Return those of *calls* that are inside no other one of them, as time and queries go."""
    calls = list(calls)
    numbers = {call.number for call in calls}
    inside = set()
    for call in calls:
        for above in index.above(call):
            if above.number in numbers:
                inside.add(call.number)
            if above.number in numbers or (isinstance(above, Dispatch) and above.parent_is_link):
                break
    return [call for call in calls if call.number not in inside]


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


# --- rows of a waterfall -------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """One line of a waterfall, ready to be drawn."""

    span: Span
    number: int
    parent_number: int | None
    depth: int
    is_dispatch: bool
    label: str
    """Short: ``post_save orders.Order`` or the receiver without its modules."""
    left: float
    """Offset from the left edge, percent of the trace's duration."""
    width: float
    """Percent; never under ``MIN_WIDTH``, so that it can be seen and clicked."""
    self_ns: int
    is_critical: bool
    has_children: bool
    failed: bool
    """It raised, was cancelled or was skipped."""

    @property
    def title(self) -> str:
        """Return it in full: dotted path, place and what happened."""
        return title(self.span)


MIN_WIDTH: Final = 0.15
"""Percent of the whole that the narrowest bar takes."""


def _geometry(start_ns: int, duration_ns: int, whole_ns: int) -> tuple[float, float]:
    left = min(max(start_ns / whole_ns * 100, 0.0), 100.0 - MIN_WIDTH)
    width = min(max(duration_ns / whole_ns * 100, MIN_WIDTH), 100.0 - left)
    return round(left, 4), round(width, 4)


def extent_ns(trace: Trace) -> int:
    """Return the time from the start of *trace* to its last known end; at least 1.

    A callback or task may end after the trace itself did.
    """
    return max(1, trace.duration_ns, *(_end(dispatch) for dispatch in trace.dispatches))


def rows(trace: Trace) -> list[Row]:
    """Return every span of *trace* as a row of its waterfall, in the order of the tree."""
    whole = extent_ns(trace)
    critical = critical_numbers(trace)
    found = []
    for visit in walk(trace):
        span = visit.span
        left, width = _geometry(span.start_ns, span.duration_ns, whole)
        is_dispatch = isinstance(span, Dispatch)
        found.append(
            Row(
                span=span,
                number=span.number,
                parent_number=visit.parent.number if visit.parent is not None else None,
                depth=visit.depth,
                is_dispatch=is_dispatch,
                label=label(span),
                left=left,
                width=width,
                self_ns=self_ns(span),
                is_critical=span.number in critical,
                has_children=bool(_children(span)),
                failed=failed(span),
            )
        )
    return found


def other_sender(dispatch: Dispatch) -> str:
    """Return the sender where the instance does not tell it, as that of a proxy; else nothing."""
    model = dispatch.instance.partition(":")[0]
    return dispatch.sender if model and dispatch.sender not in {model, "None"} else ""


def label(span: Span) -> str:
    """Return a short name: signal and sender, or the receiver without its modules."""
    if isinstance(span, ReceiverCall):
        return short_receiver(span.receiver.name)
    action = f" {span.action}" if span.action else ""
    sender = "" if span.sender == "None" else f" {span.sender}"
    return f"{short_signal(span.signal)}{action}{sender}"


def title(span: Span) -> str:
    """Return one line that says in full what *span* was."""
    if isinstance(span, ReceiverCall):
        parts = [span.receiver.name, place(span.receiver.file, span.receiver.line)]
        parts += [format_ns(span.duration_ns) if span.duration_ns else "", str(span.outcome)]
        if span.exception_type:
            parts.append(f"{span.exception_type}: {shorten_middle(span.exception_message, 120)}")
    else:
        parts = [span.signal, span.instance or span.sender]
        sender = other_sender(span)
        parts += [f"from {sender}" if sender else "", format_ns(span.duration_ns)]
        if span.callsite is not None:
            parts.append(f"sent by {callsite_text(span.callsite)}")
    if span.query_count:
        parts.append(query_text(span.query_count))
    return " · ".join(part for part in parts if part)


def failed(span: Span) -> bool:
    """Return whether *span* raised, was cancelled or never ran."""
    if isinstance(span, Dispatch):
        return bool(span.exception_type)
    return span.outcome in _FAILURES


def was_made(span: Span) -> bool:
    """Return whether *span* is something that was done, and no call that was skipped."""
    return isinstance(span, Dispatch) or span.was_called


_FAILURES: Final = frozenset({Outcome.RAISED, Outcome.CANCELLED, Outcome.SKIPPED})


# --- folding -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """Spans of one kind at one place of the tree, folded into one: the same receiver 214 times."""

    key: tuple[str, ...]
    """What makes them one kind; the same in another trace."""
    span: Span
    """The longest of them, to be shown for all."""
    depth: int
    label: str
    count: int = 0
    total_ns: int = 0
    """Each moment once, though several of them ran at the same time."""
    mean_ns: float = 0
    """Of those that ran."""
    max_ns: int = 0
    self_ns: int = 0
    query_count: int = 0
    query_ns: int = 0
    error_count: int = 0
    numbers: list[int] = field(default_factory=list, repr=False)
    spans: Sequence[Span] = field(default=(), repr=False)
    instances: set[str] = field(default_factory=set, repr=False)
    children: list[Node] = field(default_factory=list, repr=False)

    @property
    def is_dispatch(self) -> bool:
        """Return whether these are dispatches rather than receiver calls."""
        return isinstance(self.span, Dispatch)


def node_key(span: Span) -> tuple[str, ...]:
    """Return what *span* has in common with repetitions of itself, in this trace or another."""
    if isinstance(span, Dispatch):
        return ("dispatch", span.signal, span.sender, span.action, str(span.method))
    return ("receiver", span.receiver.name, span.receiver.dispatch_uid)


def fold(trace: Trace, shown: Shown = None) -> list[Node]:
    """Return the tree of *trace* with repetitions under one parent folded into one node each.

    A node stands where its first span stood. Failed calls are folded apart from the others, since
    they are what one looks for, and those that were skipped apart from both.
    """
    return fold_spans(roots(trace), shown=shown)


def unfolded(trace: Trace, shown: Shown = None) -> list[Node]:
    """Return the tree of *trace* with every span as a node of its own."""
    nodes: dict[int, Node] = {}
    top: list[Node] = []
    for visit in walk(trace, shown):
        node = _node(node_key(visit.span), [visit.span], visit.depth)
        nodes[visit.span.number] = node
        siblings = top if visit.parent is None else nodes[visit.parent.number].children
        siblings.append(node)
    return top


def fold_spans(
    spans: Sequence[Span], *, split_failed: bool = True, shown: Shown = None
) -> list[Node]:
    """Return *spans* and all below them, folded."""
    top: list[Node] = []
    # Each task: the spans that stand side by side, and where their nodes go.
    tasks: list[tuple[Sequence[Span], list[Node], int]] = [(only(spans, shown), top, 0)]
    while tasks:
        beside, target, depth = tasks.pop()
        for alike in groups(beside, split_failed=split_failed):
            node = node_of(alike, depth)
            target.append(node)
            if below := only(children_of(alike), shown):
                tasks.append((below, node.children, depth + 1))
    return top


def groups(spans: Iterable[Span], *, split_failed: bool = True) -> list[list[Span]]:
    """Return *spans*, which stand side by side, as groups of those that are folded into one node."""
    members: dict[tuple[tuple[str, ...], str], list[Span]] = {}
    for span in spans:
        apart = ""
        if split_failed and failed(span):
            apart = "failed" if was_made(span) else "skipped"
        members.setdefault((node_key(span), apart), []).append(span)
    return list(members.values())


def children_of(spans: Iterable[Span]) -> list[Span]:
    """Return what is directly below any of *spans*."""
    return [child for span in spans for child in _children(span)]


def node_of(alike: Sequence[Span], depth: int = 0) -> Node:
    """Return spans of one kind as one node, without what is below it."""
    return _node(node_key(alike[0]), alike, depth)


def _node(key: tuple[str, ...], alike: Sequence[Span], depth: int) -> Node:
    longest = max(alike, key=lambda span: span.duration_ns)
    node = Node(key, longest, depth, label(longest), count=len(alike), spans=alike)
    node.max_ns = node.total_ns = longest.duration_ns
    node.mean_ns = node.max_ns
    if len(alike) > 1:
        node.total_ns = time_once(alike)
        made = [span.duration_ns for span in alike if was_made(span)]
        node.mean_ns = sum(made) / len(made) if made else 0
    for span in alike:
        node.self_ns += self_ns(span)
        node.query_count += span.query_count
        node.query_ns += span.query_ns
        node.numbers.append(span.number)
        if isinstance(span, Dispatch):
            if span.instance:
                node.instances.add(span.instance)
            node.error_count += bool(span.exception_type)
        else:
            node.error_count += span.outcome is Outcome.RAISED
    node.self_ns = min(node.self_ns, node.total_ns)
    return node


def time_of(nodes: Iterable[Node]) -> int:
    """Return the time in which any span of *nodes* ran, in nanoseconds."""
    return time_once(span for node in nodes for span in node.spans)


def flatten(nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield *nodes* and all below them, parents before children."""
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


# --- totals --------------------------------------------------------------------------------------


@dataclass(slots=True)
class ReceiverTotal:
    """What one receiver did in one trace, all its calls together."""

    name: str
    file: str
    line: int
    app: str
    calls: int = 0
    total_ns: int = 0
    self_ns: int = 0
    max_ns: int = 0
    query_count: int = 0
    query_ns: int = 0
    error_count: int = 0
    skipped_count: int = 0
    share: float = 0.0
    """Its own time, as a share (0 to 1) of the own time of all receivers."""
    signals: list[str] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    slowest_number: int = 0
    """Span number of its longest call."""


def totals(trace: Trace, shown: Shown = None) -> list[ReceiverTotal]:
    """Return the totals of each receiver of *trace* by its calls that are *shown*, most own time first.

    Each moment counts once: a call inside another one of its receiver adds nothing to the total.
    """
    found: dict[tuple[str, str, int], ReceiverTotal] = {}
    calls: dict[tuple[str, str, int], list[ReceiverCall]] = {}
    own = self_times(trace)
    for dispatch in trace.dispatches:
        for call in only(dispatch.receiver_calls, shown):
            receiver = call.receiver
            key = (receiver.name, receiver.file, receiver.line)
            total = found.get(key)
            if total is None:
                total = found[key] = ReceiverTotal(*key, app=receiver.app)
            if dispatch.signal not in total.signals:
                total.signals.append(dispatch.signal)
            if dispatch.sender not in total.senders:
                total.senders.append(dispatch.sender)
            if call.outcome is Outcome.SKIPPED:
                total.skipped_count += 1
                continue
            total.calls += 1
            calls.setdefault(key, []).append(call)
            total.self_ns += own[call.number]
            total.query_count += call.query_count
            total.query_ns += call.query_ns
            total.error_count += call.outcome is Outcome.RAISED
            if call.duration_ns >= total.max_ns:
                total.max_ns = call.duration_ns
                total.slowest_number = call.number
    whole = sum(total.self_ns for total in found.values()) or 1
    for key, total in found.items():
        total.total_ns = time_once(calls.get(key, ()))
        total.share = total.self_ns / whole
    return sorted(found.values(), key=lambda total: (-total.self_ns, total.name))


# --- flame graph ---------------------------------------------------------------------------------


@dataclass(slots=True)
class FlameBox:
    """One box of a flame graph."""

    number: int
    depth: int
    label: str
    title: str
    left: float
    """Percent of the graph's width."""
    width: float
    is_dispatch: bool
    failed: bool
    count: int = 1


def flame(trace: Trace, *, merged: bool = False, shown: Shown = None) -> list[FlameBox]:
    """Return the boxes of a flame graph, parents before children.

    Args:
        trace: The trace to draw.
        merged: Fold repetitions and put the heaviest first ("left heavy") instead of keeping the
            order of time.
        shown: What to draw; None for all.
    """
    if merged:
        return _merged_flame(fold(trace, shown))
    whole = extent_ns(trace)
    boxes = []
    for visit in walk(trace, shown):
        span = visit.span
        left, width = _geometry(span.start_ns, span.duration_ns, whole)
        boxes.append(
            FlameBox(
                span.number,
                visit.depth,
                label(span),
                title(span),
                left,
                width,
                is_dispatch=isinstance(span, Dispatch),
                failed=failed(span),
            )
        )
    return boxes


def _merged_flame(nodes: list[Node]) -> list[FlameBox]:
    boxes: list[FlameBox] = []
    whole = sum(node.total_ns for node in nodes) or 1
    # (nodes side by side, left edge, room for them): children never leave their parent's box.
    tasks = [(nodes, 0.0, 100.0, whole)]
    while tasks:
        group, left, room, room_ns = tasks.pop()
        taken = sum(node.total_ns for node in group)
        # Concurrent receivers and left-behind work may add up to more than their parent took.
        scale = room / max(taken, room_ns, 1)
        for node in sorted(group, key=lambda node: -node.total_ns):
            width = node.total_ns * scale
            times = f"{node.count} {TIMES} " if node.count > 1 else ""
            boxes.append(
                FlameBox(
                    node.numbers[0],
                    node.depth,
                    f"{times}{node.label}",
                    f"{times}{title(node.span)} · {format_ns(node.total_ns)} in all",
                    round(left, 4),
                    round(width, 4),
                    is_dispatch=node.is_dispatch,
                    failed=node.error_count > 0,
                    count=node.count,
                )
            )
            if node.children:
                tasks.append((node.children, left, width, node.total_ns))
            left += width
    return boxes


def status_word(trace: Trace) -> str:
    """Return how *trace* ended, in one word for people: ok, error, running, 404."""
    if trace.status is Status.OK and trace.http_status is not None:
        return str(trace.http_status)
    return str(trace.status)


def lost_receivers(trace: Trace) -> list[tuple[LostReceiver, int]]:
    """Return what a trace found dead, each with how often: methods of short-lived objects die in droves."""
    found: dict[tuple[Any, ...], list[LostReceiver]] = {}
    for lost in trace.lost_receivers:
        key = (lost.signal, lost.sender, lost.receiver, lost.was_called)
        found.setdefault(key, []).append(lost)
    return [(same[0], len(same)) for same in found.values()]
