"""What keeps a run of the tests from going on for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

HANGING = """
import threading
import time


def test_that_hangs():
    threading.Thread(target=time.sleep, args=(3600,), name="beside", daemon=True).start()
    time.sleep(3600)


def test_that_passes():
    pass
"""


def run(*command):
    """Run a command in the repository and return what it did."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.process
def test_test_that_hangs_fails_with_all_stacks_and_the_others_go_on(tmp_path):
    tests = tmp_path / "test_hanging.py"
    tests.write_text(HANGING)

    done = run(
        *("pytest", "-c", "pyproject.toml", "-p", "no:randomly", "-p", "no:cacheprovider"),
        *("-n", "1", "-o", "faulthandler_timeout=2", tests),
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "crashed while running" in done.stdout
    assert "Timeout (0:00:02)!" in done.stderr
    assert done.stderr.count("Thread 0x") >= 2


@pytest.mark.slow
@pytest.mark.process
def test_coverage_in_a_process_with_greenlet_is_refused(tmp_path):
    browser = "tests/browser"

    done = run(
        *("coverage", "run", f"--data-file={tmp_path / 'data'}"),
        *("-m", "pytest", "--collect-only", "-p", "no:cacheprovider", browser),
    )

    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert "Run the tests of tests/browser without coverage" in done.stdout + done.stderr


def test_limit_of_the_project_ends_a_test(pytestconfig):
    assert float(pytestconfig.getini("faulthandler_timeout")) == 600
    assert pytestconfig.getini("faulthandler_exit_on_timeout") is True
