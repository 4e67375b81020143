"""Modes: what is installed while something is measured. Each runs in a process of its own."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks import project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNTED = "BENCHMARKS_COUNTED"
"""In the environment of a process whose instructions are counted."""
UNIT = 100
"""Dispatches after which a unit of work ends: about what a page of a shop sends."""


class Mode:
    """Stock Django, and what the other modes have in common with it."""

    name = "stock"

    def set_up(self, folder: Path, *, instances: bool) -> None:
        """Configure Django with what this mode needs."""
        project.set_up(folder, instances=instances)

    def begin(self) -> None:
        """Begin the first unit of work, in the thread and context that are measured."""

    def rest(self) -> None:
        """End a unit of work and begin the next."""

    async def rest_async(self) -> None:
        """Do the same inside an event loop."""
        self.rest()

    def flush(self) -> None:
        """Wait until everything recorded has gone where it goes."""

    def wrap(self, application: Callable[..., Any]) -> Callable[..., Any]:
        """Return the WSGI application with what this mode puts around it."""
        return application


class Again(Mode):
    """Stock Django a second time: what differs is the noise of the machine."""

    name = "again"


class Tracing(Mode):
    """The tracer's recording without its pipeline: records are thrown away after each unit."""

    def set_up(self, folder: Path, *, instances: bool) -> None:
        project.set_up(folder, tracing={"ENABLED": False}, instances=instances)

    def begin(self) -> None:
        from tracing.instrumentation import buffer as recording_buffer
        from tracing.instrumentation import context, patching
        from tracing.spans.records import Kind

        context.set_processor(None)
        patching.instrument(**self.arguments())
        self.trace = recording_buffer.ActiveTrace(Kind.BLOCK, "benchmark")
        context.begin(self.trace)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``instrument``: by default what the default settings mean."""
        from tracing.setup import capture_options

        return capture_options()

    def rest(self) -> None:
        self.trace.root.events.clear()  # type: ignore[union-attr]

    async def rest_async(self) -> None:
        from tracing.instrumentation import buffer as recording_buffer
        from tracing.instrumentation import context
        from tracing.spans.records import Kind

        context.finish(self.trace)
        # As the worker does when it has read it: nothing is left to the garbage collector.
        self.trace.let_go()
        self.trace = recording_buffer.ActiveTrace(Kind.BLOCK, "benchmark")
        context.begin(self.trace)


class Structure(Tracing):
    """Signal, sender, receivers, times, outcomes and nesting; nothing else."""

    name = "structure"

    def arguments(self) -> dict[str, Any]:
        from tracing.instrumentation.dispatch.options import Options

        options = Options(callsite=False, details=False)
        return {"options": options, "sql": False, "side_effects": False}


class Default(Tracing):
    """The default settings: callsite, details, SQL, transactions, side effects."""

    name = "default"


class Unread:
    """A processor that throws away what ends."""

    def on_start(self, trace: Any) -> None:
        """Do nothing."""

    def on_end(self, trace: Any) -> None:
        """Do nothing."""


class CurrentSpans(Default):
    """The default settings, with receivers' spans current for OpenTelemetry."""

    name = "current-spans"

    def arguments(self) -> dict[str, Any]:
        from tracing.instrumentation import context
        from tracing.instrumentation.dispatch.current_spans import SpanTraces

        context.set_processor(SpanTraces(Unread()))
        arguments = super().arguments()
        arguments["options"].spans = True
        return arguments


class Unsampled(Tracing):
    """The default settings, in a trace that the sampler left out."""

    name = "unsampled"

    def begin(self) -> None:
        super().begin()
        from tracing.instrumentation import buffer as recording_buffer
        from tracing.instrumentation import context

        context.finish(self.trace)
        context.enter(recording_buffer.UNRECORDED)

    def rest(self) -> None:
        pass

    async def rest_async(self) -> None:
        pass


class Complete(Mode):
    """The tracer as its manual installs it: default settings, worker, database and log file."""

    name = "complete"
    settings: dict[str, Any] = {}

    def set_up(self, folder: Path, *, instances: bool) -> None:
        project.set_up(folder, instances=instances, tracing=self.settings)

    def begin(self) -> None:
        import tracing
        from tracing.instrumentation import buffer as recording_buffer
        from tracing.instrumentation import context
        from tracing.spans.records import Kind

        if not tracing.is_instrumented():
            raise RuntimeError("the tracer was not installed")
        self.trace = recording_buffer.ActiveTrace(Kind.BLOCK, "benchmark")
        context.begin(self.trace)

    def rest(self) -> None:
        from tracing.instrumentation import buffer as recording_buffer
        from tracing.instrumentation import context
        from tracing.spans.records import Kind

        context.finish(self.trace)
        self.trace = recording_buffer.ActiveTrace(Kind.BLOCK, "benchmark")
        context.begin(self.trace)

    def flush(self) -> None:
        import tracing

        if not tracing.flush(60):
            raise RuntimeError("the exporters did not take what was recorded")


class Nowhere(Complete):
    """Recorded, and let go unread, since there is no exporter."""

    name = "nowhere"
    settings = {"EXPORTERS": []}


class Discarding:
    """An exporter that throws away what it gets."""

    name = "discarding"

    def export(self, batch: Any) -> None:
        """Throw *batch* away."""

    def force_flush(self) -> None:
        """Do nothing."""

    def shutdown(self) -> None:
        """Do nothing."""


class Diagnosed(Complete):
    """Recorded, read and diagnosed; then thrown away."""

    name = "diagnosed"
    settings = {"EXPORTERS": ["benchmarks.modes.Discarding"]}


class LogOnly(Complete):
    """The same with the log alone."""

    name = "log"
    settings = {"EXPORTERS": ["log"]}


