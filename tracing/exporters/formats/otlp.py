"""A trace as spans of OpenTelemetry, and as OTLP in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracing.exporters.formats.attributes import (
    exception_attributes,
    resource_attributes,
    span_attributes,
    span_name,
    trace_attributes,
)
from tracing.spans.ids import span_ids
from tracing.spans.records import Dispatch, Kind, Outcome, ReceiverCall, Status, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(slots=True)
class OtlpSpan:
    """A span as OpenTelemetry has it."""

    trace_id: str
    span_id: str
    parent_span_id: str
    """Empty at the root."""
    name: str
    server: bool
    """SERVER rather than INTERNAL."""
    start_ns: int
    """Wall clock."""
    end_ns: int
    record: Trace | Dispatch | ReceiverCall
    error: str | None = None
    """The status message of a failed span; None for an unset status."""
    exception: dict[str, Any] | None = None
    """Attributes of what a receiver raised itself; what came from a dispatch of its own is told there."""
    link_span_id: str = ""
    """The span that caused it without waiting for it."""
    dispatch: Dispatch | None = None
    """Of a receiver call: what it was called for."""
    parent_trace_id: str = ""
    """Of a parent in another trace, as a task's is: OpenTelemetry has links for that."""

    @property
    def attributes(self) -> dict[str, Any]:
        """Return the attributes, made anew."""
        if isinstance(self.record, Trace):
            return trace_attributes(self.record)
        return span_attributes(self.record)

    @property
    def parent_within(self) -> str:
        """Return the id of its parent in the same trace; empty if none."""
        return "" if self.parent_trace_id else self.parent_span_id

    @property
    def links(self) -> list[tuple[str, str]]:
        """Return (trace id, span id) of what it is linked to."""
        found = [(self.trace_id, self.link_span_id)] if self.link_span_id else []
        if self.parent_trace_id and self.parent_span_id:
            found.append((self.parent_trace_id, self.parent_span_id))
        return found


def otlp_spans(trace: Trace, dispatches: Sequence[Dispatch] | None = None) -> Iterator[OtlpSpan]:
    """Yield the spans of *trace*, its own first; of these *dispatches* alone."""
    dispatches = trace.dispatches if dispatches is None else dispatches
    trace_id, started, root = trace.trace_id, trace.started_ns, trace.root_span_id
    id_of = span_ids(root)
    if trace.final:
        yield OtlpSpan(
            trace_id,
            root,
            trace.parent_span_id,
            span_name(trace),
            trace.kind is Kind.REQUEST,
            started,
            started + trace.duration_ns,
            trace,
            trace.error if trace.status is Status.ERROR else None,
            parent_trace_id=trace.parent_trace_id if trace.parent_trace_id != trace_id else "",
        )
    context = trace.diagnosis_context
    outer_spans = {} if context is None else context.outer_spans
    passed = {
        (each.parent_number, each.exception_type)
        for each in dispatches
        if each.exception_type and not each.is_detached
    }
    for dispatch in dispatches:
        own, parent = id_of(dispatch.number), id_of(dispatch.parent_number or 0)
        begin = started + dispatch.start_ns
        yield OtlpSpan(
            trace_id,
            own,
            outer_spans.get(dispatch.number, parent),
            f"{dispatch.signal.rpartition('.')[2]} {dispatch.sender}",
            server=False,
            start_ns=begin,
            end_ns=begin + dispatch.duration_ns,
            record=dispatch,
            error=dispatch.exception_type or None,
            link_span_id=parent if dispatch.is_detached else "",
        )
        for call in dispatch.receiver_calls:
            if call.outcome is Outcome.SKIPPED:
                continue
            begin, raised = started + call.start_ns, call.outcome is Outcome.RAISED
            yield OtlpSpan(
                trace_id,
                id_of(call.number),
                own,
                call.receiver.name,
                server=False,
                start_ns=begin,
                end_ns=begin + call.duration_ns,
                record=call,
                error=f"{call.exception_type}: {call.exception_message}" if raised else None,
                exception=exception_attributes(call)
                if raised and (call.number, call.exception_type) not in passed
                else None,
                dispatch=dispatch,
            )


def otlp_json(traces: Iterable[Trace], service: str = "django") -> dict[str, Any]:
    """Return *traces* in OTLP's JSON, as collectors take it.

    Args:
        traces: The traces.
        service: Value of the resource attribute ``service.name``.
    """
    by_process: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for trace in traces:
        resource = tuple(resource_attributes(trace, service).items())
        spans = by_process.setdefault(resource, [])
        spans += [_otlp_json_span(span) for span in otlp_spans(trace)]
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _key_values(dict(resource))},
                "scopeSpans": [{"scope": {"name": "tracing"}, "spans": spans}],
            }
            for resource, spans in by_process.items()
        ]
    }


def _otlp_json_span(span: OtlpSpan) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        # SPAN_KIND_SERVER and SPAN_KIND_INTERNAL.
        "kind": 2 if span.server else 1,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _key_values(span.attributes),
    }
    if span.parent_within:
        made["parentSpanId"] = span.parent_within
    if span.error is not None:
        # STATUS_CODE_ERROR.
        made["status"] = {"code": 2, "message": span.error}
    if span.exception is not None:
        made["events"] = [
            {
                "name": "exception",
                "timeUnixNano": str(span.end_ns),
                "attributes": _key_values(span.exception),
            }
        ]
    if span.links:
        made["links"] = [{"traceId": trace_id, "spanId": own} for trace_id, own in span.links]
    return made


def _key_values(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in attributes.items()]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        # 64-bit numbers are text in protobuf's JSON.
        return {"intValue": str(value)}
    return {"stringValue": str(value)}
