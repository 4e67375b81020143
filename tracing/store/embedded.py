"""The embedded store: a SQLite file that the tracer makes and migrates.

The statements are those of the migrations, written down by ``scripts/schema.py`` as one file for each. What
functions of migrations do is done here otherwise: earlier tables are refused by their version.
How many of them a file has seen stands in its ``user_version``, counted from ``_UNRELEASED``.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from tracing.project import MAKES_TABLES

if TYPE_CHECKING:
    import sqlite3

_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = 100
"""Bytes of a SQLite file's header; the user version is a big-endian number at byte 60."""
_UNRELEASED: Final = 14
"""The last version of the tables from before the first release; nothing brings those up to date."""
_TOO_OLD: Final = (
    "it has tables from before the first release of tracing; move it aside, and a new one is made"
)


class UnknownTablesError(Exception):
    """The file has tables of a newer release, or of before the first."""


def makes_tables(alias: str) -> bool:
    """Return whether the tracer makes the tables of the database *alias*."""
    database: dict[str, Any] = settings.DATABASES.get(alias, {})
    return bool(database.get(MAKES_TABLES)) and database.get("ENGINE", "").endswith(".sqlite3")


@cache
def schema() -> list[tuple[str, list[str]]]:
    """Return (name, statements) of each migration, in order."""
    folder = Path(__file__).with_name("schema")
    files = sorted((file.name, file) for file in folder.iterdir() if file.name.endswith(".sql"))
    return [
        (name.removesuffix(".sql"), file.read_text(encoding="utf-8").splitlines())
        for name, file in files
    ]


def problem_of(path: Path) -> str:
    """Return what is wrong with the file at *path*, unopened; or nothing."""
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
    elif problem := _unknown(version):
        problem = f"The store cannot be used: {problem}"
    elif not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        problem = "The store cannot be written: the file or its folder is read-only"
    return problem


def newest() -> int:
    """Return the version of the tables that this release makes."""
    return _UNRELEASED + len(schema())


def _unknown(version: int) -> str:
    """Return why this release cannot use tables of *version*; empty if it can."""
    if version > newest():
        return (
            f"it is of a newer release of tracing, with version {version} of the tables; "
            f"this one knows {newest()}"
        )
    return _TOO_OLD if 0 < version <= _UNRELEASED else ""


def allow_shrinking(raw: sqlite3.Connection) -> None:
    """Let a file that is still empty give free pages back later."""
    raw.execute("PRAGMA auto_vacuum = INCREMENTAL")


def bring_up_to_date(raw: sqlite3.Connection) -> None:
    """Make missing tables; of several processes, the others wait.

    Args:
        raw: A connection without transactions of its own (``isolation_level`` None).

    Raises:
        UnknownTablesError: The file has tables that this release does not know.
        sqlite3.OperationalError: It cannot be written, or another process holds it for too long.
    """
    if (version := _version(raw)) == newest():
        return
    if problem := _unknown(version):
        raise UnknownTablesError(problem)
    raw.execute("BEGIN IMMEDIATE")
    try:
        version = _version(raw) or _UNRELEASED + _migrated(raw)
        for _name, statements in schema()[version - _UNRELEASED :]:
            for statement in statements:
                raw.execute(statement)
        raw.execute(f"PRAGMA user_version = {newest()}")
    except BaseException:
        raw.execute("ROLLBACK")
        raise
    raw.execute("COMMIT")


def _version(raw: sqlite3.Connection) -> int:
    version: int = raw.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrated(raw: sqlite3.Connection) -> int:
    """Return how many migrations ``migrate`` applied to a file; 0 for none.

    Raises:
        UnknownTablesError: It has seen those from before the first release.
    """
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'django_migrations'"
    if raw.execute(known).fetchone() is None:
        return 0
    applied = {
        name for (name,) in raw.execute("SELECT name FROM django_migrations WHERE app = 'tracing'")
    }
    names = [name for name, _ in schema()]
    if applied and names[0] not in applied:
        raise UnknownTablesError(_TOO_OLD)
    return sum(name in applied for name in names)
