"""Configuration of the buyers app."""

from __future__ import annotations

from django.apps import AppConfig


class BuyersConfig(AppConfig):
    """Connect the receivers once the models are loaded."""

    name = "core.buyers"
    label = "buyers"

    def ready(self) -> None:
        """Connect the receivers of this app."""
        from . import receivers  # noqa: F401, PLC0415
