"""Tests of the store that makes its own tables."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError
from django.db import connections
from django.db.migrations import RunPython

from tracing.store import embedded
from tracing.store.backends import sqlite
from tracing.store.labels import Labels
from tracing.store.trace_rows import TraceRows

REPOSITORY = Path(__file__).resolve().parents[3]


def connect(path):
    raw = sqlite3.connect(path, timeout=20)
    raw.isolation_level = None
    return raw


def shape(execute):
    """Return the columns of each table, in whatever order, and the statement of each index."""
    rows = execute(
        "SELECT name, type, sql FROM sqlite_master WHERE name LIKE 'tracing%'"
    ).fetchall()
    found = {}
    for name, kind, sql in rows:
        if kind == "table":
            # Without their numbers: a column that was altered may stand elsewhere.
            found[name] = {row[1:] for row in execute(f"PRAGMA table_info({name})").fetchall()}
        else:
            found[name] = " ".join((sql or "").split())
    return found


@pytest.mark.process
def test_statements_are_those_of_the_migrations():
    done = subprocess.run(
        [sys.executable, "scripts/schema.py", "--check"],
        cwd=REPOSITORY,
        # SQLite's, also where the tests run on a server.
        env={name: value for name, value in os.environ.items() if name != "TEST_DATABASE"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, (
        f"python scripts/schema.py writes them anew:\n{done.stdout}{done.stderr}"
    )


@pytest.mark.django_db(databases="__all__")
def test_tables_are_those_that_migrate_makes(tmp_path):
    if connections["tracing"].vendor != "sqlite":
        pytest.skip("The statements are SQLite's.")
    raw = connect(tmp_path / "traces.sqlite3")

    embedded.bring_up_to_date(raw)

    connections["tracing"].ensure_connection()
    assert shape(raw.execute) == shape(connections["tracing"].connection.execute)
    raw.close()


def test_a_file_is_brought_up_to_date_once(tmp_path):
    raw = connect(tmp_path / "traces.sqlite3")
    embedded.bring_up_to_date(raw)
    raw.execute("INSERT INTO tracing_sequence (name, value) VALUES ('x', 1)")

    embedded.bring_up_to_date(raw)

    assert raw.execute("SELECT COUNT(*) FROM tracing_sequence").fetchone() == (1,)
    assert raw.execute("PRAGMA user_version").fetchone() == (embedded.newest(),)
    raw.close()


def test_a_file_of_an_older_release_gets_what_it_lacks(tmp_path, monkeypatch):
    steps = embedded.schema()
    raw = connect(tmp_path / "traces.sqlite3")
    embedded.bring_up_to_date(raw)
    raw.execute("INSERT INTO tracing_sequence (name, value) VALUES ('x', 1)")

    added = ("0003_later", ["ALTER TABLE tracing_sequence ADD COLUMN later integer"])
    monkeypatch.setattr(embedded, "schema", lambda: [*steps, added])
    embedded.bring_up_to_date(raw)

    assert raw.execute("SELECT name, value, later FROM tracing_sequence").fetchall() == [
        ("x", 1, None)
    ]
    assert raw.execute("PRAGMA user_version").fetchone() == (embedded.newest(),)
    raw.close()


def test_functions_of_migrations_are_those_that_the_embedded_store_does_without():
    functions = {
        operation.code.__name__
        for name, _ in embedded.schema()
        for operation in import_module(f"tracing.migrations.{name}").Migration.operations
        if isinstance(operation, RunPython)
    }

    assert functions == {"refuse_earlier_tables", "set_incremental_vacuum"}


def migrated(path, names):
    """Return a connection to a file in which ``migrate`` has noted the migrations *names*."""
    raw = connect(path)
    raw.execute("CREATE TABLE django_migrations (id INTEGER, app TEXT, name TEXT)")
    raw.executemany(
        "INSERT INTO django_migrations (app, name) VALUES ('tracing', ?)",
        [(name,) for name in names],
    )
    return raw


@pytest.mark.parametrize("migrations", [1, None])
def test_a_file_that_migrate_made_is_adopted(tmp_path, migrations):
    steps = embedded.schema()[:migrations]
    raw = migrated(tmp_path / "traces.sqlite3", [name for name, _ in steps])
    for _, statements in steps:
        for statement in statements:
            raw.execute(statement)

    embedded.bring_up_to_date(raw)

    assert raw.execute("PRAGMA user_version").fetchone() == (embedded.newest(),)
    raw.close()


def test_a_file_of_a_newer_release_is_left_alone(tmp_path):
    raw = connect(tmp_path / "traces.sqlite3")
    raw.execute("PRAGMA user_version = 999")

    with pytest.raises(embedded.UnknownTablesError, match="version 999 of the tables"):
        embedded.bring_up_to_date(raw)

    assert shape(raw.execute) == {}
    raw.close()


@pytest.mark.parametrize("version", [9, 14])
def test_a_file_of_before_the_first_release_is_left_alone(tmp_path, version):
    raw = connect(tmp_path / "traces.sqlite3")
    raw.execute("CREATE TABLE tracing_unheard (id integer)")
    raw.execute(f"PRAGMA user_version = {version}")

    with pytest.raises(embedded.UnknownTablesError, match="move it aside"):
        embedded.bring_up_to_date(raw)

    assert [*shape(raw.execute)] == ["tracing_unheard"]
    assert raw.execute("PRAGMA user_version").fetchone() == (version,)
    raw.close()


def test_a_file_that_migrate_made_before_the_first_release_is_left_alone(tmp_path):
    raw = migrated(tmp_path / "traces.sqlite3", ["0001_store", "0002_shrinkable"])

    with pytest.raises(embedded.UnknownTablesError, match="move it aside"):
        embedded.bring_up_to_date(raw)

    assert shape(raw.execute) == {}
    raw.close()


@pytest.mark.django_db(databases=["tracing"])
def test_migrate_refuses_tables_of_before_the_first_release():
    first = import_module("tracing.migrations.0001_initial")

    with pytest.raises(CommandError, match="from before the first release of tracing"):
        first.refuse_earlier_tables(None, SimpleNamespace(connection=connections["tracing"]))


def test_a_statement_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    steps = [*embedded.schema()[:1], ("0002_broken", ["CREATE TABLE", "nonsense"])]
    monkeypatch.setattr(embedded, "schema", lambda: steps)
    raw = connect(tmp_path / "traces.sqlite3")

    with pytest.raises(sqlite3.OperationalError):
        embedded.bring_up_to_date(raw)

    assert shape(raw.execute) == {}
    assert raw.execute("PRAGMA user_version").fetchone() == (0,)
    raw.close()


def test_of_many_that_come_at_once_one_makes_the_tables(tmp_path):
    path, failures = tmp_path / "traces.sqlite3", []
    barrier = threading.Barrier(8)

    def come():
        raw = connect(path)
        try:
            barrier.wait()
            embedded.bring_up_to_date(raw)
        except sqlite3.Error as error:
            failures.append(error)
        finally:
            raw.close()

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    raw = connect(path)
    assert raw.execute("PRAGMA user_version").fetchone() == (embedded.newest(),)
    raw.close()


@pytest.mark.django_db(databases="__all__")
def test_no_migration_is_for_the_embedded_store(settings, monkeypatch):
    from tracing.routers import TracingRouter

    entry = {**settings.DATABASES["tracing"], "TRACING_MAKES_TABLES": True}
    monkeypatch.setitem(settings.DATABASES, "tracing", entry)
    settings.MIGRATION_MODULES = {"tracing": None}
    router = TracingRouter()

    if entry["ENGINE"].endswith("sqlite3"):
        assert not router.allow_migrate("tracing", "tracing")
    assert not router.allow_migrate("default", "tracing")
    assert not router.allow_migrate("tracing", "auth")
    assert router.allow_migrate("default", "auth") is None


@pytest.mark.parametrize("number", [1, sqlite._ROWS_AT_ONCE, 2 * sqlite._ROWS_AT_ONCE + 1])
def test_rows_are_inserted_several_at_once_as_they_are(number):
    database = sqlite.SQLite("default")
    database.raw = connect(":memory:")
    database.raw.execute("CREATE TABLE made_up (id INTEGER PRIMARY KEY, name TEXT)")
    statements = []
    database.raw.set_trace_callback(statements.append)
    rows = [(row, f"name {row}" if row % 3 else None) for row in range(number)]

    database.insert("made_up", ("id", "name"), rows)

    database.raw.set_trace_callback(None)
    whole, rest = divmod(number, sqlite._ROWS_AT_ONCE)
    assert database.raw.execute("SELECT * FROM made_up ORDER BY rowid").fetchall() == rows
    assert len([each for each in statements if each.startswith("INSERT")]) == whole + rest
    database.raw.close()


def test_no_table_has_too_many_columns_for_several_rows_at_once():
    widest = max(len(columns) for _, (columns, _) in TraceRows(Labels(), {}, {}).tables())

    assert widest * sqlite._ROWS_AT_ONCE < 1000
