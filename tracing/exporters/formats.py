"""Traces in the formats of other tools: Speedscope, Chrome and Perfetto, OTLP JSON, CSV, JSONL."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tracing.spans.codec import Clock, lines
from tracing.spans.escapes import escape_cell
from tracing.spans.records import (
    Dispatch,
    Kind,
    Outcome,
    ReceiverCall,
    Status,
    Trace,
    span_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class TextOut(Protocol):
    """What text is written to: an open file, or the stdout of a command."""

    def write(self, content: str, /) -> Any:
        """Take *content* as it is."""


# -- JSON lines ------------------------------------------------------------------------------


def write_jsonl(traces: Iterable[Trace], file: TextOut) -> None:
    """Write *traces* as the lines of the log, which ``tracing import`` reads back."""
    clock = Clock()
    for trace in traces:
        for _level, _event, line in lines(trace, clock):
            file.write(line.decode() + "\n")


# -- Bars that do not overlap ----------------------------------------------------------------


@dataclass(slots=True)
class Bar:
    """A span as a bar of a flame chart; what is inside it is on the same lane."""

    name: str
    start_ns: int
    end_ns: int
    span: Dispatch | ReceiverCall
    file: str = ""
    line: int = 0
    bars: list[Bar] = field(default_factory=list)


def _bars(dispatches: Iterable[Dispatch], sent: Mapping[int, list[Dispatch]]) -> list[Bar]:
    made = []
    for dispatch in dispatches:
        site = dispatch.callsite
        bar = Bar(
            f"{dispatch.signal.rpartition('.')[2]} {dispatch.sender}",
            dispatch.start_ns,
            dispatch.start_ns + dispatch.duration_ns,
            dispatch,
            "" if site is None else site.file,
            0 if site is None else site.line,
        )
        for call in dispatch.receiver_calls:
            if call.outcome is Outcome.SKIPPED:
                continue
            label = call.receiver
            inner = Bar(
                label.name,
                call.start_ns,
                call.start_ns + call.duration_ns,
                call,
                label.file,
                label.line,
            )
            inner.bars = _bars(sent.get(call.number, ()), sent)
            bar.bars.append(inner)
        made.append(bar)
    return made


def lanes(trace: Trace) -> list[list[Bar]]:
    """Return the bars of *trace* in lanes, in each of which bars lie inside or after one another.

    What ran at the same time as its sibling, or outlived its parent, gets a lane of its own: the
    receivers of ``asend``, callbacks after the commit, threads.
    """
    laid: list[list[Bar]] = [[]]
    ends = [0]

    def settle(bar: Bar) -> None:
        """Keep below *bar* what fits; send the rest to other lanes."""
        fitting: list[Bar] = []
        for inner in sorted(bar.bars, key=lambda other: other.start_ns):
            after = fitting[-1].end_ns if fitting else bar.start_ns
            if inner.start_ns >= after and inner.end_ns <= bar.end_ns:
                fitting.append(inner)
                settle(inner)
            else:
                place(inner, first=1)
        bar.bars = fitting

    def place(bar: Bar, first: int) -> None:
        for lane in range(first, len(laid)):
            if bar.start_ns >= ends[lane]:
                break
        else:
            lane = len(laid)
            laid.append([])
            ends.append(0)
        laid[lane].append(bar)
        ends[lane] = bar.end_ns
        settle(bar)

    for root in sorted(_bars(trace.roots, trace.sent_by()), key=lambda bar: bar.start_ns):
        place(root, first=0)
    for lane in laid:
        lane.sort(key=lambda bar: bar.start_ns)
    return [lane for lane in laid if lane]


def _title(trace: Trace) -> str:
    return f"{trace.kind} {trace.name}"


# -- Speedscope ------------------------------------------------------------------------------


def speedscope(traces: Iterable[Trace]) -> dict[str, Any]:
    """Return *traces* as a file for https://www.speedscope.app: a profile for each lane."""
    frames: list[dict[str, Any]] = []
    known: dict[tuple[str, str, int], int] = {}

    def frame(bar: Bar) -> int:
        key = (bar.name, bar.file, bar.line)
        if key not in known:
            known[key] = len(frames)
            frames.append(
                {"name": bar.name} | ({"file": bar.file, "line": bar.line} if bar.file else {})
            )
        return known[key]

    def walk(bars: list[Bar]) -> Iterator[dict[str, Any]]:
        for bar in bars:
            number = frame(bar)
            yield {"type": "O", "frame": number, "at": bar.start_ns}
            yield from walk(bar.bars)
            yield {"type": "C", "frame": number, "at": bar.end_ns}

    profiles = []
    names = []
    for trace in traces:
        names.append(_title(trace))
        for number, lane in enumerate(lanes(trace)):
            beside = f" (beside, {number})" if number else ""
            profiles.append(
                {
                    "type": "evented",
                    "name": f"{_title(trace)} {trace.trace_id[:8]}{beside}",
                    "unit": "nanoseconds",
                    "startValue": 0,
                    "endValue": max(trace.duration_ns, *(bar.end_ns for bar in lane)),
                    "events": list(walk(lane)),
                }
            )
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": "django-signal-tracing",
        "name": names[0] if len(names) == 1 else f"{len(names)} traces",
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": profiles,
    }


