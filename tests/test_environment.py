"""What ``make`` says where no environment can be made, and that a made one is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def interpreter(tmp_path):
    """Return a function that makes an interpreter out of the lines of a shell script."""

    def make(name, *lines):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        path.chmod(0o755)
        return path

    return make


def make_environment(venv, **variables):
    """Run the script that ``make`` runs before everything else."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    return subprocess.run(
        ["sh", "scripts/environment.sh", str(venv), "requirements.txt"],
        cwd=REPOSITORY,
        env=environment | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        check=False,
    )


def test_environment_with_a_chosen_python_that_is_too_old(interpreter, tmp_path):
    old = interpreter("python3.9", "echo 3.9", "exit 1")

    done = make_environment(tmp_path / "venv", PYTHON=old)

    assert done.returncode == 1
    assert done.stderr == f"PYTHON={old} is 3.9; Python 3.11 or newer is needed.\n"


def test_environment_with_a_chosen_python_that_is_missing(tmp_path):
    done = make_environment(tmp_path / "venv", PYTHON="no-such-python")

    assert done.returncode == 1
    assert "PYTHON=no-such-python is not an interpreter that runs" in done.stderr


def test_environment_where_every_python_is_too_old(interpreter, tmp_path):
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        path = interpreter(name, '[ "$1" = -V ] && echo Python 3.9.1 && exit 0', "exit 1").parent

    done = make_environment(tmp_path / "venv", PATH=f"{path}:{os.environ['PATH']}")

    assert done.returncode == 1
    assert "No Python 3.11 or newer was found: python3 is Python 3.9.1." in done.stderr


def test_environment_without_the_venv_module(interpreter, tmp_path):
    poor = interpreter(
        "python3", 'case "$*" in *ensurepip*) exit 1;; esac', f'exec "{sys.executable}" "$@"'
    )

    done = make_environment(tmp_path / "venv", PYTHON=poor)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 1
    assert f"apt-get install python{version}-venv" in done.stderr


def test_environment_that_is_up_to_date_is_left_alone(interpreter, tmp_path):
    # An interpreter whose pip only takes note of how often it was asked.
    log = tmp_path / "pip.log"
    source = interpreter(
        "python3",
        f'case "$*" in *"-m venv"*) mkdir -p "{tmp_path}/venv/bin" && '
        f'cp "$0" "{tmp_path}/venv/bin/python" && exit 0;; esac',
        f'case "$*" in *"-m pip"*) echo "$*" >>"{log}"; exit 0;; esac',
        f'exec "{sys.executable}" "$@"',
    )

    first = make_environment(tmp_path / "venv", PYTHON=source)
    second = make_environment(tmp_path / "venv", PYTHON=source)

    assert (first.returncode, second.returncode) == (0, 0)
    assert log.read_text().splitlines() == [
        "-m pip install --progress-bar off --requirement requirements.txt"
    ]
    assert second.stderr == ""


@pytest.fixture
def pip(interpreter, tmp_path):
    """Return a function that makes an interpreter whose pip does what the lines of a script say."""

    def make(*lines):
        made = f'mkdir -p "{tmp_path}/venv/bin" && cp "$0" "{tmp_path}/venv/bin/python" && exit 0'
        return interpreter(
            "python3",
            f'case "$*" in *"-m venv"*) {made};; esac',
            f'case "$*" in *"-m pip"*) {"; ".join(lines)};; esac',
            f'exec "{sys.executable}" "$@"',
        )

    return make


def test_environment_that_cannot_be_installed_shows_what_pip_said(pip, tmp_path):
    source = pip("echo Collecting Django", "echo no such release >&2", "exit 3")

    done = make_environment(tmp_path / "venv", PYTHON=source)

    assert done.returncode == 1
    assert "Collecting Django\nno such release\n" in done.stderr
    assert not list((tmp_path / "venv").glob(".installed-*"))


@pytest.mark.slow  # It waits for the eleven seconds.
def test_environment_that_takes_long_says_what_it_does(pip, tmp_path):
    source = pip("echo Collecting Django", "echo Collecting rich", "sleep 11", "exit 0")

    done = make_environment(tmp_path / "venv", PYTHON=source)

    assert done.returncode == 0
    assert "  collecting, 2 packages, 10 s\n" in done.stderr
