"""Tests of ``pytest --tracing-coverage``."""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tracing.analysis.signal_coverage import Connected
from tracing.presentation.signal_coverage import lines
from tracing.pytest_plugin.coverage import percentage
from tracing.testing.covering import takes_raw

ROOT = Path(__file__).resolve().parents[3]

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
"""
SHOP = """
from django.contrib.auth.models import Group
from django.db.models.signals import post_delete, post_save, pre_save
from django.dispatch import Signal

paid = Signal()

def book(**named):
    if named.get("total") == 0:
        raise ValueError

def remind(**named):
    pass

def greet(instance, raw=False, **named):
    pass

def clean(**named):
    pass

paid.connect(book, sender=Group)
paid.connect(remind)
post_save.connect(greet, sender=Group)
post_delete.connect(clean, sender=Group)
"""
TESTS = """
import shop
import pytest
from django.contrib.auth.models import Group
from django.core import serializers
from django.db import transaction

pytestmark = pytest.mark.django_db

def test_pays():
    shop.paid.send_robust(Group, total=0)
    shop.paid.send_robust(Group, total=1)
    shop.paid.send(None)

def test_is_undone():
    with transaction.atomic():
        Group(name="a").save()
        transaction.set_rollback(True)

def test_loads():
    fixture = '[{"model": "auth.group", "fields": {"name": "b", "permissions": []}}]'
    for each in serializers.deserialize("json", fixture):
        each.save()

def test_own():
    def own(**named):
        pass
    shop.paid.connect(own, weak=False)
    shop.paid.send(Group)
    shop.paid.disconnect(own)
"""


class Run(NamedTuple):
    """A run of the tests of a shop."""

    status: int
    report: list[str]
    document: dict[str, Any]
    lcov: str


@pytest.fixture(scope="module")
def covered(tmp_path_factory):
    """Return a function that runs the tests of a shop once with coverage and these arguments."""
    folder = tmp_path_factory.mktemp("shop")
    for name, text in (("conf", SETTINGS), ("shop", SHOP), ("test_it", TESTS)):
        (folder / f"{name}.py").write_text(text)
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": f"{folder}:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "conf",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    for plugin in ("pytest_django.plugin", "xdist.plugin", "tracing.pytest_plugin"):
        command += ["-p", plugin]
    command += ["--tracing-coverage-json=c.json", "--tracing-coverage-lcov=out/c.info"]

    @functools.cache
    def covered(*arguments: str) -> Run:
        done = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        report = done.stdout.partition(" signal coverage ")[2].splitlines()[1:]
        document = json.loads((folder / "c.json").read_text())
        return Run(done.returncode, report, document, (folder / "out" / "c.info").read_text())

    return covered


ALONE = ("--tracing-coverage-min=75.5",)
TOGETHER = ("-n", "2", "--tracing-coverage-all", "--tracing-coverage-min=0")


def counts(run):
    """Return sender, calls and the rest of each connection that is mine, by the receiver's name."""
    keys = ("sender", "calls", "raised", "rolled_back", "raw", "senders", "never")
    return {
        each["receiver"].rpartition(".")[2]: tuple(each[key] for key in keys)
        for each in run.document["receivers"]
        if each["mine"]
    }


@pytest.mark.process
def test_each_connection_is_told_with_how_it_ran(covered):
    run = covered(*ALONE)

    assert counts(run) == {
        "book": ("auth.Group", 3, 1, 0, None, None, ["rolled back"]),
        "remind": (None, 4, 0, 0, None, {"None": 1, "auth.Group": 3}, ["raised", "rolled back"]),
        "greet": ("auth.Group", 2, 0, 1, 1, None, ["raised"]),
        "clean": ("auth.Group", 0, 0, 0, None, None, ["ran"]),
    }
    places = {each["receiver"]: (each["file"], each["line"]) for each in run.document["receivers"]}
    assert places["shop.greet"] == ("shop.py", 15)
    assert {key: run.document[key] for key in ("version", "connections", "ran", "percent")} == {
        "version": 1,
        "connections": 4,
        "ran": 3,
        "percent": 75.0,
    }


@pytest.mark.process
def test_the_terminal_has_what_never_ran_first_and_a_place_in_each_line(covered):
    report = covered(*ALONE).report

    assert report[:6] == [
        "receiver  connected to               calls  raised  rolled back  raw",
        "clean     post_delete of auth.Group  never                            shop.py:18",
        "book      paid of auth.Group             3       1            -       shop.py:8",
        "remind    paid                           4       -            -       shop.py:12",
        "greet     post_save of auth.Group        2       -            1    1  shop.py:15",
        "3 of 4 connections ran: 75 %",
    ]
    assert report[6].endswith("connections that are not yours are hidden (--tracing-coverage-all)")


