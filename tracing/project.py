"""Two lines for a project: ``install(globals())``, ``tracing_urls()``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from django.urls import URLPattern, URLResolver

APP: Final = "tracing"
APPS: Final = (APP, "tracing.apps.TracingConfig")
ALIAS: Final = "tracing"
MIDDLEWARE: Final = "tracing.middleware.TracingMiddleware"
ROUTER: Final = "tracing.routers.TracingRouter"
PANEL: Final = "tracing.panels.SignalTracePanel"
TOOLBAR: Final = ("debug_toolbar", "debug_toolbar.apps.DebugToolbarConfig")
STORE_FILE: Final = "traces.sqlite3"
MAKES_TABLES: Final = "TRACING_MAKES_TABLES"
"""Key of an entry of DATABASES whose tables the tracer makes itself."""


class Installation:
    """The changes of ``install()`` to the settings of this process.

    Attributes:
        added: (name of a setting, what was added to it), in order; empty where ``install()`` was not
            called or found everything there.
        is_done: Whether ``install()`` was called.
    """

    __slots__ = ("added", "is_done")

    def __init__(self) -> None:
        self.added: list[tuple[str, str]] = []
        self.is_done = False


installation: Final = Installation()


class OwnRouters(list[str]):
    """Routers of a project with none but the tracer's: empty to who asks.

    Django asks ``if settings.DATABASE_ROUTERS``. Where there are some, ``makemigrations`` opens every
    database, and two models that share a table are worth a warning instead of an error.
    """

    def __bool__(self) -> bool:
        return any(router != ROUTER for router in self)


def install(namespace: MutableMapping[str, Any], **options: Any) -> None:
    """Add what tracing needs to a project's settings, at their end.

    Whatever the project has set stays. Lists and dictionaries are replaced by longer copies, never
    changed: other settings modules may share them. A second call adds nothing.

    Args:
        namespace: ``globals()`` of the settings module, in its last line.
        **options: Keys of ``TRACING``, in upper case: ``SAMPLE_RATIO=0.1``. They win over a
            dictionary ``TRACING`` in the module.

    Raises:
        TypeError: *namespace* is no dictionary of settings.
    """
    if not isinstance(namespace, dict):
        message = (
            "tracing.install() takes the settings module's globals(): tracing.install(globals())"
        )
        raise TypeError(message)
    if not installation.is_done:
        installation.is_done = True
        _register_check()
    settings = _Settings(namespace)
    if options:
        namespace["TRACING"] = {**namespace.get("TRACING", {}), **options}
    settings.add("INSTALLED_APPS", APP, unless=APPS)
    settings.add("MIDDLEWARE", MIDDLEWARE, first=True)
    _install_store(settings)
    _install_panel(settings)


class _Settings:
    """The names of a settings module, and a note of what is added to them."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace

    def add(
        self, name: str, value: str, *, unless: Iterable[str] = (), first: bool = False
    ) -> None:
        """Add *value* to a copy of a list, unless it or a like one is there."""
        present = self.namespace.get(name)
        if present is None:
            present = []
        if any(item in present for item in (value, *unless)):
            return
        longer = [value, *present] if first else [*present, value]
        # A tuple stays a tuple: the project may add another to it.
        self.namespace[name] = tuple(longer) if isinstance(present, tuple) else longer
        installation.added.append((name, value))

    def put(self, name: str, key: str, value: Any, what: str) -> None:
        """Put *key* into a copy of the dictionary *name*, unless it is there."""
        present = self.namespace.get(name) or {}
        if key not in present:
            self.namespace[name] = {**present, key: value}
            installation.added.append((name, what))


def _install_store(settings: _Settings) -> None:
    """Add the embedded store, unless the project says where its traces go."""
    namespace = settings.namespace
    chosen = namespace.get("TRACING") or {}
    exporters = chosen.get("EXPORTERS", ["database"])
    databases = namespace.get("DATABASES") or {}
    if "database" in exporters and not chosen.get("DATABASE") and ALIAS not in databases:
        path = _project_folder(namespace) / STORE_FILE
        entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": path, MAKES_TABLES: True}
        settings.put("DATABASES", ALIAS, entry, f"{ALIAS}: {path}")
        # A project without databases has an empty one, which Django asks for by name.
        namespace["DATABASES"].setdefault("default", {})
    database = (namespace.get("DATABASES") or {}).get(chosen.get("DATABASE") or ALIAS)
    if database is None:
        return
    settings.add("DATABASE_ROUTERS", ROUTER, first=True)
    if namespace["DATABASE_ROUTERS"] == [ROUTER]:
        namespace["DATABASE_ROUTERS"] = OwnRouters([ROUTER])
    if database.get(MAKES_TABLES):
        settings.put("MIGRATION_MODULES", APP, None, f"{APP}: None, the store makes its own tables")


