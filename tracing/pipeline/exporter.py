"""The pipeline's protocols, options and statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple, Protocol

from msgspec import Struct

from tracing.spans import records

Processor = Callable[[records.Trace], records.Trace | None]
"""Run in the worker between assembly and export; None drops the trace, on purpose."""

Drain = Callable[[], Iterable[records.Trace]]
"""Asked several times a second for segments of traces that are still running."""


class TemporaryError(Exception):
    """An exporter cannot work now and wants another try: no connection, say."""

    patience: ClassVar[float] = 0.0
    """Seconds for which this may last before it is worth a line in the log."""


class Gathering(NamedTuple):
    """The amount that an exporter wants at once, and its patience."""

    items: int
    """Traces, dispatches and receiver calls."""
    seconds: float
    """How long the first of them waits for the others."""


class Exporter(Protocol):
    """A receiver of finished traces.

    An exporter may also have ``tick(statistics)``, called every few seconds, and ``after_fork()``,
    called in a child process: what it holds open belongs to the parent. With an attribute ``gathers``, a
    ``Gathering``, batches are joined before it gets them.
    """

    @property
    def name(self) -> str:
        """Return its name in statistics and messages."""
        ...

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Take all of *batch* or, if it raises, none of it.

        Raises:
            TemporaryError, OSError: Ask again later with the same batch. Any other exception is
                blamed on a trace in the batch, which is found and dropped.
        """

    def force_flush(self) -> None:
        """Write what it holds back."""

    def shutdown(self) -> None:
        """Write what it holds back and let go of files and connections."""


class ExporterStatistics(Struct):
    """The state of one exporter."""

    exported: int = 0
    """Traces (or segments) taken."""
    dropped: int = 0
    """Traces lost because it failed for too long or could not take them at all."""
    failures: int = 0
    """Attempts that failed, since the process began."""
    waiting: int = 0
    """Traces kept for the next attempt."""
    error: str = ""
    """What the last attempt failed with; empty after a success."""


class PipelineStatistics(Struct):
    """The state of the pipeline, since the process began."""

    recorded: int = 0
    """Traces (or segments) taken out of the queue."""
    discarded: int = 0
    """Traces that a processor dropped on purpose."""
    dropped: int = 0
    """Traces lost because the queue was full."""
    failed: int = 0
    """Traces lost because they could not be assembled."""
    queued: int = 0
    """Traces waiting in the queue."""
    queued_items: int = 0
    running: int = 0
    """Traces that have begun and not ended."""
    exporters: dict[str, ExporterStatistics] = {}
    behind_seconds: float = 0.0
    """Of a collector: the age of the oldest trace in the spool."""
    forgotten: dict[str, int] = {}
    """What bounded memories had no room for, by what it was."""
