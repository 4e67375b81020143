"""The collector: one process that exports what others recorded."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time
from tracing.conf.parts import PipelineOptions
from tracing.pipeline.delivery import Delivery, guard, processed
from tracing.pipeline.exporter import PipelineStatistics
from tracing.spool.folder import CHECKPOINT, COLLECTOR, Folder
from tracing.spool.reader import SpoolReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tracing.pipeline.exporter import Exporter, Processor
    from tracing.spans.records import Trace

logger = logging.getLogger("tracing")

POLL_SECONDS: Final = 0.2
TELL_SECONDS: Final = 2.0
"""How often it is written down how far the collector is."""
BEAT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 10.0
"""How long nobody may write before a collector that was started by a process ends."""
DRAIN_SECONDS: Final = 8.0
"""How long the collector goes on when it is told to end; the rest waits in the spool."""
_FOR_EVER: Final = 1e12
"""Seconds an exporter may fail: the spool waits, not the memory."""


class Collector:
    """Take a *folder*'s traces through *processors* to *exporters*.

    Args:
        folder: The folder; this process has the turn to collect it.
        exporters: Where traces go. One that cannot write is waited for, and the spool grows.
        processors: Run on each trace, in order; one that returns None drops it.
    """

    def __init__(
        self, folder: Folder, exporters: Iterable[Exporter], processors: Iterable[Processor]
    ) -> None:
        self._folder = folder
        self._reader = SpoolReader(folder)
        self._processors = list(processors)
        self._deliveries = [Delivery(exporter) for exporter in exporters]
        self._options = PipelineOptions(retry_seconds=_FOR_EVER, queue_limit=2**62)
        self._recorded = self._discarded = 0
        self._started_ns = time.time_ns()
        self._beat_ns = 0
        self._uncommitted = False
        self._told_at = self._beat_at = 0.0
        positions = folder.read(CHECKPOINT).get("positions", {})
        self._repeated = {
            delivery.exporter.name: _written_since(delivery.exporter, positions)
            for delivery in self._deliveries
        }
        # Before anything is exported: should this one be killed, the next must know where it began.
        guard("the checkpoint of the collector", self._write_checkpoint, positions)
        for delivery in self._deliveries:
            begin = getattr(delivery.exporter, "begin", None)
            if begin is not None:
                begin(paused=folder.is_paused)

    def run(self, *, until_idle: bool = False, is_ending: Callable[[], bool]) -> None:
        """Collect until *is_ending*, or until nobody has written for a while."""
        idle_since = time.monotonic()
        while not is_ending():
            if self.step():
                idle_since = time.monotonic()
                continue
            self._look_after()
            if until_idle and time.monotonic() - idle_since > IDLE_SECONDS:
                if not self._reader.is_written() and not self._reader.behind()[0]:
                    break
                idle_since = time.monotonic()
            time.sleep(POLL_SECONDS)
        self.end()

    def end(self) -> None:
        """Export what is in the spool now, for some seconds, and let all go."""
        give_up_at = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < give_up_at and self.step():
            pass
        for delivery in self._deliveries:
            # What failed waits in the spool.
            delivery.run(forced=delivery.is_gathering)
        self._commit_what_is_exported()
        for delivery in self._deliveries:
            exporter = delivery.exporter
            guard(f"flush of exporter {exporter.name}", exporter.force_flush)
            guard(f"shutdown of exporter {exporter.name}", exporter.shutdown)
        guard("telling how the collector is doing", self._tell)
        self._reader.close()

    def step(self) -> bool:
        """Export some traces; return whether there are, or may be, more."""
        if not self._deliver():
            return False
        self._commit_what_is_exported()
        batch = self._reader.read()
        if not batch:
            if not self._uncommitted:
                # What is through without a trace, as a file that ends, is let go as well.
                self._reader.exported()
            return False
        traces = self._process(batch)
        self._uncommitted = True
        for delivery in self._deliveries:
            if new := self._new_to(delivery, traces):
                delivery.offer(new, self._options)
        takes_more = self._deliver()
        self._commit_what_is_exported()
        if time.monotonic() >= self._told_at:
            self._look_after()
        return takes_more

    def _deliver(self) -> bool:
        """Hand over what waits; return whether all exporters take more."""
        for delivery in self._deliveries:
            delivery.run(forced=False)
        return all(delivery.is_gathering for delivery in self._deliveries)

    def _process(self, batch: list[Trace]) -> list[Trace]:
        self._recorded += len(batch)
        kept = [found for trace in batch if (found := processed(trace, self._processors))]
        self._discarded += len(batch) - len(kept)
        return kept

    # -- Once

    def _new_to(self, delivery: Delivery, traces: list[Trace]) -> list[Trace]:
        """Return those of *traces* that an earlier collector has not exported."""
        repeated = self._repeated.get(delivery.exporter.name)
        if not repeated:
            return traces
        new = []
        for trace in traces:
            key = trace.root_span_id, trace.segment
            if key in repeated:
                repeated.discard(key)
            else:
                new.append(trace)
        return new

    def _commit_what_is_exported(self) -> None:
        """Write down that all that was read has been exported, if it has."""
        if not self._uncommitted or any(delivery.waiting for delivery in self._deliveries):
            return
        self._reader.exported()
        # If that fails it is exported all the same; only a crash now would have it exported twice.
        guard("the checkpoint of the collector", self._write_checkpoint, {})
        self._uncommitted = False

    def _write_checkpoint(self, before: dict[str, Any]) -> None:
        """Write how far files are exported, and where exporters have come."""
        positions = {
            delivery.exporter.name: position
            for delivery in self._deliveries
            if (position := _position(delivery.exporter)) is not None
        }
        content = {"files": self._reader.places, "positions": positions | before}
        self._folder.write(CHECKPOINT, content)

    # -- What is told

    def _look_after(self) -> None:
        now = time.monotonic()
        if now >= self._told_at:
            self._told_at = now + TELL_SECONDS
            guard("telling how the collector is doing", self._tell)
        if now >= self._beat_at:
            self._beat_at = now + BEAT_SECONDS
            statistics = self.statistics()
            # A beat twice: what was written while the last one looked is not missed.
            since_ns, self._beat_ns = self._beat_ns, time.time_ns() - int(BEAT_SECONDS * 1e9)
            states = list(self._folder.states(since_ns))
            for delivery in self._deliveries:
                for name, told in (("tick", statistics), ("tell_of", states)):
                    method = getattr(delivery.exporter, name, None)
                    if method is not None:
                        guard(f"{name} of exporter {delivery.exporter.name}", method, told)

    def _tell(self) -> None:
        waiting, oldest = self._reader.behind()
        counts = self._reader.counts
        self._folder.write(
            COLLECTOR,
            {
                "host": socket.gethostname()[:100],
                "process": os.getpid(),
                "started_ns": self._started_ns,
                "seen_ns": time.time_ns(),
                "recorded": self._recorded,
                "behind_bytes": waiting,
                "behind_seconds": round(oldest, 1),
                "unreadable_files": counts.unreadable_files,
                "unreadable_bytes": counts.unreadable_bytes,
                "unreadable_traces": counts.unreadable_traces,
                "errors": {
                    delivery.exporter.name: delivery.error
                    for delivery in self._deliveries
                    if delivery.error
                },
            },
        )

    def statistics(self) -> PipelineStatistics:
        """Return the counts so far, as the pipeline of a process has them."""
        return PipelineStatistics(
            recorded=self._recorded,
            discarded=self._discarded,
            failed=self._reader.counts.unreadable_traces,
            behind_seconds=self._reader.behind()[1],
            exporters={
                delivery.exporter.name: delivery.statistics() for delivery in self._deliveries
            },
        )


def _position(exporter: Any) -> Any:
    """Return where *exporter* goes on, as JSON; None if it need not know."""
    position = getattr(exporter, "position", None)
    return position() if position is not None else None


def _written_since(exporter: Any, positions: dict[str, Any]) -> set[tuple[str, int]]:
    """Return what *exporter* wrote since the checkpoint, by root span id."""
    position = positions.get(exporter.name)
    written_since = getattr(exporter, "written_since", None)
    if position is None or written_since is None:
        return set()
    found: set[tuple[str, int]] = (
        guard("what was exported before", written_since, position) or set()
    )
    return found
