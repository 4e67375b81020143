"""The checks of the JavaScript: they run, or say that they did not, or fail where all must run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.process


@pytest.fixture
def check(tmp_path):
    """Return ``check(name, node="", **environment)``: the script, run where Node.js is what is said."""
    (tmp_path / "dirname").symlink_to(shutil.which("dirname"))

    def check(name, node="", **environment):
        if node:
            program = tmp_path / "node"
            program.write_text(f"#!/bin/sh\necho {node}\n")
            program.chmod(0o755)
        return subprocess.run(
            [shutil.which("sh"), "scripts/javascript.sh", name],
            cwd=ROOT,
            env={"PATH": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return check


@pytest.mark.parametrize("name", ["lint", "format", "types", "test"])
def test_check_without_node_is_skipped_and_says_so(check, name):
    done = check(name)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Skipped, the {name} of the JavaScript: there is no Node.js.\n"


def test_check_without_node_fails_where_all_must_run(check):
    done = check("types", REQUIRE_SERVICES="1")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Failed, the types of the JavaScript: there is no Node.js.\n"


def test_old_node_is_named(check):
    done = check("test", node="v18.19.0", REQUIRE_SERVICES="0")

    assert done.returncode == 0
    assert "Node.js is v18.19.0, and 20 is the oldest" in done.stdout


def test_unknown_check_is_refused(check):
    assert check("everything", node="v20.0.0").returncode == 2
