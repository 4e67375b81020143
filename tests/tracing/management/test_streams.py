"""Tests of the command where its streams are closed, full or left by their reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 300
"""Seconds to wait for the end of a process: only a failure waits so long."""
SETTINGS = """
import os
HERE = os.path.dirname(os.path.abspath(__file__))
SECRET_KEY = "x" * 50
USE_TZ = True
INSTALLED_APPS = ["tracing"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE + "/traces.sqlite3"}}
TRACING = {"EXPORTERS": ["database"]}
"""
FILL = """
import django
django.setup()
from django.core.management import call_command
from django.dispatch import Signal
import tracing

call_command("migrate", verbosity=0)
paid = Signal()
def receive(sender, **named):
    raise ValueError("no money")
paid.connect(receive)
for number in range(60):
    with tracing.trace(f"block {number} of many, which has a long name"):
        paid.send_robust("sender")
assert tracing.flush(60)
"""
FAIL_ON = "hazards --fail-on info"
CASES = [
    # The line, what its streams are, the exit code, how stderr begins.
    ("list --limit 1000", "| true", 0, ""),
    (FAIL_ON, "| true", 1, ""),
    (FAIL_ON, "2>&1 | true", 1, ""),
    ("list", ">/dev/full", 2, "CommandError: The output cannot be written: No space left"),
    ("show last --format json", ">/dev/full", 2, "CommandError: The output cannot be written"),
    ("export", ">/dev/full", 2, "CommandError: The output cannot be written: No space left"),
    ("list", ">&-", 0, ""),
    (FAIL_ON, ">&- 2>&- <&-", 1, ""),
    ("show nope", "2>&-", 3, ""),
    ("prune --max-rows 1", "<&-", 2, "CommandError: "),
    ("import settings.py", "2>&- >&-", 1, ""),
]


def environment(folder):
    return {
        "PYTHONPATH": f"{folder}:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "settings",
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a project whose store has more to say than a pipe holds."""
    made = tmp_path_factory.mktemp("streams")
    (made / "settings.py").write_text(SETTINGS)
    subprocess.run(
        [sys.executable, "-c", FILL],
        cwd=made,
        env=environment(made),
        timeout=PATIENCE,
        check=True,
        capture_output=True,
    )
    return made


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize(("line", "streams", "code", "told"), CASES)
def test_exit_code_is_right_and_nobody_sees_a_traceback(folder, line, streams, code, told):
    done = subprocess.run(
        # Of a pipe, the code of the command, not that of its reader.
        [
            "bash",
            "-c",
            f'"$0" -m django tracing {line} {streams}; exit "${{PIPESTATUS[0]}}"',
            sys.executable,
        ],
        cwd=folder,
        env=environment(folder),
        timeout=PATIENCE,
        check=False,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr[: len(told) or None]) == (code, told)
    assert "Traceback" not in done.stderr
