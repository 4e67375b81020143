"""Tests of ``assert_dispatch_tree`` and ``pytest --tracing-update``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.dispatch import Signal

from tracing.analysis.tree import TIMES
from tracing.testing import assert_dispatch_tree, capture_dispatches

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[3]
HEAD = """
    import os
    import parcels
    import pytest
    from tracing.testing import assert_dispatch_tree, capture_dispatches

    def pack(**named):
        for _ in range(int(os.environ.get("TIMES", 1))):
            parcels.lost.send(None)

    def seek(**named):
        pass

    @pytest.fixture(autouse=True)
    def connected():
        parcels.lost.connect(seek)
        parcels.sent.connect(pack)
        yield
        parcels.lost.disconnect(seek)
        parcels.sent.disconnect(pack)
"""
TESTS = f"""{HEAD}
    def test_sent():
        with capture_dispatches() as captured:
            parcels.sent.send(None)
        assert_dispatch_tree(captured, "sent")

    def test_lost():
        with capture_dispatches() as captured:
            parcels.lost.send(None)
        assert_dispatch_tree(captured, "lost-once")
"""
TREE = """\
sent
  → test_it.pack
    lost
      → test_it.seek
"""


@pytest.fixture
def trees(pytester):
    """Return a function that tells the files of trees beside the tests."""
    folder = pytester.path / "__dispatch_trees__"

    def trees() -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in sorted(folder.rglob("*.txt"))
        }

    return trees


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Have no variable of the environment say what to do."""
    for name in ("TRACING_UPDATE", "TIMES"):
        monkeypatch.delenv(name, raising=False)


def test_a_tree_is_kept_beside_the_test_and_compared_from_then_on(run, trees):
    first = run(TESTS, "--tracing-update")
    second = run(TESTS)

    first.assert_outcomes(passed=2)
    first.stdout.fnmatch_lines(
        [
            "new       __dispatch_trees__/test_it/lost-once.txt",
            "new       __dispatch_trees__/test_it/sent.txt",
        ]
    )
    assert list(trees()) == ["test_it/lost-once.txt", "test_it/sent.txt"]
    assert trees()["test_it/sent.txt"] == TREE
    second.assert_outcomes(passed=2)
    assert "dispatch trees" not in second.stdout.str()
    assert "TRACING_UPDATE" not in os.environ


def test_a_tree_that_is_not_kept_yet_fails_with_the_tree_and_the_way_to_keep_it(run, trees):
    result = run(TESTS, "-k", "sent")

    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "*There is no dispatch tree *__dispatch_trees__/test_it/sent.txt yet. If this one is *",
            "*sent",
            "*  → test_it.pack",
        ]
    )
    assert trees() == {}


def test_another_tree_is_told_by_a_diff_with_two_lines_around_it(run, monkeypatch):
    run(TESTS, "--tracing-update")
    monkeypatch.setenv("TIMES", "3")

    result = run(TESTS)

    result.assert_outcomes(passed=1, failed=1)
    told = [line[1:].strip() for line in result.outlines if line.startswith("E ")]
    told = [line for line in told if line]
    assert told[-7:] == [
        "@@ -1,4 +1,4 @@",
        "sent",
        "→ test_it.pack",
        "-    lost",
        f"+    lost {TIMES}3",
        "→ test_it.seek",
        told[-1],
    ]
    assert told[-1].startswith("If this is right: pytest --tracing-update")


@pytest.mark.thorough
def test_trees_that_no_test_uses_are_told(run, trees, pytester):
    run(TESTS, "--tracing-update")
    gone = pytester.path / "__dispatch_trees__" / "test_gone"
    gone.mkdir()
    for path in (gone / "old.txt", gone.with_name("test_it") / "older.txt"):
        path.write_text("sent\n")

    result = run(TESTS, "--tracing-update")
    without_all = run(TESTS, "--tracing-update", "-k", "sent")
    one = run(TESTS, "--tracing-update", "test_it.py::test_sent")
    result.stdout.fnmatch_lines(["2 unchanged"])

    def unused(result):
        return [line.split()[1] for line in result.outlines if line.startswith("unused")]

    of_no_file = "__dispatch_trees__/test_gone/old.txt:"
    assert unused(result) == [of_no_file, "__dispatch_trees__/test_it/older.txt:"]
    # What the other test would use is not known.
    assert unused(without_all) == unused(one) == [of_no_file]
    assert "test_it/older.txt" in trees()


def test_two_trees_of_one_name_are_refused(run):
    result = run(
        f"""{HEAD}
    @pytest.mark.parametrize("signal", [parcels.sent, parcels.lost])
    def test_each(signal):
        with capture_dispatches() as captured:
            signal.send(None)
        assert_dispatch_tree(captured, "same")
        """,
        "--tracing-update",
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*Two tests keep different dispatch trees in *same.txt: give one *"]
    )


def test_the_tree_may_stand_in_the_test_itself():
    signal = Signal()

    def receive(**named):
        pass

    signal.connect(receive)
    with capture_dispatches() as captured:
        signal.send(None)
    name = f"{receive.__module__}.{receive.__qualname__}"

    assert_dispatch_tree(
        captured,
        expected=f"""
            django.dispatch.Signal (unnamed)
              → {name}
        """,
    )
    with pytest.raises(AssertionError, match=r"(?s)Another dispatch tree:.*\n-something else\n"):
        assert_dispatch_tree(captured, expected="something else")


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".hidden", "a b"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with capture_dispatches() as captured:
        pass

    with pytest.raises(ValueError, match=r"cannot be the name|takes a name"):
        assert_dispatch_tree(captured, name)


@pytest.mark.process
def test_unittest_keeps_and_compares_trees_too(tmp_path):
    (tmp_path / "test_case.py").write_text(
        "import unittest\n\nfrom django.conf import settings\n\nsettings.configure()\n\n"
        "from django.dispatch import Signal\n\nfrom tracing.testing import DispatchAssertions\n\n"
        "sent = Signal()\n\n\ndef pack(**named): ...\n\n\nsent.connect(pack)\n\n\n"
        "class Sending(DispatchAssertions, unittest.TestCase):\n"
        "    def test_sent(self):\n"
        "        with self.captureDispatches() as captured:\n            sent.send(None)\n\n"
        "        self.assertDispatchTree(captured, 'sent')\n"
    )

    def status(**variables: str) -> int:
        command = [sys.executable, "-m", "unittest", "-q", "test_case"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        environment.pop("PYTEST_CURRENT_TEST")
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        return done.returncode

    assert [status(), status(TRACING_UPDATE="1"), status()] == [1, 0, 0]
    kept = tmp_path / "__dispatch_trees__" / "test_case" / "sent.txt"
    assert kept.read_text() == "sent\n  → test_case.pack\n"
