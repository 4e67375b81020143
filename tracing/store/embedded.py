"""The embedded store: a SQLite file of the tracer's own, whose tables it makes and brings up to date.

The statements are those of the migrations, written down by ``scripts/schema.py`` as one file for each.
How many of them a file has seen stands in its ``user_version``.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from tracing.instrumentation.attributes.callsites import is_foreign
from tracing.project import MAKES_TABLES
from tracing.spans.records import derived_root_span_id

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_MAGIC: Final = b"SQLite format 3\0"
_PYTHON: Final = "-- python"
"""Stands in a file where a function of the migration changes rows."""
_HEADER: Final = 100
"""Bytes of a SQLite file's header; the user version is a big-endian number at byte 60."""


class NewerStoreError(Exception):
    """The file was written by a newer release of tracing."""


def makes_tables(alias: str) -> bool:
    """Return whether the tables of the database *alias* are made by the tracer."""
    database: dict[str, Any] = settings.DATABASES.get(alias, {})
    return bool(database.get(MAKES_TABLES)) and database.get("ENGINE", "").endswith(".sqlite3")


@cache
def schema() -> list[tuple[str, list[str]]]:
    """Return (name of the migration, its statements) for each migration, in order."""
    folder = resources.files(__package__) / "schema"
    files = sorted((file.name, file) for file in folder.iterdir() if file.name.endswith(".sql"))
    return [
        (name.removesuffix(".sql"), file.read_text(encoding="utf-8").splitlines())
        for name, file in files
    ]


def problem_of(path: Path) -> str:
    """Return what keeps the file at *path* from being used; empty if nothing does. Opens no database."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except FileNotFoundError:
        is_possible = os.access(path.parent, os.W_OK)
        return "" if is_possible else f"The folder {path.parent} is not there or cannot be written"
    except OSError as error:
        return f"The store cannot be read: {error.strerror}"
    version = int.from_bytes(header[60:64], "big")
    problem = ""
    if header and not header.startswith(_MAGIC):
        problem = "The store is no SQLite file"
    elif version > len(schema()):
        problem = f"The store is of a newer release of tracing: {_newer(version)}"
    elif not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        problem = "The store cannot be written: the file or its folder is read-only"
    return problem


def _newer(version: int) -> str:
    return f"it has version {version} of the tables and this release knows {len(schema())}"


def _fill_root_span_ids(raw: sqlite3.Connection) -> None:
    """Give the traces that are stored the ids that the lines of the log have for them."""
    raw.create_function("root_span_id", 2, derived_root_span_id)
    raw.execute("UPDATE tracing_trace SET root_span_id = root_span_id(trace_id, started_ns)")


def _fill_mine(raw: sqlite3.Connection) -> None:
    """Say of the receivers that are stored whether their file is of an installed package."""
    raw.create_function("is_foreign", 1, is_foreign)
    raw.execute(
        "UPDATE tracing_receiverlabel SET mine = 1 WHERE file <> '' AND NOT is_foreign(file)"
    )


def _do_nothing(_raw: sqlite3.Connection) -> None:
    """Leave it: ``allow_shrinking`` has done the same before there were tables."""


IN_PYTHON: Final = {
    "0002_shrinkable": _do_nothing,
    "0007_root_span_id": _fill_root_span_ids,
    "0008_mine": _fill_mine,
}
"""What the function of a migration does, by the migration's name."""


def allow_shrinking(raw: sqlite3.Connection) -> None:
    """Let a file that is still empty give its free pages back later. Does nothing to another."""
    raw.execute("PRAGMA auto_vacuum = INCREMENTAL")


def bring_up_to_date(raw: sqlite3.Connection) -> None:
    """Make the tables that are missing. Of several processes one does so, and the others wait.

    Args:
        raw: A connection without transactions of its own (``isolation_level`` None).

    Raises:
        NewerStoreError: The file has tables that this release does not know.
        sqlite3.OperationalError: It cannot be written, or another process holds it for too long.
    """
    steps = schema()
    if (version := _version(raw)) == len(steps):
        return
    if version > len(steps):
        raise NewerStoreError(_newer(version))
    raw.execute("BEGIN IMMEDIATE")
    try:
        version = _version(raw) or _migrated(raw)
        for name, statements in steps[version:]:
            for statement in statements:
                if statement == _PYTHON:
                    IN_PYTHON[name](raw)
                else:
                    raw.execute(statement)
        raw.execute(f"PRAGMA user_version = {len(steps)}")
    except BaseException:
        raw.execute("ROLLBACK")
        raise
    raw.execute("COMMIT")


def _version(raw: sqlite3.Connection) -> int:
    version: int = raw.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrated(raw: sqlite3.Connection) -> int:
    """Return how many migrations a file has seen that ``migrate`` made; 0 for another."""
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'django_migrations'"
    if raw.execute(known).fetchone() is None:
        return 0
    applied = {
        name for (name,) in raw.execute("SELECT name FROM django_migrations WHERE app = 'tracing'")
    }
    return sum(name in applied for name, _ in schema())
