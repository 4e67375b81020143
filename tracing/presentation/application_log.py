"""The application's log lines of a trace, as every face tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.conf import get_settings
from tracing.exporters.application_log import LogLines, application_lines
from tracing.presentation.documents import fields_of
from tracing.spans.ids import span_id
from tracing.store import traces
from tracing.units import plural

if TYPE_CHECKING:
    from tracing.spans.records import Trace


def application_lines_of(trace: Trace) -> LogLines:
    """Return what ``APPLICATION_LOGS`` hold of a stored *trace*."""
    paths = get_settings().application_logs
    is_shared = bool(paths) and len(traces.called(trace.trace_id, 2)) > 1
    return application_lines(trace, paths, shares_id=is_shared)


def lines_document(trace: Trace, found: LogLines) -> dict[str, Any]:
    """Return the lines as JSON, each with the id of its span."""
    return {
        "lines": [
            fields_of(line, "timestamp", "level", "text", "fields", "number")
            | {"span_id": span_id(trace.root_span_id, line.number or 0)}
            for line in found.lines
        ],
        "damaged": found.damaged,
        "left_out": found.left_out,
        "complete": found.is_complete,
        "configured": found.is_configured,
    }


def remarks(found: LogLines) -> list[str]:
    """Return what is to be known of *found* beside its lines."""
    if not found.is_configured:
        return [_NOT_CONFIGURED]
    told = []
    if not found.lines:
        told.append("No line of the application has the id of this trace.")
    if found.left_out:
        told.append(f"{plural(found.left_out, 'further line')} not shown.")
    if found.damaged:
        told.append(f"{plural(found.damaged, 'line')} with its id cannot be read.")
    if not found.is_complete:
        told.append("Not all of the files was read: there may be more.")
    return told


_NOT_CONFIGURED: Final = (
    "The application's own lines are shown from the files that TRACING['APPLICATION_LOGS'] names, "
    "where they have the trace id: docs/reference/logs.md says how they get it."
)
