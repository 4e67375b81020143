"""Fixtures for tests of the faces and of the store: who asks, and nothing remembered."""

from __future__ import annotations

import gc

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.clickhouse import running_engine
from tracing.store import cache


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """Return the address of a ClickHouse with nothing in it."""
    with running_engine(tmp_path_factory.mktemp("clickhouse")) as url:
        yield url


@pytest.fixture(autouse=True)
def nothing_kept():
    """Forget the traces that the test before has read."""
    cache.forget()


@pytest.fixture
def uncollected():
    """Leave what other tests dropped alone: their finalizers too meet a limit of recursion."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def developer(settings, db):
    """Return a client on one of INTERNAL_IPS with DEBUG on, without the debug toolbar."""
    settings.DEBUG = True
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "debug_toolbar" not in name]
    return Client()


@pytest.fixture
def person(db):
    """Return ``person("view_trace", ..., is_staff=True)``: a client logged in with permissions."""

    def person(*permissions, is_staff=True):
        user = User.objects.create_user("nadia", is_staff=is_staff)
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="tracing", codename__in=permissions)
        )
        client = Client()
        client.force_login(user)
        return client

    return person
