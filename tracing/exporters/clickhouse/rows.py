"""Spans as rows of ``otel_traces``, in the JSON that ClickHouse takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracing.exporters.formats import OtlpSpan, otlp_spans, resource_attributes
from tracing.spans.records import Dispatch, ReceiverCall, Trace
from tracing.store.clickhouse.spans import (
    HAZARD,
    KNOWN_HAZARD,
    Attributes,
    call_extra,
    dispatch_extra,
    hazard_event,
    trace_extra,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SECOND: Final = 1_000_000_000


FORMAT: Final = "JSONCompactEachRowWithNames"
"""The names of the columns once, then an array for each row: the server reads it faster than objects."""


class Row(msgspec.Struct, array_like=True, gc=False):
    """A span as the collector writes it, in the order of ``COLUMNS``."""

    timestamp: str
    """Seconds since the epoch, with nine decimals."""
    trace_id: str
    span_id: str
    span_name: str
    span_kind: str
    service_name: str
    resource_attributes: Attributes
    span_attributes: Attributes
    duration: int
    """Nanoseconds."""
    status_code: str
    parent_span_id: str = ""
    status_message: str = ""
    scope_name: str = ""
    scope_version: str = ""
    events_timestamp: tuple[str, ...] = ()
    events_name: tuple[str, ...] = ()
    events_attributes: tuple[Attributes, ...] = ()
    links_trace_id: tuple[str, ...] = ()
    links_span_id: tuple[str, ...] = ()
    links_trace_state: tuple[str, ...] = ()
    links_attributes: tuple[Attributes, ...] = ()


def _column(field: str) -> str:
    """Return the column of a field of ``Row``: nested ones have a dot."""
    for nested in ("events", "links"):
        if field.startswith(f"{nested}_"):
            return f"{nested.title()}.{_column(field.removeprefix(f'{nested}_'))}"
    return field.title().replace("_", "")


COLUMNS: Final = tuple(_column(field) for field in Row.__struct_fields__)
_HEAD: Final = msgspec.json.encode(COLUMNS) + b"\n"


def rows_of(trace: Trace, service: str, version: str) -> Iterator[Row]:
    """Yield the rows of *trace*: its own once it has ended, and the others.

    Args:
        trace: The trace, or a segment of one.
        service: Value of ``service.name``.
        version: Of the tracer; the version of the scope.
    """
    resource = _texts(resource_attributes(trace, service))
    for span in otlp_spans(trace):
        row = Row(
            _moment(span.start_ns),
            span.trace_id,
            span.span_id,
            span.name,
            "Server" if span.server else "Internal",
            service,
            resource,
            _texts(span.attributes) | _extra(span, trace),
            span.end_ns - span.start_ns,
            "Unset" if span.error is None else "Error",
            span.parent_span_id,
            span.error or "",
            "tracing",
            version,
        )
        _add_events(row, span)
        if span.link_span_id:
            row.links_trace_id, row.links_span_id = (span.trace_id,), (span.link_span_id,)
            row.links_trace_state, row.links_attributes = ("",), ({},)
        yield row


def _extra(span: OtlpSpan, trace: Trace) -> Attributes:
    """Return what our pages read besides."""
    record = span.record
    if isinstance(record, ReceiverCall) and span.dispatch is not None:
        return call_extra(record, span.dispatch, trace.root_span_id)
    return dispatch_extra(record) if isinstance(record, Dispatch) else trace_extra(trace)


def _add_events(row: Row, span: OtlpSpan) -> None:
    events = [] if span.exception is None else [("exception", _texts(span.exception))]
    if isinstance(trace := span.record, Trace):
        events += [(HAZARD, hazard_event(each)) for each in trace.hazards]
        events += [(KNOWN_HAZARD, hazard_event(each)) for each in trace.known_hazards]
    if events:
        row.events_timestamp = (_moment(span.end_ns),) * len(events)
        row.events_name, row.events_attributes = zip(*events, strict=True)


def block_of(traces: Iterable[Trace], service: str, version: str) -> bytes:
    """Return the rows of *traces*, a line each, in ``FORMAT``; empty if none.

    Raises:
        ValueError, TypeError, OverflowError: A value is none that JSON in UTF-8 has.
    """
    rows = [row for trace in traces for row in rows_of(trace, service, version)]
    return _HEAD + _encode_lines(rows) if rows else b""


_encode_lines: Final = msgspec.json.Encoder().encode_lines


def _moment(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, _SECOND)
    return f"{seconds}.{rest:09d}"


def _texts(attributes: dict[str, Any]) -> Attributes:
    """Return *attributes* as text, as the collector writes them."""
    return {
        name: value if type(value) is str else _text(value) for name, value in attributes.items()
    }


def _text(value: Any) -> str:
    if value is True:
        return "true"
    return "false" if value is False else str(value)
