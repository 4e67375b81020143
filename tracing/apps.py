"""The application: instruments Django's signals when the project starts."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TracingConfig(AppConfig):
    """Configuration of the ``tracing`` application."""

    name = "tracing"
    verbose_name = _("Signal traces")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Start recording, as the settings say. Runs again whenever a test replaces INSTALLED_APPS."""
        # Settings and models are there only now; importing the checks registers them.
        from tracing import checks, setup  # noqa: F401, PLC0415

        setup.start()
