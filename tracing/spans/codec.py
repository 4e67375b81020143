"""The JSON of a trace: log lines, there and back, and whole documents.

The records are the schema (docs/reference/logs.md says what each field means). In a line a field that has its
default is left out, and reading puts it back; a document has all of them.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from tracing.spans.escapes import escape_json_bytes
from tracing.spans.ids import span_ids
from tracing.spans.records import (
    Callsite,
    Dispatch,
    Hazard,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    Status,
    Trace,
    span_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SCHEMA: Final = 3
"""Version of the lines: goes up when a field changes its meaning or goes away."""

DISPATCH_FINISHED: Final = "dispatch_finished"
RECEIVER_FAILED: Final = "receiver_failed"
TRACE_FINISHED: Final = "trace_finished"
TRACE_RUNNING: Final = "trace_running"
"""A segment of a long trace: like ``trace_finished``, with the counts so far."""
HAZARD_FOUND: Final = "hazard_found"

Line: TypeAlias = tuple[str, str, bytes]
"""(level, event, the whole line as UTF-8 without its end)."""

_NANOSECONDS: Final = 1_000_000_000
_RESERVED: Final = frozenset(
    {
        name
        for record in (Trace, Dispatch, ReceiverCall, ReceiverLabel, Hazard, Callsite)
        for name in record.__struct_fields__
    }
    | {"event", "level", "timestamp", "schema", "span_id", "trace_started_ns", "of_trace"}
    | {"exception"}
)
"""Names of the schema: an attribute of the application with such a name stays in ``attributes``."""

_encode: Final = msgspec.json.Encoder().encode
_RAISED: Final = Outcome.RAISED


# -- Writing ---------------------------------------------------------------------------------


class Clock:
    """Wall clock times as text: ``2026-11-22T13:35:17.123456Z``."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, at_ns: int) -> str:
        """Return the time *at_ns* (ns since the epoch) in UTC, to the microsecond."""
        second, rest = divmod(at_ns, _NANOSECONDS)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._text}{rest // 1000:06d}Z"


def lines(trace: Trace, clock: Clock | None = None) -> Iterator[Line]:
    """Yield the lines of *trace*: dispatches, failures, hazards, then itself.

    Args:
        trace: The trace, or a segment of one.
        clock: Kept by the caller from trace to trace, to be quicker.

    Raises:
        ValueError: A value is none that JSON in UTF-8 has, as a lone surrogate.
        OverflowError: A number is beyond 64 bits.
        TypeError: A value is of another type than its field.
    """
    root, started = trace.root_span_id, trace.started_ns
    moment = (clock or Clock()).text
    ids = _inside({"trace_id": trace.trace_id, "root_span_id": root, "trace_started_ns": started})
    context = _inside(
        {name: text for name, text in trace.attributes.items() if name not in _RESERVED}
    )
    tail = b"," + context + b"}" if context else b"}"
    id_of = span_ids(root)
    ids_text = ids.decode()
    for dispatch in trace.dispatches:
        parent = dispatch.parent_number
        head = (
            f'{{"timestamp":"{moment(started + dispatch.start_ns + dispatch.duration_ns)}",'
            f'"level":"info","event":"{DISPATCH_FINISHED}","schema":{SCHEMA},'
            f'"span_id":"{id_of(dispatch.number)}",'
            f'"parent_span_id":"{root if parent is None else id_of(parent)}",{ids_text},'
        )
        line = head.encode() + _encode(dispatch)[1:-1] + tail
        if not line.isascii() or b"\x7f" in line:
            line = escape_json_bytes(line)
        yield "info", DISPATCH_FINISHED, line
        for call in dispatch.receiver_calls:
            if call.outcome is _RAISED:
                at = moment(started + call.start_ns + call.duration_ns)
                failure = _failure(root, dispatch, call)
                yield _line(at, "error", RECEIVER_FAILED, ids + b"," + _inside(failure), tail)
    end = moment(started + trace.duration_ns)
    for hazard in trace.hazards:
        level = hazard.severity if hazard.severity in {"error", "warning"} else "info"
        found = replace(hazard, trace_id=None, root_span_id="")
        of_trace = b',"of_trace":' + _encode(hazard.trace_id is not None) + b","
        yield _line(end, level, HAZARD_FOUND, ids + of_trace + _inside(found), tail)
    level = "error" if trace.status is Status.ERROR else "info"
    event = TRACE_FINISHED if trace.final else TRACE_RUNNING
    alone = replace(trace, dispatches=[], hazards=[], known_hazards=[], diagnosis_context=None)
    body = _inside({"span_id": root}) + b"," + _inside(alone)
    if trace.status is Status.OK:
        # Its default, and what is looked for first.
        body += b',"status":"ok"'
    yield _line(end, level, event, body, tail)


def _inside(value: object) -> bytes:
    """Return the JSON of an object without its braces."""
    return _encode(value)[1:-1]


def _line(timestamp: str, level: str, event: str, body: bytes, tail: bytes) -> Line:
    """Return a line that begins with what a reader looks at first."""
    head = f'{{"timestamp":"{timestamp}","level":"{level}","event":"{event}","schema":{SCHEMA},'
    return level, event, escape_json_bytes(b"".join((head.encode(), body, tail)))


def _failure(root: str, dispatch: Dispatch, call: ReceiverCall) -> dict[str, Any]:
    """Return the error of *call*, for people who look for errors alone."""
    found: dict[str, Any] = {
        "span_id": span_id(root, call.number),
        "parent_span_id": span_id(root, dispatch.number),
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
        found["instance"] = dispatch.instance
    return found


# -- Documents -------------------------------------------------------------------------------


def document(trace: Trace, most: int | None = None) -> dict[str, Any]:
    """Return a whole trace, its dispatches flat, with ``parent_number``.

    Args:
        trace: The trace.
        most: At most so many dispatches; None for all.
    """
    found = {
        name: _whole(getattr(trace, name))
        for name in trace.__struct_fields__
        if name not in {"dispatches", "orphans", "diagnosis_context"}
    }
    found["orphans"] = [
        {"signal": signal, "sender": sender, "count": count}
        for signal, sender, count in trace.orphans
    ]
    found["dispatches"] = [dispatch_document(trace, each) for each in trace.dispatches[:most]]
    return found


def dispatch_document(trace: Trace, dispatch: Dispatch) -> dict[str, Any]:
    """Return one dispatch with its calls, without what was sent below them."""
    found: dict[str, Any] = _whole(dispatch)
    for call in (found, *found["receiver_calls"]):
        call["span_id"] = span_id(trace.root_span_id, call["number"])
    return found


def call_document(trace: Trace, call: ReceiverCall) -> dict[str, Any]:
    """Return one receiver call, without what was sent from inside it."""
    found: dict[str, Any] = _whole(call)
    found["span_id"] = span_id(trace.root_span_id, call.number)
    return found


def flat_document(trace: Trace) -> dict[str, Any]:
    """Return a whole trace for the command: calls have labels, no defaults."""
    alone = replace(trace, dispatches=[], hazards=[], known_hazards=[], diagnosis_context=None)
    found: dict[str, Any] = msgspec.to_builtins(alone)
    found |= {"span_id": trace.root_span_id, "status": trace.status.value}
    for name in _NOTES & found.keys():
        found[name] = _whole(getattr(trace, name))
    found["dispatches"] = [_flat_dispatch(trace, dispatch) for dispatch in trace.dispatches]
    return found


_NOTES: Final = frozenset(
    {
        "bypasses",
        "side_effects",
        "lost_receivers",
        "connection_changes",
        "missed_receivers",
        "waiting_callbacks",
        "silent_writes",
        "discarded_callbacks",
    }
)


def _flat_dispatch(trace: Trace, dispatch: Dispatch) -> dict[str, Any]:
    root, parent = trace.root_span_id, dispatch.parent_number
    found: dict[str, Any] = {
        "trace_id": trace.trace_id,
        "root_span_id": root,
        "trace_started_ns": trace.started_ns,
        "span_id": span_id(root, dispatch.number),
        "parent_span_id": root if parent is None else span_id(root, parent),
        "transaction": dispatch.transaction.value,
    }
    found |= msgspec.to_builtins(dispatch)
    found |= found.pop("callsite", {})
    calls = found.pop("receiver_calls", ())
    found["receivers"] = [
        {"receiver": call["receiver"].pop("name"), **call.pop("receiver"), "self_ns": 0}
        | {"outcome": Outcome.RETURNED.value, **call}
        for call in calls
    ]
    return found


def _whole(value: Any) -> Any:
    """Return *value* with its records as dictionaries of all fields."""
    if isinstance(value, msgspec.Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    return [_whole(each) for each in value] if isinstance(value, (list, tuple)) else value


def pack(trace: Trace) -> str:
    """Return a whole trace as one short text, for ``unpack``."""
    return b64encode(zlib.compress(_encode(trace), 1)).decode()


def unpack(text: str) -> Trace:
    """Return the trace that ``pack`` made *text* of."""
    return _read_trace(zlib.decompress(b64decode(text)))


# -- Reading ---------------------------------------------------------------------------------


class LineError(ValueError):
    """A line is not one of the schema."""


class _Head(msgspec.Struct):
    """The kind of record that a line holds, and its trace."""

    schema: Any = msgspec.UNSET
    event: Any = ""
    root_span_id: Any = ""
    trace_id: Any = ""
    of_trace: Any = True


_read_head: Final = msgspec.json.Decoder(_Head).decode
_read_trace: Final = msgspec.json.Decoder(Trace).decode
_read_dispatch: Final = msgspec.json.Decoder(Dispatch).decode
_read_hazard: Final = msgspec.json.Decoder(Hazard).decode


class _End(msgspec.Struct):
    """The trace, or the segment of one, that a line ends."""

    event: Any = ""
    root_span_id: Any = ""
    segment: Any = 0


_read_end: Final = msgspec.json.Decoder(_End).decode


def ends_in(log: Iterable[bytes]) -> set[tuple[str, int]]:
    """Return what has its last line in *log*, by root span id."""
    found = set()
    for line in log:
        try:
            end = _read_end(line)
        except ValueError:
            continue  # The application's own, or cut off.
        if end.event in (TRACE_FINISHED, TRACE_RUNNING):
            found.add((end.root_span_id, end.segment))
    return found


class Reader:
    """Put traces together out of log lines; those of others are skipped.

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
            LineError: The line is not JSON, or of another schema, or a value is none of its field.
        """
        if not line.strip():
            return None
        try:
            head = _read_head(line)
        except msgspec.ValidationError:
            # JSON, but no object.
            self.skipped += 1
            return None
        except (ValueError, RecursionError) as error:
            raise LineError(f"no JSON: {error}") from None
        if head.schema is msgspec.UNSET:
            self.skipped += 1
            return None
        self.taken += 1
        if head.schema != SCHEMA:
            raise LineError(f"schema {head.schema!r:.20} is not known here; this is {SCHEMA}")
        if type(head.event) is not str:
            raise LineError(f"event is no text: {head.event!r:.60}")
        if type(head.root_span_id) is not str or not head.root_span_id:
            raise LineError(f"root_span_id is no span id: {head.root_span_id!r:.60}")
        try:
            return self._take(head, line)
        except LineError:
            raise
        except (ValueError, RecursionError, TypeError) as error:
            raise LineError(str(error)) from None

    def _take(self, head: _Head, line: str | bytes) -> Trace | None:
        key, event = head.root_span_id, head.event
        if event in {TRACE_FINISHED, TRACE_RUNNING}:
            trace = _read_trace(line)
            parts = self._parts.setdefault(key, _Parts())
            parts.add_trace(trace)
            if event == TRACE_FINISHED:
                del self._parts[key]
                return parts.build()
        elif event == DISPATCH_FINISHED:
            dispatch = _read_dispatch(line)
            self._parts.setdefault(key, _Parts()).add_dispatch(dispatch)
        elif event == HAZARD_FOUND:
            hazard = _read_hazard(line)
            if not head.of_trace:
                hazard.trace_id, hazard.root_span_id = None, ""
            self._parts.setdefault(key, _Parts()).hazards.append(hazard)
        return None

    def unfinished(self) -> Iterator[Callable[[], Trace]]:
        """Yield functions that return a running trace, or raise LineError."""
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
    """The records read of one trace."""

    def __init__(self) -> None:
        self.trace: Trace | None = None
        # By number: a dispatch that was running comes again when it has ended.
        self.dispatches: dict[int, Dispatch] = {}
        self.hazards: list[Hazard] = []
        self._sites: dict[Callsite, Callsite] = {}
        self._receivers: dict[ReceiverLabel, ReceiverLabel] = {}

    def add_trace(self, trace: Trace) -> None:
        before, self.trace = self.trace, trace
        # None of a line of a trace.
        trace.known_hazards, trace.diagnosis_context = [], None
        if before is not None:
            for name in OF_SEGMENTS:
                getattr(trace, name)[:0] = getattr(before, name)

    def add_dispatch(self, dispatch: Dispatch) -> None:
        # What is one in the process that wrote it is one here: many look at labels by identity.
        if (site := dispatch.callsite) is not None:
            dispatch.callsite = self._sites.setdefault(site, site)
        for call in dispatch.receiver_calls:
            call.receiver = self._receivers.setdefault(call.receiver, call.receiver)
        self.dispatches[dispatch.number] = dispatch

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


OF_SEGMENTS: Final = (
    "bypasses",
    "side_effects",
    "lost_receivers",
    "connection_changes",
    "unreadable",
)
"""Lists of a trace of which each segment has its own part."""
