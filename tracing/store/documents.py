"""What the pages say as JSON: plain dictionaries with the names of ``tracing.spans.records``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, to_builtins
from msgspec.structs import asdict, fields

from tracing.spans.records import Dispatch, ReceiverCall, Trace, span_id

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
_NESTED: Final = frozenset({"dispatches", "receiver_calls", "receiver", "callsite"})


def row_document(row: models.Trace) -> dict[str, Any]:
    """Return a trace as it stands in a list: its own facts, not its dispatches."""
    return {name: getattr(row, name) for name in _ROW_FIELDS}


def trace_document(trace: Trace, most: int | None = None) -> dict[str, Any]:
    """Return a whole trace; its dispatches lie flat, ``parent_number`` says where they belong.

    Args:
        trace: The trace.
        most: At most so many dispatches; None for all.
    """
    document = {
        item.name: _flat(getattr(trace, item.name))
        for item in fields(Trace)
        if item.name not in {"dispatches", "unheard", "carried"}
    }
    document["unheard"] = [
        {"signal": signal, "sender": sender, "count": count}
        for signal, sender, count in trace.unheard
    ]
    document["dispatches"] = [
        dispatch_document(trace, dispatch) for dispatch in trace.dispatches[:most]
    ]
    return document


def _flat(value: Any) -> Any:
    """Return *value* with the records in it as dictionaries."""
    if isinstance(value, list):
        return [to_builtins(each) if isinstance(each, Struct) else each for each in value]
    return value


def dispatch_document(trace: Trace, dispatch: Dispatch) -> dict[str, Any]:
    """Return one dispatch with its receiver calls, without what was sent below them."""
    document = _own_fields(dispatch)
    document["span_id"] = span_id(trace.root_span_id, dispatch.number)
    document["callsite"] = asdict(dispatch.callsite) if dispatch.callsite else None
    document["receiver_calls"] = [call_document(trace, call) for call in dispatch.receiver_calls]
    return document


def call_document(trace: Trace, call: ReceiverCall) -> dict[str, Any]:
    """Return one receiver call, without what was sent from inside it."""
    document = _own_fields(call)
    document["span_id"] = span_id(trace.root_span_id, call.number)
    document["receiver"] = asdict(call.receiver)
    return document


def _own_fields(span: Dispatch | ReceiverCall) -> dict[str, Any]:
    return {
        item.name: getattr(span, item.name) for item in fields(span) if item.name not in _NESTED
    }


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
