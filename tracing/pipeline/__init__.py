"""The pipeline of finished traces: a bounded queue, one worker a process.

The traced thread appends to the queue and wakes the worker only if that is idle. The worker has
the active traces assembled into spans, hands them to the processors (which may drop them) and then, in
batches, to each exporter. An exporter that fails keeps its batches for a while and tries again; the
others go on without it. Nothing here ever raises into the traced program.

The worker is a daemon thread that starts with the first trace, is forgotten after ``fork()`` (the
child's first trace starts another) and is given a moment at exit to write what is left.
"""

from __future__ import annotations

from tracing.pipeline.exporter import (
    Drain,
    Exporter,
    ExporterStatistics,
    Gathering,
    PipelineStatistics,
    Processor,
    TemporaryError,
)
from tracing.pipeline.pacing import yield_interpreter
from tracing.pipeline.processes import flush_on_sigterm
from tracing.pipeline.queue import Pipeline
from tracing.pipeline.worker import is_worker_thread

__all__ = [
    "Drain",
    "Exporter",
    "ExporterStatistics",
    "Gathering",
    "Pipeline",
    "PipelineStatistics",
    "Processor",
    "TemporaryError",
    "add_drain",
    "add_exporter",
    "add_processor",
    "configure",
    "default",
    "flush_on_sigterm",
    "force_flush",
    "is_worker_thread",
    "shutdown",
    "statistics",
    "submit",
    "yield_interpreter",
]

default = Pipeline()
"""The pipeline of this process."""

configure = default.configure
add_exporter = default.add_exporter
add_processor = default.add_processor
add_drain = default.add_drain
submit = default.submit
force_flush = default.force_flush
shutdown = default.shutdown
statistics = default.statistics
