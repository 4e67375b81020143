"""The tracer as the conformance run uses it: everything recorded, counted, and thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing import pipeline
from tracing.instrumentation import context, failures, patching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracing.spans.records import Trace

FLUSH_SECONDS = 60.0


class CountingExporter:
    """Count what it is handed. No database is involved: Django's tests own theirs."""

    name = "counting"

    def __init__(self) -> None:
        self.traces = 0
        self.dispatches = 0
        self.receiver_calls = 0

    def export(self, batch: Sequence[Trace]) -> None:
        """Count the batch."""
        for trace in batch:
            self.traces += 1
            self.dispatches += len(trace.dispatches)
            self.receiver_calls += sum(
                len(dispatch.receiver_calls) for dispatch in trace.dispatches
            )

    def force_flush(self) -> None:
        """Hold nothing back."""

    def shutdown(self) -> None:
        """Hold nothing open."""


def start_recording() -> Callable[[], dict[str, int]]:
    """Instrument Django and return a function that ends the recording and returns its counts."""
    exporter = CountingExporter()
    # The rooms themselves, not tracing.instrument(): that reads settings, and runtests.py has yet
    # to choose Django's.
    pipeline.configure([exporter])
    context.set_processor(pipeline.default)
    uninstrument = patching.instrument()

    def stop_recording() -> dict[str, int]:
        is_flushed = pipeline.force_flush(FLUSH_SECONDS)
        statistics = pipeline.statistics()
        uninstrument()
        return {
            "traces": exporter.traces,
            "dispatches": exporter.dispatches,
            "receiver_calls": exporter.receiver_calls,
            "dropped_traces": statistics.dropped,
            "tracer_failures": failures.counts.total() + statistics.failed + (not is_flushed),
            **{f"failed in {place}": count for place, count in failures.counts.items()},
        }

    return stop_recording