# -- Chrome trace, Perfetto ------------------------------------------------------------------


def chrome_trace(traces: Iterable[Trace]) -> dict[str, Any]:
    """Return *traces* in Chrome's trace event format, which Perfetto reads: times in us."""
    events: list[dict[str, Any]] = []

    def walk(bars: list[Bar], trace: Trace, process: int, thread: int) -> None:
        for bar in bars:
            events.append(
                {
                    "name": bar.name,
                    "cat": "dispatch" if isinstance(bar.span, Dispatch) else "receiver",
                    "ph": "X",
                    "ts": (trace.started_ns + bar.start_ns) / 1000,
                    "dur": (bar.end_ns - bar.start_ns) / 1000,
                    "pid": process,
                    "tid": thread,
                    "args": _attributes(bar.span) | _place(bar),
                }
            )
            walk(bar.bars, trace, process, thread)

    for process, trace in enumerate(traces, 1):
        events.append(
            {
                "name": "process_name",
                "ph": "M",
                "pid": process,
                "args": {"name": f"{_title(trace)} {trace.trace_id}"},
            }
        )
        events.append(
            {
                "name": _title(trace),
                "cat": "trace",
                "ph": "X",
                "ts": trace.started_ns / 1000,
                "dur": trace.duration_ns / 1000,
                "pid": process,
                "tid": 0,
                "args": trace_attributes(trace),
            }
        )
        for thread, lane in enumerate(lanes(trace), 1):
            walk(lane, trace, process, thread)
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _place(bar: Bar) -> dict[str, Any]:
    return {"file": bar.file, "line": bar.line} if bar.file else {}


# -- Attributes, in OpenTelemetry's words ----------------------------------------------------


def trace_attributes(trace: Trace) -> dict[str, Any]:
    """Return the attributes of the span of *trace* itself."""
    found: dict[str, Any] = {
        "django.tracing.kind": str(trace.kind),
        "django.tracing.status": str(trace.status),
        "django.tracing.dispatch_count": trace.dispatch_count,
        "django.tracing.receiver_call_count": trace.receiver_call_count,
        "django.tracing.query_count": trace.query_count,
        "django.tracing.error_count": trace.error_count,
        "process.pid": trace.process,
        "thread.name": trace.thread,
        "http.request.method": trace.http_method,
        "http.route": trace.name if trace.kind is Kind.REQUEST else "",
        "url.path": trace.http_path,
        "http.response.status_code": trace.http_status,
        "user.id": trace.user_id,
    }
    found |= trace.attributes
    return {name: value for name, value in found.items() if value not in {"", None}}


def _attributes(span: Dispatch | ReceiverCall) -> dict[str, Any]:
    if isinstance(span, Dispatch):
        return dispatch_attributes(span)
    return call_attributes(span)


def dispatch_attributes(dispatch: Dispatch) -> dict[str, Any]:
    """Return the attributes of the span of *dispatch*."""
    site = dispatch.callsite
    found: dict[str, Any] = {
        "django.signal": dispatch.signal,
        "django.signal.sender": dispatch.sender,
        "django.signal.method": str(dispatch.method),
        "django.signal.instance": dispatch.instance,
        "django.signal.created": dispatch.created,
        "django.signal.raw": dispatch.raw,
        "django.signal.action": dispatch.action,
        "django.signal.receiver_count": len(dispatch.receiver_calls),
        "django.db.using": dispatch.using,
        "django.db.transaction": str(dispatch.transaction),
        "django.db.query_count": dispatch.query_count,
        "thread.name": dispatch.thread,
        "code.file.path": "" if site is None else site.file,
        "code.line.number": None if site is None else site.line,
        "code.function.name": "" if site is None else site.function,
        "error.type": dispatch.exception_type,
    }
    if dispatch.update_fields is not None:
        found["django.signal.update_fields"] = ",".join(dispatch.update_fields)
    found |= {f"django.signal.value.{name}": text for name, text in dispatch.values.items()}
    return {name: value for name, value in found.items() if value not in {"", None}}


def call_attributes(call: ReceiverCall) -> dict[str, Any]:
    """Return the attributes of the span of *call*."""
    label = call.receiver
    found: dict[str, Any] = {
        "django.signal.receiver": label.name,
        "django.signal.dispatch_uid": label.dispatch_uid,
        "django.signal.position": call.position,
        "django.signal.outcome": str(call.outcome),
        "django.signal.response_type": call.response_type,
        "django.signal.weak": label.weak,
        "django.signal.is_async": label.is_async,
        "django.db.query_count": call.query_count,
        "code.function.name": label.name,
        "code.file.path": label.file,
        "code.line.number": label.line or None,
        "error.type": call.exception_type,
    }
    return {name: value for name, value in found.items() if value not in {"", None}}


