"""CarSales' settings with what the tests of the panel vary, from the environment."""

from __future__ import annotations

import json
import os

from carsales.settings import *  # noqa: F403
from carsales.settings import DATA_DIR, DEBUG_TOOLBAR_CONFIG, TRACING

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "toolbar": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": DATA_DIR / "cache",
    },
}
DEBUG_TOOLBAR_CONFIG = {
    **DEBUG_TOOLBAR_CONFIG,
    "SHOW_COLLAPSED": False,
    "CACHE_BACKEND": "toolbar",
    "TOOLBAR_STORE_CLASS": f"debug_toolbar.store.{os.environ.get('PANEL_STORE', 'MemoryStore')}",
    **json.loads(os.environ.get("PANEL_TOOLBAR", "{}")),
}
TRACING = {**TRACING, **json.loads(os.environ.get("PANEL_TRACING", "{}"))}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
