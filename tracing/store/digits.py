"""Conditions on the ids of a trace, by which it is named."""

from __future__ import annotations

from django.db.models import Q

_TRACE_DIGITS = 32
ROOT_DIGITS = 16
LEAST_DIGITS = 6
"""A shorter beginning is one of a trace id alone: every root span id would soon begin so."""


def digits_conditions(first: str) -> tuple[Q, Q | None]:
    """Return conditions on trace id and on root span id, to begin so.

    Ranges, and not LIKE, which only some collations answer from an index. An address,
    ``<trace id>/<root span id>``, is one condition.
    """
    trace_id, slash, root = first.lower().partition("/")
    if slash:
        return Q(trace_id=trace_id, root_span_id__gte=root, root_span_id__lt=f"{root}g"), None
    digits = trace_id[:_TRACE_DIGITS]
    by_trace_id = Q(trace_id__gte=digits, trace_id__lt=f"{digits}g")
    if not LEAST_DIGITS <= len(digits) <= ROOT_DIGITS:
        return by_trace_id, None
    return by_trace_id, Q(root_span_id__gte=digits, root_span_id__lt=f"{digits}g")


def begins_with_digits(first: str) -> Q:
    """Return the condition that trace id or root span id begins so."""
    by_trace_id, by_root = digits_conditions(first)
    return by_trace_id if by_root is None else by_trace_id | by_root
