"""Rows of the tabs of a trace, ready to be drawn: table, flame graph, statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis import tree
from tracing.spans.records import Dispatch
from tracing.viewer.waterfall import app_of, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.spans import records

WHOLE: Final = 100
"""Percent."""
NARROWEST_LABEL: Final = 3
"""Percent of the width that take a few letters."""
FLAME_ROW: Final = 24
"""Height of a row of the flame graph, in the units of its drawing."""

TABLE_COLUMNS: Final = (
    ("name", "Span"),
    ("start", "Start"),
    ("duration", "Time"),
    ("self", "Self"),
    ("queries", "Queries"),
    ("outcome", "Outcome"),
)
TABLE_ORDERS: Final[dict[str, Callable[[tree.Span], tuple[Any, ...]]]] = {
    "name": lambda span: (tree.label(span).lower(), span.number),
    "start": lambda span: (span.start_ns, span.number),
    "duration": lambda span: (span.duration_ns, -span.number),
    "self": lambda span: (tree.self_ns(span), -span.number),
    "queries": lambda span: (span.query_count, -span.number),
    "outcome": lambda span: (tree.failed(span), outcome_of(span), -span.number),
}


def outcome_of(span: tree.Span) -> str:
    """Return how *span* ended, in a word."""
    return span.exception_type if isinstance(span, Dispatch) else str(span.outcome)


@dataclass(slots=True)
class TableRow:
    """One span as a row of the sortable table."""

    span: tree.Span
    label: str
    title: str
    is_dispatch: bool
    self_ns: int
    outcome: str
    failed: bool
    depth: int

    @classmethod
    def of(cls, span: tree.Span, depth: int) -> TableRow:
        """Return the row of *span*."""
        is_dispatch = isinstance(span, Dispatch)
        return cls(
            span,
            tree.label(span),
            tree.title(span),
            is_dispatch,
            tree.self_ns(span),
            outcome_of(span),
            tree.failed(span),
            depth,
        )


@dataclass(slots=True)
class FlameBox:
    """One box of the flame graph as a drawn rectangle."""

    number: int
    x: str
    width: str
    y: int
    label: str
    title: str
    is_wide: bool
    """There is room for a label."""
    is_dispatch: bool
    failed: bool
    colour: int

    @classmethod
    def of(cls, box: tree.FlameBox, index: tree.Index, colours: dict[str, int]) -> FlameBox:
        """Return *box* with its place and colour."""
        span = index.span(box.number)
        x, width = percent(box.left, box.width)
        return cls(
            box.number,
            x,
            width,
            box.depth * FLAME_ROW,
            box.label,
            box.title,
            box.width >= NARROWEST_LABEL,
            box.is_dispatch,
            box.failed,
            colours.get(app_of(span), 0) if span is not None else 0,
        )


@dataclass(slots=True)
class Statement:
    """One statement of one receiver, all its runs together."""

    receiver: records.ReceiverLabel
    sql: str
    number: int
    count: int = 0
    duration_ns: int = 0
    calls: int = 0
