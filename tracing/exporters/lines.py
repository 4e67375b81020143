"""The schema of the log: spans as records of strings, numbers and lists, and back without loss.

docs/logs.md describes every field. A field that has its default is left out, so that lines stay
short; reading puts it back.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any

from msgspec import NODEFAULT, Struct, to_builtins
from msgspec.structs import fields

from tracing.spans.records import (
    Bypass,
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
    derived_root_span_id,
    span_id,
)
from tracing.store.columns import decode_trace_details, trace_details

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = 1
"""Version of the lines: goes up when a field changes its meaning or goes away."""

DISPATCH_FINISHED = "dispatch_finished"
RECEIVER_FAILED = "receiver_failed"
TRACE_FINISHED = "trace_finished"
TRACE_RUNNING = "trace_running"
"""A segment of a long trace: like ``trace_finished``, with the counts so far."""
HAZARD_FOUND = "hazard_found"

Record = dict[str, Any]

_NANOSECONDS = 1_000_000_000


def _defaults(span: type, *without: str) -> dict[str, Any]:
    """Return the fields of *span* that have a plain default, with it."""
    return {
        item.name: item.default
        for item in fields(span)
        if item.default is not NODEFAULT and item.name not in without
    }


_CALL_DEFAULTS = _defaults(ReceiverCall, "statements")
_TRACE_DEFAULTS = _defaults(Trace, "status")
_LABEL_DEFAULTS = _defaults(ReceiverLabel)


class Clock:
    """Wall clock times as text: ``2026-11-22T13:35:17.123456Z``."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, at_ns: int) -> str:
        """Return the moment *at_ns* (ns since the epoch) in UTC, to the microsecond."""
        second, rest = divmod(at_ns, _NANOSECONDS)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._text}{rest // 1000:06d}Z"


# Plain strings: orjson takes long over members of an enum.
_TEXT = {word: str(word.value) for words in (Method, Outcome, TransactionOutcome) for word in words}

_labels: dict[int, tuple[ReceiverLabel, Record]] = {}
_LARGEST_CACHE = 10_000


def label_record(label: ReceiverLabel) -> Record:
    """Return *label* as a record; the same one for the same object, so it must not be changed."""
    known = _labels.get(id(label))
    if known is not None and known[0] is label:
        return known[1]
    record = {"receiver": label.name}
    for name, default in _LABEL_DEFAULTS.items():
        value = getattr(label, name)
        if value != default:
            record[name] = value
    if len(_labels) >= _LARGEST_CACHE:
        _labels.clear()
    _labels[id(label)] = (label, record)
    return record


def call_record(call: ReceiverCall) -> Record:
    """Return *call* as a record, its receiver's label included."""
    record = {
        **label_record(call.receiver),
        "number": call.number,
        "position": call.position,
        "start_ns": call.start_ns,
        "duration_ns": call.duration_ns,
        "self_ns": call.self_ns,
        "outcome": _TEXT[call.outcome],
    }
    if call.query_count:
        record["query_count"] = call.query_count
        record["query_ns"] = call.query_ns
    if call.response_type:
        record["response_type"] = call.response_type
    if call.exception_type:
        record["exception_type"] = call.exception_type
    if call.exception_message:
        record["exception_message"] = call.exception_message
    if call.hop_ns:
        record["hop_ns"] = call.hop_ns
    if call.same_as is not None:
        record["same_as"] = call.same_as
    if call.statements:
        record["statements"] = call.statements
    return record


def dispatch_record(  # noqa: C901, PLR0912, PLR0915 - fields.
    trace: Trace, dispatch: Dispatch, record: Record | None = None
) -> Record:
    """Put *dispatch* of *trace* with its receiver calls into *record*; return it.

    Args:
        trace: The trace.
        dispatch: One of its dispatches.
        record: What the line begins with; None for nothing.
    """
    record = {} if record is None else record
    number, parent = dispatch.number, dispatch.parent_number
    root, site = trace.root_span_id, dispatch.callsite
    record["trace_id"] = trace.trace_id
    record["root_span_id"] = root
    record["trace_started_ns"] = trace.started_ns
    record["span_id"] = span_id(root, number)
    record["parent_span_id"] = root if parent is None else span_id(root, parent)
    record["number"] = number
    record["signal"] = dispatch.signal
    record["sender"] = dispatch.sender
    record["method"] = _TEXT[dispatch.method]
    record["start_ns"] = dispatch.start_ns
    record["duration_ns"] = dispatch.duration_ns
    record["receivers"] = [call_record(call) for call in dispatch.receiver_calls]
    if parent is not None:
        record["parent_number"] = parent
        record["depth"] = dispatch.depth
        if dispatch.parent_is_link:
            record["parent_is_link"] = True
    elif dispatch.depth or dispatch.parent_is_link:
        record["depth"] = dispatch.depth
        record["parent_is_link"] = dispatch.parent_is_link
    if dispatch.instance:
        record["instance"] = dispatch.instance
    if dispatch.same_instance_as is not None:
        record["same_instance_as"] = dispatch.same_instance_as
    if dispatch.created is not None:
        record["created"] = dispatch.created
    if dispatch.raw is not None:
        record["raw"] = dispatch.raw
    if dispatch.using:
        record["using"] = dispatch.using
    if dispatch.update_fields is not None:
        record["update_fields"] = dispatch.update_fields
    if dispatch.action:
        record["action"] = dispatch.action
        record["reverse"] = dispatch.reverse
        record["pk_count"] = dispatch.pk_count
    elif dispatch.reverse is not None or dispatch.pk_count is not None:
        record["reverse"] = dispatch.reverse
        record["pk_count"] = dispatch.pk_count
    if dispatch.named:
        record["named"] = dispatch.named
    if dispatch.values:
        record["values"] = dispatch.values
    if site is not None:
        record["file"] = site.file
        record["line"] = site.line
        record["function"] = site.function
    record["transaction"] = _TEXT[dispatch.transaction]
    if dispatch.transaction_depth:
        record["transaction_depth"] = dispatch.transaction_depth
    if dispatch.thread:
        record["thread"] = dispatch.thread
    if dispatch.in_event_loop:
        record["in_event_loop"] = True
    if dispatch.exception_type:
        record["exception_type"] = dispatch.exception_type
    if dispatch.query_count or dispatch.query_ns:
        record["query_count"] = dispatch.query_count
        record["query_ns"] = dispatch.query_ns
    return record


def failure_record(trace: Trace, dispatch: Dispatch, call: ReceiverCall) -> Record:
    """Return the record of *call*, which raised, for people who look for errors alone."""
    record: Record = {
        "trace_id": trace.trace_id,
        "root_span_id": trace.root_span_id,
        "trace_started_ns": trace.started_ns,
        "span_id": span_id(trace.root_span_id, call.number),
        "parent_span_id": span_id(trace.root_span_id, dispatch.number),
        "signal": dispatch.signal,
        "sender": dispatch.sender,
        "receiver": call.receiver.name,
        "file": call.receiver.file,
        "line": call.receiver.line,
        "exception_type": call.exception_type,
        "exception_message": call.exception_message,
        "duration_ns": call.duration_ns,
    }
    if dispatch.instance:
        record["instance"] = dispatch.instance
    return record


def hazard_record(trace: Trace, hazard: Hazard) -> Record:
    """Return the record of *hazard*, found in *trace*."""
    values = hazard.values()
    return {
        "trace_id": trace.trace_id,
        "of_trace": values.pop("trace_id") is not None,
        **values,
        "root_span_id": trace.root_span_id,
        "trace_started_ns": trace.started_ns,
    }


def trace_record(trace: Trace) -> Record:
    """Return *trace* as a record, without its dispatches and hazards."""
    record: Record = {
        "trace_id": trace.trace_id,
        "root_span_id": trace.root_span_id,
        "span_id": trace.root_span_id,
        "kind": trace.kind,
        "name": trace.name,
        "status": trace.status,
        "started_ns": trace.started_ns,
        "duration_ns": trace.duration_ns,
    }
    for name, default in _TRACE_DEFAULTS.items():
        value = getattr(trace, name)
        if value != default:
            record[name] = value
    if trace.attributes:
        record["attributes"] = trace.attributes
    if trace.unheard:
        record["unheard"] = trace.unheard
    if trace.bypasses:
        record["bypasses"] = [to_builtins(bypass) for bypass in trace.bypasses]
    record.update(trace_details(trace))
    return record


_RESERVED = frozenset(
    {item.name for span in (Trace, Dispatch, ReceiverCall, ReceiverLabel, Hazard, Callsite)
     for item in fields(span)}
    | {"event", "level", "timestamp", "schema", "span_id", "receivers", "trace_started_ns"}
    | {"of_trace", "exception"}
)  # fmt: skip
"""Names of the schema: an attribute of the application with such a name stays in ``attributes``."""

Line = tuple[str, Record]
"""(level, record with all that the line holds)."""


def lines(trace: Trace, *, per: str = "dispatch", clock: Clock | None = None) -> Iterator[Line]:
    """Yield the lines of *trace*: its dispatches as they began, failures, hazards, then itself.

    Args:
        trace: The trace, or a segment of one.
        per: ``dispatch`` for a line of each dispatch, ``trace`` to have them within the trace's.
        clock: Kept by the caller from trace to trace, to be quicker.
    """
    started = trace.started_ns
    moment = (clock or Clock()).text
    context = {name: text for name, text in trace.attributes.items() if name not in _RESERVED}
    for dispatch in trace.dispatches:
        if per == "dispatch":
            at = started + dispatch.start_ns + dispatch.duration_ns
            record = dispatch_record(trace, dispatch, _head(moment(at), "info", DISPATCH_FINISHED))
            if context:
                record.update(context)
            yield "info", record
        for call in dispatch.receiver_calls:
            if call.outcome is Outcome.RAISED:
                at = started + call.start_ns + call.duration_ns
                failure = failure_record(trace, dispatch, call)
                yield "error", _head(moment(at), "error", RECEIVER_FAILED) | failure | context
    end = moment(started + trace.duration_ns)
    for hazard in trace.hazards:
        level = hazard.severity if hazard.severity in {"error", "warning"} else "info"
        finding = hazard_record(trace, hazard)
        yield level, _head(end, level, HAZARD_FOUND) | finding | context
    record = trace_record(trace)
    if per != "dispatch":
        record["dispatches"] = [dispatch_record(trace, dispatch) for dispatch in trace.dispatches]
    level = "error" if trace.status is Status.ERROR else "info"
    event = TRACE_FINISHED if trace.final else TRACE_RUNNING
    yield level, _head(end, level, event) | record | context


def _head(timestamp: str, level: str, event: str) -> Record:
    """Return what every line begins with: where a reader looks first."""
    return {"timestamp": timestamp, "level": level, "event": event, "schema": SCHEMA}


# -- Reading ---------------------------------------------------------------------------------


class LineError(ValueError):
    """A line is not one of the schema."""


_TRACE_ID = re.compile("[0-9a-f]{32}")
_ROOT_SPAN_ID = re.compile("[0-9a-f]{16}")

_ALLOWED: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "str | None": (str, NoneType),
    "int | None": (int, NoneType),
    "bool | None": (bool, NoneType),
}
_ALLOWED_ITEMS: dict[str, tuple[tuple[type, ...], ...]] = {
    "list[int]": ((int,),),
    "list[str]": ((str,),),
    "tuple[str, ...]": ((str,),),
    "tuple[str, ...] | None": ((str,),),
    "dict[str, str]": ((str,),),
    "list[tuple[str, str, int]]": ((str,), (str,), (int,)),
    "list[tuple[str, int, int]]": ((str,), (int,), (int,)),
}
"""For each value of a container, or for each place of its tuples."""


