"""Tests of the command ``migrate``, in a process and a data folder of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def manage(tmp_path):
    """Return a function that runs ``manage.py`` on an empty data folder."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("CARSALES_")},
        "CARSALES_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "carsales.settings",
    }

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def tables(path):
    """Return the names of the tables in the SQLite file at *path*."""
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


@pytest.mark.slow
@pytest.mark.process
def test_migrate_without_a_database_migrates_each_and_stores_its_own_trace(manage, tmp_path):
    done = manage("migrate")

    listed = manage("tracing", "list", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Database default:" in done.stdout
    assert "Database tracing:" in done.stdout
    assert "cars_car" in tables(tmp_path / "db.sqlite3")
    assert "tracing_trace" not in tables(tmp_path / "db.sqlite3")
    assert "tracing_trace" in tables(tmp_path / "traces.sqlite3")
    assert "cars_car" not in tables(tmp_path / "traces.sqlite3")
    assert '"name": "migrate"' in listed.stdout.replace('"name":"', '"name": "')


@pytest.mark.slow
@pytest.mark.process
def test_migrate_with_a_database_migrates_that_alone_and_says_what_is_missing(manage, tmp_path):
    done = manage("migrate", "--database", "default", "--verbosity", "0")

    assert (done.returncode, done.stdout) == (0, "")
    assert "cars_car" in tables(tmp_path / "db.sqlite3")
    assert not (tmp_path / "traces.sqlite3").exists() or "tracing_trace" not in tables(
        tmp_path / "traces.sqlite3"
    )
    assert done.stderr.count("python manage.py migrate --database tracing") == 1
    assert manage("migrate", "--check", "--database", "tracing").returncode == 1
