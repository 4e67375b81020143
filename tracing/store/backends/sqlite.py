"""SQLite on the raw driver."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time
from tracing.conf import has_own_sqlite_file
from tracing.pipeline import TemporaryError
from tracing.store import embedded
from tracing.store.backends.base import BUSY_SECONDS, Database, marks

if TYPE_CHECKING:
    from collections.abc import Sequence

_SWITCH_SECONDS = 0.01
"""Between two attempts to give a SQLite file its write-ahead log."""
_ROWS_AT_ONCE: Final = 24
"""With as many columns as a trace has, within the 999 parameters of before SQLite 3.32."""


class SQLite(Database):
    """SQLite: one writer at a time, which takes its lock at once."""

    vendor = "sqlite"
    _waits_for_readers = False
    _file: tuple[str, int] | None = None

    def parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return Django's parameters, more patient; make a new file private."""
        if self.is_dedicated() and not self._name.startswith((":", "file:")):
            # SQLite gives its log and its index the mode of the file. What exists keeps its own.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
            with suppress(OSError):
                os.close(os.open(self._name, flags, 0o600))
            # An application's own wish for the mode would be granted too early: see prepare().
            wrapper: Any = self._wrapper
            wrapper.init_commands = [
                command
                for command in wrapper.init_commands
                if "journal_mode" not in command.lower()
            ]
        return parameters | {"timeout": max(parameters.get("timeout", 0), BUSY_SECONDS)}

    def prepare(self) -> None:
        """Use a write-ahead log in our own file, synced at checkpoints."""
        # Without it sqlite3 begins a transaction of its own before the first INSERT, and the next
        # explicit BEGIN fails.
        self.raw.isolation_level = None
        execute = self.raw.execute
        makes_tables = embedded.makes_tables(self.alias)
        if makes_tables:
            embedded.allow_shrinking(self.raw)
        if self.is_dedicated():
            if not makes_tables:
                # A migrate that is at work on the file would fail at once, however patient: its own
                # change of the mode, and each transaction that reads before it writes.
                execute("SELECT 1 FROM tracing_trace LIMIT 0")
            self._write_ahead()
        if makes_tables:
            try:
                embedded.bring_up_to_date(self.raw)
            except embedded.UnknownTablesError as error:
                raise TemporaryError(f"the file {self._name} cannot be used: {error}") from None
        # The mode is the file's, the rest is this connection's.
        is_ahead = execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        if is_ahead:
            execute("PRAGMA synchronous = NORMAL")
        self._waits_for_readers = not is_ahead and not self.is_dedicated()
        execute("PRAGMA foreign_keys = OFF")
        with suppress(OSError):
            self._file = (self._name, Path(self._name).stat().st_ino)

    @property
    def _name(self) -> str:
        return str(self._wrapper.settings_dict["NAME"])

    def translate(self, error: Exception) -> Exception:
        """Return the error to raise; it names a file that cannot be written."""
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            return TemporaryError(f"the file {self._name} cannot be written: {error}")
        return super().translate(error)

    def _write_ahead(self) -> None:
        """Give the file a write-ahead log if it has none.

        Only one can do that, and SQLite does not wait for the others, however patient the timeout:
        the workers of a server that has just started would fail at their first trace.
        """
        give_up_at = time.monotonic() + BUSY_SECONDS
        while self.raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                self.raw.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(_SWITCH_SECONDS)
            else:
                # A database in memory has no such log.
                break

    def is_dedicated(self) -> bool:
        """Return whether no other alias uses the same file."""
        return has_own_sqlite_file(self.alias)

    def is_stale(self) -> bool:
        """Return whether the file was replaced: SQLite would write to the old."""
        if self._file is None:
            return False
        name, inode = self._file
        try:
            return Path(name).stat().st_ino != inode
        except OSError:
            return True

    def begin(self) -> None:
        """Begin a transaction; in the application's file only between others.

        There, whoever has read and wants to write fails at once, however patient, when another
        writer waits for the readers to go. So this one does not wait with its lock in hand: it
        looks every few milliseconds whether nobody reads, and lets the application wait while it
        writes. In a file with a write-ahead log it could not know.
        """
        if not self._waits_for_readers or self.shared:
            super().begin()
            return
        self._in_savepoint = False
        give_up_at = time.monotonic() + BUSY_SECONDS
        patience = self.raw.execute("PRAGMA busy_timeout").fetchone()[0]
        self.raw.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    self.raw.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError:
                    if time.monotonic() > give_up_at:
                        raise
                    time.sleep(random.Random().uniform(0.001, 0.005))  # noqa: S311 - no secret.
                else:
                    return
        finally:
            self.raw.execute(f"PRAGMA busy_timeout = {patience}")

    def begin_statement(self) -> str:
        """Return the statement that takes the write lock at once."""
        return "BEGIN IMMEDIATE"

    def dialect(self, statement: str) -> str:
        """Return *statement* with question marks."""
        return statement.replace("%s", "?")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run *statement* and return the cursor, past Django's subclass of it."""
        return sqlite3.Cursor(self.raw).execute(self.dialect(statement), tuple(parameters))

    def executemany(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run *statement* for each of *rows*, past Django's subclass of a cursor."""
        sqlite3.Cursor(self.raw).executemany(self.dialect(statement), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert *rows*, many with each prepared statement."""
        statement = self.insert_statement(table, columns)
        whole = len(rows) - len(rows) % _ROWS_AT_ONCE
        if whole:
            # For each statement SQLite opens the table and its indexes: a quarter of the work by rows.
            several = self.dialect(statement + f", {marks(columns)}" * (_ROWS_AT_ONCE - 1))
            execute = sqlite3.Cursor(self.raw).execute
            for start in range(0, whole, _ROWS_AT_ONCE):
                part = rows[start : start + _ROWS_AT_ONCE]
                execute(several, tuple(chain.from_iterable(part)))
        if whole < len(rows):
            self.executemany(statement, rows[whole:])

    def insert_new(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert those of *rows* that violate no unique constraint."""
        self.executemany(self.insert_statement(table, columns, "INSERT OR IGNORE"), rows)

    def says_missing(self, error: Exception) -> bool:
        """Return whether SQLite knows no such table or column."""
        text = str(error)
        return "no such table" in text or "has no column" in text or "no such column" in text
