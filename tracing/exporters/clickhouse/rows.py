"""Spans as rows of ``otel_traces``, in a binary format."""

from __future__ import annotations

import re
from struct import Struct, error
from typing import TYPE_CHECKING, Any, Final

from tracing.exporters.clickhouse.attributes import (
    NUMBERS,
    attributes_of_call,
    attributes_of_dispatch,
    attributes_of_trace,
    calls_above,
    facts_of_dispatch,
    hazard_event,
    is_common_call,
    is_common_dispatch,
    key_of_call,
    key_of_dispatch,
    numbers_of_call,
    numbers_of_dispatch,
    texts,
)
from tracing.exporters.clickhouse.binary import head, size, text
from tracing.exporters.clickhouse.calls import HEAD, CallEncoder, prefix
from tracing.exporters.formats import OtlpSpan, otlp_spans, resource_attributes
from tracing.spans.records import Dispatch, ReceiverCall, Trace
from tracing.store.clickhouse.spans import HAZARD, KNOWN_HAZARD, ROOT, Attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_TEXT: Final = "LowCardinality(String)"
_MAP: Final = f"Map({_TEXT}, String)"
COLUMNS: Final = {
    # Of each row.
    "Timestamp": "DateTime64(9)",
    "Duration": "UInt64",
    # Of all rows of a trace.
    "TraceId": "String",
    "ServiceName": _TEXT,
    "ResourceAttributes": _MAP,
    "ScopeName": "String",
    "ScopeVersion": "String",
    # Of each row.
    "SpanId": "String",
    "ParentSpanId": "String",
    # Of all rows of a name, if nothing went wrong.
    "SpanName": _TEXT,
    "SpanKind": _TEXT,
    "StatusCode": _TEXT,
    "StatusMessage": "String",
    "Events.Timestamp": "Array(DateTime64(9))",
    "Events.Name": f"Array({_TEXT})",
    "Events.Attributes": f"Array({_MAP})",
    "Links.TraceId": "Array(String)",
    "Links.SpanId": "Array(String)",
    "Links.TraceState": "Array(String)",
    "Links.Attributes": f"Array({_MAP})",
    "SpanAttributes": _MAP,
}
_MOST_CACHED: Final = 20_000
"""Pieces of rows, of some hundred bytes each, after which all of them are forgotten."""

_pack_times: Final = Struct("<qQ").pack
_pack_moment: Final = Struct("<q").pack
_NO_EVENTS: Final = b"\0" * 3
_NO_LINKS: Final = b"\0" * 4


_NAMES: Final = {name: text(name) for name in NUMBERS}


def _pairs(attributes: Attributes) -> bytes:
    return b"".join(
        [(_NAMES.get(name) or text(name)) + text(value) for name, value in attributes.items()]
    )


def _map(attributes: Attributes) -> bytes:
    return size(len(attributes)) + _pairs(attributes)


def _array(values: Iterable[bytes]) -> bytes:
    each = [*values]
    return size(len(each)) + b"".join(each)


def _plain(kind: str) -> str:
    """Return the type whose values are written in the same bytes."""
    return re.sub(r"LowCardinality\((\w+)\)|\bU?(Int64)|(DateTime64\(9)[^)]*", r"\1\2\3", kind)


_Pieces = tuple[bytes, int, bytes]
"""What stands before the attributes, how many of them there are, and the attributes."""
_NO_FACTS: Final[_Pieces] = b"", 0, b""


