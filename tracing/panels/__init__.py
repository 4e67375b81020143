"""The panel of django-debug-toolbar: the trace of the request at hand."""

from __future__ import annotations

from tracing.panels.panel import SignalTracePanel

__all__ = ["SignalTracePanel"]
