"""The three databases as the database exporter speaks to them: below the ORM, on the raw driver.

Django's own cursors are avoided on purpose: they would send ``connection_created``, show up in
``connection.queries`` and in ``assertNumQueries()``, and cost more than the writing itself.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections

from tracing.conf import has_own_sqlite_file
from tracing.instrumentation.in_tests import address
from tracing.pipeline import TemporaryError
from tracing.store import embedded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

BUSY_SECONDS = 5
"""How long a writer waits for another one's lock, and for a server to answer."""

_KEYS_AT_ONCE = 500
_SWITCH_SECONDS = 0.01
"""Between two attempts to give a SQLite file its write-ahead log."""

_leaked: list[Any] = []
"""Connections inherited over fork(): they belong to the parent and are never closed here."""


class MissingTablesError(TemporaryError):
    """The database has no tables for traces, or older ones: it was not migrated."""

    # The command that makes them is traced as well, before it has made them.
    patience = 10.0

    def __init__(self, alias: str, reason: object) -> None:
        which = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
        super().__init__(
            f"the database {alias!r} lacks their tables: run "
            f"python manage.py migrate{which} [{reason}]"
        )


class Database:
    """A connection of its own to the database of an alias.

    Args:
        alias: Alias in DATABASES.
        shared: Use Django's connection of the running thread instead, inside whatever transaction
            it is in. For tests, whose data is seen and rolled back on that connection only.
    """

    vendor = ""
    placeholder = "%s"
    share_lock = ""
    """At the end of a SELECT: others may read its rows, and not change them before the commit.

    On SQLite nobody else writes during a transaction of ours.
    """

    def __init__(self, alias: str, *, shared: bool = False) -> None:
        self.alias = alias
        self.shared = shared
        self.raw: Any = None
        self._in_savepoint = False
        self._wrapper: BaseDatabaseWrapper = connections.create_connection(alias)
        self._address = address(self._wrapper.settings_dict)
        options = self._wrapper.settings_dict.get("OPTIONS", {})
        # The worker needs one connection for long, which is not what a pool is for.
        self._wrapper.settings_dict = self._wrapper.settings_dict | {
            "OPTIONS": {name: value for name, value in options.items() if name != "pool"}
        }
        self.errors: Any = self._wrapper.Database  # type: ignore[attr-defined]
        self.errors_of_django = self._wrapper.wrap_database_errors
        self.quote = self._wrapper.ops.quote_name

    # -- Connecting

    def connect(self) -> None:
        """Open the connection if it is not open.

        Raises:
            TemporaryError: It cannot be opened now.
        """
        if self.shared:
            wrapper = connections[self.alias]
            wrapper.ensure_connection()
            self.raw = wrapper.connection
        elif self.raw is None or self.is_stale():
            self.close()
            parameters = self.parameters(dict(self._wrapper.get_connection_params()))
            self.raw = self._wrapper.get_new_connection(parameters)
            try:
                self.prepare()
            except BaseException:
                # Half set up it would be taken for a good one the next time.
                self.close()
                raise

    def is_elsewhere(self) -> bool:
        """Return whether the alias leads to another database now: tests have been given theirs."""
        return self._address != address(connections.settings[self.alias])

    def parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what to connect with, made of what Django would."""
        return parameters

    def prepare(self) -> None:
        """Set up a new connection."""

    def is_stale(self) -> bool:
        """Return whether the connection leads nowhere any more."""
        return False

    def close(self) -> None:
        """Close the connection; that never fails."""
        raw, self.raw = self.raw, None
        if raw is not None and not self.shared:
            with suppress(Exception):
                raw.close()

    def forget(self) -> None:
        """Let go of a connection that belongs to the parent process, without closing it."""
        if self.raw is not None:
            _leaked.append(self.raw)
            self.raw = None

    # -- Statements

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run *statement* (with ``%s`` for parameters) and return the cursor."""
        cursor = self.raw.cursor()
        cursor.execute(self.dialect(statement), tuple(parameters))
        return cursor

    def dialect(self, statement: str) -> str:
        """Return *statement* with the placeholders of the driver."""
        return statement

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        cursor = self.execute(statement, parameters)
        try:
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def begin(self) -> None:
        """Begin a transaction; a savepoint inside that of a test."""
        self._in_savepoint = self.shared and connections[self.alias].in_atomic_block
        self.execute("SAVEPOINT tracing_export" if self._in_savepoint else self.begin_statement())

    def begin_statement(self) -> str:
        """Return the statement that begins a transaction."""
        return "BEGIN"

    def commit(self) -> None:
        """Commit it."""
        self.execute("RELEASE SAVEPOINT tracing_export" if self._in_savepoint else "COMMIT")

    def rollback(self) -> None:
        """Undo it; that never fails."""
        with suppress(Exception):
            if self._in_savepoint:
                self.execute("ROLLBACK TO SAVEPOINT tracing_export")
                self.execute("RELEASE SAVEPOINT tracing_export")
            else:
                self.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction, which is undone if it raises."""
        self.begin()
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert *rows* the fastest way there is."""
        raise NotImplementedError

    @property
    def streams(self) -> bool:
        """Return whether ``insert_stream`` works: the server stores while rows are being made."""
        return False

    def insert_stream(
        self, table: str, columns: Sequence[str], chunks: Iterable[Sequence[tuple[Any, ...]]]
    ) -> None:
        """Insert all rows of *chunks*, sending each while the next is being made."""
        raise NotImplementedError

    def insert_new(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert those of *rows* that violate no unique constraint."""
        raise NotImplementedError

    def upsert(
        self,
        table: str,
        keys: Sequence[str],
        columns: Sequence[str],
        rows: Iterable[tuple[Any, ...]],
    ) -> None:
        """Insert *rows* (keys, then columns) or give the columns of existing ones these values."""
        cursor = self.raw.cursor()
        try:
            cursor.executemany(
                self.dialect(self.upsert_statement(table, keys, columns)), list(rows)
            )
        finally:
            cursor.close()

    def upsert_statement(self, table: str, keys: Sequence[str], columns: Sequence[str]) -> str:
        """Return the statement for ``upsert``."""
        changes = ", ".join(f"{self.quote(name)} = excluded.{self.quote(name)}" for name in columns)
        conflict = ", ".join(map(self.quote, keys))
        insert = self.insert_statement(table, [*keys, *columns])
        return f"{insert} ON CONFLICT ({conflict}) DO UPDATE SET {changes}"

    def insert_statement(self, table: str, columns: Sequence[str], verb: str = "INSERT") -> str:
        """Return an INSERT of one row."""
        names = ", ".join(map(self.quote, columns))
        values = ", ".join(["%s"] * len(columns))
        return f"{verb} INTO {self.quote(table)} ({names}) VALUES ({values})"

    def allocate(self, needed: Mapping[str, int]) -> dict[str, int]:
        """Return the id before the first new one of each sequence in *needed*, by name.

        It is a transaction of its own: other writers wait for these few rows only, and not while
        the batch is written. Sequences that do not exist are left out.

        Args:
            needed: How many new ids, by name of the sequence.
        """
        change, parameters = self._raise_by(needed)
        table = self.quote("tracing_sequence")
        self.begin()
        try:
            self.execute(change, parameters)
            names = ", ".join(["%s"] * len(needed))
            found = self.rows(
                f"SELECT name, value FROM {table} WHERE name IN ({names})", tuple(needed)
            )
        except BaseException:
            self.rollback()
            raise
        self.commit()
        return {name: value - needed[name] for name, value in found}

    def _raise_by(self, needed: Mapping[str, int]) -> tuple[str, list[Any]]:
        """Return the UPDATE for ``allocate`` and its parameters."""
        cases = " ".join(["WHEN name = %s THEN %s"] * len(needed))
        names = ", ".join(["%s"] * len(needed))
        statement = (
            f"UPDATE {self.quote('tracing_sequence')} "
            f"SET value = value + CASE {cases} ELSE 0 END WHERE name IN ({names})"
        )
        return statement, [*(part for pair in needed.items() for part in pair), *needed]

    # -- Errors

    def translate(self, error: Exception) -> Exception:
        """Return the error to raise for one of the driver's."""
        if self.says_missing(error):
            return MissingTablesError(self.alias, error)
        errors = self.errors
        passing = (errors.OperationalError, errors.InterfaceError, errors.InternalError)
        # sqlite3 raises plain DatabaseError for a damaged file.
        if isinstance(error, passing) or type(error) is errors.DatabaseError:
            return TemporaryError(f"{type(error).__name__}: {error}".strip())
        return error

    def says_missing(self, error: Exception) -> bool:
        """Return whether *error* means that a table or a column is not there."""
        raise NotImplementedError


class SQLite(Database):
    """SQLite: one writer at a time, which takes its lock at once and holds it briefly."""

    vendor = "sqlite"
    # SQLite allows 32,766 parameters in a statement since 3.32 and 999 before.
    rows_at_once = 40

    _statements: dict[tuple[str, int], str]
    _waits_for_readers = False
    _file: tuple[str, int] | None = None

    def parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what Django would use, with a patient timeout; a new file is for its owner alone."""
        if self.is_dedicated() and not self._name.startswith((":", "file:")):
            # SQLite gives its log and its index the mode of the file. What exists keeps its own.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
            with suppress(OSError):
                os.close(os.open(self._name, flags, 0o600))
        return parameters | {"timeout": max(parameters.get("timeout", 0), BUSY_SECONDS)}

    def prepare(self) -> None:
        """Use a write-ahead log in a file that only holds traces, and sync at checkpoints alone."""
        # Without it sqlite3 begins a transaction of its own before the first INSERT, and the next
        # explicit BEGIN fails.
        self.raw.isolation_level = None
        execute = self.raw.execute
        makes_tables = embedded.makes_tables(self.alias)
        if makes_tables:
            embedded.allow_shrinking(self.raw)
        if self.is_dedicated():
            self._write_ahead()
        if makes_tables:
            try:
                embedded.bring_up_to_date(self.raw)
            except embedded.NewerStoreError as error:
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
        """Return the error to raise; of a file that cannot be written it names the file."""
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
        """Return whether the file was deleted or replaced: SQLite would write to the old one."""
        if self._file is None:
            return False
        name, inode = self._file
        try:
            return Path(name).stat().st_ino != inode
        except OSError:
            return True

    def begin(self) -> None:
        """Begin a transaction, beside the application's in its own file only when it has none.

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
                    time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - no secret.
                else:
                    return
        finally:
            self.raw.execute(f"PRAGMA busy_timeout = {patience}")

    def begin_statement(self) -> str:
        """Return the statement that takes the write lock at once instead of failing halfway."""
        return "BEGIN IMMEDIATE"

    def dialect(self, statement: str) -> str:
        """Return *statement* with question marks."""
        return statement.replace("%s", "?")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run *statement* and return the cursor, past Django's subclass of it."""
        return sqlite3.Cursor(self.raw).execute(self.dialect(statement), tuple(parameters))

    def _executemany(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        sqlite3.Cursor(self.raw).executemany(self.dialect(statement), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert *rows* with one prepared statement."""
        self._executemany(self.insert_statement(table, columns), rows)

    def insert_new(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert those of *rows* that violate no unique constraint."""
        self._executemany(self.insert_statement(table, columns, "INSERT OR IGNORE"), rows)

    def upsert(
        self,
        table: str,
        keys: Sequence[str],
        columns: Sequence[str],
        rows: Iterable[tuple[Any, ...]],
    ) -> None:
        """Insert *rows* or change existing ones."""
        self._executemany(self.upsert_statement(table, keys, columns), list(rows))

    def says_missing(self, error: Exception) -> bool:
        """Return whether SQLite knows no such table or column."""
        text = str(error)
        return "no such table" in text or "has no column" in text or "no such column" in text


class PostgreSQL(Database):
    """PostgreSQL, or what speaks its protocol: COPY with psycopg 3, multi-row INSERT with 2."""

    vendor = "postgresql"
    share_lock = " FOR SHARE"

    def __init__(self, alias: str, *, shared: bool = False) -> None:
        super().__init__(alias, shared=shared)
        self._types: dict[str, dict[str, str]] = {}
        self._commits = "on"

    def parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what Django would use, with limits on waiting for a server that is gone."""
        # libpq's tcp_user_timeout is in ms.
        limits = {"connect_timeout": BUSY_SECONDS, "tcp_user_timeout": BUSY_SECONDS * 2000}
        return {**limits, "application_name": "tracing", **parameters}

    def prepare(self) -> None:
        """Leave transactions to the statements; wait for the disk with those of batches alone."""
        self.raw.autocommit = True
        self._types.clear()
        # Labels and ids that a crash of the server takes back are given away again.
        self._commits = self.rows("SHOW synchronous_commit")[0][0]
        self.execute("SET synchronous_commit TO off")

    def begin_statement(self) -> str:
        """Return the statement that begins a transaction as durable as the server's others."""
        return f"BEGIN; SET LOCAL synchronous_commit TO {self._commits}"

    def is_stale(self) -> bool:
        """Return whether the driver knows that the connection is lost."""
        return bool(self.raw.closed)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run *statement* and return the cursor."""
        cursor = self.raw.cursor()
        cursor.execute(statement, tuple(parameters) or None)
        return cursor

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert *rows* through COPY."""
        if hasattr(self.raw.cursor(), "copy"):
            self.insert_stream(table, columns, (rows,))
        else:
            self._insert_many(self.insert_statement(table, columns), rows)

    @property
    def streams(self) -> bool:
        """Return whether the driver has COPY as a stream: psycopg 3."""
        return hasattr(self.raw.cursor(), "copy")

    def insert_stream(
        self, table: str, columns: Sequence[str], chunks: Iterable[Sequence[tuple[Any, ...]]]
    ) -> None:
        """Insert all rows of *chunks* through one COPY, whose statement begins at once."""
        names = ", ".join(map(self.quote, columns))
        # Binary spares the server reading numbers, which is most of what it has to read.
        form = " (FORMAT BINARY)" if _IN_C else ""
        types = self._column_types(table, columns) if _IN_C else ()
        with (
            self.raw.cursor() as cursor,
            cursor.copy(f"COPY {self.quote(table)} ({names}) FROM STDIN{form}") as copy,
        ):
            if _IN_C:
                copy.set_types(types)
                write = copy.write_row
                for rows in chunks:
                    for row in rows:
                        write(row)
            else:
                for rows in chunks:
                    for start in range(0, len(rows), 500):
                        copy.write(_copy_text(rows[start : start + 500]))

    def _column_types(self, table: str, columns: Sequence[str]) -> list[str]:
        """Return the names of the types of *columns*."""
        known = self._types.get(table)
        if known is None:
            known = self._types[table] = dict(
                self.rows(
                    "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
                    "WHERE attrelid = %s::regclass AND attnum > 0",
                    (self.quote(table),),
                )
            )
        return [known[column] for column in columns]

    def _insert_many(
        self, statement: str, rows: Sequence[tuple[Any, ...]], ending: str = ""
    ) -> None:
        head, _, values = statement.rpartition("VALUES ")
        for start in range(0, len(rows), 200):
            chunk = rows[start : start + 200]
            self.execute(
                f"{head}VALUES {', '.join([values] * len(chunk))}{ending}",
                [value for row in chunk for value in row],
            )

    def insert_new(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert those of *rows* that violate no unique constraint."""
        self._insert_many(self.insert_statement(table, columns), rows, " ON CONFLICT DO NOTHING")

    def allocate(self, needed: Mapping[str, int]) -> dict[str, int]:
        """Return the id before the first new one of each sequence; one statement does it all."""
        change, parameters = self._raise_by(needed)
        found = self.rows(f"{change} RETURNING name, value", parameters)
        return {name: value - needed[name] for name, value in found}

    def says_missing(self, error: Exception) -> bool:
        """Return whether the error is undefined_table or undefined_column."""
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        return state in {"42P01", "42703"}


try:
    from psycopg import pq

    # Only in C is write_row() quicker than making the text here.
    _IN_C = pq.__impl__ != "python"
except ImportError:
    _IN_C = False

_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_text(rows: Sequence[tuple[Any, ...]]) -> str:
    """Return *rows* in the text format of COPY."""
    lines = []
    for row in rows:
        cells = []
        for cell in row:
            if cell is None:
                cells.append("\\N")
            elif cell.__class__ is str:
                cells.append(cell if cell.isalnum() else cell.translate(_COPY_ESCAPES))
            elif cell.__class__ is bool:
                cells.append("t" if cell else "f")
            else:
                cells.append(str(cell))
        lines.append("\t".join(cells))
    lines.append("")
    return "\n".join(lines)


class MariaDB(Database):
    """MariaDB and MySQL: executemany, which both drivers turn into multi-row INSERTs."""

    vendor = "mysql"
    share_lock = " LOCK IN SHARE MODE"

    def parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what Django would use, with limits on waiting for a server that is gone."""
        limits = {
            "connect_timeout": BUSY_SECONDS,
            "read_timeout": 2 * BUSY_SECONDS,
            "write_timeout": 2 * BUSY_SECONDS,
        }
        return {**limits, **parameters}

    def prepare(self) -> None:
        """Leave transactions to the statements."""
        self.raw.autocommit(True)
        # Rows appear to be invisible to one's own next read otherwise.
        self.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert *rows* in multi-row statements."""
        cursor = self.raw.cursor()
        try:
            cursor.executemany(self.insert_statement(table, columns), rows)
        finally:
            cursor.close()

    def insert_new(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert those of *rows* that violate no unique constraint."""
        key = self.quote(columns[0])
        statement = self.insert_statement(table, columns)
        cursor = self.raw.cursor()
        try:
            # Not INSERT IGNORE: that ignores everything else as well.
            cursor.executemany(f"{statement} ON DUPLICATE KEY UPDATE {key} = {key}", rows)
        finally:
            cursor.close()

    def upsert_statement(self, table: str, keys: Sequence[str], columns: Sequence[str]) -> str:
        """Return the statement for ``upsert``."""
        changes = ", ".join(f"{self.quote(name)} = VALUES({self.quote(name)})" for name in columns)
        return (
            f"{self.insert_statement(table, [*keys, *columns])} ON DUPLICATE KEY UPDATE {changes}"
        )

    def says_missing(self, error: Exception) -> bool:
        """Return whether the error is ER_NO_SUCH_TABLE or ER_BAD_FIELD_ERROR."""
        return bool(error.args) and error.args[0] in {1146, 1054}


def delete_rows(database: Database, table: str, keys: Sequence[int]) -> None:
    """Delete the rows of *table* with the ids *keys*; in a transaction, if there are many."""
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        chunk = keys[start : start + _KEYS_AT_ONCE]
        database.execute(
            f"DELETE FROM {table} WHERE id IN ({', '.join(['%s'] * len(chunk))})", chunk
        )


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
    """Open the store for a face, on a connection of its own; errors are Django's.

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
