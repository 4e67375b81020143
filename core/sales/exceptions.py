"""The failures around a sale."""

from __future__ import annotations


class SaleCancelledError(Exception):
    """The sale was cancelled already; the message is fit to be shown to its buyer."""

    def __init__(self) -> None:
        super().__init__("This sale has been cancelled already.")


class RegistryUnavailableError(Exception):
    """The vehicle registry does not answer."""