class DatabaseOnly(Complete):
    """The same with the database alone."""

    name = "database"
    settings = {"EXPORTERS": ["database"]}


class Spool(Complete):
    """Both exporters, but all except the recording in a collector elsewhere."""

    name = "spool"
    settings = {"COLLECTOR": "service"}


class CompleteUnsampled(Complete):
    """The same, with a sampler that leaves everything out."""

    name = "complete-unsampled"
    settings = {"SAMPLE_RATIO": 0.0}

    def begin(self) -> None:
        pass

    def rest(self) -> None:
        pass


class Sentry(Mode):
    """sentry-sdk with spans for receivers; a transaction for each unit, sent nowhere."""

    name = "sentry"

    def set_up(self, folder: Path, *, instances: bool) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.django import DjangoIntegration
        from sentry_sdk.transport import Transport

        class Nowhere(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                envelope.serialize()

        sentry_sdk.init(
            dsn="http://key@localhost/1",
            traces_sample_rate=1.0,
            transport=Nowhere,
            integrations=[DjangoIntegration(signals_spans=True)],
        )
        super().set_up(folder, instances=instances)

    def begin(self) -> None:
        import sentry_sdk

        self.transaction = sentry_sdk.start_transaction(name="benchmark")
        self.transaction.__enter__()

    def rest(self) -> None:
        self.transaction.__exit__(None, None, None)
        self.begin()


class OpenTelemetry(Mode):
    """opentelemetry-sdk with a span for each receiver, as an integrator would write it."""

    name = "opentelemetry"

    def set_up(self, folder: Path, *, instances: bool) -> None:
        super().set_up(folder, instances=instances)
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import (
            BatchSpanProcessor,
            SpanExporter,
            SpanExportResult,
        )

        class Nowhere(SpanExporter):
            def export(self, spans: Any) -> SpanExportResult:
                return SpanExportResult.SUCCESS

        self.provider = TracerProvider()
        self.provider.add_span_processor(
            BatchSpanProcessor(Nowhere(), max_queue_size=200_000, max_export_batch_size=512)
        )
        trace.set_tracer_provider(self.provider)
        self.tracer = trace.get_tracer("benchmarks")
        self._instrument()

    def _instrument(self) -> None:
        from django.dispatch import Signal

        tracer = self.tracer
        original = Signal._live_receivers  # type: ignore[attr-defined]  # noqa: SLF001

        def spanned(receiver: Any, sender: Any) -> Any:
            name = getattr(receiver, "__qualname__", repr(receiver))
            attributes = {"signal.sender": getattr(sender, "__qualname__", str(sender))}

            def receive(**named: Any) -> Any:
                with tracer.start_as_current_span(name, attributes=attributes):
                    return receiver(**named)

            return receive

        def spanned_async(receiver: Any, sender: Any) -> Any:
            name = getattr(receiver, "__qualname__", repr(receiver))
            attributes = {"signal.sender": getattr(sender, "__qualname__", str(sender))}

            async def receive(**named: Any) -> Any:
                with tracer.start_as_current_span(name, attributes=attributes):
                    return await receiver(**named)

            return receive

        def live_receivers(signal: Signal, sender: Any) -> Any:
            live, live_async = original(signal, sender)
            return (
                [spanned(receiver, sender) for receiver in live],
                [spanned_async(receiver, sender) for receiver in live_async],
            )

        Signal._live_receivers = live_receivers  # type: ignore[attr-defined]  # noqa: SLF001

    def begin(self) -> None:
        self.unit = self.tracer.start_as_current_span("benchmark")
        self.unit.__enter__()

    def rest(self) -> None:
        self.unit.__exit__(None, None, None)
        self.begin()

    def flush(self) -> None:
        self.provider.force_flush()

    def wrap(self, application: Callable[..., Any]) -> Callable[..., Any]:
        def traced(environ: dict[str, Any], start_response: Any) -> Any:
            with self.tracer.start_as_current_span(environ["PATH_INFO"]):
                return application(environ, start_response)

        return traced


class HandWritten(Mode):
    """A wrapped ``send`` that creates a row for each dispatch."""

    name = "hand-written"

    def set_up(self, folder: Path, *, instances: bool) -> None:
        super().set_up(folder, instances=instances)
        from django.db.models.signals import post_init, pre_init
        from django.dispatch import Signal

        from benchmarks.models import SignalLog

        original = Signal.send

        def send(signal: Signal, sender: Any, **named: Any) -> Any:
            if sender is SignalLog or signal is pre_init or signal is post_init:
                return original(signal, sender, **named)
            start = perf_counter()
            responses = original(signal, sender, **named)
            SignalLog.objects.create(
                signal=type(signal).__name__,
                sender=str(sender),
                receivers=", ".join(receiver.__qualname__ for receiver, _ in responses),
                duration_ms=(perf_counter() - start) * 1000,
            )
            return responses

        Signal.send = send  # type: ignore[method-assign]


class Silk(Mode):
    """django-silk: its middleware, every request recorded."""

    name = "silk"

    def set_up(self, folder: Path, *, instances: bool) -> None:
        project.set_up(
            folder,
            apps=("silk",),
            middleware=("silk.middleware.SilkyMiddleware",),
            instances=instances,
        )


MODES: dict[str, type[Mode]] = {
    mode.name: mode
    for mode in (
        Mode,
        Again,
        Structure,
        Default,
        CurrentSpans,
        Unsampled,
        Complete,
        Nowhere,
        Diagnosed,
        LogOnly,
        DatabaseOnly,
        Spool,
        CompleteUnsampled,
        Sentry,
        OpenTelemetry,
        HandWritten,
        Silk,
    )
}
