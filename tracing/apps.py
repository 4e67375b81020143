"""The application: instruments Django's signals when the project starts."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


def _follow_connections() -> None:
    """Write down who connects while other applications are being loaded."""
    from tracing.conf import get_settings
    from tracing.instrumentation.failures import failed

    try:
        if settings.configured and get_settings().enabled:
            from tracing.instrumentation.patching import follow_connections

            follow_connections()
    except Exception as error:
        failed("connections", error)


_follow_connections()


class TracingConfig(AppConfig):
    """Configuration of the ``tracing`` application."""

    name = "tracing"
    verbose_name = _("Signal traces")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Start recording; also when a test replaces INSTALLED_APPS."""
        # Settings and models are there only now; importing the checks registers them.
        from tracing import checks, setup  # noqa: F401

        setup.start()
