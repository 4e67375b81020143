"""Ids of spans: made of what the store, the log and the export all have."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_NONE: Final = "0" * 16
"""What W3C lets no id be; the next one is taken for it."""
_INSTEAD: Final = "0" * 15 + "1"


def _digest(text: str) -> str:
    """Return 16 hex digits made of *text*, never all zero."""
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    return digest if digest != _NONE else _INSTEAD


def derived_root_span_id(trace_id: str, started_ns: int) -> str:
    """Return the root span id of a trace that was recorded without one."""
    return _digest(f"{trace_id}:{started_ns}:0")


def span_id(root_span_id: str, number: int) -> str:
    """Return the W3C span id of span *number* of a trace; 0 is its root.

    Made of what the store, the log and the export all have, so it is the same in each of them.
    """
    return _digest(f"{root_span_id}:{number}") if number else root_span_id


def span_ids(root_span_id: str) -> Callable[[int], str]:
    """Return ``span_id`` for many spans of one trace."""
    begun = blake2b(f"{root_span_id}:".encode(), digest_size=8)

    def span_id(number: int) -> str:
        if not number:
            return root_span_id
        hashed = begun.copy()
        hashed.update(b"%d" % number)
        digest = hashed.hexdigest()
        return digest if digest != _NONE else _INSTEAD

    return span_id
