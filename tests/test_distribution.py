"""The wheel: what a project gets that installs the tracer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the built wheel, opened."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def read(wheel, pattern):
    """Return the text of the one file of the wheel whose name matches."""
    (name,) = [name for name in wheel.namelist() if re.search(pattern, name)]
    return wheel.read(name).decode()


def test_wheel_holds_every_file_of_the_tracer(wheel):
    files = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "tracing").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert files - set(wheel.namelist()) == set()


def test_wheel_holds_the_tracer_and_its_metadata_only(wheel):
    folders = {name.partition("/")[0] for name in wheel.namelist()}

    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"tracing"}


def test_wheel_has_the_version_of_the_package(wheel):
    import tracing

    metadata = Parser().parsestr(read(wheel, r"dist-info/METADATA$"))

    assert (metadata["Name"], metadata["Version"]) == ("django-signal-tracing", tracing.__version__)


def test_wheel_offers_its_pytest_plugin(wheel):
    entry_points = read(wheel, r"dist-info/entry_points\.txt$")

    assert entry_points.split() == ["[pytest11]", "tracing", "=", "tracing.pytest_plugin"]


@pytest.mark.slow
def test_sdist_builds_the_same_wheel_and_tests_itself(wheel, tmp_path):
    build = [sys.executable, "-m", "hatchling", "build"]
    subprocess.run(
        [*build, "-t", "sdist", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")

    subprocess.run(
        [*build, "-t", "wheel", "-d", str(tmp_path)], cwd=unpacked, check=True, capture_output=True
    )
    tested = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/tracing/test_conf.py",
        ],
        cwd=unpacked,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )

    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(again) as archive:
        assert sorted(archive.namelist()) == sorted(wheel.namelist())
    assert tested.returncode == 0, tested.stdout + tested.stderr
