"""For the application's own structlog: the ids of the running trace on every line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.instrumentation import context

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger


def add_trace_ids(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Add ``trace_id`` and ``span_id`` to *line* if a trace is being recorded; a structlog processor.

    The span is that of the trace itself: what is inside it is numbered later, in the worker. Ids
    that are there already stay: another tracer's, or those bound by the application.
    """
    trace = context.current_trace()
    if trace is not None and line.setdefault("trace_id", trace.trace_id) == trace.trace_id:
        # Beside the id of another trace, our span would lead nowhere.
        line.setdefault("span_id", trace.root_span_id)
    return line