_LARGEST = 2**62
_LARGEST_OF = {
    **dict.fromkeys(("position", "depth", "http_status"), 2**15 - 1),
    # Its numbers are counts and nanoseconds.
    **dict.fromkeys(("rows", "pk_count", "statements"), _LARGEST),
}
"""What the columns of the store hold; where nothing is said, nanoseconds 62 bits, the rest 31."""
_MAY_BE_NEGATIVE = {"start_ns", "self_ns"}
"""A clock of another thread, and what is left of a duration, may be a little below 0."""


@cache
def _annotations(span: type[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((item.name, str(item.type)) for item in fields(span))


def _verified(span: Any) -> Any:
    """Return *span* if all in it has the type that it must have, or raise LineError.

    JSON tells nothing of that, SQLite stores what it gets, and the viewer would stumble over it.
    """
    kind: Any = type(span)
    for name, annotation in _annotations(kind):
        value = getattr(span, name)
        if (allowed := _ALLOWED.get(annotation)) is not None:
            _verify(name, value, allowed)
        elif (places := _ALLOWED_ITEMS.get(annotation)) is not None:
            if value is not None:
                _verify(name, value, (list, tuple, dict))
                for item in value.values() if isinstance(value, dict) else value:
                    of_item = item if len(places) > 1 else (item,)
                    for each, types in zip(of_item, places, strict=True):
                        _verify(name, each, types)
        elif isinstance(value, (list, tuple)):
            for item in value:
                _verified(item)
        elif isinstance(value, Struct):
            _verified(value)
    return span


def _verify(name: str, value: object, allowed: tuple[type, ...]) -> None:
    fits = type(value) in allowed
    if type(value) is int and fits:
        largest = _LARGEST_OF.get(name) or (_LARGEST if name.endswith("_ns") else 2**31 - 1)
        smallest = -largest if name in _MAY_BE_NEGATIVE else int(name == "number")
        fits = smallest <= value <= largest
    if not fits:
        raise LineError(f"{name} cannot be {value!r:.60}")


def _key(record: Record, started_ns: int) -> str:
    """Return the root span id of the trace of a line; lines were once written without it."""
    found = record.get("root_span_id") or derived_root_span_id(record["trace_id"], started_ns)
    _verify("root_span_id", found, (str,))
    return str(found)


class Reader:
    """Put traces together out of the lines of a log; lines that are not the tracer's are skipped.

    The lines of a trace must come in the order in which they were written; those of other traces
    may come in between.
    """

    def __init__(self) -> None:
        self.skipped = 0
        """Lines without ``schema``: the application's own."""
        self.taken = 0
        """Lines with it."""
        self._parts: dict[str, _Parts] = {}

    def feed(self, line: str | bytes) -> Trace | None:
        """Take one line; return the trace that it completes, if it does.

        Raises:
            LineError: The line is not JSON, or of a newer schema, or lacks a field.
        """
        if not line.strip():
            return None
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LineError(f"no JSON: {error}") from None
        if not isinstance(record, dict) or "schema" not in record:
            self.skipped += 1
            return None
        self.taken += 1
        if record["schema"] != SCHEMA:
            raise LineError(f"schema {record['schema']!r} is not known here; this is {SCHEMA}")
        try:
            return self._take(record)
        except LineError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LineError(f"{type(error).__name__}: {error}") from None

    def _take(self, record: Record) -> Trace | None:
        event = record["event"]
        if event in {TRACE_FINISHED, TRACE_RUNNING}:
            key = _key(record, record["started_ns"])
            parts = self._parts.setdefault(key, _Parts())
            parts.add_trace(record)
            if event == TRACE_FINISHED:
                del self._parts[key]
                return parts.build()
        elif event in {DISPATCH_FINISHED, HAZARD_FOUND}:
            key = _key(record, record["trace_started_ns"])
            parts = self._parts.setdefault(key, _Parts())
            if event == DISPATCH_FINISHED:
                parts.add_dispatch(record)
            else:
                parts.hazards.append(_verified(_hazard(record)))
        return None

    def unfinished(self) -> Iterator[Callable[[], Trace]]:
        """Yield what returns a trace that was still running when the log ended, or raises LineError."""
        for parts in self._parts.values():
            if parts.trace is not None:
                yield parts.build

    def rest(self) -> Iterator[Trace]:
        """Yield the traces that were still running when the log ended."""
        for make in self.unfinished():
            yield make()

    @property
    def incomplete(self) -> int:
        """Return how many traces have dispatches but no line of their own so far."""
        return sum(parts.trace is None for parts in self._parts.values())


class _Parts:
    """What was read of one trace."""

    def __init__(self) -> None:
        self.trace: Trace | None = None
        # By number: a dispatch that was running comes again when it has ended.
        self.dispatches: dict[int, Dispatch] = {}
        self.hazards: list[Hazard] = []
        self._sites: dict[tuple[str, int, str], Callsite] = {}
        self._receivers: dict[tuple[Any, ...], ReceiverLabel] = {}

    def add_trace(self, record: Record) -> None:
        before = self.trace
        for dispatch in record.get("dispatches", ()):
            self.add_dispatch(dispatch)
        trace = Trace(
            kind=Kind(record["kind"]),
            status=Status(record["status"]),
            attributes=dict(record.get("attributes", {})),
            bypasses=[_bypass(bypass) for bypass in record.get("bypasses", ())],
            unheard=[
                (signal, sender, count) for signal, sender, count in record.get("unheard", ())
            ],
            **decode_trace_details(record),
            **{name: record[name] for name in ("trace_id", "name", "started_ns", "duration_ns")},
            **{name: record[name] for name in _TRACE_DEFAULTS if name in record},
        )
        if not _TRACE_ID.fullmatch(trace.trace_id):
            raise LineError(f"trace_id is no trace id: {trace.trace_id!r:.60}")
        if not _ROOT_SPAN_ID.fullmatch(trace.root_span_id):
            raise LineError(f"root_span_id is no span id: {trace.root_span_id!r:.60}")
        self.trace = _verified(trace)
        if before is not None:
            trace.bypasses[:0] = before.bypasses
            trace.side_effects[:0] = before.side_effects
            trace.lost_receivers[:0] = before.lost_receivers
            trace.connection_changes[:0] = before.connection_changes
            trace.unreadable[:0] = before.unreadable

    def add_dispatch(self, record: Record) -> None:
        site = None
        if "file" in record:
            place = (record["file"], record["line"], record["function"])
            site = self._sites.setdefault(place, Callsite(*place))
        fields_ = record.get("update_fields")
        dispatch = Dispatch(
            method=Method(record["method"]),
            transaction=TransactionOutcome(record["transaction"]),
            callsite=site,
            update_fields=None if fields_ is None else tuple(fields_),
            named=tuple(record.get("named", ())),
            values=dict(record.get("values", {})),
            receiver_calls=[self._call(call) for call in record["receivers"]],
            **{
                name: record[name]
                for name in ("number", "signal", "sender", "start_ns", "duration_ns")
            },
            **{name: record[name] for name in _PLAIN if name in record},
        )
        self.dispatches[dispatch.number] = _verified(dispatch)

    def _call(self, record: Record) -> ReceiverCall:
        label = {name: record[name] for name in _LABEL_DEFAULTS if name in record}
        key = (record["receiver"], *label.items())
        receiver = self._receivers.setdefault(key, ReceiverLabel(record["receiver"], **label))
        values = {name: record[name] for name in _CALL_DEFAULTS if name in record}
        values["outcome"] = Outcome(record["outcome"])
        return ReceiverCall(
            number=record["number"],
            position=record["position"],
            receiver=receiver,
            start_ns=record["start_ns"],
            duration_ns=record["duration_ns"],
            statements=tuple((sql, count, ns) for sql, count, ns in record.get("statements", ())),
            **values,
        )

    def build(self) -> Trace:
        trace = self.trace
        if trace is None:
            raise LineError("a trace without a line of its own")
        trace.dispatches = [self.dispatches[number] for number in sorted(self.dispatches)]
        calls = [call.number for each in trace.dispatches for call in each.receiver_calls]
        if len({*calls, *self.dispatches}) < len(calls) + len(self.dispatches):
            raise LineError(f"two spans of trace {trace.trace_id} have one number")
        for dispatch in trace.dispatches:
            if (dispatch.parent_number or 0) > dispatch.number:
                # Nothing is inside of what began later, nor inside itself.
                raise LineError(f"span {dispatch.number} is inside of {dispatch.parent_number}")
        trace.hazards = self.hazards
        return trace


_PLAIN = tuple(
    _defaults(Dispatch, "method", "transaction", "callsite", "update_fields", "named", "number")
)


def _hazard(record: Record) -> Hazard:
    names = {item.name for item in fields(Hazard)} - {"trace_id", "root_span_id"}
    of_trace = record["of_trace"]
    return Hazard(
        trace_id=record["trace_id"] if of_trace else None,
        root_span_id=_key(record, record["trace_started_ns"]) if of_trace else "",
        **{name: record[name] for name in names if name in record},
    )


def _bypass(record: Record) -> Bypass:
    site = record["callsite"]
    return Bypass(
        **record
        | {
            "signals": tuple(record["signals"]),
            "receivers": tuple(ReceiverLabel(**receiver) for receiver in record["receivers"]),
            "callsite": None if site is None else Callsite(**site),
        }
    )
