from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader

from tracing import checks
from tracing.models import SignalLabel, Trace
from tracing.routers import TracingRouter, has_own_database, misplaced, store_alias

OWN = {"default": {}, "tracing": {}}
ONE = {"default": {}}


@pytest.fixture
def use(settings, monkeypatch):
    """Return a function that puts DATABASES and TRACING into force."""

    def put(databases, setting=None):
        settings.TRACING = setting or {}
        # Not through the fixture: Django warns of that, because connections would not follow.
        monkeypatch.setattr(django_settings._wrapped, "DATABASES", databases)

    return put


@pytest.mark.parametrize(
    ("databases", "setting", "alias", "own"),
    [
        (OWN, {}, "tracing", True),
        (ONE, {}, "default", False),
        (OWN, {"DATABASE": "default"}, "default", False),
        ({"default": {}, "logs": {}}, {"DATABASE": "logs"}, "logs", True),
    ],
)
def test_alias_of_the_store_follows_the_settings(use, databases, setting, alias, own):
    use(databases, setting)

    assert (store_alias(), has_own_database()) == (alias, own)


def test_router_keeps_traces_in_their_database_and_others_out(use):
    use(OWN)
    router = TracingRouter()

    assert router.db_for_read(Trace) == router.db_for_write(Trace) == "tracing"
    assert router.db_for_read(Permission) is None
    assert router.allow_migrate("tracing", "tracing") is True
    assert router.allow_migrate("tracing", "auth") is False
    assert router.allow_migrate("default", "tracing") is False
    assert router.allow_migrate("default", "auth") is None


def test_router_lets_traces_live_with_the_application(use):
    use(ONE)
    router = TracingRouter()

    assert router.db_for_read(Trace) == "default"
    assert router.allow_migrate("default", "tracing") is True
    assert router.allow_migrate("default", "auth") is None


def test_router_allows_relations_among_traces_alone():
    router = TracingRouter()

    assert router.allow_relation(Trace(), SignalLabel()) is True
    assert router.allow_relation(Trace(), Permission()) is None


class ElsewhereRouter:
    """A router of the project's that has an opinion on everything."""

    def db_for_read(self, model, **hints):
        return "default"


@pytest.mark.parametrize(
    ("routers", "problem"),
    [
        (["tracing.routers.TracingRouter"], ""),
        ([], "no router leads there. Add 'tracing.routers.TracingRouter' to DATABASE_ROUTERS."),
        (
            [f"{__name__}.ElsewhereRouter", "tracing.routers.TracingRouter"],
            (
                "a router before the tracer's leads to 'default'. Put 'tracing.routers.TracingRouter' "
                "first in DATABASE_ROUTERS: it has no opinion on other models."
            ),
        ),
        (["tracing.routers.TracingRouter", f"{__name__}.ElsewhereRouter"], ""),
    ],
)
def test_router_that_is_not_asked_is_told(settings, routers, problem):
    settings.DATABASE_ROUTERS = routers
    settings.TRACING = {"DATABASE": "tracing"}

    assert misplaced().partition("but ")[2] == problem
    assert [each.id for each in checks.check_store()] == (["tracing.W004"] if problem else [])


@pytest.mark.django_db
def test_makemigrations_may_be_called_by_a_test_that_may_not_open_the_traces(monkeypatch):
    opened = []
    monkeypatch.setattr(
        MigrationLoader, "check_consistent_history", lambda _self, c: opened.append(c.alias)
    )

    call_command("makemigrations", "cars", "--check", "--dry-run", verbosity=0)

    assert opened == ["default"]


def test_migrate_is_let_into_the_database_of_the_traces(use):
    use(OWN)
    tables = TracingRouter()

    assert tables.allow_migrate("tracing", "tracing", model_name="trace", model=Trace) is True
    assert tables.allow_migrate("tracing", "tracing", model_name="trace") is True
    assert tables.allow_migrate("tracing", "tracing", model_name="Trace", model=Trace) is True
    assert tables.allow_migrate("tracing", "tracing", tracing=True) is True
