"""Keeping others from recording, or logging, what an exporter does itself."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tracing.pipeline import is_worker_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


class OnlyOthers(logging.Filter):
    """Silence a library in our worker: the pipeline says it once."""

    def filter(self, _record: logging.LogRecord) -> bool:
        """Return whether the record was logged on any other thread."""
        return not is_worker_thread()


@contextmanager
def unrecorded() -> Iterator[None]:
    """Keep OpenTelemetry's instrumentations from recording this thread.

    Nothing is imported for it: where OpenTelemetry is not loaded, nobody records.
    """
    if "opentelemetry.context" not in sys.modules:
        yield
        return
    from opentelemetry.context import (  # noqa: PLC0415 - loaded already, if at all.
        _SUPPRESS_INSTRUMENTATION_KEY,
        attach,
        detach,
        set_value,
    )

    # Older instrumentations look at the plain name.
    context = set_value(_SUPPRESS_INSTRUMENTATION_KEY, True)
    token = attach(set_value("suppress_instrumentation", True, context))
    try:
        yield
    finally:
        detach(token)
