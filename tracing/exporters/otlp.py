"""The exporter that sends spans to an OpenTelemetry collector, over gRPC or HTTP.

Needs ``pip install django-signal-tracing[otlp]``. Dispatches and receiver calls become spans under
the span of their trace, which in turn hangs under the OpenTelemetry span that was active, if any.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tracing.exporters.formats import OtlpSpan, otlp_spans
from tracing.pipeline import TemporaryError, is_worker_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracing.spans import records

_SPANS_AT_ONCE = 512
"""The default of OpenTelemetry's own batches."""

_SCOPE = InstrumentationScope("tracing")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
# What OpenTelemetry's instrumentations look at before they record: older ones at the plain name.
_SUPPRESS = ("suppress_instrumentation", _SUPPRESS_INSTRUMENTATION_KEY)

_NOISY = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
)


class _OnlyOthers(logging.Filter):
    """Silence the SDK in our worker: the pipeline says once that the collector is gone."""

    def filter(self, _record: logging.LogRecord) -> bool:
        """Return whether the record was logged on any other thread."""
        return not is_worker_thread()


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
        self._leaked: list[SpanExporter] = []
        self._filter = _OnlyOthers()
        for name in _NOISY:
            logging.getLogger(name).addFilter(self._filter)

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Send the spans of *batch*.

        Raises:
            TemporaryError: The collector did not take them.
        """
        sender = self._connected()
        made = [self._span(trace, span) for trace in batch for span in otlp_spans(trace)]
        # The requests of the exporter must not become spans themselves.
        token = attach(set_value(_SUPPRESS[0], True, set_value(_SUPPRESS[1], True)))
        try:
            for start in range(0, len(made), _SPANS_AT_ONCE):
                result = sender.export(made[start : start + _SPANS_AT_ONCE])
                if result is not SpanExportResult.SUCCESS:
                    where = self.endpoint or "its default address"
                    raise TemporaryError(f"the collector at {where} did not take the spans")
        finally:
            detach(token)

    def force_flush(self) -> None:
        """Do nothing: what was exported was answered by the collector."""

    def shutdown(self) -> None:
        """Close the connection."""
        for name in _NOISY:
            logging.getLogger(name).removeFilter(self._filter)
        if self._sender is not None:
            self._sender.shutdown()
            self._sender = None

    def after_fork(self) -> None:
        """Leave the connection to the parent process: a channel does not survive a fork."""
        if self._sender is not None:
            self._leaked.append(self._sender)
            self._sender = None

    def _connected(self) -> SpanExporter:
        if self._sender is None:
            if self.protocol == "grpc":
                from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
                    OTLPSpanExporter as GrpcSender,
                )

                insecure = self.insecure
                if insecure is None and self.endpoint is not None:
                    insecure = not self.endpoint.startswith("https://")
                self._sender = GrpcSender(
                    endpoint=self.endpoint,
                    insecure=insecure,
                    # gRPC takes lower-case names only.
                    headers={name.lower(): value for name, value in self.headers.items()} or None,
                    timeout=self.timeout,
                )
            else:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                    OTLPSpanExporter as HttpSender,
                )

                self._sender = HttpSender(
                    endpoint=self.endpoint, headers=self.headers or None, timeout=self.timeout
                )
        return self._sender

    def _resource(self, trace: records.Trace) -> Resource:
        key = (trace.host, trace.process)
        if key not in self._resources:
            attributes: dict[str, Any] = {"host.name": trace.host, "process.pid": trace.process}
            if trace.release:
                attributes["service.version"] = trace.release
            self._resources[key] = self._base.merge(Resource(attributes))
        return self._resources[key]

    def _span(self, trace: records.Trace, span: OtlpSpan) -> ReadableSpan:
        def context(span_id: str) -> SpanContext:
            return SpanContext(
                int(span.trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_SAMPLED
            )

        events: tuple[Event, ...] = ()
        if span.exception is not None:
            events = (
                Event(
                    "exception",
                    {
                        "exception.type": span.exception[0],
                        "exception.message": span.exception[1],
                    },
                    span.end_ns,
                ),
            )
        return ReadableSpan(
            span.name,
            context=context(span.span_id),
            parent=context(span.parent_span_id) if span.parent_span_id else None,
            resource=self._resource(trace),
            attributes=span.attributes,
            events=events,
            links=(Link(context(span.link_span_id)),) if span.link_span_id else (),
            kind=SpanKind.SERVER if span.server else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error is not None else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )
