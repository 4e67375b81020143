"""Boundaries: signals that begin or end a trace, beside a request's two.

The send loops ask here only where they look up receivers anew, which they do each time for these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.dispatch import Signal

Boundary = tuple[
    "Callable[[dict[str, Any]], None] | None", "Callable[[dict[str, Any]], None] | None"
]

boundaries: Final[dict[int, Boundary]] = {}
"""What is called before and after a dispatch, by the identity of a signal that lives for ever."""


def begin(signal: Signal, named: dict[str, Any]) -> Callable[[object], None] | None:
    """Call what comes before a dispatch; return what to call after it."""
    before, after = boundaries.get(id(signal), (None, None))
    if before is not None:
        before(named)
    if after is None:
        return None
    call = after  # Known not to be None inside the function, too.
    return lambda _buffer: call(named)


def both(
    first: Callable[[Any], None], second: Callable[[Any], None] | None
) -> Callable[[Any], None]:
    """Return what calls one after the other."""
    if second is None:
        return first
    last = second

    def call(buffer: Any) -> None:
        first(buffer)
        last(buffer)

    return call