def _project_folder(namespace: dict[str, Any]) -> Path:
    """Return BASE_DIR, the folder above the settings, or the current one."""
    if namespace.get("BASE_DIR"):
        return Path(namespace["BASE_DIR"])
    if not namespace.get("__file__"):
        return Path.cwd()
    folder = Path(namespace["__file__"]).resolve().parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    return folder


def _install_panel(settings: _Settings) -> None:
    """Add the panel after the toolbar's own, where the toolbar is installed."""
    namespace = settings.namespace
    if not any(name in (namespace.get("INSTALLED_APPS") or ()) for name in TOOLBAR):
        return
    if namespace.get("DEBUG_TOOLBAR_PANELS") is None:
        # It reads no settings while it is imported.
        from debug_toolbar.settings import PANELS_DEFAULTS  # noqa: PLC0415 - it may not be installed.

        namespace["DEBUG_TOOLBAR_PANELS"] = list(PANELS_DEFAULTS)
    settings.add("DEBUG_TOOLBAR_PANELS", PANEL)


def replaced() -> list[tuple[str, str]]:
    """Return what of ``install()`` the settings lack: (setting, what)."""
    from django.conf import settings  # noqa: PLC0415 - not while the settings are being read.

    lost = []
    for name, what in installation.added:
        value = getattr(settings, name, None)
        if value is None:
            value = ()
        key = what.partition(":")[0] if isinstance(value, dict) else what
        if key not in value:
            lost.append((name, what))
    return lost


def is_overridden(*names: str) -> bool:
    """Return whether a test overrides one of these settings.

    What ``override_settings()`` lays over the project's settings says nothing about the project.
    """
    from django.conf import Settings, UserSettingsHolder, settings  # noqa: PLC0415 - see above.

    held = settings._wrapped  # noqa: SLF001 - settings.is_overridden() means another thing.
    while isinstance(held, UserSettingsHolder):
        below = held.default_settings
        if not isinstance(below, Settings | UserSettingsHolder):
            return False  # These are the project's own, from settings.configure().
        if any(name in vars(held) or name in vars(held)["_deleted"] for name in names):
            return True
        held = below
    return False


def _register_check() -> None:
    """Register the check that must run without the application, too."""
    from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004, PLC0415

    def check_installation(**_kwargs: Any) -> list[CheckMessage]:
        """Check that nothing ``install()`` added was replaced (tracing.W030)."""
        return [
            Warning(
                f"tracing.install() added {what!r} to {name}, and {name} was replaced afterwards.",
                hint="Make tracing.install(globals()) the last line of the settings module that is loaded.",
                id="tracing.W030",
            )
            for name, what in replaced()
            if not is_overridden(name)
        ]

    register(check_installation, Tags.compatibility)


def tracing_urls(prefix: str = "tracing/") -> list[URLPattern | URLResolver]:
    """Return the routes of the viewer, to stand first in ``urlpatterns``.

    They are there with and without DEBUG; the viewer decides by itself who may see traces.

    Args:
        prefix: Where the viewer is; without a slash at its beginning, with one at its end.

    Raises:
        ValueError: *prefix* is empty, begins with a slash or does not end with one.
        django.core.exceptions.ImproperlyConfigured: ``tracing`` is not in INSTALLED_APPS.
    """
    if prefix.startswith("/") or not prefix.endswith("/"):
        message = (
            f"prefix is {prefix!r}; it must end with a slash and not begin with one, as 'tracing/'"
        )
        raise ValueError(message)
    from django.apps import apps  # noqa: PLC0415 - this module is imported by settings.
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415 - the same.
    from django.urls import include, path  # noqa: PLC0415 - the same.

    if not apps.is_installed(APP):
        message = (
            "tracing_urls() needs 'tracing' in INSTALLED_APPS: tracing.install(globals()) adds it."
        )
        raise ImproperlyConfigured(message)
    return [path(prefix, include("tracing.viewer.urls"))]
