"""What the tracer and the application's own structlog know of one another.

``add_trace_ids`` puts the ids of the running trace on every line. What the application bound to its
lines becomes attributes of its traces: ``structlog.contextvars`` is where a middleware puts a request id,
say. It is read on the traced thread: when a view is about to be called, when the response is there, and
when the trace ends. Whatever clears the context first, as django-structlog does, clears what is bound
after the view began.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from tracing.instrumentation import context
from tracing.instrumentation.attributes.names import exact
from tracing.instrumentation.attributes.redaction import policy
from tracing.instrumentation.attributes.values import attribute_text
from tracing.instrumentation.failures import failed

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

    from tracing.instrumentation.buffer import LiveTrace
    from tracing.instrumentation.context import Processor

MOST: Final = 30
"""Names that are kept."""


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


class BoundContext:
    """Stand in front of a processor and put into each trace what is bound when it ends."""

    __slots__ = ("_processor", "on_start")

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.on_start = processor.on_start

    def on_end(self, trace: LiveTrace) -> None:
        """Put what is bound into *trace* and pass it on."""
        keep_bound(trace)
        self._processor.on_end(trace)


def keep_bound(trace: LiveTrace) -> None:
    """Put what is bound now into the attributes of *trace*; what it has already stays."""
    # Where nobody imported it, nobody has bound anything.
    contextvars = sys.modules.get("structlog.contextvars")
    if contextvars is None or policy.sensitive is None:
        return
    # Nor where its list of the names that were ever bound is empty; it is not part of its API.
    if not getattr(contextvars, "_CONTEXT_VARS", True):
        return
    try:
        attributes = trace.attributes
        for name, value in contextvars.get_contextvars().items():
            if name not in attributes and len(attributes) < MOST:
                attributes[exact(name)] = attribute_text(name, value)
    except Exception as error:  # noqa: BLE001 - the traced program comes first.
        failed("what is bound to the log", error)