# -- OTLP ------------------------------------------------------------------------------------


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
    attributes: dict[str, Any]
    error: str | None = None
    """The status message of a failed span; None for an unset status."""
    exception: tuple[str, str] | None = None
    """(type, message) of the event ``exception``."""
    link_span_id: str = ""
    """The span that caused it without waiting for it."""


def otlp_spans(trace: Trace) -> Iterator[OtlpSpan]:
    """Yield the spans of *trace*, its own first unless it is still running."""
    trace_id, started, root = trace.trace_id, trace.started_ns, trace.root_span_id
    if trace.final:
        yield OtlpSpan(
            trace_id,
            root,
            trace.parent_span_id,
            f"{trace.http_method} {trace.name}".strip(),
            trace.kind is Kind.REQUEST,
            started,
            started + trace.duration_ns,
            trace_attributes(trace),
            trace.error if trace.status is Status.ERROR else None,
        )
    for dispatch in trace.dispatches:
        parent = span_id(root, dispatch.parent_number or 0)
        own = span_id(root, dispatch.number)
        begin = started + dispatch.start_ns
        yield OtlpSpan(
            trace_id,
            own,
            parent,
            f"{dispatch.signal.rpartition('.')[2]} {dispatch.sender}",
            server=False,
            start_ns=begin,
            end_ns=begin + dispatch.duration_ns,
            attributes=dispatch_attributes(dispatch),
            error=dispatch.exception_type or None,
            link_span_id=parent if dispatch.parent_is_link else "",
        )
        for call in dispatch.receiver_calls:
            if call.outcome is Outcome.SKIPPED:
                continue
            begin = started + call.start_ns
            raised = call.outcome is Outcome.RAISED
            yield OtlpSpan(
                trace_id,
                span_id(root, call.number),
                own,
                call.receiver.name,
                server=False,
                start_ns=begin,
                end_ns=begin + call.duration_ns,
                attributes=call_attributes(call),
                error=f"{call.exception_type}: {call.exception_message}" if raised else None,
                exception=(call.exception_type, call.exception_message) if raised else None,
            )


def otlp_json(traces: Iterable[Trace], service: str = "django") -> dict[str, Any]:
    """Return *traces* in OTLP's JSON encoding, as collectors take it from files and /v1/traces.

    Args:
        traces: The traces.
        service: Value of the resource attribute ``service.name``.
    """
    by_host: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for trace in traces:
        spans = by_host.setdefault((trace.host, trace.process), [])
        spans += [_otlp_json_span(span) for span in otlp_spans(trace)]
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": _key_values(
                        {"service.name": service, "host.name": host, "process.pid": process}
                    )
                },
                "scopeSpans": [{"scope": {"name": "tracing"}, "spans": spans}],
            }
            for (host, process), spans in by_host.items()
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
    if span.parent_span_id:
        made["parentSpanId"] = span.parent_span_id
    if span.error is not None:
        # STATUS_CODE_ERROR.
        made["status"] = {"code": 2, "message": span.error}
    if span.exception is not None:
        made["events"] = [
            {
                "name": "exception",
                "timeUnixNano": str(span.end_ns),
                "attributes": _key_values(
                    {"exception.type": span.exception[0], "exception.message": span.exception[1]}
                ),
            }
        ]
    if span.link_span_id:
        made["links"] = [{"traceId": span.trace_id, "spanId": span.link_span_id}]
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


# -- CSV -------------------------------------------------------------------------------------

CSV_COLUMNS = (
    "trace_id", "root_span_id", "started_at", "kind", "name", "status", "signal", "sender",
    "instance", "method", "transaction", "dispatch_file", "dispatch_line", "dispatch_ms",
    "receiver", "receiver_file", "receiver_line", "position", "outcome", "ms", "self_ms",
    "query_count", "query_ms", "exception_type", "exception_message",
)  # fmt: skip


def write_csv(traces: Iterable[Trace], file: TextOut) -> None:
    """Write a row for each receiver call, with its dispatch and trace, for a spreadsheet."""
    clock = Clock()
    writer = csv.writer(file)
    writer.writerow(CSV_COLUMNS)
    for trace in traces:
        for dispatch in trace.dispatches:
            site = dispatch.callsite
            of_dispatch = (
                trace.trace_id,
                trace.root_span_id,
                clock.text(trace.started_ns),
                trace.kind,
                trace.name,
                trace.status,
                dispatch.signal,
                dispatch.sender,
                dispatch.instance,
                dispatch.method,
                dispatch.transaction,
                "" if site is None else site.file,
                "" if site is None else site.line,
                _ms(dispatch.duration_ns),
            )
            for call in dispatch.receiver_calls:
                row = (
                    *of_dispatch,
                    call.receiver.name,
                    call.receiver.file,
                    call.receiver.line,
                    call.position,
                    call.outcome,
                    _ms(call.duration_ns),
                    _ms(call.self_ns),
                    call.query_count,
                    _ms(call.query_ns),
                    call.exception_type,
                    call.exception_message,
                )
                writer.writerow([_harmless(cell) for cell in row])


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / 1e6:.6f}"


def _harmless(cell: Any) -> Any:
    """Return *cell* so that no spreadsheet takes it for a formula."""
    text = escape_cell(str(cell))
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
