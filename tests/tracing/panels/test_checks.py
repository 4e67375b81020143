"""Tests of the panel's system checks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from debug_toolbar.settings import get_config, get_panels

import tracing
from tracing.panels import SignalTracePanel, checks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def instrumented() -> Iterator[None]:
    undo = tracing.instrument()
    yield
    undo()


@pytest.fixture
def config(monkeypatch) -> dict[str, Any]:
    """Return the toolbar's configuration, to be changed."""
    changed = {**get_config()}
    monkeypatch.setattr(checks.toolbar_settings, "get_config", lambda: changed)
    return changed


def ids(found: type = SignalTracePanel) -> list[str]:
    return [message.id for message in found.run_checks()]


def test_a_right_set_up_has_nothing_to_say(instrumented):
    assert ids() == []


def test_the_app_must_be_installed(monkeypatch):
    monkeypatch.setattr(checks.apps, "is_installed", lambda name: name != "tracing")

    assert ids() == ["tracing.E010"]


def test_the_panel_must_be_listed_once(monkeypatch, instrumented):
    listed = [*get_panels(), "shop.panels.SignalTracePanel"]
    monkeypatch.setattr(checks.toolbar_settings, "get_panels", lambda: listed)

    assert ids() == ["tracing.E011"]


def test_the_panel_must_not_take_the_place_of_the_toolbars_own(instrumented, monkeypatch):
    monkeypatch.setattr(checks.toolbar_settings, "get_panels", list)
    impostor = type("SignalsPanel", (SignalTracePanel,), {})

    assert ids(impostor) == ["tracing.E012"]


def test_the_static_files_must_be_found(monkeypatch, instrumented):
    monkeypatch.setattr(checks.finders, "find", lambda path: None)

    assert ids() == ["tracing.W014"]


def test_signals_must_be_instrumented():
    assert ids() == ["tracing.W015"]


@pytest.mark.parametrize(("served", "told"), [("shop.asgi.app", ["tracing.W016"]), (None, [])])
def test_the_toolbars_database_store_does_not_go_with_asgi(
    config, instrumented, monkeypatch, served, told
):
    config["TOOLBAR_STORE_CLASS"] = checks.DATABASE_STORE
    monkeypatch.setattr(checks, "settings", SimpleNamespace(ASGI_APPLICATION=served))

    assert ids() == told


def test_a_test_that_overrides_the_toolbars_settings_hears_nothing(settings):
    settings.DEBUG_TOOLBAR_PANELS = []

    assert ids() == []
