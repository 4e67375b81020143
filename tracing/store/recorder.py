"""The recording processes, and the switch that they obey."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tracing.clocks import time
from tracing.instrumentation.recent import FORGOTTEN
from tracing.store.models import RecorderControl, RecorderState

FRESH_NS = 60_000_000_000
"""A process that was heard of within this time is alive."""


class Control(NamedTuple):
    """The switch; zeros where nobody ever set it."""

    paused: bool = False
    changed_ns: int = 0
    changed_by: str = ""


class Recorder(NamedTuple):
    """A process that records, as it last wrote of itself."""

    host: str
    process: int
    started_ns: int
    seen_ns: int
    recorded: int
    dropped: int
    queued: int
    version: str
    exporters: dict[str, dict[str, Any]]
    """Exported, dropped, failures and error, by exporter."""
    forgotten: dict[str, Any]
    """What its memories gave up, by memory."""

    @property
    def is_fresh(self) -> bool:
        """Return whether it was heard of lately."""
        return time.time_ns() - self.seen_ns < FRESH_NS


def control() -> Control:
    """Return whether recording pauses."""
    row = RecorderControl.objects.filter(pk=1).first()
    return Control() if row is None else Control(row.paused, row.changed_ns, row.changed_by)


def set_paused(*, paused: bool, by: str) -> None:
    """Have every process pause or resume recording within seconds."""
    RecorderControl.objects.update_or_create(
        pk=1, defaults={"paused": paused, "changed_ns": time.time_ns(), "changed_by": by}
    )


def recorders(most: int = 50, *, fresh: bool = False) -> list[Recorder]:
    """Return the processes that wrote of themselves last, or the *fresh* ones."""
    rows = RecorderState.objects.defer("wiring").order_by("-seen_ns")
    if fresh:
        rows = rows.filter(seen_ns__gte=time.time_ns() - FRESH_NS)
    return [_recorder(row) for row in rows[:most]]


def _recorder(row: RecorderState) -> Recorder:
    try:
        written = json.loads(row.exporters or "{}")
    except ValueError:
        written = {}
    exporters = {str(name): values for name, values in written.items() if isinstance(values, dict)}
    forgotten = exporters.pop(FORGOTTEN, {})
    return Recorder(
        row.host, row.process, row.started_ns, row.seen_ns, row.recorded, row.dropped, row.queued,
        row.version, exporters, forgotten,
    )  # fmt: skip
