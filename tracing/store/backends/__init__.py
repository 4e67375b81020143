"""The databases that traces are stored in, as one opens them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections

from tracing.pipeline import TemporaryError
from tracing.store.backends.base import (
    KEYS_AT_ONCE,
    Database,
    MissingTablesError,
    delete_rows,
    marks,
)
from tracing.store.backends.mariadb import MariaDB
from tracing.store.backends.postgresql import PostgreSQL
from tracing.store.backends.sqlite import SQLite

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "KEYS_AT_ONCE",
    "VENDORS",
    "Database",
    "MissingTablesError",
    "beside_the_application",
    "delete_rows",
    "marks",
    "open_database",
]

VENDORS: dict[str, type[Database]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MariaDB}


def open_database(alias: str, *, shared: bool = False) -> Database:
    """Return the database of *alias*, not connected yet.

    Raises:
        TemporaryError: There is no such alias, or no traces can be stored in that kind of database.
    """
    if alias not in connections:
        raise TemporaryError(f"there is no database {alias!r} in DATABASES")
    vendor = connections.create_connection(alias).vendor
    if vendor not in VENDORS:
        raise TemporaryError(f"traces cannot be stored in a {vendor} database (alias {alias!r})")
    return VENDORS[vendor](alias, shared=shared)


@contextmanager
def beside_the_application(alias: str) -> Iterator[Database]:
    """Open the store for a face, on its own connection; errors are Django's.

    Inside a transaction of the application, as tests have one, and in memory, it is that of the
    running thread: nobody else sees what is there.
    """
    wrapper: Any = connections[alias]
    is_in_memory = wrapper.vendor == "sqlite" and wrapper.is_in_memory_db()
    database = open_database(alias, shared=wrapper.in_atomic_block or is_in_memory)
    with database.errors_of_django:
        database.connect()
        try:
            yield database
        finally:
            database.close()
