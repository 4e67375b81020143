"""The run of other packages' tests tells what differs, and never counts what did not run as passed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.page import publish

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"

DJANGO_TESTS = """
from unittest import TestCase, skip


class SomeTests(TestCase):
    def test_good(self): ...

    def test_bad(self):
        self.fail("as it is")

    @skip("as on some databases")
    def test_skipped(self): ...
"""
PYTEST_TESTS = """
import pytest


def test_good(): ...


def test_bad():
    raise ValueError


@pytest.mark.xfail
def test_hopeless():
    raise ValueError


@pytest.fixture
def broken():
    yield
    raise ValueError


def test_left_broken(broken): ...
"""


@pytest.fixture
def foreign(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(SCRIPTS)
    import foreign

    monkeypatch.setattr(foreign, "CACHE", tmp_path)
    monkeypatch.setattr(foreign, "pip", lambda *_arguments: (tmp_path / "ours.whl").touch())
    return foreign


def outcomes(folder, runner, text):
    """Run *text* as a package's tests and return the last word of each name with its outcome."""
    (folder / "test_some.py").write_text(text)
    (folder / "some_settings.py").write_text("SECRET_KEY = 'x'\nINSTALLED_APPS = []\n")
    command = [sys.executable, str(SCRIPTS / "foreign_child.py"), "report.json", runner]
    command += ["-p", "no:randomly", "test_some.py"] if runner == "pytest" else ["test_some"]
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "some_settings"}
    subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    report = json.loads((folder / "report.json").read_text())
    assert (report["recorded"], report["failures"]) == (0, {})
    return {name.replace("::", ".").rpartition(".")[2]: o for name, o in report["outcomes"].items()}


@pytest.mark.process
def test_report_of_djangos_runner(tmp_path):
    assert outcomes(tmp_path, "django", DJANGO_TESTS) == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_skipped": "skipped",
    }


@pytest.mark.slow
@pytest.mark.process
def test_report_of_pytest(tmp_path):
    assert outcomes(tmp_path, "pytest", PYTEST_TESTS) == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_hopeless": "expected failure",
        "test_left_broken": "error",
    }


def test_each_change_counts_also_to_the_better(foreign):
    stock = {"same": "passed", "worse": "passed", "better": "failed", "gone": "skipped"}
    traced = {"same": "passed", "worse": "error", "better": "passed", "new": "passed"}

    assert foreign.changes(stock, traced) == {
        "worse": "passed untraced, error traced",
        "better": "failed untraced, passed traced",
        "gone": "skipped untraced, not run traced",
        "new": "not run untraced, passed traced",
    }


def test_only_what_does_not_repeat_is_unsteady(foreign):
    first = {
        "stock": {"ours": "passed", "clock": "passed"},
        "traced": {"ours": "failed", "clock": "failed"},
    }

    assert foreign.unsteady(first, first.get) == []
    assert foreign.unsteady(first, lambda mode: first[mode] | {"clock": "passed"}) == ["clock"]


@pytest.mark.parametrize(
    ("row", "status", "told"),
    [
        ({"tests": 2, "passed": 2, "recorded": 1, "stock_cpu": 2.0, "traced_cpu": 3.0}, 0, "1.50"),
        (
            {"different": {"test_one": "passed untraced, failed traced"}},
            1,
            "axes: test_one: passed",
        ),
        ({"problem": "nothing was recorded"}, 1, "axes: nothing was recorded"),
        ({"not_run": "the sdist has no tests"}, 2, "| axes | ? | not run |"),
    ],
)
def test_status_and_table(foreign, monkeypatch, row, status, told):
    monkeypatch.setattr(sys, "argv", ["foreign.py", "axes"])
    monkeypatch.setattr(foreign, "compare", lambda name, *_rest: foreign.Row(name, **row))

    assert foreign.main() == status
    assert told in (foreign.CACHE / "summary.md").read_text()


def test_sdist_without_tests_is_not_run(foreign, tmp_path):
    version = foreign.SUITES["axes"].version
    (tmp_path / "axes" / f"source-{version}" / "django_axes").mkdir(parents=True)

    row = foreign.compare("axes", "5.2", tmp_path / "ours.whl")

    assert row.not_run.startswith("the sdist has no tests")
    assert not row.passed


@pytest.fixture
def compare_listing(foreign, monkeypatch, tmp_path):
    """Compare runs of a suite whose test_list is known to list what is installed."""
    suite = foreign.Suite("some", "1", "", "django", (), listing={"test_list": "applications"})
    monkeypatch.setitem(foreign.SUITES, "some", suite)
    monkeypatch.setattr(foreign, "sdist", lambda *_arguments: tmp_path)
    monkeypatch.setattr(foreign, "environment", lambda *_arguments: Path(sys.executable))

    def compare(stock, traced):
        reports = {
            "stock": {"outcomes": stock, "cpu": 1.0, "recorded": 0, "failures": {}},
            "traced": {"outcomes": traced, "cpu": 1.0, "recorded": 1, "failures": {}},
        }
        monkeypatch.setattr(foreign, "run", lambda *rest, **_named: reports[rest[4]])
        return foreign.compare("some", "5.2", tmp_path / "ours.whl")

    return compare


def test_what_lists_the_tracer_is_no_fault_but_has_to_find_it(compare_listing):
    good = {"test_list": "passed", "test_one": "passed"}

    finds = compare_listing(good, good | {"test_list": "failed"})
    misses = compare_listing(good, good)
    differs = compare_listing(good, {"test_list": "failed", "test_one": "failed"})

    assert (finds.listing, finds.different) == ({"test_list": "applications"}, {})
    assert misses.different == {"test_list": "lists applications, and did the same"}
    assert list(differs.different) == ["test_one"]


@pytest.mark.process
def test_without_an_index_nothing_is_run_and_it_says_why(foreign, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    with pytest.raises(foreign.NotRunError, match="the package index cannot be reached; pip down"):
        foreign.pip("download", "--no-deps", "surely-not-there")


def test_all_that_is_fetched_has_a_fixed_release(foreign):
    fixed = {
        line.partition("==")[0].lower()
        for line in foreign.CONSTRAINTS.read_text().splitlines()
        if "==" in line
    }
    wanted = {
        re.split(r"[\[<>=]", need)[0].lower()
        for suite in foreign.SUITES.values()
        for need in suite.needs
    }

    assert wanted - fixed == set()
    assert all(suite.version for suite in foreign.SUITES.values())


@pytest.mark.process
def test_a_table_takes_the_place_of_the_last_one_of_its_kind(tmp_path):
    name = "foreign, Python {}.{}, Django 5.2".format(*sys.version_info)
    page = tmp_path / "page.md"
    page.write_text(f"before\n<!-- {name}: begin -->\nold\n<!-- {name}: end -->\nafter\n")

    publish("foreign", "5.2.19", "| new |\n", page)

    begin, *told, end = page.read_text().splitlines()[1:-1]
    assert (begin, end) == (f"<!-- {name}: begin -->", f"<!-- {name}: end -->")
    assert told[1].startswith("Run on ")
    assert told[2:] == ["", "| new |", ""]
    with pytest.raises(ValueError, match="has no lines"):
        publish("foreign", "1.0", "", page)


def test_environment_has_what_the_tracer_needs(foreign):
    names = [re.split(r"[<>=]", need)[0] for need in foreign.own_needs()]

    assert names == ["msgspec", "structlog"]
    pinned = foreign.CONSTRAINTS.read_text(encoding="utf-8")
    assert all(f"\n{name}==" in pinned for name in names)
