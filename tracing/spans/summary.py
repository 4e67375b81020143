"""Traces in a list: their own fields, without their dispatches."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from tracing.spans.words import Status

if TYPE_CHECKING:
    from tracing.spans.records import Trace


class TraceSummary(Struct, frozen=True):
    """A stored trace in a list."""

    row: int
    """Its number in the store: larger than those of what was stored before."""
    arrival_key: str
    """Tells the request that a redirect led to, as ``redirect_key`` tells the one it came from."""
    redirect_key: str
    trace_id: str
    root_span_id: str
    name: str
    kind: str
    status: str
    failed: bool
    """It ended with an error, or a receiver raised."""
    started_ns: int
    duration_ns: int
    http_method: str
    http_path: str
    http_status: int | None
    user_id: str
    host: str
    process: int
    thread: str
    release: str
    error: str
    dispatch_count: int
    receiver_call_count: int
    query_count: int
    query_ns: int
    signal_ns: int
    error_count: int
    hazard_count: int
    dropped_count: int
    orphan_count: int
    overhead_ns: int
    segment: int
    final: bool
    mine: bool
    """A receiver that is mine was in it."""
    pinned: bool = False
    note: str = ""

    @property
    def address(self) -> str:
        """Return what names it: its trace id and its root span id."""
        return f"{self.trace_id}/{self.root_span_id}"

    @property
    def started_at(self) -> datetime:
        """Return the aware moment of its start, to the microsecond."""
        return datetime.fromtimestamp(self.started_ns // 1000 / 1_000_000, tz=UTC)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


COLUMNS: tuple[str, ...] = TraceSummary.__struct_fields__[3:]
"""Its fields that say something of the trace to people."""


_SHOWN = frozenset(COLUMNS) - {"segment"}


def summary_of(trace: Trace) -> TraceSummary:
    """Return the summary of a trace that is not from the store."""
    decided = {
        "failed": trace.status is Status.ERROR or trace.error_count > 0,
        "mine": trace.is_mine,
        "pinned": False,
        "note": "",
    }
    values: Any = (decided[name] if name in decided else getattr(trace, name) for name in COLUMNS)
    return TraceSummary(0, trace.arrival_key, trace.redirect_key, *values)


def summary_document(summary: TraceSummary) -> dict[str, Any]:
    """Return a trace of a list as JSON."""
    return {name: value for name, value in asdict(summary).items() if name in _SHOWN}
