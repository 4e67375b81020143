"""Tracing of Django signals: receivers, senders, costs, outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "current_span_id",
    "current_trace_id",
    "flush",
    "install",
    "instrument",
    "is_instrumented",
    "pause",
    "profile",
    "resume",
    "suppress",
    "trace",
    "tracing_urls",
    "uninstrument",
    "why_not",
]

if TYPE_CHECKING:
    from tracing.api import (
        current_span_id,
        current_trace_id,
        flush,
        instrument,
        is_instrumented,
        pause,
        profile,
        resume,
        suppress,
        trace,
        uninstrument,
        why_not,
    )
    from tracing.project import install, tracing_urls


def __getattr__(name: str) -> Any:
    # Django's models cannot be imported before the settings are there; the package can.
    if name in {"install", "tracing_urls"}:
        # These two are for the settings and the URLs themselves.
        from tracing import project  # noqa: PLC0415 - a project that has the long form needs none of it.

        return getattr(project, name)
    if name in __all__:
        from tracing import api  # noqa: PLC0415 - see above.

        return getattr(api, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
