"""The rows of a trace's tree, repetitions folded into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tracing.analysis import tree
from tracing.analysis.critical_path import CriticalPath
from tracing.analysis.index import Index, Shown, Span, extent_ns, failed, only, roots
from tracing.analysis.names import place
from tracing.analysis.tree import Node
from tracing.presentation.colours import app_of, apps_of
from tracing.presentation.span_fields import Field
from tracing.spans.records import (
    ConnectionChange,
    Dispatch,
    Method,
    Outcome,
    ReceiverCall,
    TransactionOutcome,
)
from tracing.units import format_count, plural

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator

    from tracing.presentation.links import Links
    from tracing.spans.records import Trace

MAX_ROWS: Final = 250
"""Rows of a tree drawn at once; the next ones are fetched as one comes to them."""
MAX_LEVEL: Final = 40
"""Levels drawn below one another; what is deeper has a link."""
DRAWN_LEVELS: Final = 24
"""Levels that are moved in further and further; the style sheet has as many."""
FEW_INSTANCES: Final = 3
"""Instances of a folded row that are named; of more it is said how many they are."""
_RESOLUTION: Final = 0.05
"""Percent of the width: gaps under it are not drawn."""
_MAX_BARS: Final = 400
_MAX_CHANGES: Final = 4
_ROLLED_BACK: Final = frozenset(
    {TransactionOutcome.ROLLED_BACK, TransactionOutcome.SAVEPOINT_ROLLED_BACK}
)


class Bar(Struct, frozen=True):
    """A stretch of time as a rectangle, in percent of the width."""

    x: str
    width: str


class Row(Struct):
    """One line of a tree: a span, or several folded."""

    node: Node
    parents: list[int]
    """Numbers of the rows above it, the outermost first."""
    bars: list[Bar]
    critical: list[Bar]
    """Where the critical path goes through it alone."""
    is_critical: bool
    """The critical path goes through it, or through what is below it."""
    colour: int
    """0 for no application, else 1 to ``COLOURS``."""
    is_mine: bool = True
    is_match: bool = False
    """A search found it."""
    has_children: bool = False
    has_more: bool = False
    """What is below it is too deep to be drawn here."""
    hazards: Sequence[str] = ()
    """Messages of hazards that have it as evidence."""
    changes: Sequence[ConnectionChange] = ()
    """Receivers that it connected or disconnected."""
    address: str = ""
    """Of its first span in the viewer; empty if that does not have it."""
    editor: str = ""
    """What opens its source; empty without an editor."""
    fields: Sequence[Field] = ()
    """What is known of it, where it is told beside the tree."""
    slowest: Sequence[Span] = ()
    """Of several folded, the slowest, where they are told beside the tree."""

    @property
    def number(self) -> int:
        """Return the number of the first span, by which the row is called."""
        return self.node.numbers[0]

    @property
    def level(self) -> int:
        """Return 1 at the top, else one more than the row above it."""
        return len(self.parents) + 1

    @property
    def drawn_level(self) -> int:
        """Return how far it is moved in, which has a limit."""
        return min(self.level, DRAWN_LEVELS)

    @property
    def above(self) -> str:
        """Return the numbers of the rows above it, for the script that collapses."""
        return " ".join(map(str, self.parents))

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
    def times(self) -> str:
        """Return how many spans are folded into it; empty for one."""
        return f"{format_count(self.node.count)} {tree.TIMES}" if self.node.count > 1 else ""

    @property
    def instance(self) -> str:
        """Return what the dispatches were about, as it stands behind the label.

        The model of an instance is left out where the sender says it.
        """
        sender = self.dispatch.sender if self.dispatch is not None else ""
        named = sorted(self.node.instances)
        if len(named) > FEW_INSTANCES:
            return f" of {plural(len(named), 'instance')}"
        shown = ", ".join(each.removeprefix(sender) for each in named)
        return shown if shown.startswith(":") else f" {shown}" if shown else ""

    @property
    def badges(self) -> list[str]:
        """Return the facts that are worth a word."""
        span = self.node.span
        if isinstance(span, ReceiverCall):
            return ["async"] if span.receiver.is_async else []
        is_one = self.node.count == 1
        found = {
            "created": bool(span.created) and is_one,
            "updated": span.created is False and is_one,
            "raw": bool(span.raw),
            str(span.method): span.method != Method.SEND,
            "detached": span.is_detached,
        }
        return [word for word, is_so in found.items() if is_so]

    @property
    def failed(self) -> bool:
        """Return whether it raised, was cancelled or was skipped."""
        return failed(self.node.span)

    @property
    def outcome(self) -> str:
        """Return how it ended, in a word worth showing; empty for the usual."""
        span = self.node.span
        if isinstance(span, ReceiverCall):
            return "" if span.outcome is Outcome.RETURNED else str(span.outcome)
        return "raised" if span.exception_type else ""

    @property
    def undone(self) -> str:
        """Return how its transaction was undone; empty if it was not."""
        span = self.node.span
        if isinstance(span, Dispatch) and span.transaction in _ROLLED_BACK:
            return span.transaction.replace("_", " ")
        return ""

    @property
    def where(self) -> str:
        """Return ``file:line`` of the receiver, or of the sending code."""
        return place(*self.source)

    @property
    def source(self) -> tuple[str, int]:
        """Return file and line as they are opened; without a file it is empty."""
        return source_of(self.node.span)

    @property
    def search(self) -> str:
        """Return what a filter looks into."""
        words = (self.title, self.node.label, self.instance, self.outcome, self.undone)
        return " ".join([*words, *(field.text for field in self.fields)]).lower()

    @property
    def title(self) -> str:
        """Return in full what the (longest) span was."""
        return tree.title(self.node.span)


def source_of(span: Span) -> tuple[str, int]:
    """Return file and line of a receiver, or of the code that sent a signal."""
    if isinstance(span, ReceiverCall):
        return span.receiver.file, span.receiver.line
    return (span.callsite.file, span.callsite.line) if span.callsite else ("", 0)


class Tree:
    """The rows of a trace.

    Only what is drawn is folded and measured: a trace of 20,000 dispatches is mostly not looked at.

    Args:
        trace: The trace to draw.
        root: Only it and what is below it is drawn; None for the whole trace.
        matches: Numbers of spans that a search found.
        start: How many rows to leave out at the top: those that are drawn already.
        max_rows: How many rows to make; None for all.
        max_level: Levels below one another; None for all.
        shown: Numbers of the spans to draw; None for all.
        mine: Numbers of the spans that are mine; None for all.
        is_folded: Repetitions are one row.
        links: Where its rows lead to.
    """

    def __init__(
        self,
        trace: Trace,
        *,
        root: Span | None = None,
        matches: Collection[int] = (),
        start: int = 0,
        max_rows: int | None = None,
        max_level: int | None = None,
        shown: Shown = None,
        mine: Container[int] | None = None,
        is_folded: bool = True,
        links: Links | None = None,
    ) -> None:
        self.trace = trace
        self.index = Index(trace)
        self.whole_ns = extent_ns(trace)
        self.root = root
        self.start = start
        self.next_start: int | None = None
        """Where the rows go on that were not made; None if these were the last."""
        self.colours = apps_of(trace)
        self.roots: Sequence[Span] = only([root] if root is not None else roots(trace), shown)
        self._shown = shown
        self._mine = mine
        self._matches = frozenset(matches)
        self._max_rows = max_rows
        self._max_level = max_level
        self._is_folded = is_folded
        self._links = links
        self._critical = CriticalPath(self.index)
        self._hazards: dict[int, list[str]] = {}
        for hazard in trace.hazards:
            for number in hazard.numbers:
                self._hazards.setdefault(number, []).append(hazard.message)
        self._changes: dict[int, list[ConnectionChange]] = {}
        for change in trace.connection_changes:
            if change.parent_number is not None:
                self._changes.setdefault(change.parent_number, []).append(change)

    def rows(self) -> list[Row]:
        """Return the rows from ``start`` on, parents before children."""
        found: list[Row] = []
        end = None if self._max_rows is None else self.start + self._max_rows
        for at, (alike, parents, is_parent) in enumerate(self._walk()):
            if at == end:
                self.next_start = at
                break
            if at >= self.start:
                row = self._row(alike, parents)
                row.has_more = is_parent and self._is_deepest(parents)
                row.has_children = is_parent and not row.has_more
                found.append(row)
        return found

    def count(self) -> int:
        """Return how many rows there are in all."""
        return sum(1 for _ in self._walk())

    def repeated(self, number: int) -> Node | None:
        """Return the folded node that begins with the span *number*, or None."""
        span = self.index.span(number)
        if span is None:
            return None
        way = [span, *self.index.above(span)]
        if self.root is not None and self.root in way:
            way = way[: way.index(self.root) + 1]
        beside = self._groups(self.roots)
        for step in reversed(way):
            alike = next((group for group in beside if any(one is step for one in group)), None)
            if alike is None:
                return None
            if step is span:
                return tree.node_of(alike) if alike[0] is span else None
            beside = self._groups(self.below(alike))
        return None

    def single(self, span: Span, depth: int = 0) -> Row:
        """Return the row of one span alone, without what is below it."""
        row = self._row([span], [])
        row.node.depth = depth
        return row

    def below(self, spans: Iterable[Span]) -> Sequence[Span]:
        """Return what is shown directly below *spans*."""
        return only(self.index.below.of(spans), self._shown)

    def bars(self, stretches: Iterable[tuple[int, int]]) -> list[Bar]:
        """Return stretches (start, end in ns) as bars, the closest joined."""
        scale = 100 / self.whole_ns
        merged: list[list[float]] = []
        for start, end in sorted(stretches):
            left, right = start * scale, end * scale
            if merged and left - merged[-1][1] <= _RESOLUTION:
                merged[-1][1] = max(merged[-1][1], right)
            else:
                merged.append([left, right])
        return [Bar(*percent(left, right - left)) for left, right in merged[:_MAX_BARS]]

    def _groups(self, spans: Sequence[Span]) -> list[list[Span]]:
        return tree.groups(spans) if self._is_folded else [[span] for span in spans]

    def _is_deepest(self, parents: list[int]) -> bool:
        return self._max_level is not None and len(parents) + 1 >= self._max_level

    def _walk(self) -> Iterator[tuple[list[Span], list[int], bool]]:
        """Yield each row's spans, the rows above, and whether any are below."""
        # What stands side by side on each level, and the numbers of the rows above it.
        stack: list[tuple[Iterator[list[Span]], list[int]]] = [(iter(self._groups(self.roots)), [])]
        while stack:
            beside, parents = stack[-1]
            alike = next(beside, None)
            if alike is None:
                stack.pop()
                continue
            below = self.below(alike)
            yield alike, parents, bool(below)
            if below and not self._is_deepest(parents):
                stack.append((iter(self._groups(below)), [*parents, alike[0].number]))

    def _row(self, spans: Sequence[Span], parents: list[int]) -> Row:
        node = tree.node_of(spans, len(parents))
        numbers, mine, links = node.numbers, self._mine, self._links
        hazards: dict[str, None] = {}
        for number in numbers if self._hazards else ():
            hazards |= dict.fromkeys(self._hazards.get(number, ()))
        critical = [stretch for span in spans for stretch in self._critical.of(span)]
        return Row(
            node=node,
            parents=parents,
            bars=self.bars((span.start_ns, span.start_ns + span.duration_ns) for span in spans),
            critical=self.bars(critical),
            is_critical=any(self._critical.goes_through(span) for span in spans),
            colour=self.colours.get(app_of(node.span), 0),
            is_mine=mine is None or any(number in mine for number in numbers),
            is_match=bool(self._matches) and not self._matches.isdisjoint(numbers),
            hazards=list(hazards),
            changes=[
                change
                for number in (numbers if self._changes else ())
                for change in self._changes.get(number, ())
            ][:_MAX_CHANGES],
            address=links.span(numbers[0]) if links is not None else "",
            editor=links.editor(*source_of(node.span)) if links is not None else "",
        )


def percent(left: float, width: float) -> tuple[str, str]:
    """Return offset and width as attributes of an SVG, wide enough to be seen."""
    width = max(width, tree.MIN_WIDTH)
    left = min(max(left, 0.0), 100.0 - tree.MIN_WIDTH)
    return f"{left:.3f}", f"{min(width, 100.0 - left):.3f}"


def ticks(whole_ns: int) -> list[tuple[str, int]]:
    """Return (percent, ns) of the five marks of a time axis."""
    return [(str(percent), whole_ns * percent // 100) for percent in range(0, 101, 25)]
