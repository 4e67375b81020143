"""Statistics and comparisons as JSON, the same from command and viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracing.analysis.comparison import Change
    from tracing.analysis.histogram import Statistics
    from tracing.analysis.regression import Regression, Sample
    from tracing.analysis.tree import Node


def fields_of(value: object, *names: str) -> dict[str, Any]:
    """Return the attributes *names* of *value*, by name."""
    return {name: getattr(value, name) for name in names}


def statistics_document(found: Statistics) -> dict[str, Any]:
    """Return statistics as a JSON object; what they are not about is null."""
    names = fields_of(found, "signal", "sender", "receiver")
    durations = ("mean_ns", "p50_ns", "p95_ns", "p99_ns")
    return {
        **{name: text or None for name, text in names.items()},
        **fields_of(found, "count", "error_count", "total_ns"),
        **(fields_of(found, *durations) if found.total_ns else dict.fromkeys(durations)),
        **fields_of(found, "query_count", "query_ns", "cpu_ns"),
    }


def change_document(change: Change) -> dict[str, Any]:
    """Return one place of two compared traces as a JSON object."""
    return {
        "what": change.label,
        **fields_of(change, "depth", "verdicts"),
        "moved_from": change.moved_from or None,
        "before": _node(change.before),
        "after": _node(change.after),
        **fields_of(change, "difference_ns", "difference_queries"),
    }


def _node(node: Node | None) -> dict[str, Any] | None:
    if node is None:
        return None
    numbers = ("count", "total_ns", "self_ns", "query_count", "error_count", "numbers")
    return fields_of(node, *numbers)


def regression_document(found: Regression) -> dict[str, Any]:
    """Return one receiver of a comparison of periods as a JSON object."""
    return {
        **fields_of(found, "receiver", "verdicts"),
        "before": _sample(found.before),
        "after": _sample(found.after),
        **fields_of(found, "p_time", "p_queries", "p_errors"),
    }


def _sample(sample: Sample | None) -> dict[str, Any] | None:
    if sample is None:
        return None
    return {
        "calls": sample.count,
        "errors": sample.error_count,
        "queries": sample.query_count,
        "total_ns": sample.total_ns,
        "median_ns": sample.median_ns if sample.total_ns else None,
        "p95_ns": sample.p95_ns if sample.total_ns else None,
    }
