"""Options of the timed sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracing.instrumentation.attributes.values import Redaction


class Options:
    """Records of the loops besides structure, times and outcomes.

    Args:
        callsite: The frame of the application that sent the signal.
        details: Instance, save and m2m details, names of the other named arguments.
        values: How to redact the values of named arguments; None to leave them out.
        cpu: What receivers take of the thread's CPU clock.
        spans: Make the spans of receivers current for OpenTelemetry.
    """

    __slots__ = ("callsite", "cpu", "details", "spans", "values")

    def __init__(
        self,
        *,
        callsite: bool = True,
        details: bool = True,
        values: Redaction | None = None,
        cpu: bool = False,
        spans: bool = False,
    ) -> None:
        self.callsite = callsite
        self.details = details
        self.values = values
        self.cpu = cpu
        self.spans = spans