@pytest.mark.process
def test_too_little_fails_the_run_as_failed_tests_do(covered):
    run = covered(*ALONE)

    assert run.status == pytest.ExitCode.TESTS_FAILED
    assert "FAIL Required signal coverage of 75.5 % not reached: 75.00 %" in run.report


@pytest.mark.process
def test_workers_count_together_and_the_run_passes_with_enough(covered):
    alone, together = covered(*ALONE), covered(*TOGETHER)

    assert counts(together) == counts(alone)
    assert together.status == pytest.ExitCode.OK


@pytest.mark.process
def test_all_tells_of_packages_too(covered):
    assert {each["mine"] for each in covered(*ALONE).document["receivers"]} == {True}
    assert {each["mine"] for each in covered(*TOGETHER).document["receivers"]} == {True, False}


@pytest.mark.process
def test_lcov_has_each_connection_as_a_function_and_each_end_as_a_branch(covered):
    (record,) = parsed(covered(*ALONE).lcov)

    assert record["SF"] == "shop.py"
    assert record["functions"] == {
        "book on paid of auth.Group": (8, 3),
        "remind on paid": (12, 4),
        "greet on post_save of auth.Group": (15, 2),
        "clean on post_delete of auth.Group": (18, 0),
    }
    assert record["lines"] == {8: 3, 12: 4, 15: 2, 18: 0}
    # Returned, raised, rolled back; raw where it is asked for.
    assert record["branches"] == {
        8: ["2", "1", "0"],
        12: ["4", "0", "0"],
        15: ["2", "0", "1", "1"],
        18: ["-", "-", "-"],
    }


def parsed(text):
    """Return the records of an lcov file; its own counts must be those of what it lists."""
    records = []
    record = None
    for line in text.splitlines():
        if line == "end_of_record":
            counts = record.pop("counts")
            branches = [taken for each in record["branches"].values() for taken in each]
            assert counts == {
                "FNF": len(record["functions"]),
                "FNH": sum(1 for _line, count in record["functions"].values() if count),
                "BRF": len(branches),
                "BRH": sum(taken not in {"0", "-"} for taken in branches),
                "LF": len(record["lines"]),
                "LH": sum(1 for count in record["lines"].values() if count),
            }
            records.append(record)
            record = None
            continue
        key, _colon, value = line.partition(":")
        if key == "TN":
            assert record is None
            record = {"functions": {}, "lines": {}, "branches": {}, "counts": {}}
        elif key == "SF":
            record["SF"] = value
        elif key == "FN":
            line_number, name = value.split(",")
            record["functions"][name] = (int(line_number), None)
        elif key == "FNDA":
            count, name = value.split(",")
            record["functions"][name] = (record["functions"][name][0], int(count))
        elif key == "DA":
            line_number, count = value.split(",")
            record["lines"][int(line_number)] = int(count)
        elif key == "BRDA":
            line_number, _block, branch, taken = value.split(",")
            taken_there = record["branches"].setdefault(int(line_number), [])
            assert int(branch) == len(taken_there)
            taken_there.append(taken)
        else:
            record["counts"][key] = int(value)
    assert record is None
    return records


def test_raw_is_asked_for_by_an_argument_or_by_its_name():
    def by_argument(raw, **named): ...

    def by_name(**named):
        return named["raw"]

    def decorated(function):
        @functools.wraps(function)
        def inner(*args, **named):
            return function(*args, **named)

        return inner

    class Receiver:
        def __call__(self, *, raw, **named): ...

        def method(self, **named): ...

    asking = [by_argument, by_name, decorated(by_argument), Receiver()]
    asking.append(functools.partial(by_argument, x=1))

    assert [takes_raw(receiver) for receiver in asking] == [True] * 5
    assert [takes_raw(receiver) for receiver in (Receiver().method, decorated(print), print)] == [
        False,
        False,
        False,
    ]


def test_what_ran_in_every_way_is_only_counted_and_nothing_connected_is_told():
    whole = Connected("shop.paid", "None", "shop.book", calls=3, raised=1, undone=1)

    assert list(lines([whole], 0, str)) == [
        "1 of 1 connection ran: 100 %; 1 in every way, not listed"
    ]
    assert list(lines([], 2, str)) == [
        "No receiver of yours is connected.",
        "2 connections that are not yours are hidden (--tracing-coverage-all)",
    ]


@pytest.mark.parametrize("wrong", ["101", "-1", "many", "nan"])
def test_a_minimum_that_is_no_percentage_is_refused(wrong):
    with pytest.raises(
        argparse.ArgumentTypeError, match=f"'{wrong}' is no percentage from 0 to 100"
    ):
        percentage(wrong)
