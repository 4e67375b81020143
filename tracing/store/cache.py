"""Traces kept in memory: the tabs of a page ask for the same one again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.spans import records

MAX_KEPT_DISPATCHES: Final = 60_000
"""Dispatches of all kept traces together."""
MAX_KEPT: Final = 50
"""Traces kept, however small."""

_kept: OrderedDict[tuple[object, ...], records.Trace] = OrderedDict()
_lock = Lock()


def kept(key: tuple[object, ...], read: Callable[[], records.Trace]) -> records.Trace:
    """Return the trace of *key*, its name and state, or what *read* returns."""
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    trace = read()
    if trace.final and len(trace.dispatches) <= MAX_KEPT_DISPATCHES:
        with _lock:
            _kept[key] = trace
            while sum(len(each.dispatches) for each in _kept.values()) > MAX_KEPT_DISPATCHES:
                _kept.popitem(last=False)
            while len(_kept) > MAX_KEPT:
                _kept.popitem(last=False)
    return trace


def forget() -> None:
    """Forget every kept trace."""
    with _lock:
        _kept.clear()
