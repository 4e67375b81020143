"""Receiver calls as narrow rows, each with its dispatch.

What many calls share is one text, their shape, of which a column has each once. Calls and dispatches with
something of their own besides numbers are rows of ``otel_traces``.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracing.exporters.clickhouse.attributes import (
    attributes_of_call,
    attributes_of_dispatch,
    is_common_call,
    is_common_dispatch,
    key_of_call,
    key_of_dispatch,
)
from tracing.exporters.clickhouse.binary import head, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracing.spans.records import Dispatch, Trace
    from tracing.store.clickhouse.spans import Attributes

_TEXT: Final = "LowCardinality(String)"
_NUMBERS: Final = {
    "Timestamp": ("DateTime64(9)", "q"),
    "Duration": ("UInt64", "Q"),
    "Later": ("Int64", "q"),
    "Longer": ("Int64", "q"),
    "Below": ("Int64", "q"),
    "CpuNs": ("Int64", "q"),
    "QueryNs": ("UInt64", "Q"),
    "MoreQueryNs": ("Int64", "q"),
    "Queries": ("UInt32", "I"),
    "MoreQueries": ("Int32", "i"),
    "Number": ("UInt32", "I"),
    "Back": ("UInt32", "I"),
    "Parent": ("UInt32", "I"),
    "First": ("Bool", "?"),
}
"""Type and code of the columns that are numbers."""
COLUMNS: Final = {
    "TraceId": "String",
    "Root": "UInt64",
    "ServiceName": _TEXT,
    "Resource": _TEXT,
    "Shape": _TEXT,
    "Instance": "String",
    **{name: kind for name, (kind, _code) in _NUMBERS.items()},
}
HEAD: Final = head(COLUMNS)
_pack: Final = Struct("<" + "".join(code for _kind, code in _NUMBERS.values())).pack
_encode: Final = msgspec.json.Encoder().encode
_MOST_CACHED: Final = 20_000
"""Shapes, of some hundred bytes each, after which all of them are forgotten."""


def prefix(trace: Trace, service: str, version: str, resource: Attributes) -> bytes:
    """Return the columns that all calls of *trace* share."""
    told = _encode({"resource": resource, "version": version}).decode()
    root = int(trace.root_span_id, 16).to_bytes(8, "little")
    return b"".join((text(trace.trace_id), root, text(service), text(told)))


class CallEncoder:
    """Makes rows of calls; shapes it makes once."""

    def __init__(self) -> None:
        self._shapes: dict[Any, bytes] = {}

    def forget(self) -> None:
        """Forget shapes if there are too many."""
        if len(self._shapes) > _MOST_CACHED:
            self._shapes.clear()

    def rows(
        self, started_ns: int, before: bytes, dispatch: Dispatch, above: Mapping[str, str] | None
    ) -> list[bytes]:
        """Return rows of the calls of *dispatch*; none if they tell too little.

        Args:
            started_ns: When the trace started.
            before: The columns that all calls of the trace share.
            dispatch: The dispatch.
            above: What it says of the call that sent it.
        """
        calls = dispatch.receiver_calls
        if not (calls and is_common_dispatch(dispatch) and all(map(is_common_call, calls))):
            return []
        key = key_of_dispatch(dispatch)
        sent_by = tuple(above.values()) if above else ()
        number, start = dispatch.number, dispatch.start_ns
        instance = text(dispatch.instance)
        found: list[bytes] = []
        for call in calls:
            shape = self._shapes.get((key, key_of_call(call), sent_by))
            if shape is None:
                told = {
                    "name": f"{dispatch.signal.rpartition('.')[2]} {dispatch.sender}",
                    "dispatch": attributes_of_dispatch(dispatch) | dict(above or {}),
                    "call": attributes_of_call(call),
                }
                shape = text(_encode(told).decode())
                self._shapes[key, key_of_call(call), sent_by] = shape
            duration, cpu_ns = call.duration_ns, call.cpu_ns
            numbers = _pack(
                started_ns + start,
                duration,
                call.start_ns - start,
                dispatch.duration_ns - duration,
                duration - call.self_ns,
                -1 if cpu_ns is None else cpu_ns,
                call.query_ns,
                dispatch.query_ns - call.query_ns,
                call.query_count,
                dispatch.query_count - call.query_count,
                call.number,
                call.number - number,
                dispatch.parent_number or 0,
                not found,
            )
            found += (before, shape, instance, numbers)
        return found
