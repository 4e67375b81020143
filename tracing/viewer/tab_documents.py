"""The tabs of a trace's page as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis import tree
from tracing.presentation.application_log import lines_document
from tracing.presentation.documents import fields_of
from tracing.spans.codec import document
from tracing.viewer.tab_rows import outcome_of

if TYPE_CHECKING:
    from tracing.spans import records


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
