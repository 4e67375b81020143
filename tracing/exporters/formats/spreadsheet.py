"""Receiver calls as CSV, for a spreadsheet."""

from __future__ import annotations

import csv
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from tracing.spans.codec import Clock
from tracing.spans.escapes import escape_cell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.exporters.formats.text import TextOut
    from tracing.spans.records import Trace


CSV_COLUMNS = (
    "trace_id", "root_span_id", "started_at", "kind", "name", "status", "signal", "sender",
    "instance", "method", "transaction", "dispatch_file", "dispatch_line", "dispatch_ms",
    "receiver", "receiver_file", "receiver_line", "position", "outcome", "ms", "self_ms",
    "query_count", "query_ms", "exception_type", "exception_message",
)  # fmt: skip


_of_trace = attrgetter("kind", "name", "status")
_of_dispatch = attrgetter("signal", "sender", "instance", "method", "transaction")
_of_call = attrgetter("receiver.name", "receiver.file", "receiver.line", "position", "outcome")


def write_csv(traces: Iterable[Trace], file: TextOut) -> None:
    """Write a row for each receiver call with its dispatch and trace."""
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
                *_of_trace(trace),
                *_of_dispatch(dispatch),
                "" if site is None else site.file,
                "" if site is None else site.line,
                _ms(dispatch.duration_ns),
            )
            for call in dispatch.receiver_calls:
                row = (
                    *of_dispatch,
                    *_of_call(call),
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
