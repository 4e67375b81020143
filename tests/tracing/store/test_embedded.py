"""Tests of the store that makes its own tables."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.db import connections

from tracing.spans.records import derived_root_span_id
from tracing.store import embedded

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
    assert raw.execute("PRAGMA user_version").fetchone() == (len(embedded.schema()),)
    raw.close()


def test_a_file_of_an_older_release_gets_what_it_lacks(tmp_path, monkeypatch):
    steps = embedded.schema()
    raw = connect(tmp_path / "traces.sqlite3")
    monkeypatch.setattr(embedded, "schema", lambda: steps[:2])
    embedded.bring_up_to_date(raw)
    assert "tracing_savedsearch" not in shape(raw.execute)

    monkeypatch.setattr(embedded, "schema", lambda: steps)
    embedded.bring_up_to_date(raw)

    assert "tracing_savedsearch" in shape(raw.execute)
    raw.close()


def test_what_a_migration_does_in_python_is_done_here_too():
    assert {name for name, lines in embedded.schema() if "-- python" in lines} == set(
        embedded.IN_PYTHON
    )


def test_traces_of_an_older_file_get_their_own_ids(tmp_path, monkeypatch):
    steps = embedded.schema()
    raw = connect(tmp_path / "traces.sqlite3")
    monkeypatch.setattr(embedded, "schema", lambda: steps[:6])
    embedded.bring_up_to_date(raw)
    columns = [(row[1], row[2].lower()) for row in raw.execute("PRAGMA table_info(tracing_trace)")]
    for number in (1, 2):
        values = {
            name: "ab" * 16
            if name == "trace_id"
            else number
            if "int" in kind or "bool" in kind
            else ""
            for name, kind in columns
        }
        marks = ", ".join("?" * len(values))
        raw.execute(
            f"INSERT INTO tracing_trace ({', '.join(values)}) VALUES ({marks})", [*values.values()]
        )

    monkeypatch.setattr(embedded, "schema", lambda: steps)
    embedded.bring_up_to_date(raw)

    rows = raw.execute("SELECT root_span_id FROM tracing_trace ORDER BY id").fetchall()
    assert rows == [(derived_root_span_id("ab" * 16, number),) for number in (1, 2)]
    raw.close()


def test_receivers_of_an_older_file_are_mine_by_their_files(tmp_path, monkeypatch):
    steps = embedded.schema()
    raw = connect(tmp_path / "traces.sqlite3")
    monkeypatch.setattr(embedded, "schema", lambda: steps[:7])
    embedded.bring_up_to_date(raw)
    raw.executemany(
        "INSERT INTO tracing_receiverlabel (key, name, file, line, dispatch_uid, weak, is_async, app,"
        " any_sender) VALUES (?, ?, ?, 1, '', 1, 0, '', 0)",
        [
            ("1", "shop.save", "/srv/shop/receivers.py"),
            ("2", "reversion.save", "/srv/.venv/lib/python3.12/site-packages/reversion.py"),
            ("3", "print", ""),
        ],
    )

    monkeypatch.setattr(embedded, "schema", lambda: steps)
    embedded.bring_up_to_date(raw)

    rows = raw.execute("SELECT name, mine FROM tracing_receiverlabel ORDER BY key").fetchall()
    assert rows == [("shop.save", 1), ("reversion.save", 0), ("print", 0)]
    raw.close()


@pytest.mark.parametrize("migrations", [1, 3, None])
def test_a_file_that_migrate_made_is_adopted(tmp_path, monkeypatch, migrations):
    steps = embedded.schema()
    names = [name for name, _ in steps][:migrations]
    raw = connect(tmp_path / "traces.sqlite3")
    raw.execute("CREATE TABLE django_migrations (id INTEGER, app TEXT, name TEXT)")
    for name, statements in steps[:migrations]:
        raw.execute("INSERT INTO django_migrations (app, name) VALUES ('tracing', ?)", (name,))
        for statement in statements:
            if not statement.startswith("--"):
                raw.execute(statement)
    assert len(names) <= len(steps)

    embedded.bring_up_to_date(raw)

    assert raw.execute("PRAGMA user_version").fetchone() == (len(steps),)
    raw.close()


def test_a_file_of_a_newer_release_is_left_alone(tmp_path):
    raw = connect(tmp_path / "traces.sqlite3")
    raw.execute("PRAGMA user_version = 999")

    with pytest.raises(embedded.NewerStoreError, match="version 999 of the tables"):
        embedded.bring_up_to_date(raw)

    assert shape(raw.execute) == {}
    raw.close()


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
    assert raw.execute("PRAGMA user_version").fetchone() == (len(embedded.schema()),)
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
