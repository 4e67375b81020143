"""Records out of the attributes of spans.

What attributes of OpenTelemetry and columns of the table say is read from there; ``REST`` has all else. Of
spans that another wrote there is no rest: they are shown as far as their attributes go.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from tracing.spans.ids import span_number
from tracing.spans.records import (
    Callsite,
    Dispatch,
    Hazard,
    Kind,
    Method,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    Status,
    Trace,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from enum import StrEnum

Attributes = dict[str, str]

REST: Final = "django.tracing.rest"
"""What no other attribute says, as JSON."""
ROOT: Final = "django.tracing.root"
"""The span id of the trace, on each receiver call."""
HAZARD: Final = "django.hazard"
KNOWN_HAZARD: Final = "django.hazard.known"
"""Events of the span of a trace."""

TOLD_OF_TRACE: Final[dict[str, Any]] = {
    "trace_id": "0" * 32, "started_ns": 0, "duration_ns": 0, "status": Status.OK,
    "root_span_id": "0" * 16, "parent_span_id": "", "http_method": "", "http_path": "",
    "http_status": None, "user_id": "", "host": "", "process": 0, "thread": "", "release": "",
    "dispatch_count": 0, "receiver_call_count": 0, "query_count": 0, "error_count": 0,
}  # fmt: skip
"""Fields whose values are read from attributes and columns; in the rest these stand for them."""
_NO_RECEIVER: Final = ReceiverLabel("")


class SpanRow(msgspec.Struct, array_like=True, gc=False):
    """A row of the table of spans, in the order of ``SPAN_COLUMNS``."""

    span_id: str
    parent_id: str
    name: str
    service: str
    started_ns: int
    duration_ns: int
    status: str
    message: str
    attributes: Attributes
    resource: Attributes
    event_names: list[str]
    event_attributes: list[Attributes]


SPAN_COLUMNS: Final = (
    "SpanId, ParentSpanId, SpanName, ServiceName, toUnixTimestamp64Nano(Timestamp), Duration, StatusCode, "
    "StatusMessage, SpanAttributes, ResourceAttributes, Events.Name, Events.Attributes"
)

_LONGEST: Final = 18
"""Digits that surely fit into 64 bits."""
_MOST_SMALL: Final = 2**15 - 1
_Word = TypeVar("_Word", bound="StrEnum")
_T = TypeVar("_T")

_read_dispatch: Final = msgspec.json.Decoder(Dispatch).decode
_read_call: Final = msgspec.json.Decoder(ReceiverCall).decode
_read_trace: Final = msgspec.json.Decoder(Trace).decode
_read_hazard: Final = msgspec.json.Decoder(Hazard).decode


def _word(kind: type[_Word], text: str, default: _Word) -> _Word:
    return kind(text) if text in kind._value2member_map_ else default


def _number(text: str | None) -> int:
    is_number = text and text.isascii() and text.isdecimal() and len(text) <= _LONGEST
    return int(text) if text and is_number else 0


def _rest(row: SpanRow, read: Any, default: _T) -> _T:
    """Return the record in the rest of *row*, or *default*."""
    text = row.attributes.get(REST)
    if text is not None:
        try:
            found: _T = read(text)
        except ValueError:
            return default
        return found
    return default


def _is_call(row: SpanRow) -> bool:
    return "django.signal.receiver" in row.attributes


def _is_dispatch(row: SpanRow) -> bool:
    return "django.signal" in row.attributes and not _is_call(row)


def hazards_of(events: Iterable[str]) -> list[Hazard]:
    """Return the hazards in *events*, those that can be read."""
    found = []
    for text in events:
        try:
            found.append(_read_hazard(text))
        except ValueError:
            continue
    return found


class TraceReader:
    """Makes the record of one trace out of the rows that have its trace id.

    Args:
        root: The row of its own.
        rows: All rows with the trace id, also those of other traces and services.
    """

    def __init__(self, root: SpanRow, rows: Iterable[SpanRow]) -> None:
        self.root = root
        # A segment that came twice is there twice; a dispatch that was running comes again, longer.
        by_id: dict[str, SpanRow] = {}
        for row in rows:
            before = by_id.get(row.span_id)
            if before is None or before.duration_ns <= row.duration_ns:
                by_id[row.span_id] = row
        self.children: defaultdict[str, list[SpanRow]] = defaultdict(list)
        for row in by_id.values():
            self.children[row.parent_id].append(row)
        for below in self.children.values():
            below.sort(key=lambda row: row.started_ns)
        self.rows = by_id
        self.labels: dict[ReceiverLabel, ReceiverLabel] = {}
        self.sites: dict[Callsite, Callsite] = {}

    def trace(self, trace_id: str) -> Trace:
        """Return the trace, as far as its spans were written so far."""
        told = _foreign_trace(self.root, trace_id)
        trace = _rest(self.root, _read_trace, told)
        for name in TOLD_OF_TRACE:
            setattr(trace, name, getattr(told, name))
        if REST in self.root.attributes:
            self._take_numbered(trace)
        else:
            self._walk(trace)
        events = zip(self.root.event_names, self.root.event_attributes, strict=False)
        trace.hazards = hazards_of(each.get(REST, "") for name, each in events if name == HAZARD)
        return trace

    def _take_numbered(self, trace: Trace) -> None:
        """Take the spans whose ids follow from the trace's and their numbers."""
        root, found = trace.root_span_id, {}
        for row in filter(_is_dispatch, self.rows.values()):
            number = span_number(root, row.span_id)
            if number is None:
                continue
            dispatch = found[number] = self._dispatch(row, trace.started_ns)
            dispatch.number = number
            if dispatch.parent_number is None:
                dispatch.parent_number = span_number(root, row.parent_id) or None
            for below in filter(_is_call, self.children.get(row.span_id, ())):
                call = self._call(below, trace.started_ns)
                call.number = span_number(root, below.span_id) or call.number
                dispatch.receiver_calls.append(call)
            dispatch.receiver_calls.sort(key=lambda call: call.position)
        trace.dispatches = [found[number] for number in sorted(found)]

    def _walk(self, trace: Trace) -> None:
        """Give numbers to what another wrote below the root, past spans of others."""
        stack: list[tuple[SpanRow, int | None, int]] = [(self.root, None, 0)]
        number, seen = 0, set()
        while stack:
            row, parent, depth = stack.pop()
            if row.span_id in seen:
                continue
            seen.add(row.span_id)
            below = self.children.get(row.span_id, [])
            stack += [(each, parent, depth) for each in reversed(below) if not _is_call(each)]
            if not _is_dispatch(row):
                continue
            number += 1
            dispatch = self._dispatch(row, trace.started_ns)
            dispatch.number, dispatch.parent_number, dispatch.depth = number, parent, depth
            for each in filter(_is_call, below):
                number += 1
                call = self._call(each, trace.started_ns)
                call.number = number
                dispatch.receiver_calls.append(call)
                stack += [(sent, number, depth + 1) for sent in self.children.get(each.span_id, ())]
            trace.dispatches.append(dispatch)
        trace.dispatches.sort(key=lambda each: each.number)

    def _dispatch(self, row: SpanRow, started_ns: int) -> Dispatch:
        get = row.attributes.get
        empty = Dispatch(1, "", "", Method.SEND, 0, 0, receiver_calls=[])
        dispatch = _rest(row, _read_dispatch, empty)
        dispatch.query_ns = _number(get("django.db.query_ns"))
        dispatch.depth = min(_number(get("django.signal.depth")), _MOST_SMALL)
        dispatch.transaction_depth = _number(get("django.db.transaction_depth"))
        if named := get("django.signal.named"):
            dispatch.named = tuple(named.split(","))
        dispatch.signal, dispatch.sender = get("django.signal", ""), get("django.signal.sender", "")
        dispatch.method = _word(Method, get("django.signal.method", ""), Method.SEND)
        dispatch.start_ns, dispatch.duration_ns = row.started_ns - started_ns, row.duration_ns
        dispatch.instance = get("django.signal.instance", "")
        dispatch.created = _read_flag(get("django.signal.created"))
        dispatch.raw = _read_flag(get("django.signal.raw"))
        dispatch.using, dispatch.action = (
            get("django.db.using", ""),
            get("django.signal.action", ""),
        )
        dispatch.thread, dispatch.exception_type = get("thread.name", ""), get("error.type", "")
        dispatch.query_count = _number(get("django.db.query_count"))
        dispatch.transaction = _word(
            TransactionOutcome, get("django.db.transaction", ""), TransactionOutcome.NONE
        )
        if file := get("code.file.path"):
            site = Callsite(file, _number(get("code.line.number")), get("code.function.name", ""))
            dispatch.callsite = self.sites.setdefault(site, site)
        for call in dispatch.receiver_calls:
            call.receiver = self.labels.setdefault(call.receiver, call.receiver)
        return dispatch

    def _call(self, row: SpanRow, started_ns: int) -> ReceiverCall:
        get = row.attributes.get
        empty = ReceiverCall(1, 0, _NO_RECEIVER, 0, 0)
        call = _rest(row, _read_call, empty)
        label = ReceiverLabel(
            get("django.signal.receiver", ""),
            get("code.file.path", ""),
            _number(get("code.line.number")),
            get("django.signal.dispatch_uid", ""),
            get("django.signal.weak") != "false",
            get("django.signal.is_async") == "true",
            get("django.signal.app", ""),
            get("django.signal.any_sender") == "true",
            get("django.signal.mine") == "true",
        )
        call.receiver = self.labels.setdefault(label, label)
        call.position = min(_number(get("django.signal.position")), _MOST_SMALL)
        call.start_ns, call.duration_ns = row.started_ns - started_ns, row.duration_ns
        self_ns = get("django.signal.self_ns")
        call.self_ns = row.duration_ns if self_ns is None else _number(self_ns)
        call.outcome = _word(Outcome, get("django.signal.outcome", ""), Outcome.UNKNOWN)
        call.response_type = get("django.signal.response_type", "")
        call.exception_type = get("error.type", "")
        if call.outcome is Outcome.RAISED:
            call.exception_message = row.message.removeprefix(f"{call.exception_type}: ")
        call.query_count = _number(get("django.db.query_count"))
        call.query_ns = _number(get("django.db.query_ns"))
        cpu = get("django.signal.cpu_ns")
        call.cpu_ns = None if cpu is None else _number(cpu)
        return call


def _read_flag(text: str | None) -> bool | None:
    return None if text not in {"true", "false"} else text == "true"


def _foreign_trace(row: SpanRow, trace_id: str) -> Trace:
    """Return what the attributes of a span say of a trace that another wrote."""
    get: Mapping[str, str] = row.attributes
    resource = row.resource
    trace = Trace(
        trace_id,
        _word(Kind, get.get("django.tracing.kind", ""), Kind.BLOCK),
        row.name,
        row.started_ns,
        row.duration_ns,
        _word(Status, get.get("django.tracing.status", ""), Status.OK),
        row.span_id,
        row.parent_id,
    )
    trace.http_method = get.get("http.request.method", "")
    trace.http_path = get.get("url.path", "")
    trace.http_status = _number(get.get("http.response.status_code")) or None
    trace.user_id, trace.error = get.get("user.id", ""), row.message
    trace.thread, trace.process = get.get("thread.name", ""), _number(get.get("process.pid"))
    trace.host, trace.release = resource.get("host.name", ""), resource.get("service.version", "")
    for name in ("dispatch_count", "receiver_call_count", "query_count", "error_count"):
        setattr(trace, name, _number(get.get(f"django.tracing.{name}")))
    return trace
