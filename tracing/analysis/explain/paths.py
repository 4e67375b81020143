"""Sums of traces by path: what follows each signal and sender.

A *path* leads from a root down: a dispatch, a receiver of it, a dispatch from that, and so on. ``PathSums``
takes traces in, each path once, from the top of its trace; ``fold`` adds what came together to the trees of
all roots that have the path: each dispatch on it begins a tree of its own.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from operator import add, attrgetter
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.explain.merging import MOST_LEVELS, add_notes, notes_of
from tracing.analysis.explain.steps import DISPATCH, RECEIVER, TRACE, Key, Step
from tracing.analysis.histogram import HOUR_NS
from tracing.spans.records import Kind, Outcome, Status

if TYPE_CHECKING:
    from tracing.analysis.explain.trees import Path, Trees
    from tracing.spans.records import (
        Dispatch,
        ReceiverCall,
        ReceiverLabel,
        Trace,
        TransactionOutcome,
    )

MOST_PENDING: Final = 10_000
"""Paths that wait to be folded; what is beyond is counted in the step above."""
_RETURNED, _RAISED, _SKIPPED = Outcome.RETURNED, Outcome.RAISED, Outcome.SKIPPED
_UNNAMED: Final = (Kind.TEST, Kind.DISPATCH)
"""Traces without a tree by their name: each test has its own, a standalone dispatch one by its pair."""


_Line = tuple[Key, "_Line | None"]
"""A key and those above it."""


def _is_in(key: Key, line: _Line | None) -> bool:
    while line is not None:
        if line[0] == key:
            return True
        line = line[1]
    return False


class _Node:
    """A path from the top of traces of a name, and its sums so far."""

    __slots__ = (
        "below", "cut", "depth", "detached", "durations", "ends", "entered", "errors", "first_ns",
        "is_root", "key", "last_ns", "line", "notes", "queries", "receiver", "several", "single",
        "skipped", "traces",
    )  # fmt: skip

    def __init__(
        self, key: Key, above: _Node | None, receiver: ReceiverLabel | None = None
    ) -> None:
        self.key = key
        # Not the node above: a circle would be there until a full collection.
        self.line: _Line = (key, None if above is None else above.line)
        self.receiver = receiver
        self.depth: int = 0 if above is None else above.depth + 1
        self.below: dict[Any, _Node] = {}
        """Dispatches by signal, sender and action; receivers by name."""
        self.is_root = key[0] == DISPATCH and not _is_in(key, self.line[1])
        self.entered: list[int | None] = []
        """Numbers of the spans above, in the trace that is being added."""
        self.durations: list[int] = []
        """Of each, ns; 0 where it was not timed."""
        self.ends: list[TransactionOutcome] = []
        self.errors: list[str] = []
        self.notes: Step | None = None
        """Bypasses and side effects."""
        self.several: list[int] = [0] * self.depth
        """Spans above in which it happened, from the nearest on, where those of a trace were several."""
        self.single: list[int] = [0] * (self.depth + 1)
        """Traces from where on it happened in a single one."""
        self.queries = self.skipped = self.detached = self.cut = 0
        self.traces = self.first_ns = self.last_ns = 0

    def see(self, started_ns: int) -> None:
        """Note a trace in which it began."""
        self.traces += 1
        self.first_ns = min(self.first_ns or started_ns, started_ns)
        self.last_ns = max(self.last_ns, started_ns)

    def share(self, parents: dict[int | None, int | None]) -> None:
        """Count the spans above in which it happened; *parents* are of all spans."""
        within: set[int | None] = {*self.entered}
        level = 0
        while len(within) > 1 and level < self.depth:
            self.several[level] += len(within)
            within = set(map(parents.get, within))
            level += 1
        self.single[level] += 1

    def shares(self) -> list[int]:
        """Return in how many spans above it happened, from the nearest on."""
        return [*map(add, self.several, accumulate(self.single))]


_At = dict[int, "_Node | None"]
"""The steps of receiver calls by their numbers; None for those that have none."""


class PathSums:
    """Sums of traces by path that are not yet part of any tree."""

    def __init__(self) -> None:
        self._tops: dict[tuple[int, str], _Node] = {}
        """By hour and name."""
        self._room = MOST_PENDING

    def __bool__(self) -> bool:
        return bool(self._tops)

    def add(self, trace: Trace) -> None:
        """Add the spans of *trace*, or of a segment of it."""
        if not trace.dispatches and not trace.final:
            return
        top = self._top(trace)
        at: _At = {}
        for dispatch in sorted(trace.unfinished, key=attrgetter("number")):
            # Counted in a later segment.
            self._open(dispatch, self._find(dispatch, top, at), at)
        touched: list[_Node] = []
        for dispatch in trace.dispatches:
            node = self._find(dispatch, top, at)
            if node is None:
                self._open(dispatch, None, at)
                continue
            if not node.entered:
                touched.append(node)
            node.entered.append(dispatch.parent_number)
            node.durations.append(dispatch.duration_ns)
            node.ends.append(dispatch.transaction)
            node.queries += dispatch.query_count
            node.detached += dispatch.is_detached
            if dispatch.exception_type:
                node.errors.append(dispatch.exception_type)
            self._add_calls(node, dispatch, at, touched)
        _close(trace, touched)
        if trace.bypasses or trace.side_effects:
            _add_notes(trace, top, at)

    def _top(self, trace: Trace) -> _Node:
        """Return the step of the trace itself, which counts when it is over."""
        name = "" if trace.kind in _UNNAMED else trace.name
        key = (trace.started_ns // HOUR_NS, name)
        top = self._tops.get(key)
        if top is None:
            top = self._tops[key] = _Node((TRACE, name, "", ""), None)
        if trace.final:
            top.see(trace.started_ns)
            top.durations.append(trace.duration_ns)
            top.queries += trace.query_count
            if trace.status is Status.ERROR:
                top.errors.append(trace.error.partition(":")[0])
        return top

    def _find(self, dispatch: Dispatch, top: _Node, at: _At) -> _Node | None:
        """Return the step of a dispatch, made if there is room."""
        parent = dispatch.parent_number
        above = top if parent is None else at.get(parent, top)
        if above is None:
            return None
        key = (dispatch.signal, dispatch.sender, dispatch.action)
        node = above.below.get(key)
        return node if node is not None else self._new(above, key, (DISPATCH, *key), None)

    def _open(self, dispatch: Dispatch, node: _Node | None, at: _At) -> None:
        """Find the steps of the calls of a dispatch, and count none."""
        for call in dispatch.receiver_calls:
            at[call.number] = None if node is None else self._receiver(node, call)

    def _add_calls(self, node: _Node, dispatch: Dispatch, at: _At, touched: list[_Node]) -> None:
        """Count the calls of a dispatch in the steps below its own."""
        # Run for every receiver call of the application: nothing is called that need not be.
        number, receivers = dispatch.number, node.below
        for call in dispatch.receiver_calls:
            below = receivers.get(call.receiver.name)
            if below is None:
                below = self._receiver(node, call)
            at[call.number] = below
            if below is None:
                continue
            outcome = call.outcome
            if outcome is not _RETURNED:
                if outcome is _SKIPPED:
                    below.skipped += 1
                    continue
                if outcome is _RAISED:
                    below.errors.append(call.exception_type)
            if not below.entered:
                touched.append(below)
            below.entered.append(number)
            below.durations.append(call.duration_ns)
            if call.query_count:
                below.queries += call.query_count

    def _receiver(self, above: _Node, call: ReceiverCall) -> _Node | None:
        name = call.receiver.name
        found = above.below.get(name)
        return found or self._new(above, name, (RECEIVER, name, "", ""), call.receiver)

    def _new(
        self, above: _Node, place: object, key: Key, receiver: ReceiverLabel | None
    ) -> _Node | None:
        """Return a new step, or None where there are too many, which is counted."""
        if self._room <= 0 or above.depth >= MOST_LEVELS:
            above.cut += 1
            return None
        self._room -= 1
        node = above.below[place] = _Node(key, above, receiver)
        return node

    def fold(self, trees: Trees) -> None:
        """Add everything to *trees*, and begin anew."""
        tops, self._tops, self._room = self._tops, {}, MOST_PENDING
        for (hour, name), top in tops.items():
            named = trees.root(hour, ("", "", name), top.key) if name else None
            paths = [named] if named is not None else []
            _add(top, paths)
            stack = [(top, paths)]
            while stack:
                above, paths = stack.pop()
                for node in above.below.values():
                    below = [
                        trees.step(hour, path, node.key, len(node.durations)) for path in paths
                    ]
                    pair = node.key[1], node.key[2], ""
                    if node.is_root:
                        below.append(trees.root(hour, pair, node.key))
                    elif node.key[0] == DISPATCH:
                        trees.nest(hour, pair, len(node.durations))
                    kept = [path for path in below if path is not None]
                    _add(node, kept)
                    if kept and node.below:
                        stack.append((node, kept))


def _add(node: _Node, paths: list[Path]) -> None:
    """Add what came of *node* to the step that it is in each of some trees."""
    if not paths:
        return
    step = Step(*node.key, receiver=node.receiver)
    step.count = len(node.durations)
    step.query_count, step.skipped_count = node.queries, node.skipped
    step.detached_count = node.detached
    step.transactions = Counter(node.ends)
    if node.errors:
        step.error_count = len(node.errors)
        step.errors = Counter(filter(None, node.errors))
    step.timed().add([*filter(None, node.durations)])
    if node.notes is not None:
        step.effects, step.bypasses = node.notes.effects, node.notes.bypasses
    shares = node.shares()
    for path in paths:
        path.add(step, shares, node.cut)
        if not path.level:
            path.see(node.traces, node.first_ns, node.last_ns)


def _close(trace: Trace, touched: list[_Node]) -> None:
    """Count in how many of the spans above each of *touched* happened."""
    parents: dict[int | None, int | None] = {}
    roots: dict[Key, _Node] = {}
    for node in touched:
        if len(node.entered) == 1:
            node.single[0] += 1
        else:
            parents = parents or _parents(trace)
            node.share(parents)
        node.entered = []
        if node.is_root:
            roots.setdefault(node.key, node)
    for node in roots.values():
        node.see(trace.started_ns)


def _parents(trace: Trace) -> dict[int | None, int | None]:
    """Return the number of the span above each span."""
    found: dict[int | None, int | None] = {}
    for dispatch in (*trace.unfinished, *trace.dispatches):
        found[dispatch.number] = dispatch.parent_number
        for call in dispatch.receiver_calls:
            found[call.number] = dispatch.number
    return found


def _add_notes(trace: Trace, top: _Node, at: _At) -> None:
    for note in notes_of(trace):
        parent = note.parent_number
        node = top if parent is None else at.get(parent)
        if node is not None:
            node.notes = node.notes or Step(*node.key)
            add_notes(node.notes, [note])
