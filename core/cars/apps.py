"""Configuration of the cars app."""

from __future__ import annotations

from django.apps import AppConfig


class CarsConfig(AppConfig):
    """Connect the receivers once the models are loaded."""

    name = "core.cars"
    label = "cars"

    def ready(self) -> None:
        """Connect the receivers of this app."""
        from . import receivers  # noqa: F401, PLC0415
