"""The exporter that keeps the last traces in memory, for tests."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.spans import records


class MemoryExporter:
    """Keep the last traces (or segments of long ones) in ``traces``.

    Args:
        limit: How many to keep; None keeps all of them.
        name: Its name in statistics.
    """

    def __init__(self, limit: int | None = 1_000, name: str = "memory") -> None:
        self.name = name
        self.traces: deque[records.Trace] = deque(maxlen=limit)

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Keep *batch*."""
        self.traces.extend(batch)

    def find(self, trace_id: str) -> records.Trace | None:
        """Return the newest trace with *trace_id*, None if there is none."""
        for trace in reversed(tuple(self.traces)):
            if trace.trace_id == trace_id:
                return trace
        return None

    def clear(self) -> None:
        """Forget all traces."""
        self.traces.clear()

    def force_flush(self) -> None:
        """Do nothing: nothing is held back."""

    def shutdown(self) -> None:
        """Do nothing: the traces stay readable."""
