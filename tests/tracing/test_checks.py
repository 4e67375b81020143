from __future__ import annotations

import pytest
from django.core.checks import run_checks

from tracing import checks
from tracing.capture import instrumentation


def ids(found):
    return [message.id for message in found]


def test_project_as_it_is_has_nothing_wrong():
    found = [message for message in run_checks() if message.id.startswith("tracing.")]

    # The tests instrument when they need it, which the panel's check takes for an oversight.
    assert ids(found) == ["tracing.W015"]


def test_wrong_settings_are_reported_with_their_hints(settings):
    settings.TRACING = {"ENABELD": True, "LOG": 5}

    found = checks.check_settings()

    assert ids(found) == ["tracing.W001", "tracing.W002"]
    assert all(message.hint for message in found)


def test_wrong_settings_of_rules_are_reported(settings):
    settings.TRACING = {"HAZARDS": {"no-such-rule": False}}

    found = checks.check_hazards()

    assert ids(found) == ["tracing.W008"]
    assert "no-such-rule" in found[0].msg


def test_store_that_does_not_exist_is_reported(settings):
    settings.TRACING = {"DATABASE": "nowhere"}

    assert ids(checks.check_store()) == ["tracing.W003"]


def test_store_without_a_router_is_reported(settings):
    settings.TRACING = {}
    settings.DATABASE_ROUTERS = []

    assert ids(checks.check_store()) == ["tracing.W004"]


@pytest.mark.parametrize("tracing", [{"EXPORTERS": ["log"]}, {"DATABASE": "default"}])
def test_store_that_needs_no_router_is_in_order(settings, tracing):
    settings.TRACING = tracing
    settings.DATABASE_ROUTERS = []

    assert checks.check_store() == []


def test_missing_middleware_is_reported(settings):
    settings.MIDDLEWARE = []

    assert ids(checks.check_middleware()) == ["tracing.W005"]


def test_dispatcher_that_was_not_verified_is_reported(monkeypatch):
    monkeypatch.setattr(checks, "sends_are_verified", lambda: False)

    [found] = checks.check_django()

    assert found.id == "tracing.W006"


def test_installed_django_is_verified():
    assert instrumentation.sends_are_verified()
    assert checks.check_django() == []


def test_toolbar_without_the_panel_is_reported(settings):
    settings.DEBUG_TOOLBAR_PANELS = ["debug_toolbar.panels.sql.SQLPanel"]
    without = checks.check_panel()
    settings.DEBUG_TOOLBAR_PANELS = ["tracing.panels.SignalTracePanel"]
    with_panel = checks.check_panel()
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "debug_toolbar"]
    del settings.DEBUG_TOOLBAR_PANELS

    assert (ids(without), with_panel, checks.check_panel()) == (["tracing.W007"], [], [])


@pytest.mark.parametrize(
    ("debug", "addresses", "found"),
    [(True, [], ["tracing.W009"]), (True, ["10.0.0.1"], []), (False, [], [])],
)
def test_viewer_that_is_closed_on_a_development_server_is_reported(
    settings, debug, addresses, found
):
    settings.DEBUG = debug
    settings.INTERNAL_IPS = addresses

    assert ids(checks.check_viewer()) == found


def test_viewer_that_is_not_in_the_urls_is_not_missed(settings):
    settings.DEBUG = True
    settings.INTERNAL_IPS = []
    settings.ROOT_URLCONF = "core.cars.urls"

    assert checks.check_viewer() == []
