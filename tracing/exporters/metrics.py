"""The exporter that counts and times receivers, for OpenTelemetry.

Into the meter provider that the project has set up, or sets up later: the SDK with a reader, for Prometheus
or for a collector. Without one nothing is kept. Runs where traces are exported, never on the traced thread.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import get_meter_provider

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from opentelemetry.metrics import MeterProvider

    from tracing.pipeline import PipelineStatistics
    from tracing.spans.records import Trace

BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Bounds of the histogram in seconds: most receivers take less than a millisecond."""
MOST_NAMES: Final = 500
"""Signals, and pairs of signal and receiver, that are told apart."""
OVERFLOW: Final[dict[str, Any]] = {"otel.metric.overflow": True}
"""The attributes of all beyond them, as OpenTelemetry names it."""

Attributes = dict[str, Any]


class MetricsExporter:
    """Record metrics of traces.

    Args:
        provider: Where meters come from; None for the global one.
        most_names: Signals, and pairs of signal and receiver, that are told apart.
    """

    name: Final = "metrics"

    def __init__(
        self, provider: MeterProvider | None = None, *, most_names: int = MOST_NAMES
    ) -> None:
        self._most = most_names
        self._known: set[Hashable] = set()
        self._lost: dict[Hashable, int] = {}
        """Traces lost so far, by the process; empty for this one."""
        meter = (provider or get_meter_provider()).get_meter("tracing")
        self._duration = meter.create_histogram(
            "django.signal.receiver.duration",
            "s",
            "Duration of receiver calls.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._dispatches = meter.create_counter(
            "django.signal.dispatches", "{dispatch}", "Dispatches with a receiver."
        )
        self._errors = meter.create_counter(
            "django.signal.receiver.errors", "{error}", "Receiver calls that raised."
        )
        self._hazards = meter.create_counter(
            "django.tracing.hazards", "{hazard}", "Hazards found, by rule."
        )
        self._dropped = meter.create_counter(
            "django.tracing.traces.dropped", "{trace}", "Traces lost before they were exported."
        )
        self._waiting = meter.create_gauge(
            "django.tracing.traces.waiting", "{trace}", "Traces that wait to be exported."
        )
        self._behind = meter.create_gauge(
            "django.tracing.collector.lag", "s", "Age of the oldest trace in the spool."
        )

    def export(self, batch: Sequence[Trace]) -> None:
        """Record the dispatches, receiver calls and hazards of *batch*."""
        dispatches: Counter[str] = Counter()
        errors: Counter[tuple[str, str]] = Counter()
        hazards: Counter[tuple[str, str]] = Counter()
        for trace in batch:
            for dispatch in trace.dispatches:
                signal = dispatch.signal
                dispatches[signal] += 1
                for call in dispatch.receiver_calls:
                    receiver = call.receiver.name
                    if call.is_timed:
                        outcome = {"django.signal.outcome": call.outcome.value}
                        self._duration.record(
                            call.duration_ns / 1e9, self._of_receiver(signal, receiver) | outcome
                        )
                    if call.exception_type:
                        errors[signal, receiver] += 1
            hazards.update((hazard.hazard, hazard.severity) for hazard in trace.hazards)
        for signal, count in dispatches.items():
            self._dispatches.add(count, self._of_signal(signal))
        for (signal, receiver), count in errors.items():
            self._errors.add(count, self._of_receiver(signal, receiver))
        for (rule, severity), count in hazards.items():
            self._hazards.add(
                count, {"django.tracing.hazard": rule, "django.tracing.severity": severity}
            )

    def tick(self, statistics: PipelineStatistics) -> None:
        """Record what is lost, and how far behind the export is."""
        lost = statistics.dropped + statistics.failed
        lost += sum(each.dropped for each in statistics.exporters.values())
        self._lose("", lost)
        waiting = sum(each.waiting for each in statistics.exporters.values())
        self._waiting.set(statistics.queued + waiting)
        self._behind.set(statistics.behind_seconds)

    def tell_of(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Record what the processes of a collector have lost."""
        told: set[Hashable] = {""}
        for state in states:
            process = state.get("process"), state.get("started_ns")
            told.add(process)
            self._lose(process, int(state.get("dropped", 0)))
        self._lost = {process: lost for process, lost in self._lost.items() if process in told}

    def force_flush(self) -> None:
        """Do nothing: reading is the reader's."""

    def shutdown(self) -> None:
        """Do nothing: the provider is the project's."""

    def after_fork(self) -> None:
        """Count anew what this process loses."""
        self._lost.clear()

    def _lose(self, process: Hashable, lost: int) -> None:
        new = lost - self._lost.get(process, 0)
        self._lost[process] = lost
        if new > 0:
            self._dropped.add(new)

    def _of_signal(self, signal: str) -> Attributes:
        return {"django.signal": signal} if self._is_known(signal) else OVERFLOW

    def _of_receiver(self, signal: str, receiver: str) -> Attributes:
        if not self._is_known((signal, receiver)):
            return OVERFLOW
        return {"django.signal": signal, "django.signal.receiver": receiver}

    def _is_known(self, name: Hashable) -> bool:
        """Return whether what has this name is told apart from others."""
        if name in self._known:
            return True
        if len(self._known) >= self._most:
            return False
        self._known.add(name)
        return True
