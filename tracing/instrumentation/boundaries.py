"""Boundaries: signals whose dispatch begins or ends a trace, beside the two of a request.

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
    """Call what comes before a dispatch; return what to call after it, None for nothing."""
    before, after = boundaries.get(id(signal), (None, None))
    if before is not None:
        before(named)
    if after is None:
        return None
    call = after  # Known not to be None inside the function, too.
    return lambda _stream: call(named)


def both(
    first: Callable[[Any], None], second: Callable[[Any], None] | None
) -> Callable[[Any], None]:
    """Return what calls one after the other."""
    if second is None:
        return first
    last = second

    def call(stream: Any) -> None:
        first(stream)
        last(stream)

    return call
