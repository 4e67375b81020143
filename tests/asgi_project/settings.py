"""Settings of the ASGI project. What the tests vary comes from the environment.

- ``PARCELS_DIR``: where the databases go.
- ``PANEL_STORE``: the toolbar's store: MemoryStore, CacheStore or DatabaseStore.
- ``PANEL_TOOLBAR``: further settings of the toolbar, as JSON.
- ``PANEL_TRACING``: further settings of the tracer, as JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import csp.constants

DIRECTORY = Path(os.environ["PARCELS_DIR"])

SECRET_KEY = "of a test"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1"]
INTERNAL_IPS = ["127.0.0.1"]
ROOT_URLCONF = "tests.asgi_project.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.staticfiles",
    "debug_toolbar",
    "tracing",
    "tests.asgi_project",
]
MIDDLEWARE = [
    "tracing.middleware.TracingMiddleware",
    "csp.middleware.CSPMiddleware",
    "debug_toolbar.middleware.DebugToolbarMiddleware",
    "django.middleware.common.CommonMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    alias: {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DIRECTORY / f"{alias}.sqlite3",
        "OPTIONS": {"timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"},
    }
    for alias in ("default", "tracing")
}
DATABASE_ROUTERS = ["tracing.routers.TracingRouter"]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": DIRECTORY / "cache",
    }
}
STATIC_URL = "static/"
USE_TZ = True
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [csp.constants.SELF],
        "img-src": [csp.constants.SELF, "data:"],  # the toolbar's own icons
        "base-uri": [csp.constants.NONE],
        "object-src": [csp.constants.NONE],
    }
}
DEBUG_TOOLBAR_PANELS = [
    "debug_toolbar.panels.history.HistoryPanel",
    "debug_toolbar.panels.timer.TimerPanel",
    "tracing.panels.SignalTracePanel",
    "debug_toolbar.panels.sql.SQLPanel",
]
DEBUG_TOOLBAR_CONFIG = {
    "TOOLBAR_STORE_CLASS": f"debug_toolbar.store.{os.environ.get('PANEL_STORE', 'MemoryStore')}",
    **json.loads(os.environ.get("PANEL_TOOLBAR", "{}")),
}
TRACING = {"EXPORTERS": ["database"], **json.loads(os.environ.get("PANEL_TRACING", "{}"))}
