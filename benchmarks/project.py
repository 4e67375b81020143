"""The project that is measured: settings, tables and rows, made anew in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SQLITE_OPTIONS = {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    "transaction_mode": "IMMEDIATE",
}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "benchmarks",
]

INSTANCES = 10_000


def set_up(
    folder: Path,
    *,
    apps: tuple[str, ...] = (),
    middleware: tuple[str, ...] = (),
    tracing: dict[str, Any] | None = None,
    instances: bool = False,
) -> None:
    """Create tables and rows unless they are there, and configure Django.

    The tables by another process, as everywhere: a process that migrates makes so many fields that
    Python 3.13 gives up its cache of the attributes of their classes, and is slower from then on.

    Args:
        folder: Where database and log files go; empty, or as another process has set it up.
        apps: Further applications.
        middleware: Classes to put first.
        tracing: The setting ``TRACING``; with it the tracer is installed as its manual says.
        instances: Create ``INSTANCES`` cars to load.
    """
    import django
    from django.conf import settings

    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "site.sqlite3"),
        "OPTIONS": SQLITE_OPTIONS,
    }
    configured: dict[str, Any] = {
        "ALLOWED_HOSTS": ["*"],
        "DATABASES": {"default": database},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "INSTALLED_APPS": [*APPS, *apps],
        "LOGGING_CONFIG": None,
        "MIDDLEWARE": [*middleware, *MIDDLEWARE],
        "ROOT_URLCONF": "benchmarks.site",
        "SECRET_KEY": "of no use outside the benchmark",
        "TEMPLATES": [
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
        ],
        "USE_TZ": True,
    }
    if tracing is not None:
        configured["INSTALLED_APPS"].append("tracing")
        configured["MIDDLEWARE"].insert(0, "tracing.middleware.TracingMiddleware")
        configured["DATABASES"]["tracing"] = {**database, "NAME": str(folder / "traces.sqlite3")}
        configured["DATABASE_ROUTERS"] = ["tracing.routers.TracingRouter"]
        # Nothing is pruned: what a benchmark measures stays as large as it was made.
        log = {"path": str(folder / "tracing.jsonl")}
        spool = {"path": str(folder / "spool")}
        configured["TRACING"] = {"LOG": log, "PRUNE": {}, "SPOOL": spool, **tracing}
    unrecorded = {"TRACING": {"ENABLED": False}} if tracing is not None else {}
    if not (folder / "site.sqlite3").exists():
        subprocess.run(
            [sys.executable, "-m", "benchmarks.project", json.dumps(instances)],
            input=json.dumps({**configured, **unrecorded}),
            text=True,
            check=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
    settings.configure(**configured)
    django.setup()


def create_tables(configured: dict[str, Any], *, instances: bool) -> None:
    """Configure Django with *configured* and create its tables and the rows that are measured."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(**configured)
    django.setup()
    for alias in configured["DATABASES"]:
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)

    from benchmarks.models import Car, Item

    Item.objects.bulk_create(Item(name=f"item {n}", stock=n) for n in range(5))
    if instances:
        Car.objects.bulk_create(
            Car(make="Volvo", model="240", year=1980 + n % 40, price=n, mileage=n * 10, sold=False)
            for n in range(INSTANCES)
        )


if __name__ == "__main__":
    create_tables(json.load(sys.stdin), instances=json.loads(sys.argv[1]))
