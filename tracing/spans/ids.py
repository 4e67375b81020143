"""Ids of spans: made of what the store, the log and the export all have."""

from __future__ import annotations

from hashlib import blake2b


def _digest(text: str) -> str:
    """Return 16 hex digits made of *text*, never all zero."""
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    return digest if int(digest, 16) else "0000000000000001"


def derived_root_span_id(trace_id: str, started_ns: int) -> str:
    """Return the root span id of a trace that was recorded before traces had one of their own."""
    return _digest(f"{trace_id}:{started_ns}:0")


def span_id(root_span_id: str, number: int) -> str:
    """Return the W3C span id (16 hex digits, never all zero) of span *number* of a trace; 0 is its root.

    Made of what the store, the log and the export all have, so it is the same in each of them.
    """
    return _digest(f"{root_span_id}:{number}") if number else root_span_id
