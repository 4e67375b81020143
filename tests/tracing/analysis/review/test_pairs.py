"""A review of pairs of projects, each recorded by its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracing.analysis.review.pairs import PAIRS
from tests.tracing.analysis.review.recording_pairs import folder_of
from tracing.analysis.review import read, review

ROOT = Path(__file__).resolve().parents[4]
PATIENCE = 1_800
"""Seconds to wait for all the runs: only a failure waits so long."""
FEW = {
    *("nothing", "receiver renamed and asks more", "another sender", "saved twice"),
    *("raises, and later ones are skipped", "on commit, in a test that runs the callbacks"),
    *("bulk_create, several receivers", "tests of a class, with shared data"),
    *("tests in another order", "tests of one side"),
}
"""One or two of each sort; all of them take a minute or two."""


def short(name):
    return name and name.rpartition(".")[2]


def fits(expected, found):
    return len(expected) == len(found) and all(
        wanted is ... or wanted == value or (type(value) is str and value.endswith(f".{wanted}"))
        for wanted, value in zip(expected, found, strict=True)
    )


def problems_of(pair, out):
    """Return what a review of a pair says that it should not, or does not say."""
    base, head = (folder_of(out, pair, side) for side in ("base", "head"))
    changes = review(read(base / "record"), read(head / "record"))
    found = [
        (c.kind, short(c.receiver), short(c.signal), c.sender, c.before, c.after) for c in changes
    ]
    problems = [f"tests are {each.tests}" for each in changes if each.tests != pair.tests]
    for expected in pair.expected:
        same = next((each for each in found if fits(expected, each)), None)
        if same is None:
            problems.append(f"missing {expected}")
        else:
            found.remove(same)
    return problems + [f"too much: {each}" for each in found]


def check(pairs, out):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in ("DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        environment.pop(name, None)
    module = "tests.tracing.analysis.review.recording_pairs"
    ended = subprocess.run(
        [sys.executable, "-m", module, str(out), *(pair.name for pair in pairs)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr

    problems = {pair.name: problems_of(pair, out) for pair in pairs}

    assert {name: each for name, each in problems.items() if each} == {}


pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked"),
]


def test_a_few_pairs(tmp_path):
    check([pair for pair in PAIRS if pair.name in FEW], tmp_path)


@pytest.mark.slow
def test_all_other_pairs(tmp_path):
    check([pair for pair in PAIRS if pair.name not in FEW], tmp_path)
