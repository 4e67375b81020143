"""Traces that nobody reads, or not yet: let go, or only measured.

Apart from the reading, which is much to import for a process that records nothing of interest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.instrumentation import context
from tracing.instrumentation.buffer import VALUES_PER_DISPATCH
from tracing.instrumentation.process import process_lock

if TYPE_CHECKING:
    from tracing.instrumentation.buffer import ActiveTrace

reading_lock: Final = process_lock()
"""A trace is read by one thread at a time: the worker, or whoever assembles it meanwhile."""
SEGMENT_DISPATCHES: Final = 2_000
SEGMENT_SECONDS: Final = 5.0


def discard(active: ActiveTrace) -> None:
    """Let go of an ended trace that nobody is going to read."""
    with reading_lock:
        close(active)
        active.let_go()


def close(active: ActiveTrace) -> None:
    """Let go of what an ended trace has recorded.

    Whoever still holds a buffer, a thread that outlives the trace, fills nothing any more.
    """
    for buffer in active.buffers:
        buffer.ended = True
        buffer.events = buffer.recorded = None


def due() -> list[ActiveTrace]:
    """Return the running traces of which a segment is to be read now."""
    return [active for active in list(context.running.values()) if _is_due(active)]


def _is_due(active: ActiveTrace) -> bool:
    if active.end is not None or active.excluded or active.held:
        return False
    if active.duration_ns() >= SEGMENT_SECONDS * 1e9:
        return True
    waiting = sum(len(buffer.recorded or ()) for buffer in active.buffers)
    return waiting >= SEGMENT_DISPATCHES * VALUES_PER_DISPATCH
