"""The router that keeps traces in a database of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, router

from tracing.conf import store_alias
from tracing.project import ROUTER
from tracing.store.embedded import makes_tables

if TYPE_CHECKING:
    from django.db.models import Model

NO_ENGINE = "django.db.backends.dummy"
"""What Django puts where DATABASES names no engine."""


def has_own_database() -> bool:
    """Return whether the traces have a database to themselves."""
    return store_alias() != DEFAULT_DB_ALIAS


def misplaced() -> str:
    """Return why traces cannot be stored, and what to do; empty if they can."""
    alias = store_alias()
    if alias not in connections:
        return f"The traces are to be in a database {alias!r}, which is not in DATABASES."
    if connections[alias].settings_dict["ENGINE"] == NO_ENGINE:
        return f"The traces are to be in the database {alias!r}, which has no ENGINE in DATABASES."
    return " ".join(astray())


def astray() -> tuple[str, ...]:
    """Return why the routers do not lead to the traces; empty if they do."""
    alias = store_alias()
    found = router.db_for_read(apps.get_model("tracing", "Trace"))
    if found == alias:
        return ()
    where = f"The traces are in the database {alias!r}, but"
    if ROUTER in settings.DATABASE_ROUTERS:
        return (
            f"{where} a router before the tracer's leads to {found!r}.",
            f"Put {ROUTER!r} first in DATABASE_ROUTERS: it has no opinion on other models.",
        )
    return f"{where} no router leads there.", f"Add {ROUTER!r} to DATABASE_ROUTERS."


class TracingRouter:
    """Send the models of ``tracing`` to their alias, and no others."""

    app_label = "tracing"

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        """Return the alias of the traces for their models, no opinion for others."""
        # In one frame: every query and every save of the application asks.
        if model._meta.app_label != "tracing":  # noqa: SLF001 - documented by Django as public.
            return None
        return store_alias()

    db_for_write = db_for_read
    """There is one place for traces."""

    def allow_relation(self, first: Model, second: Model, **_hints: Any) -> bool | None:
        """Allow relations among the tracer's own rows, no opinion on others."""
        labels = {model._meta.app_label for model in (first, second)}  # noqa: SLF001
        return True if labels == {self.app_label} else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Allow the tracer's tables in its database, and no others there."""
        if app_label == self.app_label:
            if _is_asked_for_history(hints):
                return False
            return db == store_alias() and not makes_tables(db)
        return False if has_own_database() and db == store_alias() else None


def _is_asked_for_history(hints: dict[str, Any]) -> bool:
    """Return whether ``makemigrations`` asks which databases to compare.

    It needs none for the tracer's, and tests that call it with ``--check`` may not open ours. It
    alone gives the name of a model as the class has it, and no model; whoever migrates gives the
    model, or its name in lower case, as Django documents it.
    """
    name = hints.get("model_name")
    return isinstance(name, str) and "model" not in hints and name != name.lower()
