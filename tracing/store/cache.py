"""Reading traces whole, with the last ones kept: the tabs of a page ask for the same trace again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracing.spans import records
    from tracing.store.models import Trace

MAX_KEPT_DISPATCHES: Final = 60_000
"""Dispatches of all kept traces together."""
MAX_KEPT: Final = 50
"""Traces kept, however small."""

_kept: OrderedDict[tuple[object, ...], records.Trace] = OrderedDict()
_lock = Lock()


def load(row: Trace) -> records.Trace:
    """Return the finished spans of *row*. They are shared: whoever asks must not change them."""
    key = (
        row._state.db,  # noqa: SLF001 - documented by Django as public.
        row.pk,
        row.trace_id,
        row.segment,
        row.final,
        row.duration_ns,
        row.hazard_count,
    )
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    trace = row.load()
    if row.final and len(trace.dispatches) <= MAX_KEPT_DISPATCHES:
        with _lock:
            _kept[key] = trace
            while sum(len(kept.dispatches) for kept in _kept.values()) > MAX_KEPT_DISPATCHES:
                _kept.popitem(last=False)
            while len(_kept) > MAX_KEPT:
                _kept.popitem(last=False)
    return trace


def forget() -> None:
    """Forget every kept trace."""
    with _lock:
        _kept.clear()
