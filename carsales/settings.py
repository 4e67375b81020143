"""Settings of CarSales, the demo site.

What a deployment may set in its environment:

- `CARSALES_SECRET_KEY`: the secret key. Without it one is made on first use and kept in `var/`.
- `CARSALES_DEBUG`: `0` or `1`. On by default: this is a demo on the loopback address.
- `CARSALES_ALLOWED_HOSTS`: host names, separated by commas.
- `CARSALES_RELEASE`: `1.0`, or `1.1`, which has mistakes for the tracer to find. Default: `1.0`.
- `CARSALES_DATA_DIR`: where the databases, the logs and the secret key go. Default: the checkout.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import csp.constants
import django
from django.urls import reverse_lazy

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("CARSALES_DATA_DIR") or BASE_DIR)
LOG_DIR = DATA_DIR / "logs"
LOG_DIR.mkdir(parents=True, exist_ok=True)


def _kept_secret_key() -> str:
    """Return the key kept in `var/secret_key`, and make one on first use."""
    path = DATA_DIR / "var" / "secret_key"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written beside and linked into place: of two processes that start together the first
        # wins, and neither reads a half-written key.
        draft = path.with_name(f"secret_key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50), encoding="ascii")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii")


def _listed(name: str, default: str) -> list[str]:
    """Return the comma-separated values of an environment variable."""
    return [value.strip() for value in os.environ.get(name, default).split(",") if value.strip()]


# -- Core ------------------------------------------------------------------------------------

SECRET_KEY = os.environ.get("CARSALES_SECRET_KEY") or _kept_secret_key()
DEBUG = os.environ.get("CARSALES_DEBUG", "1") == "1"
ALLOWED_HOSTS = _listed("CARSALES_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
INTERNAL_IPS = ["127.0.0.1", "::1"]

ROOT_URLCONF = "carsales.urls"
WSGI_APPLICATION = "carsales.wsgi.application"
ASGI_APPLICATION = "carsales.asgi.application"

INSTALLED_APPS = [
    "carsales",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "debug_toolbar",
    "django_filters",
    "django_htmx",
    "core.buyers",
    "core.cars",
    "core.orders",
    "core.sales",
    "carsales.lab",
    "carsales.demo",
    "tracing",
]

MIDDLEWARE = [
    "tracing.middleware.TracingMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "debug_toolbar.middleware.DebugToolbarMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "core.orders.context_processors.basket",
            ],
        },
    },
]

# -- Databases -------------------------------------------------------------------------------

# IMMEDIATE takes SQLite's one write lock when a transaction begins. With the default, two
# transactions that read first and write later would both read "not sold", and one of them would
# fail with "database is locked" instead of waiting for its turn.
_SQLITE_OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,  # seconds to wait for the write lock
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        "OPTIONS": _SQLITE_OPTIONS,
    },
    # Traces have a file of their own: writing them neither locks nor rolls back with the sales.
    "tracing": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "traces.sqlite3",
        "OPTIONS": _SQLITE_OPTIONS,
    },
}
DATABASE_ROUTERS = ["tracing.routers.TracingRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- People ----------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = reverse_lazy("buyers:log_in")
LOGIN_REDIRECT_URL = reverse_lazy("buyers:profile")
LOGOUT_REDIRECT_URL = reverse_lazy("home")

# -- Mail ------------------------------------------------------------------------------------

# Nobody is written to. Django 6.1 has another setting for the same.
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}}
else:
    EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"

# -- Language and time -----------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# -- Static files ----------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "staticfiles"
STATIC_ROOT.mkdir(exist_ok=True)  # WhiteNoise warns when it is not there
# The demo serves its files from where they are; nobody has to run collectstatic first.
WHITENOISE_USE_FINDERS = True

# -- Security --------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [csp.constants.SELF],
        "img-src": [csp.constants.SELF, "data:"],  # the admin and the toolbar draw small icons
        "base-uri": [csp.constants.NONE],
        "form-action": [csp.constants.SELF],
        "frame-ancestors": [csp.constants.NONE],
        "object-src": [csp.constants.NONE],
    },
}
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "carsales.errors.csrf_failure"

# -- Logging ---------------------------------------------------------------------------------

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": LOG_DIR / "carsales.log",
            "formatter": "plain",
            "delay": True,
            "encoding": "utf-8",
        },
    },
    "loggers": {
        "core": {"handlers": ["file"], "level": "INFO", "propagate": False},
        # `send_robust` logs every failed receiver with its traceback. One of CarSales' receivers
        # fails on purpose with every sale, which would bury the terminal.
        "django.dispatch": {"handlers": ["file"], "level": "ERROR", "propagate": False},
    },
}

# -- Debug toolbar ---------------------------------------------------------------------------

DEBUG_TOOLBAR_CONFIG = {"SHOW_COLLAPSED": True}
DEBUG_TOOLBAR_PANELS = [
    "debug_toolbar.panels.history.HistoryPanel",
    "debug_toolbar.panels.timer.TimerPanel",
    "tracing.panels.SignalTracePanel",
    "debug_toolbar.panels.request.RequestPanel",
    "debug_toolbar.panels.headers.HeadersPanel",
    "debug_toolbar.panels.sql.SQLPanel",
    "debug_toolbar.panels.templates.TemplatesPanel",
    "debug_toolbar.panels.staticfiles.StaticFilesPanel",
    "debug_toolbar.panels.cache.CachePanel",
    "debug_toolbar.panels.signals.SignalsPanel",
    "debug_toolbar.panels.settings.SettingsPanel",
    "debug_toolbar.panels.versions.VersionsPanel",
]

# -- Tracing ---------------------------------------------------------------------------------

TRACING: dict[str, Any] = {
    "RELEASE": os.environ.get("CARSALES_RELEASE") or "1.0",
    # Without parameters, which are never kept.
    "CAPTURE_STATEMENTS": True,
    "LOG": {"path": LOG_DIR / "tracing.jsonl"},
    # By size alone: made-up traces of weeks ago are to be looked at.
    "PRUNE": {"max_size": "2GB"},
    "KNOWN_HAZARDS": [
        {
            "hazard": "swallowed-error",
            "receiver": "core.sales.receivers.report_to_registry",
            "reason": "The vehicle registry of this demo never answers, to show a failing receiver.",
        },
        {
            "hazard": "repeated-receiver",
            "trace": "load_cars",
            "reason": "A receiver gives cars their codes, so they are saved one by one.",
        },
        {
            "hazard": "n-plus-one",
            "trace": "load_cars",
            "reason": "A code is looked for before it is given; the inventory is loaded once.",
        },
        {
            "hazard": "repeated-receiver",
            "receiver": "debug_toolbar.*",
            "reason": "The toolbar notes each static file of a page as it is named.",
        },
    ],
    # Exceeded by the experiment of the lab, and by nothing else.
    "BUDGETS": [{"name": "lab: budget-exceeded", "dispatches": 2}],
}
