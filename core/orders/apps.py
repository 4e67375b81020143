"""Configuration of the orders app."""

from __future__ import annotations

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Connect the receivers once the models are loaded."""

    name = "core.orders"
    label = "orders"

    def ready(self) -> None:
        """Connect the receivers of this app."""
        from . import receivers  # noqa: F401, PLC0415
