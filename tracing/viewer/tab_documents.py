"""The tabs of a trace's page as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis import tree
from tracing.spans.codec import document

if TYPE_CHECKING:
    from tracing.spans import records


def tab_document(tab: str, trace: records.Trace, data: dict[str, Any]) -> dict[str, Any]:
    """Return *tab*, one other than the tree, as JSON; *data* is what the page shows of *trace*."""
    if tab == "flame":
        boxes = tree.flame(trace, merged=data["merged"])
        return {
            "boxes": [
                {"number": box.number, "depth": box.depth, "label": box.label, "left": box.left,
                 "width": box.width, "failed": box.failed, "count": box.count}
                for box in boxes
            ]
        }  # fmt: skip
    if tab == "table":
        return {
            "total": data["total"],
            "start": data["start"],
            "spans": [
                {"number": row.span.number, "label": row.label, "start_ns": row.span.start_ns,
                 "duration_ns": row.span.duration_ns, "self_ns": row.self_ns,
                 "query_count": row.span.query_count, "outcome": row.outcome, "depth": row.depth}
                for row in data["table"]
            ],
        }  # fmt: skip
    if tab == "receivers":
        return {
            "called": [
                {name: getattr(entry["total"], name) for name in _TOTAL_FIELDS}
                for entry in data["called"]
            ],
            "skipped": [total.name for total in data["skipped"]],
            "bypassed": [entry["receiver"].name for entry in data["bypassed"]],
            "lost": [lost.receiver.name for lost, _ in data["lost"]],
            "changes": [
                {"change": change.change, "signal": change.signal, "sender": change.sender,
                 "receiver": change.receiver.name, "start_ns": change.start_ns,
                 "parent_number": change.parent_number}
                for change in trace.connection_changes
            ],
            "unheard": [
                {"signal": signal, "sender": sender, "count": count}
                for signal, sender, count in data["unheard"]
            ],
        }  # fmt: skip
    if tab == "sql":
        return {
            "inside": data["inside"],
            "outside": data["outside"],
            "statements": [
                {"receiver": found.receiver.name, "sql": found.sql, "count": found.count,
                 "duration_ns": found.duration_ns, "calls": found.calls}
                for found in data["statements"]
            ],
        }  # fmt: skip
    if tab == "hazards":
        return {"hazards": document(trace)["hazards"]}
    return {"lines": [json.loads(line) for line in data["log_lines"]]}


_TOTAL_FIELDS: Final = (
    "name", "file", "line", "app", "calls", "total_ns", "self_ns", "max_ns", "query_count",
    "query_ns", "error_count", "skipped_count", "share", "signals", "senders", "slowest_number",
)  # fmt: skip
