"""What can go wrong around a sale."""

from __future__ import annotations


class RegistryUnavailableError(Exception):
    """The vehicle registry does not answer."""
