"""Settings of CarSales. What a deployment sets in its environment: `carsales/environment.py`."""

from __future__ import annotations

import csp.constants
import django
from django.urls import reverse_lazy

import tracing
from carsales import environment

BASE_DIR, DATA_DIR = environment.BASE_DIR, environment.DATA_DIR
DEBUG = environment.DEBUG
SECRET_KEY = environment.secret_key()
ALLOWED_HOSTS = environment.listed("CARSALES_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
INTERNAL_IPS = ["127.0.0.1", "::1"]

ROOT_URLCONF = "carsales.urls"
WSGI_APPLICATION = "carsales.wsgi.application"
ASGI_APPLICATION = "carsales.asgi.application"

INSTALLED_APPS = [
    "carsales",
    *("django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"),
    *("django.contrib.sessions", "django.contrib.messages", "whitenoise.runserver_nostatic"),
    *("django.contrib.staticfiles", "django.contrib.humanize"),
    *("debug_toolbar", "django_filters", "django_htmx"),
    *("core.buyers", "core.cars", "core.orders", "core.sales"),
    *("carsales.lab", "carsales.demo"),
]
MIDDLEWARE = [
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
                *(f"django.template.context_processors.{name}" for name in ("debug", "request")),
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "core.orders.context_processors.basket",
            ],
        },
    },
]

DATABASES = {"default": environment.sqlite("db.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]
LOGIN_URL = reverse_lazy("buyers:log_in")
LOGIN_REDIRECT_URL = reverse_lazy("buyers:profile")
LOGOUT_REDIRECT_URL = reverse_lazy("home")
# Nobody is written to. Django 6.1 has another setting for the same.
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}}
else:
    EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"

LANGUAGE_CODE, TIME_ZONE = "en", "UTC"

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "staticfiles"
STATIC_ROOT.mkdir(exist_ok=True)  # WhiteNoise warns when it is not there.
WHITENOISE_USE_FINDERS = True  # From where they are: nobody has to run collectstatic first.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [csp.constants.SELF],
        "img-src": [csp.constants.SELF, "data:"],  # The admin and the toolbar draw small icons.
        "form-action": [csp.constants.SELF],
        **{key: [csp.constants.NONE] for key in ("base-uri", "frame-ancestors", "object-src")},
    },
}
CSRF_FAILURE_VIEW = "carsales.errors.csrf_failure"

LOGGING = environment.logging_to("carsales.jsonl")
DEBUG_TOOLBAR_CONFIG = {"SHOW_COLLAPSED": True}
DEBUG_TOOLBAR_PANELS = [
    f"debug_toolbar.panels.{name}Panel"
    for name in (
        *("history.History", "timer.Timer", "request.Request", "headers.Headers", "sql.SQL"),
        *("templates.Templates", "staticfiles.StaticFiles", "cache.Cache", "signals.Signals"),
        *("settings.Settings", "versions.Versions"),
    )
]

# Tracing. The last line without its arguments would do (README.md); the rest is for the demo.
DATABASES["tracing"] = environment.sqlite("traces.sqlite3")  # Beside the sales, locked apart.
DEBUG_TOOLBAR_PANELS.insert(2, "tracing.panels.SignalTracePanel")
tracing.install(
    globals(),
    RELEASE=environment.RELEASE,
    CAPTURE_STATEMENTS=True,  # Without parameters, which are never kept.
    EXCLUDE_COMMANDS=["runserver", "shell", "dbshell", "test", "tracing", "incidents"],
    APPLICATION_LOGS=[environment.LOG_DIR / "carsales.jsonl"],  # What the site itself logs.
    LOG={"path": environment.LOG_DIR / "tracing.jsonl"},
    PRUNE={"max_size": "2GB"},  # By size alone: made-up traces of weeks ago are to be looked at.
    BUDGETS=[{"name": "lab: budget-exceeded", "dispatches": 2}],  # Exceeded there alone.
    KNOWN_HAZARDS=[
        {"hazard": "swallowed-error", "receiver": "core.*_to_registry", "reason": "On purpose."},
        {"hazard": "repeated-receiver", "trace": "load_cars", "reason": "Cars are saved singly."},
        {"hazard": "n-plus-one", "trace": "load_cars", "reason": "Each asks for a free code."},
        {"hazard": "repeated-receiver", "receiver": "debug_toolbar.*", "reason": "Once per file."},
    ],
)
