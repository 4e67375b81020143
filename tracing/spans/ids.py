"""Ids of spans: made of what the store, the log and the export all have."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_NONE: Final = "0" * 16
"""What W3C lets no id be; the next one is taken for it."""
_INSTEAD: Final = "0" * 15 + "1"
_IDS: Final = 2**64 - 1
_MOST_SPANS: Final = 2**31
"""Of a trace: what is further from its root is the id of another."""


def _digest(text: str) -> str:
    """Return 16 hex digits made of *text*, never all zero."""
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    return digest if digest != _NONE else _INSTEAD


def derived_root_span_id(trace_id: str, started_ns: int) -> str:
    """Return the root span id of a trace that was recorded without one."""
    return _digest(f"{trace_id}:{started_ns}:0")


def span_id(root_span_id: str, number: int) -> str:
    """Return the W3C span id of span *number* of a trace; 0 is its root.

    Made of what the store, the log and the export all have, so it is the same in each of them. Those of
    a trace follow each other: where many are kept they take little room.
    """
    return f"{_after(int(root_span_id, 16), number):016x}" if number else root_span_id


def span_ids(root_span_id: str) -> Callable[[int], str]:
    """Return ``span_id`` for many spans of one trace."""
    # As ``_after`` has it, without a call for each line of the log.
    before = int(root_span_id, 16) - 1

    def span_id(number: int) -> str:
        return f"{(before + number) % _IDS + 1:016x}" if number else root_span_id

    return span_id


def span_number(root_span_id: str, span_id: str) -> int | None:
    """Return the number of a span; None for one of another trace."""
    try:
        number = (int(span_id, 16) - int(root_span_id, 16)) % _IDS
    except ValueError:
        return None
    return number if number < _MOST_SPANS else None


def _after(root: int, number: int) -> int:
    """Return the id that is so far behind the *root*, past the zero."""
    return (root + number - 1) % _IDS + 1
