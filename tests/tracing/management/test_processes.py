"""Tests of ``wiring --processes`` and of what ``hazards`` says of processes."""

from __future__ import annotations

import pytest

from tests.tracing.command_line import code_of, error_of, run, run_json
from tests.tracing.wirings import DAY, HOUR, connected, keep, version

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def web_and_worker():
    foreign = connected("package.receivers.hear", mine=False)
    keep(
        version("web", "count", "index", foreign, release="1.1", first=DAY),
        version("worker celery", "count", release="1.1", first=HOUR),
        version("tests", "count", release="1.1", first=HOUR),
    )


def test_empty_store_says_when_processes_tell():
    assert run("wiring", "--processes").startswith("No process has told what it has connected.")
    assert run_json("wiring", "--processes") == {"kinds": [], "differences": []}


def test_missing_receivers_are_named_with_kind_release_and_line(web_and_worker):
    lines = run("wiring", "--processes").splitlines()

    assert lines[0].split() == ["process", "release", "connections", "last", "seen"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["web", "1.1", "3"],
        ["worker", "celery", "1.1"],
        ["tests", "1.1", "1"],
    ]
    receiver, there, missing, tests = lines[5:9]
    assert receiver == (
        "shop.receivers.index  post_save from shop.Order  /srv/shop/receivers.py:12"
    )
    assert there.startswith("  connected in web  /srv/shop/apps.py:9  since release 1.1, 20")
    assert missing.startswith("  NOT CONNECTED in worker celery  since release 1.1, 20")
    assert tests == "  not in tests: tests import what they test"
    assert lines[-1] == "1 difference that is not yours is hidden (--everything)"


def test_everything_is_shown_when_asked_for(web_and_worker):
    shown = run("wiring", "--processes", "--everything")

    assert "package.receivers.hear" in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(
    "option",
    [
        ("--receiver", "index"),
        ("--signal", "post_save"),
        ("--sender", "shop.order"),
        ("--app", "shop"),
    ],
)
def test_differences_are_narrowed(web_and_worker, option):
    name = option[0]
    found = run_json("wiring", "--processes", *option)["differences"]
    none = run_json("wiring", "--processes", name, "nonsense")["differences"]

    assert "shop.receivers.index" in [each["receiver"] for each in found]
    assert none == []


def test_kinds_that_agree_are_said_to():
    keep(version("web", "count"))
    assert "Only one kind of process" in run("wiring", "--processes")

    keep(version("worker celery", "count"))
    shown = run("wiring", "--processes")
    assert "Every receiver of yours is connected wherever it should be." in shown
    assert "release" not in shown


def test_what_is_rightly_different_is_counted():
    keep(version("web", "count"), version("tests"))

    assert "1 more: not yours, or rightly so (--everything)" in run("wiring", "--processes")


def test_other_questions_do_not_go_with_it():
    code, message = error_of("wiring", "--processes", "--unseen")

    assert (code, message) == (2, "--processes does not go with --unseen.")


def test_hazards_name_it(web_and_worker):
    (found,) = run_json("hazards", "--hazard", "wired-differently")
    code, shown = code_of("hazards", "--hazard", "wired-differently", "--fail-on", "warning")

    assert (found["receiver"], found["trace_id"]) == ("shop.receivers.index", None)
    assert code == 1
    assert "in web, and not in worker celery" in shown
    assert run_json("hazards", "--hazard", "wired-differently", "--no-wiring") == []
