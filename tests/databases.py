"""SQLite databases of tests, filled from copies in memory.

Django empties a database after each test that commits: it deletes from every table and then makes all
permissions and content types again, which takes longer than most of those tests. A copy of the pages is put
back within a millisecond or two. On a server the databases are filled and emptied as ever.
"""

from __future__ import annotations

import gc
import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections
from django.test import TransactionTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PAUSE = 0.05
"""Seconds between two attempts to write to a database that another connection is writing to."""
PATIENCE = 30
"""Seconds until that has failed."""


def can_be_copied(alias: str) -> bool:
    """Return whether this is SQLite's, and made for the tests: what none asks for is not."""
    database = connections[alias]
    names = database.settings_dict
    return database.vendor == "sqlite" and names["NAME"] == names["TEST"]["NAME"]


def copy_of(alias: str) -> sqlite3.Connection:
    """Return a database in memory that holds what *alias* holds."""
    connections[alias].ensure_connection()
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    connections[alias].connection.backup(memory)
    return memory


def put_back(copy: sqlite3.Connection, alias: str) -> None:
    """Have *alias* hold what *copy* holds, and nothing else.

    Raises:
        TimeoutError: Another connection did not stop writing.
    """
    attempts = 0

    def give_up(status: int, _remaining: int, _total: int) -> None:
        nonlocal attempts
        attempts += status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
        if attempts > PATIENCE / PAUSE:
            raise TimeoutError(f"the database {alias!r} is being written to, {PATIENCE} s on")

    connections[alias].ensure_connection()
    copy.backup(connections[alias].connection, progress=give_up, sleep=PAUSE)


class Copies:
    """Databases as they are before any test, and as fixtures have filled them."""

    def __init__(self) -> None:
        self._empty: dict[str, sqlite3.Connection] = {}
        self._filled: dict[Callable[[], Any], tuple[sqlite3.Connection, Any]] = {}

    def put_back_after_tests(self, patch: Callable[[object, str, object], None]) -> None:
        """Have the databases, which are new, put back after each test that commits."""
        self._empty = {alias: copy_of(alias) for alias in connections if can_be_copied(alias)}
        flush = TransactionTestCase._fixture_teardown

        def put_back_or_flush(case: TransactionTestCase) -> None:
            aliases = case._databases_names(include_mirrors=False)
            if not self._empty.keys() >= set(aliases):
                flush(case)
                return
            for alias in aliases:
                put_back(self._empty[alias], alias)

        patch(TransactionTestCase, "_fixture_teardown", put_back_or_flush)

    def fill(self, make: Callable[[], T], alias: str = "tracing") -> T:
        """Have *make* fill an empty database, or put in what it once did; return what it then returned.

        Args:
            make: Commits to the one database, by whatever connection. It is known by its identity.
            alias: Which database that is.
        """
        if make in self._filled:
            copy, made = self._filled[make]
            put_back(copy, alias)
            return made
        made = make()
        # It stays to the end, so collections need not look at it.
        gc.collect()
        gc.freeze()
        if can_be_copied(alias):
            self._filled[make] = copy_of(alias), made
        return made

    def close(self) -> None:
        """Let go of all copies."""
        for copy in [*self._empty.values(), *(copy for copy, _ in self._filled.values())]:
            copy.close()
