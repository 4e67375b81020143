"""For the application's own structlog: the ids of the running trace on every line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.capture import context

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger


def add_trace_ids(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Add ``trace_id`` to *line* if a trace is being recorded; a structlog processor.

    An id that is there already stays: another tracer's, or one bound by the application.
    """
    trace = context.current_trace()
    if trace is not None:
        line.setdefault("trace_id", trace.trace_id)
    return line
