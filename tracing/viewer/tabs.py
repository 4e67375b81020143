"""The tabs of a trace's page: their rows, and each as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis import tree
from tracing.analysis.critical_path import self_ns
from tracing.analysis.index import Index, Span, failed
from tracing.presentation.application_log import lines_document
from tracing.presentation.colours import app_of
from tracing.presentation.documents import fields_of
from tracing.presentation.rows import percent
from tracing.spans.codec import document
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


def tab_document(tab: str, trace: records.Trace, data: dict[str, Any]) -> dict[str, Any]:
    """Return a tab as JSON; *data* is what its page shows."""
    if tab == "flame":
        boxes = tree.flame(trace, merged=data["merged"])
        return {"boxes": [fields_of(box, *_BOX_FIELDS) for box in boxes]}
    if tab == "table":
        spans = [
            {"number": row.number, "label": row.node.label, "start_ns": row.span.start_ns,
             "duration_ns": row.span.duration_ns, "self_ns": row.node.self_ns,
             "query_count": row.span.query_count, "outcome": outcome_of(row.span),
             "depth": row.node.depth}
            for row in data["rows"]
        ]  # fmt: skip
        return {"total": data["total"], "start": data["start"], "spans": spans}
    if tab == "receivers":
        found = data["receivers"]
        return {
            "called": [fields_of(entry.total, *_TOTAL_FIELDS) for entry in found.called],
            "skipped": [total.name for total in found.skipped],
            "bypassed": [entry.receiver.name for entry in found.bypassed],
            "lost": [lost.receiver.name for lost, _ in found.lost],
            "changes": [
                fields_of(change, "change", "signal", "sender", "start_ns", "parent_number")
                | {"receiver": change.receiver.name}
                for change in trace.connection_changes
            ],
            "orphans": [
                {"signal": signal, "sender": sender, "count": count}
                for signal, sender, count in found.orphans
            ],
        }
    if tab == "sql":
        statements = [
            {"receiver": found.receiver.name}
            | fields_of(found, "sql", "count", "duration_ns", "calls")
            for found in data["statements"]
        ]
        return {"inside": data["inside"], "outside": data["outside"], "statements": statements}
    if tab == "hazards":
        return {"hazards": document(trace)["hazards"]}
    return {
        "lines": [json.loads(line) for line in data["log_lines"]],
        "application": lines_document(trace, data["application"]),
    }


_BOX_FIELDS: Final = ("number", "depth", "label", "left", "width", "failed", "count")
_TOTAL_FIELDS: Final = (
    "name", "file", "line", "app", "calls", "total_ns", "self_ns", "max_ns", "query_count",
    "query_ns", "cpu_ns", "waiting_ns", "error_count", "skipped_count", "share", "signals", "senders",
    "slowest_number",
)  # fmt: skip
