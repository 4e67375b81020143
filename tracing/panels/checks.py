"""The panel's system checks: what keeps it from showing anything."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from debug_toolbar import settings as toolbar_settings
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.checks import Error, Warning  # noqa: A004 - Django's name for it.

from tracing.instrumentation.patching import is_instrumented
from tracing.project import is_overridden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage

LOOKED_AT = (
    "ASGI_APPLICATION",
    "DEBUG_TOOLBAR_CONFIG",
    "DEBUG_TOOLBAR_PANELS",
    "INSTALLED_APPS",
    "STATICFILES_FINDERS",
)
DATABASE_STORE = "debug_toolbar.store.DatabaseStore"


def run_checks(panel: type[Any]) -> list[CheckMessage]:
    """Return what is wrong with the set-up of *panel*, worst first.

    While a test overrides the settings, nothing is.
    """
    if is_overridden(*LOOKED_AT):
        return []
    return [*_errors(panel), *_warnings()]


def _errors(panel: type[Any]) -> Iterator[CheckMessage]:
    if not apps.is_installed("tracing"):
        yield Error(
            "The toolbar has the panel SignalTracePanel, but 'tracing' is not installed.",
            hint="Add 'tracing' to INSTALLED_APPS, or take the panel out of DEBUG_TOOLBAR_PANELS.",
            id="tracing.E010",
        )
        return
    paths = toolbar_settings.get_panels()
    taken = Counter(path.rpartition(".")[2] for path in paths)[panel.panel_id]
    if taken > 1:
        yield Error(
            f"Two panels of the toolbar are called {panel.panel_id}: only the last is shown.",
            hint="Name 'tracing.panels.SignalTracePanel' once in DEBUG_TOOLBAR_PANELS, and give a"
            " subclass a name of its own.",
            id="tracing.E011",
        )
    if panel.panel_id == "SignalsPanel":
        yield Error(
            "A subclass of SignalTracePanel is called SignalsPanel, which is the toolbar's own.",
            hint="Give it another name.",
            id="tracing.E012",
        )


def _warnings() -> Iterator[CheckMessage]:
    if not apps.is_installed("tracing"):
        return
    if not finders.find("tracing/panel/panel.js"):
        yield Warning(
            "The panel's script and style are not found among the static files.",
            hint="Add 'django.contrib.staticfiles.finders.AppDirectoriesFinder' to"
            " STATICFILES_FINDERS.",
            id="tracing.W014",
        )
    if not is_instrumented():
        yield Warning(
            "The panel will be empty: Django's signals are not instrumented.",
            hint="Remove 'ENABLED': False from TRACING, or call tracing.instrument().",
            id="tracing.W015",
        )
    store = toolbar_settings.get_config()["TOOLBAR_STORE_CLASS"]
    if store == DATABASE_STORE and getattr(settings, "ASGI_APPLICATION", None):
        yield Warning(
            "The toolbar's DatabaseStore queries from the event loop: under ASGI each page with the"
            " toolbar fails (seen with django-debug-toolbar 8.0).",
            hint="Use MemoryStore or CacheStore, or no ASGI_APPLICATION if only WSGI is served.",
            id="tracing.W016",
        )
