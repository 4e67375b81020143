"""Tests of the settings of CarSales, and of what its environment sets."""

from __future__ import annotations

import ast
import logging
import logging.config
import stat
from pathlib import Path
from weakref import WeakValueDictionary

import pytest

from carsales import environment as module
from tracing.exporters.application_log import application_lines
from tracing.testing import capture_dispatches


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


def test_lines_of_the_site_are_found_by_the_id_of_their_trace(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(module, "LOG_DIR", tmp_path)
    # The handlers of the process are left alone: dictConfig() closes all that it knows.
    monkeypatch.setattr(logging, "_handlers", WeakValueDictionary())
    monkeypatch.setattr(logging, "_handlerList", [])
    [path] = settings.TRACING_OF_CARSALES["APPLICATION_LOGS"]
    told = module.logging_to(path.name)
    logger = logging.getLogger("tests.of_the_site")
    told["loggers"] = {logger.name: {"handlers": ["file"], "level": "INFO", "propagate": False}}
    logging.config.dictConfig({**told, "incremental": False})
    try:
        with capture_dispatches() as captured:
            logger.info("sale %s is complete", 7)
            logger.error("not reported", exc_info=LookupError("no registry"))
        logger.info("outside")
    finally:
        [handler] = logger.handlers
        logger.removeHandler(handler)
        handler.close()

    first, second = application_lines(captured.trace, [tmp_path / path.name]).lines
    assert (first.text, first.level, first.fields) == (
        "sale 7 is complete",
        "info",
        {"logger": logger.name},
    )
    assert (second.text, second.level) == ("not reported", "error")
    assert "LookupError: no registry" in second.fields["exception"]


def test_the_tracer_finds_its_place_in_the_settings(settings):
    assert settings.INSTALLED_APPS[-1] == "tracing"
    assert settings.MIDDLEWARE[0] == "tracing.middleware.TracingMiddleware"
    assert settings.DATABASE_ROUTERS == ["tracing.routers.TracingRouter"]
    assert settings.DATABASES["tracing"]["NAME"] != settings.DATABASES["default"]["NAME"]
    assert settings.DEBUG_TOOLBAR_PANELS.count("tracing.panels.SignalTracePanel") == 1
