"""The panel of django-debug-toolbar: the trace of a request while its page is still open."""

from __future__ import annotations

from tracing.panels.panel import SignalTracePanel

__all__ = ["SignalTracePanel"]
