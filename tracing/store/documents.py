"""Rows of the store as JSON: plain dictionaries with the names of ``tracing.spans.records``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.store import models
    from tracing.store.statistics import Statistics

_ROW_FIELDS: Final = (
    "trace_id", "root_span_id", "name", "kind", "status", "failed", "started_ns", "duration_ns",
    "http_method", "http_path", "http_status", "user_id", "host", "process", "thread", "release", "error",
    "dispatch_count", "receiver_call_count", "query_count", "query_ns", "signal_ns", "error_count",
    "hazard_count", "dropped_count", "unheard_count", "overhead_ns", "final", "mine", "pinned",
    "note",
)  # fmt: skip


def row_document(row: models.Trace) -> dict[str, Any]:
    """Return a trace as it stands in a list: its own facts, not its dispatches."""
    return {name: getattr(row, name) for name in _ROW_FIELDS}


def statistics_document(rows: Iterable[Statistics]) -> list[dict[str, Any]]:
    """Return statistics with their percentiles."""
    return [
        {
            "signal": row.signal,
            "sender": row.sender,
            "receiver": row.receiver,
            "count": row.count,
            "error_count": row.error_count,
            "total_ns": row.total_ns,
            "mean_ns": row.mean_ns,
            "p50_ns": row.p50_ns,
            "p95_ns": row.p95_ns,
            "p99_ns": row.p99_ns,
            "query_count": row.query_count,
            "query_ns": row.query_ns,
        }
        for row in rows
    ]
