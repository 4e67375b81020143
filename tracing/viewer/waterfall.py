"""The tree of a trace as lines to be drawn: bars, marks and facts, with repetitions folded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from zlib import crc32

from tracing.analysis import tree
from tracing.analysis.names import place
from tracing.spans.records import (
    ConnectionChange,
    Dispatch,
    Outcome,
    ReceiverCall,
    Trace,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from tracing.analysis.tree import Node, Shown, Span

MAX_LINES: Final = 250
"""Lines of a tree drawn at once; the next ones are fetched as one comes to them."""
MAX_LEVEL: Final = 40
"""Levels drawn below one another; what is deeper has a link."""
DRAWN_LEVELS: Final = 24
"""Levels that are moved in further and further; the style sheet has as many."""
COLOURS: Final = 8
"""Colours by which applications are told apart."""
_RESOLUTION: Final = 0.05
"""Percent of the width: gaps under it are not drawn."""
_MAX_BARS: Final = 400
MINIMAP: Final = 28
"""Height of what is drawn in the minimap."""
_MAX_MINIMAP_BARS: Final = 40
_MAX_CHANGES: Final = 4
_MINIMAP_LEVELS: Final = 6
_KEPT: Final = {TransactionOutcome.NONE, TransactionOutcome.COMMITTED}


@dataclass(slots=True, frozen=True)
class Bar:
    """A stretch of time, as attributes of a drawn rectangle in percent of the width."""

    x: str
    width: str


@dataclass(slots=True, frozen=True)
class MinimapBar:
    """A stretch of time in the minimap."""

    x: str
    width: str
    y: str
    """0 to ``MINIMAP``."""
    colour: int
    failed: bool


@dataclass(slots=True)
class Line:
    """One line of the tree: a span, or repetitions of one."""

    node: Node
    number: int
    """The first span's number: what the line is called."""
    parents: list[int]
    """Numbers of the lines above it, the outermost first."""
    level: int
    """1 at the top."""
    bars: list[Bar]
    critical: list[Bar]
    """Where the critical path goes through it alone."""
    colour: int
    """0 for no application, else 1 to ``COLOURS``."""
    has_children: bool = False
    has_more: bool = False
    """What is below it is too deep to be drawn here."""
    is_match: bool = False
    hazards: list[str] = field(default_factory=list)
    """Messages of hazards that have it as evidence."""
    changes: list[ConnectionChange] = field(default_factory=list)
    """Receivers that it connected or disconnected."""

    @property
    def above(self) -> str:
        """Return the numbers of the lines above it, for the script that collapses."""
        return " ".join(map(str, self.parents))

    @property
    def drawn_level(self) -> int:
        """Return how far it is moved in: what is deeper than can be seen stays there."""
        return min(self.level, DRAWN_LEVELS)

    @property
    def span(self) -> Span:
        """Return the longest of its spans."""
        return self.node.span

    @property
    def dispatch(self) -> Dispatch | None:
        """Return it as a dispatch."""
        return self.node.span if isinstance(self.node.span, Dispatch) else None

    @property
    def call(self) -> ReceiverCall | None:
        """Return it as a receiver call."""
        return self.node.span if isinstance(self.node.span, ReceiverCall) else None

    @property
    def failed(self) -> bool:
        """Return whether it raised, was cancelled or was skipped."""
        return tree.failed(self.node.span)

    @property
    def outcome(self) -> str:
        """Return how it ended, in a word worth showing; empty for the usual."""
        span = self.node.span
        if isinstance(span, ReceiverCall):
            return "" if span.outcome is Outcome.RETURNED else str(span.outcome)
        return "raised" if span.exception_type else ""

    @property
    def was_undone(self) -> bool:
        """Return whether its transaction did not keep what was written."""
        span = self.node.span
        return isinstance(span, Dispatch) and span.transaction not in _KEPT

    @property
    def where(self) -> str:
        """Return file and line: of the receiver, or of the code that sent the signal."""
        span = self.node.span
        if isinstance(span, ReceiverCall):
            return place(span.receiver.file, span.receiver.line)
        return place(span.callsite.file, span.callsite.line) if span.callsite else ""

    @property
    def title(self) -> str:
        """Return in full what the (longest) span was."""
        return tree.title(self.node.span)


