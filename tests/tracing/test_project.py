"""Tests of the two lines: ``install(globals())`` and ``tracing_urls()``."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.checks.model_checks import check_all_models
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.commands import makemigrations
from django.db import models
from django.db.migrations.loader import MigrationLoader
from django.test.utils import isolate_apps

from tracing import project, tracing_urls

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def installation(monkeypatch):
    """Return what ``install()`` notes, as in a process of its own, without its check."""
    fresh = project.Installation()
    fresh.is_done = True
    monkeypatch.setattr(project, "installation", fresh)
    return fresh


def new_project(**settings):
    """Return the names of a settings module as startproject makes it."""
    return {
        "__file__": "/srv/shop/shop/settings.py",
        "BASE_DIR": Path("/srv/shop"),
        "INSTALLED_APPS": ["django.contrib.auth"],
        "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x"}},
        **settings,
    }


def test_install_adds_what_is_absent():
    names = new_project()

    project.install(names)

    assert names["INSTALLED_APPS"] == ["django.contrib.auth", "tracing"]
    assert names["MIDDLEWARE"] == [
        "tracing.middleware.TracingMiddleware",
        "django.middleware.security.SecurityMiddleware",
    ]
    assert names["DATABASES"]["tracing"] == {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path("/srv/shop/traces.sqlite3"),
        "TRACING_MAKES_TABLES": True,
    }
    assert names["DATABASE_ROUTERS"] == ["tracing.routers.TracingRouter"]
    assert names["MIGRATION_MODULES"] == {"tracing": None}
    assert not {"TRACING", "INTERNAL_IPS", "DEBUG_TOOLBAR_PANELS"} & set(names)


def test_install_twice_is_install_once(installation):
    names = new_project(INSTALLED_APPS=["debug_toolbar"])
    project.install(names, SAMPLE_RATIO=0.5)
    once, noted = dict(names), list(installation.added)

    project.install(names, SAMPLE_RATIO=0.5)

    assert names == once
    assert installation.added == noted


def test_install_changes_nothing_that_another_module_shares():
    shared = new_project(
        DATABASE_ROUTERS=["shop.Router"],
        MIGRATION_MODULES={"shop": "shop.other"},
        DEBUG_TOOLBAR_PANELS=["shop.Panel"],
        INSTALLED_APPS=("debug_toolbar",),
        TRACING={"RELEASE": "1"},
    )
    before = {name: (value, repr(value)) for name, value in shared.items()}

    project.install(dict(shared), HEADER=False)

    assert {name: (value, repr(value)) for name, value in shared.items()} == before


def test_install_keeps_what_the_project_has_set():
    names = new_project(
        INSTALLED_APPS=("tracing.apps.TracingConfig", "debug_toolbar"),
        MIDDLEWARE=["shop.First", "tracing.middleware.TracingMiddleware"],
        DATABASES={"default": {}, "tracing": {"ENGINE": "django.db.backends.postgresql"}},
        DATABASE_ROUTERS=("shop.Router",),
        DEBUG_TOOLBAR_PANELS=["shop.Panel"],
    )

    project.install(names)

    assert names["INSTALLED_APPS"] == ("tracing.apps.TracingConfig", "debug_toolbar")
    assert names["MIDDLEWARE"] == ["shop.First", "tracing.middleware.TracingMiddleware"]
    assert names["DATABASES"]["tracing"] == {"ENGINE": "django.db.backends.postgresql"}
    assert names["DATABASE_ROUTERS"] == ("tracing.routers.TracingRouter", "shop.Router")
    assert names["DEBUG_TOOLBAR_PANELS"] == ["shop.Panel", "tracing.panels.SignalTracePanel"]
    assert "MIGRATION_MODULES" not in names


@pytest.fixture
def routers_of_ours(settings):
    """Use what ``install()`` makes of DATABASE_ROUTERS in a project that has none."""
    names = new_project()
    project.install(names)
    settings.DATABASE_ROUTERS = names["DATABASE_ROUTERS"]
    return names["DATABASE_ROUTERS"]


@pytest.mark.usefixtures("routers_of_ours")
def test_our_router_alone_does_not_have_makemigrations_open_every_database(monkeypatch):
    aliases = {
        alias: SimpleNamespace(alias=alias, settings_dict={"ENGINE": "any"})
        for alias in ("default", "legacy")
    }
    opened = []
    monkeypatch.setattr(makemigrations, "connections", aliases)
    monkeypatch.setattr(
        MigrationLoader,
        "check_consistent_history",
        lambda self, connection: opened.append(connection.alias),
    )

    call_command("makemigrations", dry_run=True, verbosity=0)

    assert opened == ["default"]


@pytest.mark.usefixtures("routers_of_ours")
def test_our_router_alone_makes_no_error_of_the_project_a_warning():
    meta = type("Meta", (), {"app_label": "cars", "db_table": "cars"})
    with isolate_apps("core.cars") as isolated:
        for name in ("One", "Other"):
            type(name, (models.Model,), {"__module__": __name__, "Meta": meta})

        found = check_all_models(isolated.get_app_configs())

    assert [message.id for message in found] == ["models.E028"]


def test_a_router_that_the_project_adds_afterwards_counts(routers_of_ours):
    routers_of_ours += ["shop.Router"]

    assert routers_of_ours
    assert list(routers_of_ours) == ["tracing.routers.TracingRouter", "shop.Router"]


@pytest.mark.parametrize(
    "chosen", [{"DATABASE": "default"}, {"EXPORTERS": ["log"]}, {"EXPORTERS": []}]
)
def test_install_makes_no_store_that_the_project_does_not_want(chosen):
    names = new_project(TRACING=chosen)

    project.install(names)

    assert set(names["DATABASES"]) == {"default"}
    assert "MIGRATION_MODULES" not in names


def test_install_puts_the_panel_after_the_toolbars_own():
    from debug_toolbar.settings import PANELS_DEFAULTS

    names = new_project(INSTALLED_APPS=["debug_toolbar"])

    project.install(names)

    assert names["DEBUG_TOOLBAR_PANELS"] == [
        *PANELS_DEFAULTS,
        "tracing.panels.SignalTracePanel",
    ]


def test_arguments_of_install_are_the_settings_of_tracing():
    names = new_project(TRACING={"RELEASE": "1", "HEADER": True})

    project.install(names, HEADER=False, SAMPLE_RATIO=0.1)

    assert names["TRACING"] == {"RELEASE": "1", "HEADER": False, "SAMPLE_RATIO": 0.1}


def test_project_without_databases_has_none_but_the_store():
    names = new_project(DATABASES={})

    project.install(names)

    assert names["DATABASES"]["default"] == {}


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        ({"BASE_DIR": "/srv/shop"}, Path("/srv/shop")),
        ({"__file__": "/srv/shop/settings.py"}, Path("/srv/shop")),
        ({}, Path.cwd()),
    ],
)
def test_the_store_lies_beside_the_project(names, folder):
    project.install(names)

    assert names["DATABASES"]["tracing"]["NAME"] == folder / "traces.sqlite3"


def test_the_store_of_a_package_of_settings_lies_above_it(tmp_path):
    package = tmp_path / "shop" / "settings"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    names = {"__file__": str(package / "base.py")}

    project.install(names)

    assert names["DATABASES"]["tracing"]["NAME"] == tmp_path / "traces.sqlite3"


def test_install_says_what_it_takes():
    with pytest.raises(TypeError, match=r"tracing\.install\(globals\(\)\)"):
        project.install("shop.settings")


def test_what_was_replaced_after_install_is_told(installation, settings, monkeypatch):
    installation.added += [
        ("INSTALLED_APPS", "tracing"),
        ("MIDDLEWARE", "tracing.middleware.TracingMiddleware"),
        ("DATABASES", "tracing: /srv/traces.sqlite3"),
        ("MIGRATION_MODULES", "tracing: None, the store makes its own tables"),
    ]
    settings.MIGRATION_MODULES = {"tracing": None}
    assert project.replaced() == []

    settings.MIDDLEWARE = []
    monkeypatch.delitem(settings.DATABASES, "tracing")

    assert [name for name, _ in project.replaced()] == ["MIDDLEWARE", "DATABASES"]


@pytest.mark.process
def test_application_that_was_lost_is_told_all_the_same():
    code = """
        import django
        from django.conf import settings
        from django.core.management import call_command
        names = {"INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes"]}
        import tracing
        tracing.install(names)
        settings.configure(**{**names, "INSTALLED_APPS": ["django.contrib.contenttypes"]})
        django.setup()
        call_command("check")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )

    assert "tracing.W030" in done.stderr
    assert "INSTALLED_APPS was replaced afterwards" in done.stderr


def test_routes_lead_to_the_viewer():
    [route] = tracing_urls("behind/traces/")

    assert str(route.pattern) == "behind/traces/"
    assert route.app_name == "tracing"


@pytest.mark.parametrize("prefix", ["", "/tracing/", "tracing"])
def test_prefix_that_leads_nowhere_is_refused(prefix):
    with pytest.raises(ValueError, match="must end with a slash and not begin with one"):
        tracing_urls(prefix)


def test_routes_without_the_application_are_refused(settings):
    settings.INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]

    with pytest.raises(ImproperlyConfigured, match=r"tracing\.install\(globals\(\)\) adds it"):
        tracing_urls()