class Encoder:
    """Makes blocks; what many rows share it makes once.

    Args:
        service: Value of ``service.name``.
        version: Of the tracer; the version of the scope.
    """

    def __init__(self, service: str, version: str) -> None:
        self.service = service
        self.version = version
        self._calls = CallEncoder()
        self._scope = text("tracing") + text(version)
        self._pieces: dict[Any, _Pieces] = {}
        self.write_for({})

    def write_for(self, types: Mapping[str, str]) -> None:
        """Write for a table with columns of these *types*.

        Others are of those in ``COLUMNS``.

        Raises:
            TypeError: One of them is written in other bytes.
        """
        for name, kind in COLUMNS.items():
            if _plain(types.get(name, kind)) != _plain(kind):
                raise TypeError(f"{name} is {types[name]} in it, and not {kind}")
        told = {name: types.get(name, kind) for name, kind in COLUMNS.items()}
        self._head = head(told)

    def blocks(self, traces: Iterable[Trace]) -> tuple[bytes, bytes]:
        """Return the rows of *traces*, of spans and of calls; empty if none.

        Of each trace its own once it has ended, and the others.

        Raises:
            ValueError, TypeError, OverflowError: A value is none that a column has.
        """
        if len(self._pieces) > _MOST_CACHED:
            self._pieces.clear()
        self._calls.forget()
        spans: list[bytes] = []
        calls: list[bytes] = []
        try:
            for trace in traces:
                self._add(trace, spans, calls)
        except error as found:
            raise OverflowError(str(found)) from None
        return (
            b"".join([self._head, *spans]) if spans else b"",
            b"".join([HEAD, *calls]) if calls else b"",
        )

    def _add(self, trace: Trace, spans: list[bytes], calls: list[bytes]) -> None:
        resource = texts(resource_attributes(trace, self.service))
        context = trace.diagnosis_context
        outer = {} if context is None else context.outer_spans
        above = calls_above(trace)
        before = prefix(trace, self.service, self.version, resource)
        others = []
        for dispatch in trace.dispatches:
            sent_by = above.get(dispatch.parent_number)
            rows = (
                self._calls.rows(trace.started_ns, before, dispatch, sent_by)
                if dispatch.number not in outer
                else ()
            )
            if rows:
                calls += rows
            else:
                others.append(dispatch)
        if others or trace.final:
            spans += self._rows(trace, others, resource, above)

    def _rows(
        self,
        trace: Trace,
        dispatches: list[Dispatch],
        resource: Attributes,
        above: dict[int | None, Attributes],
    ) -> Iterator[bytes]:
        shared = text(trace.trace_id) + text(self.service) + _map(resource) + self._scope
        root = _pairs({ROOT: trace.root_span_id})
        context = trace.diagnosis_context
        outer = {} if context is None else context.outer_spans
        facts = _NO_FACTS
        for span in otlp_spans(trace, dispatches):
            record = span.record
            if isinstance(record, ReceiverCall):
                before, count, attributes = self._call(span, record, facts, root)
            elif isinstance(record, Dispatch):
                key = key_of_dispatch(record)
                # Its calls follow it.
                facts = self._facts(record, key)
                before, count, attributes = self._dispatch(
                    span, record, key, is_below=record.number not in outer
                )
                if sent := above.get(record.parent_number):
                    count, attributes = count + len(sent), attributes + _pairs(sent)
            else:
                told = attributes_of_trace(trace)
                before, count, attributes = _before(span), len(told), _pairs(told)
            yield b"".join(
                (
                    _pack_times(span.start_ns, span.end_ns - span.start_ns),
                    shared,
                    text(span.span_id),
                    text(span.parent_span_id),
                    before,
                    size(count),
                    attributes,
                )
            )

    def _dispatch(
        self, span: OtlpSpan, record: Dispatch, key: tuple[object, ...], *, is_below: bool
    ) -> _Pieces:
        is_common = is_below and is_common_dispatch(record)
        found = self._pieces.get(key) if is_common else None
        if found is None:
            told = attributes_of_dispatch(record, is_below=is_below)
            found = _before(span), len(told), _pairs(told)
            if is_common:
                self._pieces[key] = found
        before, count, attributes = found
        numbers = numbers_of_dispatch(record)
        return before, count + len(numbers), attributes + _pairs(numbers)

    def _call(self, span: OtlpSpan, record: ReceiverCall, facts: _Pieces, root: bytes) -> _Pieces:
        is_common = is_common_call(record)
        key = key_of_call(record)
        found = self._pieces.get(key) if is_common else None
        if found is None:
            told = attributes_of_call(record)
            found = _before(span), len(told), _pairs(told)
            if is_common:
                self._pieces[key] = found
        before, count, attributes = found
        numbers = numbers_of_call(record, span.dispatch)
        return (
            before,
            count + facts[1] + len(numbers) + 1,
            b"".join((attributes, facts[2], _pairs(numbers), root)),
        )

    def _facts(self, dispatch: Dispatch, key: tuple[object, ...]) -> _Pieces:
        found = self._pieces.get(("facts", key))
        if found is None:
            told = facts_of_dispatch(dispatch)
            found = self._pieces["facts", key] = b"", len(told), _pairs(told)
        return found


def _before(span: OtlpSpan) -> bytes:
    """Return the columns from the name of a span to its links."""
    return b"".join(
        (
            text(span.name),
            text("Server" if span.server else "Internal"),
            text("Unset" if span.error is None else "Error"),
            text(span.error or ""),
            _events(span),
            _links(span),
        )
    )


def _events(span: OtlpSpan) -> bytes:
    exception = span.exception
    events = [] if exception is None else [("exception", texts(exception))]
    if isinstance(trace := span.record, Trace):
        events += [(HAZARD, hazard_event(each)) for each in trace.hazards]
        events += [(KNOWN_HAZARD, hazard_event(each)) for each in trace.known_hazards]
    if not events:
        return _NO_EVENTS
    moments = _array([_pack_moment(span.end_ns)] * len(events))
    names, attributes = zip(*events, strict=True)
    return moments + _array(map(text, names)) + _array(map(_map, attributes))


def _links(span: OtlpSpan) -> bytes:
    if not span.link_span_id:
        return _NO_LINKS
    ids = _array([text(span.trace_id)]) + _array([text(span.link_span_id)])
    return ids + _array([text("")]) + _array([_map({})])
