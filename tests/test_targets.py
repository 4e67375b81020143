"""The runs of the tests: each marker and each target of make means what it says, and no test is in none."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import all_tests

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("test-fast", "test", "test-all")


def recipe(target):
    """Return what the Makefile runs for *target*."""
    text = (ROOT / "Makefile").read_text()
    return re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1]


@cache
def chosen(target, markers):
    """Return whether pytest runs a test of these markers for *target*."""
    [expression] = re.findall(r'-m "([^"]+)"', recipe(target)) or ["True"]
    words = set(re.findall(r"[a-z]+", expression)) - {"not", "or", "and"}
    return eval(expression, {}, {word: word in markers for word in words})


@pytest.fixture
def runs(request):
    """Return the names of the collected tests that each target runs."""
    tests = request.config.stash[all_tests]
    return {
        target: {name for name, markers in tests if chosen(target, markers)} for target in TARGETS
    }


def test_each_run_has_all_of_the_one_before_it(runs, request):
    everything = {name for name, _markers in request.config.stash[all_tests]}

    assert request.node.nodeid in runs["test-fast"]
    assert runs["test-fast"] <= runs["test"] <= runs["test-all"] == everything


def test_what_a_run_leaves_out_has_the_marker_that_says_why(runs, request):
    markers = dict(request.config.stash[all_tests])

    assert {name for name, held in markers.items() if "slow" in held} == (
        runs["test-all"] - runs["test"]
    )
    assert {
        name
        for name in runs["test"]
        if markers[name] & {"thorough", "process", "browser", "services"}
    } == (runs["test"] - runs["test-fast"])


def test_markers_are_told_apart():
    assert [chosen(target, frozenset(["slow"])) for target in TARGETS] == [False, False, True]
    assert [chosen(target, frozenset(["thorough"])) for target in TARGETS] == [False, True, True]
    assert [chosen(target, frozenset(["process"])) for target in TARGETS] == [False, True, True]
    assert [chosen(target, frozenset(["browser"])) for target in TARGETS] == [False, True, True]
    assert [chosen(target, frozenset(["services"])) for target in TARGETS] == [False, True, True]
    assert [chosen(target, frozenset(["django_db"])) for target in TARGETS] == [True, True, True]


def test_ci_runs_every_test_once_on_the_first_interpreter():
    steps = (ROOT / ".ci" / "run").read_text()

    assert re.findall(r"^step \S+ make (test\S*)", steps, re.MULTILINE) == ["test-all"]
    assert '-m "' not in recipe("coverage")
    assert "not slow" not in (ROOT / "noxfile.py").read_text()


@pytest.mark.parametrize(
    ("page", "named"),
    [
        ("README.md", {"test"}),
        ("CONTRIBUTING.md", set(TARGETS)),
        ("docs/project/development.md", set(TARGETS)),
    ],
)
def test_pages_name_the_runs(page, named):
    text = (ROOT / page).read_text()

    assert named <= set(re.findall(r"\bmake (test(?:-\w+)?)\b(?!-)", text))
