from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission

from tracing.models import SignalLabel, Trace
from tracing.routers import TracingRouter, has_own_database, store_alias

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
