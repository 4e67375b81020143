"""Traces merged path by path, from what is asked about down.

Nothing recurses: a trace that ended in a ``RecursionError`` is a thousand receivers deep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.explain.steps import (
    DISPATCH,
    RECEIVER,
    TRACE,
    TRACES,
    Bypassed,
    Explanation,
    Key,
    Step,
    plus,
)
from tracing.analysis.index import Index, Span, roots
from tracing.spans.records import Bypass, Dispatch, Outcome, ReceiverCall, Status, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tracing.analysis.explain.question import Question
    from tracing.spans.records import SideEffect

MOST_LEVELS: Final = 40
"""Steps below one another; a receiver and what it sends are two."""
MOST_STEPS: Final = 1_000


class Merging:
    """The merging of the traces that hold what a question is about.

    Args:
        question: What is asked.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self._roots: dict[Key, Step] = {}
        self._below: dict[int, dict[Key, Step]] = {}
        """The steps below each step, by its id: they are kept in the tree."""
        self._last: dict[int, tuple[object, object]] = {}
        """The root and the parent for which each step was counted last."""
        self._step_count = 0
        self._found = Explanation(question, [])

    def explanation(self) -> Explanation:
        """Return what the traces that were added had."""
        self._found.roots = list(self._roots.values())
        return self._found

    def add(self, trace: Trace) -> None:
        """Add what *trace* has of it."""
        found = self._found
        found.source = TRACES
        found.trace_count = (found.trace_count or 0) + 1
        found.oldest_ns = min(found.oldest_ns or trace.started_ns, trace.started_ns)
        found.newest_ns = max(found.newest_ns or trace.started_ns, trace.started_ns)
        merged = _Trace(trace)
        if self.question.name:
            self._add_trace(merged)
            return
        for span in self._asked(merged):
            self._add(merged, span)

    def _asked(self, merged: _Trace) -> Iterator[Span]:
        """Yield the spans asked about, but for those within the same step."""
        target = self.question.receiver
        for dispatch in merged.trace.dispatches:
            spans: Sequence[Span] = ()
            if target is not None:
                spans = [call for call in dispatch.receiver_calls if target.is_of(call.receiver)]
            elif self.question.is_about(dispatch):
                spans = [dispatch]
            for span in spans:
                if any(self._is_same(span, above) for above in merged.above(span)):
                    self._found.nested_count += 1
                else:
                    yield span

    def _is_same(self, span: Span, above: Span) -> bool:
        if isinstance(span, ReceiverCall):
            target = self.question.receiver
            return (
                target is not None
                and isinstance(above, ReceiverCall)
                and target.is_of(above.receiver)
            )
        return isinstance(above, Dispatch) and _key(span) == _key(above)

    def _add_trace(self, merged: _Trace) -> None:
        trace = merged.trace
        step = self._step(self._roots, (TRACE, trace.name, "", ""))
        if step is None:
            return
        _count(step, trace.duration_ns, trace.query_count)
        step.asked_count += 1
        if trace.status is Status.ERROR:
            step.error_count += 1
            if name := trace.error.partition(":")[0]:
                step.errors = plus(step.errors, name)
        add_notes(step, merged.notes.get(None, ()))
        self._walk(merged, trace, [(step, trace, child) for child in roots(trace)], 1)

    def _add(self, merged: _Trace, span: Span) -> None:
        step = self._step(self._roots, _key(span))
        if step is None:
            return
        if isinstance(span, ReceiverCall):
            dispatch = merged.dispatch_of(span)
            step.heard = plus(step.heard, (dispatch.signal, dispatch.sender))
        if self._enter(merged, step, span):
            step.asked_count += 1
        self._walk(merged, span, [(step, span, each) for each in merged.below(span)], 1)

    def _walk(
        self,
        merged: _Trace,
        root: object,
        first: Iterable[tuple[Step, object, Span]],
        level: int,
    ) -> None:
        """Merge the spans *first*, each with its step, and all below them."""
        stack = [(*each, level) for each in first]
        stack.reverse()
        while stack:
            above, parent, span, level = stack.pop()
            step = self._step(self._below.setdefault(id(above), {}), _key(span), above)
            if step is None:
                continue
            if self._enter(merged, step, span):
                last_root, last_parent = self._last.get(id(step), (None, None))
                step.asked_count += last_root is not root
                step.parent_count += last_parent is not parent
                self._last[id(step)] = root, parent
            below = merged.below(span)
            if below and level + 1 >= MOST_LEVELS:
                step.is_cut = True
                continue
            stack.extend((step, span, child, level + 1) for child in reversed(below))

    def _step(
        self,
        beside: dict[Key, Step],
        key: Key,
        above: Step | None = None,
    ) -> Step | None:
        """Return the step of a key, made if there is room; else None."""
        step = beside.get(key)
        if step is not None:
            return step
        if self._step_count >= MOST_STEPS:
            self._found.left_out += 1
            if above is not None:
                above.is_cut = True
            return None
        self._step_count += 1
        step = beside[key] = Step(*key)
        if above is not None:
            above.children.append(step)
        return step

    def _enter(self, merged: _Trace, step: Step, span: Span) -> bool:
        """Count *span* in its step; return whether it happened."""
        if isinstance(span, ReceiverCall):
            step.receiver = step.receiver or span.receiver
            if not span.was_called:
                step.skipped_count += 1
                return False
            _count(step, span.duration_ns if span.is_timed else 0, span.query_count)
            if span.outcome is Outcome.RAISED:
                step.error_count += 1
                step.errors = plus(step.errors, span.exception_type)
            add_notes(step, merged.notes.get(span.number, ()))
            return True
        _count(step, span.duration_ns, span.query_count)
        step.transactions = plus(step.transactions, span.transaction)
        step.detached_count += span.is_detached
        if span.exception_type:
            step.error_count += 1
            step.errors = plus(step.errors, span.exception_type)
        return True


class _Trace(Index):
    """A trace that is merged, with the notes of each receiver call."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self.notes: dict[int | None, list[Bypass | SideEffect]] = {}
        for note in notes_of(trace):
            self.notes.setdefault(note.parent_number, []).append(note)


def notes_of(trace: Trace) -> list[Bypass | SideEffect]:
    """Return the bypasses and side effects of a trace."""
    return [*trace.bypasses, *trace.side_effects]


def add_notes(step: Step, notes: Iterable[Bypass | SideEffect]) -> None:
    """Add bypasses and side effects to their step."""
    for note in notes:
        if isinstance(note, Bypass):
            names = tuple(label.name for label in note.receivers)
            step.bypass(Bypassed(note.operation, note.model, note.signals, names, 1))
        else:
            step.effects = plus(step.effects, (note.kind, note.target))


def _count(step: Step, duration_ns: int, queries: int) -> None:
    step.count += 1
    step.query_count += queries
    if duration_ns:
        step.durations = step.durations or []
        step.durations.append(duration_ns)


def _key(span: Span) -> Key:
    if isinstance(span, Dispatch):
        return (DISPATCH, span.signal, span.sender, span.action)
    return (RECEIVER, span.receiver.name, "", "")
