"""Configuration of the demo app."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings


class DemoConfig(AppConfig):
    """The show of `make demo`: a release with mistakes, and questions."""

    name = "carsales.demo"
    label = "demo"

    def ready(self) -> None:
        """Connect what release 1.1 brought, where the site runs as that."""
        if settings.TRACING.get("RELEASE") == "1.1":
            from . import receivers  # noqa: PLC0415 - models are there from ready() on.

            receivers.connect()
