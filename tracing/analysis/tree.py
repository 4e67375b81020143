"""The tree of a trace as it is shown: folding, flame graph.

Everything here takes finished spans and returns values ready to be shown: percentages, depths and
sentences are worked out here, so that templates and terminals need no arithmetic. Nothing recurses:
a trace that ended in a ``RecursionError`` is a thousand receivers deep.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tracing.analysis.critical_path import self_ns
from tracing.analysis.index import (
    Below,
    Shown,
    Span,
    extent_ns,
    failed,
    only,
    roots,
    walk,
    was_made,
)
from tracing.analysis.names import (
    callsite_text,
    place,
    short_receiver,
    short_signal,
    shorten_middle,
)
from tracing.spans.intervals import time_once
from tracing.spans.records import Dispatch, Outcome, ReceiverCall, Trace
from tracing.units import format_ns, query_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TIMES: Final = "\u00d7"
"""Between a count and what it counts."""


MIN_WIDTH: Final = 0.15
"""Percent of the whole that the narrowest bar takes."""


def _geometry(start_ns: int, duration_ns: int, whole_ns: int) -> tuple[float, float]:
    left = min(max(start_ns / whole_ns * 100, 0.0), 100.0 - MIN_WIDTH)
    width = min(max(duration_ns / whole_ns * 100, MIN_WIDTH), 100.0 - left)
    return round(left, 4), round(width, 4)


def other_sender(dispatch: Dispatch) -> str:
    """Return the sender where the instance does not tell it, as a proxy."""
    model = dispatch.instance.partition(":")[0]
    return dispatch.sender if model and dispatch.sender not in {model, "None"} else ""


def label(span: Span) -> str:
    """Return a short name: signal and sender, or the receiver's last part."""
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


# --- folding -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """Spans of one kind at one place of the tree, folded into one."""

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
    """Return the features that *span* shares with its repetitions."""
    if isinstance(span, Dispatch):
        return ("dispatch", span.signal, span.sender, span.action, str(span.method))
    return ("receiver", span.receiver.name, span.receiver.dispatch_uid)


def fold(trace: Trace, shown: Shown = None, *, split_failed: bool = True) -> list[Node]:
    """Return the tree of *trace*, repetitions under one parent folded.

    A node stands where its first span stood. Failed calls are folded apart from the others, since
    they are what one looks for, and those that were skipped apart from both, unless *split_failed*
    is false.
    """
    below = Below(trace)
    top: list[Node] = []
    # Each task: the spans that stand side by side, and where their nodes go.
    tasks: list[tuple[Sequence[Span], list[Node], int]] = [(only(roots(trace), shown), top, 0)]
    while tasks:
        beside, target, depth = tasks.pop()
        for alike in groups(beside, split_failed=split_failed):
            node = node_of(alike, depth)
            target.append(node)
            if children := only(below.of(alike), shown):
                tasks.append((children, node.children, depth + 1))
    return top


def groups(spans: Iterable[Span], *, split_failed: bool = True) -> list[list[Span]]:
    """Return *spans*, which are siblings, in groups that are folded."""
    members: dict[tuple[tuple[str, ...], str], list[Span]] = {}
    for span in spans:
        apart = ""
        if split_failed and failed(span):
            apart = "failed" if was_made(span) else "skipped"
        members.setdefault((node_key(span), apart), []).append(span)
    return list(members.values())


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


def flatten(nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield *nodes* and all below them, parents before children."""
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


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