def colours_of(apps: Iterable[str]) -> dict[str, int]:
    """Return the number of the colour of each of *apps*, 1 to ``COLOURS``; 0 for no application.

    A name has the same colour on every page, as long as no other there has taken it first.
    """
    found = {"": 0}
    free = list(range(1, COLOURS + 1))
    for app in sorted(set(apps) - {""}):
        wish = crc32(app.encode(errors="replace")) % COLOURS + 1
        if wish not in free and free:
            wish = free[0]
        if wish in free:
            free.remove(wish)
        found[app] = wish
    return found


def apps_of(trace: Trace) -> dict[str, int]:
    """Return the applications in *trace* with their colours."""
    apps = {call.receiver.app for dispatch in trace.dispatches for call in dispatch.receiver_calls}
    return colours_of(apps | {app_of(dispatch) for dispatch in trace.dispatches})


def app_of(span: Span) -> str:
    """Return the application that a span belongs to: the receiver's, or the sender's."""
    if isinstance(span, ReceiverCall):
        return span.receiver.app
    label, dot, model = span.sender.partition(".")
    return label if dot and "." not in model and label.islower() else ""


class Waterfall:
    """The lines of a trace.

    Only what is drawn is folded and measured: a trace of 20,000 dispatches is mostly not looked at.

    Args:
        trace: The trace to draw.
        root: Only it and what is below it is drawn; None for the whole trace.
        matches: Numbers of spans that a search found.
        start: How many lines to leave out at the top: those that are drawn already.
        shown: Numbers of the spans to draw; None for all.
    """

    def __init__(
        self,
        trace: Trace,
        *,
        root: Span | None = None,
        matches: Collection[int] = (),
        start: int = 0,
        max_lines: int = MAX_LINES,
        shown: Shown = None,
    ) -> None:
        self.trace = trace
        self.shown = shown
        self.index = tree.Index(trace)
        self.whole_ns = tree.extent_ns(trace)
        self.matches = frozenset(matches)
        self.start = start
        self.max_lines = max_lines
        self.root = root
        self._roots: Sequence[Span] = [root] if root is not None else tree.roots(trace)
        self.next_start: int | None = None
        """Where the lines go on that were not drawn; None if these were the last."""
        self.colours = apps_of(trace)
        self._critical = tree.CriticalPath(self.index)
        self._hazards: dict[int, list[str]] = {}
        for hazard in trace.hazards:
            for number in hazard.numbers:
                self._hazards.setdefault(number, []).append(hazard.message)
        self._changes: dict[int, list[ConnectionChange]] = {}
        for change in trace.connection_changes:
            if change.parent_number is not None:
                self._changes.setdefault(change.parent_number, []).append(change)

    def top(self) -> list[list[Span]]:
        """Return the groups of spans that are folded into one line each at the top."""
        return tree.groups(tree.only(self._roots, self.shown))

    def lines(self) -> list[Line]:
        """Return the lines from ``start`` on, parents before children, at most ``max_lines``."""
        found: list[Line] = []
        # What stands side by side on each level, and the numbers of the lines above it.
        stack: list[tuple[Iterator[list[Span]], list[int]]] = [(iter(self.top()), [])]
        place_in = 0
        while stack:
            beside, parents = stack[-1]
            alike = next(beside, None)
            if alike is None:
                stack.pop()
                continue
            if place_in >= self.start + self.max_lines:
                self.next_start = place_in
                break
            below = self._below(alike)
            is_deepest = len(parents) + 1 >= MAX_LEVEL
            if place_in >= self.start:
                line = self.line(tree.node_of(alike), parents)
                line.has_children = bool(below) and not is_deepest
                line.has_more = bool(below) and is_deepest
                found.append(line)
            place_in += 1
            if below and not is_deepest:
                stack.append((iter(tree.groups(below)), [*parents, alike[0].number]))
        return found

    def repeated(self, number: int) -> Node | None:
        """Return the folded node that begins with the span *number*, if there is one."""
        span = self.index.span(number)
        if span is None:
            return None
        way = [span, *self.index.above(span)]
        if self.root is not None and self.root in way:
            way = way[: way.index(self.root) + 1]
        beside: Sequence[list[Span]] = self.top()
        for step in reversed(way):
            alike = next((group for group in beside if any(one is step for one in group)), None)
            if alike is None:
                return None
            if step is span:
                return tree.node_of(alike) if alike[0] is span else None
            beside = tree.groups(self._below(alike))
        return None

    def _below(self, spans: Iterable[Span]) -> Sequence[Span]:
        return tree.only(self.index.below.of(spans), self.shown)

    def line(self, node: Node, parents: list[int]) -> Line:
        """Return the line of *node*."""
        spans = [span for number in node.numbers if (span := self.index.span(number))]
        hazards: dict[str, None] = {}
        if self._hazards:
            for number in node.numbers:
                hazards |= dict.fromkeys(self._hazards.get(number, ()))
        return Line(
            node=node,
            number=node.numbers[0],
            parents=parents,
            level=len(parents) + 1,
            bars=self._bars((span.start_ns, span.start_ns + span.duration_ns) for span in spans),
            critical=self._bars(stretch for span in spans for stretch in self._critical.of(span)),
            colour=self.colours.get(app_of(node.span), 0),
            is_match=bool(self.matches) and not self.matches.isdisjoint(node.numbers),
            hazards=list(hazards),
            changes=[
                change
                for number in (node.numbers if self._changes else ())
                for change in self._changes.get(number, ())
            ][:_MAX_CHANGES],
        )

    def single(self, span: Span) -> Line:
        """Return the line of one span alone, without what is below it."""
        return self.line(tree.node_of([span]), [])

    def minimap(self, lines: Sequence[Line]) -> list[MinimapBar]:
        """Return the whole trace in small: its lines, or of very many its uppermost levels."""
        if self.next_start is None and not self.start:
            high = MINIMAP / max(len(lines), 12)
            return [
                MinimapBar(bar.x, bar.width, f"{at * high:.2f}", line.colour, line.failed)
                for at, line in enumerate(lines)
                for bar in line.bars[:_MAX_MINIMAP_BARS]
            ]
        found: list[MinimapBar] = []
        spans = tree.only(self._roots, self.shown)
        for level in range(_MINIMAP_LEVELS):
            stretches: dict[tuple[int, bool], list[tuple[int, int]]] = {}
            for span in spans:
                look = (self.colours.get(app_of(span), 0), tree.failed(span))
                ends = (span.start_ns, span.start_ns + span.duration_ns)
                stretches.setdefault(look, []).append(ends)
            y = f"{level * MINIMAP / _MINIMAP_LEVELS:.2f}"
            found += [
                MinimapBar(bar.x, bar.width, y, colour, has_failed)
                for (colour, has_failed), ends in sorted(stretches.items())
                for bar in self._bars(ends)
            ]
            spans = self._below(spans)
        return found

    def _bars(self, stretches: Iterable[tuple[int, int]]) -> list[Bar]:
        """Return stretches (start, end in ns) as bars; what cannot be told apart is one bar."""
        scale = 100 / self.whole_ns
        merged: list[list[float]] = []
        for start, end in sorted(stretches):
            left, right = start * scale, end * scale
            if merged and left - merged[-1][1] <= _RESOLUTION:
                merged[-1][1] = max(merged[-1][1], right)
            else:
                merged.append([left, right])
        return [Bar(*percent(left, right - left)) for left, right in merged[:_MAX_BARS]]


def percent(left: float, width: float) -> tuple[str, str]:
    """Return offset and width as attributes of an SVG, wide enough to be seen."""
    width = max(width, tree.MIN_WIDTH)
    left = min(max(left, 0.0), 100.0 - tree.MIN_WIDTH)
    return f"{left:.3f}", f"{min(width, 100.0 - left):.3f}"


def ticks(whole_ns: int, count: int = 4) -> list[tuple[str, int]]:
    """Return (percent, ns) of *count* + 1 marks of a time axis."""
    return [(f"{place * 100 / count:g}", whole_ns * place // count) for place in range(count + 1)]
