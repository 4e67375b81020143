"""The project's one app."""

from __future__ import annotations

from django.apps import AppConfig


class ParcelsConfig(AppConfig):
    name = "tests.asgi_project"
    label = "parcels"

    def ready(self) -> None:
        from tests.asgi_project import receivers  # noqa: F401
