"""Tests of the settings of CarSales, and of what its environment sets."""

from __future__ import annotations

import ast
import stat
from pathlib import Path

import pytest

from carsales import environment as module


def test_the_secret_key_is_made_once_and_kept_private(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DATA_DIR", tmp_path)

    first, second = module._kept_secret_key(), module._kept_secret_key()

    (path,) = (tmp_path / "var").iterdir()
    assert first == second == path.read_text()
    assert len(first) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_of_two_first_starts_both_use_the_key_of_the_faster(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DATA_DIR", tmp_path)
    path = tmp_path / "var" / "secret_key"

    def made_by_the_other(_bytes):
        path.write_text("the other's key")
        return "mine"

    monkeypatch.setattr(module.secrets, "token_urlsafe", made_by_the_other)

    assert module._kept_secret_key() == "the other's key"
    assert [each.name for each in path.parent.iterdir()] == ["secret_key"]


@pytest.mark.parametrize(
    ("value", "hosts"), [("a.example, b.example,", ["a.example", "b.example"]), ("", [])]
)
def test_hosts_are_separated_by_commas(monkeypatch, value, hosts):
    monkeypatch.setenv("SOME_HOSTS", value)

    assert module.listed("SOME_HOSTS", "localhost") == hosts


def test_the_settings_are_read_in_one_go_and_end_with_the_tracer():
    text = Path(module.__file__).with_name("settings.py").read_text(encoding="utf-8")

    last = ast.unparse(ast.parse(text).body[-1])
    assert len(text.splitlines()) <= 120
    assert last.startswith("tracing.install(globals(), RELEASE=")


def test_the_tracer_finds_its_place_in_the_settings(settings):
    assert settings.INSTALLED_APPS[-1] == "tracing"
    assert settings.MIDDLEWARE[0] == "tracing.middleware.TracingMiddleware"
    assert settings.DATABASE_ROUTERS == ["tracing.routers.TracingRouter"]
    assert settings.DATABASES["tracing"]["NAME"] != settings.DATABASES["default"]["NAME"]
    assert settings.DEBUG_TOOLBAR_PANELS.count("tracing.panels.SignalTracePanel") == 1
