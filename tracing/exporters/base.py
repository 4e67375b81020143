"""What an exporter is: the protocol, and the error that asks for another attempt later."""

from __future__ import annotations

from tracing.pipeline import Exporter, TemporaryError

__all__ = ["Exporter", "TemporaryError"]
