"""The tie between the tracer and the application's structlog.

``add_trace_ids`` puts the ids of the running trace on every line. What the application bound to its
lines becomes attributes of its traces: ``structlog.contextvars`` is where a middleware puts a request id,
say. It is read on the traced thread: when a view is about to be called, when the response is there, and
when the trace ends. Whatever clears the context first, as django-structlog does, clears what is bound
after the view began.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation import context
from tracing.instrumentation.attributes.names import exact
from tracing.instrumentation.attributes.redaction import policy
from tracing.instrumentation.attributes.values import attribute_text
from tracing.instrumentation.failures import failed

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

    from tracing.instrumentation.buffer import ActiveTrace
    from tracing.instrumentation.context import Processor

MOST: Final = 30
"""Names that are kept."""


def add_trace_ids(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Add ``trace_id`` and ``span_id`` to a line, as a structlog processor.

    The span is the running receiver's where those are current for OpenTelemetry, else that of the
    trace itself. Ids that are there already stay.
    """
    trace = context.current_trace()
    if trace is not None and line.setdefault("trace_id", trace.trace_id) == trace.trace_id:
        # Beside the id of another trace, our span would lead nowhere.
        line.setdefault("span_id", context.span_id_of(trace))
    return line


class TraceIds(logging.Filter):
    """A filter of the standard library that adds the same to records.

    Both are empty outside any trace, so that a format may name them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add ``trace_id`` and ``span_id`` to *record*, which passes."""
        line: dict[str, Any] = {
            name: value for name in _IDS if (value := getattr(record, name, "")) != ""
        }
        add_trace_ids(None, "", line)
        for name in _IDS:
            setattr(record, name, line.get(name, ""))
        return True


_IDS: Final = ("trace_id", "span_id")


class BoundContext:
    """A processor's stand-in that puts what is bound into each trace."""

    __slots__ = ("_processor", "on_start")

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.on_start = processor.on_start

    def on_end(self, trace: ActiveTrace) -> None:
        """Put what is bound into *trace* and pass it on."""
        keep_bound(trace)
        self._processor.on_end(trace)


def keep_bound(trace: ActiveTrace) -> None:
    """Put what is bound into the attributes of *trace*, if not there."""
    # Where nobody imported it, nobody has bound anything.
    contextvars = sys.modules.get("structlog.contextvars")
    # Nor while another thread is about to import it: the worker does, for the log file.
    bound = getattr(contextvars, "get_contextvars", None)
    if bound is None or policy.sensitive is None:
        return
    # Nor where its list of the names that were ever bound is empty; it is not part of its API.
    if not getattr(contextvars, "_CONTEXT_VARS", True):
        return
    try:
        attributes = trace.attributes
        for name, value in bound().items():
            if name not in attributes and len(attributes) < MOST:
                attributes[exact(name)] = attribute_text(name, value)
    except Exception as error:  # noqa: BLE001 - the traced program comes first.
        failed("what is bound to the log", error)
