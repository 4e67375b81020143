"""The exporter of a process that leaves the rest to a collector."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict

from tracing.clocks import time
from tracing.instrumentation.assembly.assembler import assemble
from tracing.instrumentation.assembly.resolving import Names, resolve
from tracing.instrumentation.assembly.unread import discard
from tracing.instrumentation.connections.changes import take_waiting
from tracing.instrumentation.failures import failed
from tracing.instrumentation.recent import FORGOTTEN
from tracing.pipeline.news import News
from tracing.spool.frames import appendable, write_name
from tracing.spool.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracing.instrumentation.buffer import ActiveTrace
    from tracing.pipeline import PipelineStatistics
    from tracing.spans.records import Trace
    from tracing.spool.folder import Folder
    from tracing.spool.frames import Appendable


class SpoolExporter:
    """Append traces to a spool, and look after its collector.

    Args:
        folder: The folder of the spool.
        max_bytes: What the folder may hold; beyond it the oldest file goes.
        on_control: Called with whether recording is paused when the collector says so.
        keep_collecting: Starts a collector if there is none; asked by the worker now and then.
        version: Of the tracer, for who looks at the process.
        wiring: Returns what this process has connected, as JSON, and what differs when that would.
    """

    name: Final = "spool"

    def __init__(
        self,
        folder: Folder,
        *,
        max_bytes: int,
        on_control: Callable[[bool], None] | None = None,
        keep_collecting: Callable[[], object] | None = None,
        version: str = "",
        wiring: tuple[Callable[[], str], Callable[[], object]] | None = None,
    ) -> None:
        self._folder = folder
        self._writer = Writer(folder, max_bytes)
        self._on_control = on_control
        self._keep_collecting = keep_collecting
        self._version = version
        self._wiring = wiring
        self._news = News()
        self._lock = threading.Lock()
        self._started_ns = time.time_ns()
        self._paused: bool | None = None
        self._works = False
        self._names = Names(write_name)

    def encode(self, active: ActiveTrace) -> Trace | Appendable:
        """Return an ended trace as it is appended: unread, if that is possible."""
        lost = take_waiting()
        # Span numbers that were given while it ran are continued here alone.
        if active.reading is None and active.root.spans is None:
            try:
                ready = appendable(*resolve(active, self._names, lost))
            except Exception as error:  # noqa: BLE001 - the spans may be written all the same.
                failed("resolving", error)
            else:
                discard(active)
                return ready
        trace = assemble(active)
        trace.lost_receivers[:0] = lost
        return trace

    def export(self, batch: Sequence[Trace | Appendable]) -> None:
        """Append *batch*.

        Raises:
            OSError: The disk is full, permission is missing ...
        """
        with self._lock:
            self._writer.append(batch)
            is_first, self._works = not self._works, True
        if is_first and self._keep_collecting is not None:
            self._keep_collecting()

    def force_flush(self) -> None:
        """Do nothing: what was appended is with the operating system."""

    def shutdown(self) -> None:
        """Close the file, and tell of the wiring what waits to be told."""
        with self._lock:
            self._writer.close()
        if self._works:
            self._news.hurry()
            try:
                self._tell_wiring()
            except OSError as error:
                failed("telling what the process has connected", error)

    def tick(self, statistics: PipelineStatistics) -> None:
        """Tell how this process is doing; obey what the collector says."""
        if not self._works:
            return
        try:
            self._folder.write(f"{self._name}.state", self._state(statistics))
            self._tell_wiring()
        except OSError as error:
            failed("telling how the process is doing", error)
        paused = self._folder.is_paused
        if self._on_control is not None and paused != self._paused:
            if paused or self._paused is not None:
                self._on_control(paused)
            self._paused = paused
        if self._keep_collecting is not None:
            self._keep_collecting()

    @property
    def _name(self) -> str:
        return f"{os.getpid()}-{self._started_ns}"

    def _tell_wiring(self) -> None:
        """Write what this process has connected, if that is news and due."""
        if self._wiring is not None:
            describe, version = self._wiring
            if self._news.is_due(found := version()):
                text = describe()
                self._folder.write(f"{self._name}.wiring", {"wiring": text})
                self._news.written(found, len(text))

    def _state(self, statistics: PipelineStatistics) -> dict[str, Any]:
        exporters: dict[str, Any] = {
            name: asdict(values) for name, values in statistics.exporters.items()
        }
        if statistics.forgotten:
            exporters[FORGOTTEN] = statistics.forgotten
        return {
            "host": socket.gethostname()[:100],
            "process": os.getpid(),
            "started_ns": self._started_ns,
            "seen_ns": time.time_ns(),
            "recorded": statistics.recorded,
            "dropped": statistics.dropped + statistics.failed + self._writer.lost,
            "queued": statistics.queued,
            "exporters": exporters,
            "version": self._version,
        }

    def after_fork(self) -> None:
        """Leave the file to the parent process."""
        self._lock = threading.Lock()
        with suppress(OSError):
            self._writer.after_fork()
        self._started_ns = time.time_ns()
        self._works = False
        self._news.forget()
