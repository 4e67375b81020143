"""Models of the embedded store, which migrations need not know.

It makes its own tables. Django copies the models of an application without migrations each time that it
goes through those of the others, several times while it makes a test database. Ours are taken out of that
as it takes out the tables behind a ``ManyToManyField``: they are marked as made by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db.models.signals import post_migrate

from tracing.conf import store_alias
from tracing.instrumentation.failures import failed
from tracing.store.embedded import makes_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.apps import AppConfig
    from django.apps.registry import Apps
    from django.db.models import Model

_APP = "tracing"
_PERMITTED = ("Trace", "Hazard", "RecorderState", "RecorderControl", "SavedSearch")
"""The models with pages of the viewer or the admin, which ask for their permissions."""


def hide_models() -> None:
    """Hide the models from migrations, if no migration makes tables of them.

    Then Django gives them no permissions either; that is done here.
    """
    modules = settings.MIGRATION_MODULES
    # Without migrations of another database, which tests may have chosen, Django makes the tables.
    if _APP not in modules or modules[_APP] is not None or not makes_tables(store_alias()):
        return
    config = apps.app_configs[_APP]
    for model in config.models.values():
        model._meta.auto_created = model  # type: ignore[assignment]  # noqa: SLF001 - a class, as in Django.
    if apps.is_installed("django.contrib.auth"):
        post_migrate.connect(_permit, sender=config, dispatch_uid="tracing.permissions")


class _Permitted:
    """The registry of *models*, and in it an application of ours with some."""

    label = _APP

    def __init__(self, models: Apps) -> None:
        self.get_model = models.get_model

    def get_app_config(self, _label: str) -> _Permitted:
        """Return our application."""
        return self

    def get_models(self) -> Iterator[type[Model]]:
        """Yield the models that have permissions."""
        return (apps.get_model(_APP, name) for name in _PERMITTED)


def _permit(app_config: AppConfig, using: str, **given: Any) -> None:
    """Give the models their permissions, as Django does. Never raises."""
    from django.contrib.auth.management import create_permissions  # noqa: PLC0415 - needs all models.

    try:
        given["apps"] = _Permitted(given.get("apps", apps))
        create_permissions(app_config, using=using, **given)
    except Exception as error:  # noqa: BLE001 - the first law: migrate goes on.
        failed("permissions", error)
