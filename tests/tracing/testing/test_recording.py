"""Tests of ``pytest --tracing-record``, in a project of their own: which files it writes, and when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tracing.analysis.review import read

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
"""
TESTS = """
import os
import pytest
from django.contrib.auth.models import Group
from django.db.models.signals import post_save
from django.dispatch import Signal

sent = Signal()


def receive(**named):
    Group.objects.count()


post_save.connect(receive, sender=Group)


@pytest.fixture(scope="module")
def shared(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        yield Group.objects.create(name="shared")


@pytest.mark.django_db
def test_first(shared):
    Group.objects.create(name="a")


@pytest.mark.django_db
def test_second(shared):
    sent.send(None)


@pytest.mark.skip
def test_skipped():
    sent.send(None)


def test_failing():
    sent.send(None)
    assert not os.environ.get("FAIL")


def test_ending():
    if os.environ.get("END"):
        os._exit(9)
"""
NAMES = {
    f"test_it.py::{name}"
    for name in ("shared", "test_first", "test_second", "test_failing", "test_ending")
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that records the tests of a project; each time into the same folder."""
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "conf.py").write_text(SETTINGS)
    (tmp_path / "test_it.py").write_text(TESTS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "conf")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    plugins = ("pytest_django.plugin", "xdist.plugin", "tracing.pytest_plugin")

    def record(*arguments, folder="record"):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [argument for plugin in plugins for argument in ("-p", plugin)]
        return subprocess.run(
            [*command, "--tracing-record", folder, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    record.folder = tmp_path / "record"
    return record


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_each_process_writes_a_file_and_the_same_run_the_same_bytes(project):
    project("-n", "2")

    assert files(project.folder) == ["behaviour-gw0.jsonl", "behaviour-gw1.jsonl"]
    assert set(read(project.folder).tests) == NAMES

    # Files of more processes are removed.
    project()
    first = (project.folder / "behaviour-main.jsonl").read_bytes()
    project()

    assert files(project.folder) == ["behaviour-main.jsonl"]
    assert (project.folder / "behaviour-main.jsonl").read_bytes() == first
    assert str(project.folder.parent).encode() not in first


def test_what_several_tests_share_is_no_part_of_the_first(project):
    project()

    tests = read(project.folder).tests
    created = {name: len(tests[f"test_it.py::{name}"].groups) for name in ("shared", "test_first")}
    assert created == {"shared": 1, "test_first": 1}
    assert tests["test_it.py::test_first"].groups[0].count == 1
    assert tests["test_it.py::test_second"].orphans == [("test_it.sent", "None", 1)]


def test_a_run_that_is_killed_leaves_what_it_came_to(project, monkeypatch):
    monkeypatch.setenv("END", "1")
    monkeypatch.setenv("FAIL", "1")

    ended = project()

    assert ended.returncode == 9
    found = read(project.folder)
    assert set(found.tests) == NAMES - {"test_it.py::test_ending"}
    assert found.tests["test_it.py::test_failing"].failed
    assert not found.tests["test_it.py::test_first"].failed


def test_a_file_in_the_place_of_the_folder_is_refused(project):
    ended = project(folder="conf.py")

    assert ended.returncode == 4
    assert "is no folder" in ended.stderr
