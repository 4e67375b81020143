"""What the timed sends record."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracing.instrumentation.attributes.values import Redaction


class Options:
    """What the loops record besides structure, times and outcomes.

    Args:
        callsite: The frame of the application that sent the signal.
        details: Instance, save and m2m details, names of the other named arguments.
        values: How to redact the values of named arguments; None to leave them out.
    """

    __slots__ = ("callsite", "details", "values")

    def __init__(
        self, *, callsite: bool = True, details: bool = True, values: Redaction | None = None
    ) -> None:
        self.callsite = callsite
        self.details = details
        self.values = values
