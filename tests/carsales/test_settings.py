"""Tests of the settings that are more than values."""

from __future__ import annotations

import stat

import pytest

from carsales import settings as module


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

    assert module._listed("SOME_HOSTS", "localhost") == hosts
