"""Rows of the tabs of a trace: table, flame graph, statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis import tree
from tracing.analysis.critical_path import self_ns
from tracing.analysis.index import Index, Span, failed
from tracing.presentation.colours import app_of
from tracing.presentation.rows import percent
from tracing.spans.records import Dispatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.spans import records

WHOLE: Final = 100
"""Percent."""
NARROWEST_LABEL: Final = 3
"""Percent of the width that take a few letters."""
FLAME_ROW: Final = 24
"""Height of a row of the flame graph, in the units of its drawing."""

TABLE_ORDERS: Final[dict[str, Callable[[Span], tuple[Any, ...]]]] = {
    "name": lambda span: (tree.label(span).lower(), span.number),
    "start": lambda span: (span.start_ns, span.number),
    "duration": lambda span: (span.duration_ns, -span.number),
    "self": lambda span: (self_ns(span), -span.number),
    "queries": lambda span: (span.query_count, -span.number),
    "outcome": lambda span: (failed(span), outcome_of(span), -span.number),
}


def outcome_of(span: Span) -> str:
    """Return how *span* ended, in a word."""
    return span.exception_type if isinstance(span, Dispatch) else str(span.outcome)


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
    def of(cls, box: tree.FlameBox, index: Index, colours: dict[str, int]) -> FlameBox:
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
