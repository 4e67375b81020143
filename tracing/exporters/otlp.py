"""The exporter of spans and exceptions to an OpenTelemetry collector.

Needs ``pip install django-signal-tracing[otlp]``. Dispatches and receiver calls become spans under
the span of their trace, which in turn hangs under the OpenTelemetry span that was active, if any. What a
receiver raised is a log record of its span: events of spans are on their way out.
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from tracing.exporters.formats import OtlpSpan, otlp_spans, resource_attributes
from tracing.pipeline import TemporaryError
from tracing.pipeline.suppression import OnlyOthers, unrecorded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk._logs.export import LogRecordExporter

    from tracing.spans import records

logger = logging.getLogger("tracing")

_SPANS_AT_ONCE = 512
"""The default of OpenTelemetry's own batches."""

_SCOPE = InstrumentationScope("tracing")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

EXCEPTIONS = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
"""The variable of OpenTelemetry that says how exceptions are told: ``logs`` or ``logs/dup``."""
_EVENT = "django.signal.receiver.exception"

_NOISY = (
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
)


class OTLPExporter:
    """Send spans to a collector.

    Args:
        endpoint: As ``http://collector:4317`` (gRPC) or ``http://collector:4318/v1/traces``; None
            for what OTEL_EXPORTER_OTLP_ENDPOINT says, else localhost.
        protocol: ``grpc`` or ``http``.
        service: ``service.name`` of the resource; None for what OTEL_SERVICE_NAME says.
        headers: Sent along, for authentication.
        timeout: Seconds that one attempt may take, the SDK's own retries included.
        insecure: For gRPC: without TLS. None decides by the endpoint's scheme.
        resource: Further attributes of the resource.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        protocol: Literal["grpc", "http"] = "grpc",
        service: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 3,
        insecure: bool | None = None,
        resource: Mapping[str, str] | None = None,
    ) -> None:
        if protocol not in {"grpc", "http"}:
            raise ValueError(f"OTLP is spoken over grpc or http, not {protocol!r}.")
        self.name = "otlp"
        self.endpoint = endpoint
        self.protocol = protocol
        self.headers = dict(headers or {})
        self.timeout = timeout
        self.insecure = insecure
        attributes: dict[str, Any] = dict(resource or {})
        if service is not None:
            attributes["service.name"] = service
        self._base = Resource.create(attributes)
        self._resources: dict[tuple[str, int], Resource] = {}
        self._sender: SpanExporter | None = None
        self._log_sender: LogRecordExporter | None = None
        self._sends_logs = log_endpoint(endpoint, protocol) is not None
        self._adds_events = not self._sends_logs or os.environ.get(EXCEPTIONS) == "logs/dup"
        self._leaked: list[SpanExporter | LogRecordExporter] = []
        self._filter = OnlyOthers()
        for name in _NOISY:
            logging.getLogger(name).addFilter(self._filter)

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Send the spans of *batch*, and after them what receivers raised.

        A collector that takes spans and no log records gets exceptions as events of spans from then on.

        Raises:
            TemporaryError: The collector did not take the spans.
        """
        sender = self._connected()
        spans = [(trace, span) for trace in batch for span in otlp_spans(trace)]
        made = [self._span(trace, span) for trace, span in spans]
        raised = [
            self._log_record(trace, span, span.exception)
            for trace, span in spans
            if span.exception is not None and self._sends_logs
        ]
        # The requests of the exporter must not become spans themselves.
        with unrecorded():
            for start in range(0, len(made), _SPANS_AT_ONCE):
                result = sender.export(made[start : start + _SPANS_AT_ONCE])
                if result is not SpanExportResult.SUCCESS:
                    where = self.endpoint or "its default address"
                    raise TemporaryError(f"the collector at {where} did not take the spans")
            for start in range(0, len(raised), _SPANS_AT_ONCE):
                self._send_logs(raised[start : start + _SPANS_AT_ONCE])

    def _send_logs(self, records: list[ReadableLogRecord]) -> None:
        if self._sends_logs and self._connected_for_logs().export(records).name != "SUCCESS":
            # They are not sent again: the spans are with the collector, and say what failed.
            self._sends_logs, self._adds_events = False, True
            logger.warning(
                "The collector took no log records: exceptions are events of spans from now on."
            )

    def force_flush(self) -> None:
        """Do nothing: what was exported was answered by the collector."""

    def shutdown(self) -> None:
        """Close the connection."""
        for name in _NOISY:
            logging.getLogger(name).removeFilter(self._filter)
        for sender in (self._sender, self._log_sender):
            if sender is not None:
                sender.shutdown()
        self._sender = self._log_sender = None

    def after_fork(self) -> None:
        """Leave the connections to the parent: channels do not survive a fork."""
        self._leaked += [each for each in (self._sender, self._log_sender) if each is not None]
        self._sender = self._log_sender = None

    def _connected(self) -> SpanExporter:
        if self._sender is None:
            self._sender = self._made("trace_exporter", "OTLPSpanExporter", self.endpoint)
        return self._sender

    def _connected_for_logs(self) -> LogRecordExporter:
        if self._log_sender is None:
            endpoint = log_endpoint(self.endpoint, self.protocol) or None
            self._log_sender = self._made("_log_exporter", "OTLPLogExporter", endpoint)
        return self._log_sender

    def _made(self, module: str, name: str, endpoint: str | None) -> Any:
        """Return an exporter of the SDK, from the package of the protocol."""
        package = f"opentelemetry.exporter.otlp.proto.{self.protocol}"
        make = getattr(import_module(f"{package}.{module}"), name)
        return make(endpoint=endpoint, **self._connection())

    def _connection(self) -> dict[str, Any]:
        """Return how to speak to the collector."""
        if self.protocol != "grpc":
            return {"headers": self.headers or None, "timeout": self.timeout}
        insecure = self.insecure
        if insecure is None and self.endpoint is not None:
            insecure = not self.endpoint.startswith("https://")
        # gRPC takes lower-case names only.
        headers = {name.lower(): value for name, value in self.headers.items()} or None
        return {"headers": headers, "timeout": self.timeout, "insecure": insecure}

    def _resource(self, trace: records.Trace) -> Resource:
        key = (trace.host, trace.process)
        if key not in self._resources:
            self._resources[key] = self._base.merge(Resource(resource_attributes(trace)))
        return self._resources[key]

    def _span(self, trace: records.Trace, span: OtlpSpan) -> ReadableSpan:
        events: tuple[Event, ...] = ()
        if span.exception is not None and self._adds_events:
            events = (Event("exception", span.exception, span.end_ns),)
        return ReadableSpan(
            span.name,
            context=_context(span.trace_id, span.span_id),
            parent=_context(span.trace_id, span.parent_within) if span.parent_within else None,
            resource=self._resource(trace),
            attributes=span.attributes,
            events=events,
            links=[Link(_context(*ids)) for ids in span.links],
            kind=SpanKind.SERVER if span.server else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error is not None else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )

    def _log_record(
        self, trace: records.Trace, span: OtlpSpan, exception: dict[str, Any]
    ) -> ReadableLogRecord:
        """Return the log record of an *exception* that a receiver raised."""
        record = LogRecord(
            timestamp=span.end_ns,
            observed_timestamp=span.end_ns,
            context=set_span_in_context(NonRecordingSpan(_context(span.trace_id, span.span_id))),
            severity_text="ERROR",
            severity_number=SeverityNumber.ERROR,
            attributes={**exception, "django.signal.receiver": span.name},
            event_name=_EVENT,
        )
        return ReadableLogRecord(record, self._resource(trace), _SCOPE)


def log_endpoint(endpoint: str | None, protocol: str) -> str | None:
    """Return where log records go, given where spans do.

    Returns:
        An address; empty where the environment decides; None where it is not known.
    """
    if endpoint is None:
        return ""
    if protocol == "grpc":
        return endpoint
    path = "/v1/traces"
    return f"{endpoint.removesuffix(path)}/v1/logs" if endpoint.endswith(path) else None


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_SAMPLED)
