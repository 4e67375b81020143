"""Configuration of the sales app."""

from __future__ import annotations

from django.apps import AppConfig


class SalesConfig(AppConfig):
    """Connect the receivers once the models are loaded."""

    name = "core.sales"
    label = "sales"

    def ready(self) -> None:
        """Connect the receivers of this app."""
        from . import receivers  # noqa: F401, PLC0415
