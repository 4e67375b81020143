"""A database below the ORM: a connection on the raw driver.

Django's own cursors are avoided on purpose: they would send ``connection_created``, show up in
``connection.queries`` and in ``assertNumQueries()``, and cost more than the writing itself.
"""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections

from tracing.instrumentation.in_tests import address
from tracing.pipeline import TemporaryError
from tracing.store.ranges import chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper


BUSY_SECONDS = 5
"""How long a writer waits for another one's lock, and for a server to answer."""

KEYS_AT_ONCE = 500
"""Parameters in a list of a statement."""

_leaked: list[Any] = []
"""Connections inherited over fork(): they belong to the parent and are never closed here."""


def _driver_of(connection: Any) -> Any:
    """Return the driver's own connection, without the wrappers of others.

    They would trace what we write, and the C code of a driver takes no stand-in.
    """
    while (inner := getattr(connection, "__wrapped__", None)) is not None:
        connection = inner
    return connection


class MissingTablesError(TemporaryError):
    """The database lacks the tables for traces, or has older ones."""

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
            self.raw = _driver_of(wrapper.connection)
        elif self.raw is None or self.is_stale():
            self.close()
            parameters = self.parameters(dict(self._wrapper.get_connection_params()))
            self.raw = _driver_of(self._wrapper.get_new_connection(parameters))
            try:
                self.prepare()
            except BaseException:
                # Half set up it would be taken for a good one the next time.
                self.close()
                raise

    def is_elsewhere(self) -> bool:
        """Return whether the alias leads elsewhere now, as in tests."""
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
        """Let go of the parent process's connection without closing it."""
        if self.raw is not None:
            _leaked.append(self.raw)
            self.raw = None

    # -- Statements

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run *statement* (with ``%s`` for parameters) and return the cursor."""
        cursor = self.raw.cursor()
        cursor.execute(self.dialect(statement), tuple(parameters))
        return cursor

    def executemany(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run *statement* for each of *rows*."""
        with closing(self.raw.cursor()) as cursor:
            cursor.executemany(self.dialect(statement), rows)

    def dialect(self, statement: str) -> str:
        """Return *statement* with the placeholders of the driver."""
        return statement

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with closing(self.execute(statement, parameters)) as cursor:
            return list(cursor.fetchall())

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
        """Return whether ``insert_stream`` works, so that both sides are busy."""
        return False

    def insert_stream(
        self, table: str, columns: Sequence[str], parts: Iterable[Sequence[tuple[Any, ...]]]
    ) -> None:
        """Insert all rows of *parts*, sending each while the next is being made."""
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
        """Insert *rows* (keys, then columns), or update those that are there."""
        self.executemany(self.upsert_statement(table, keys, columns), list(rows))

    def upsert_statement(self, table: str, keys: Sequence[str], columns: Sequence[str]) -> str:
        """Return the statement for ``upsert``."""
        changes = ", ".join(f"{self.quote(name)} = excluded.{self.quote(name)}" for name in columns)
        conflict = ", ".join(map(self.quote, keys))
        insert = self.insert_statement(table, [*keys, *columns])
        return f"{insert} ON CONFLICT ({conflict}) DO UPDATE SET {changes}"

    def insert_statement(self, table: str, columns: Sequence[str], verb: str = "INSERT") -> str:
        """Return an INSERT of one row."""
        names = ", ".join(map(self.quote, columns))
        return f"{verb} INTO {self.quote(table)} ({names}) VALUES {marks(columns)}"

    def allocate(self, needed: Mapping[str, int]) -> dict[str, int]:
        """Return the last id given away of each sequence, taking *needed* more.

        It is a transaction of its own: other writers wait for these few rows only, and not while
        the batch is written. Sequences that do not exist are left out.

        Args:
            needed: How many new ids, by name of the sequence.
        """
        change, parameters = self._raise_by(needed)
        table = self.quote("tracing_sequence")
        with self.transaction():
            self.execute(change, parameters)
            found = self.rows(
                f"SELECT name, value FROM {table} WHERE name IN {marks(needed)}", tuple(needed)
            )
        return {name: value - needed[name] for name, value in found}

    def _raise_by(self, needed: Mapping[str, int]) -> tuple[str, list[Any]]:
        """Return the UPDATE for ``allocate`` and its parameters."""
        cases = " ".join(["WHEN name = %s THEN %s"] * len(needed))
        statement = (
            f"UPDATE {self.quote('tracing_sequence')} "
            f"SET value = value + CASE {cases} ELSE 0 END WHERE name IN {marks(needed)}"
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


def delete_rows(database: Database, table: str, keys: Sequence[int]) -> None:
    """Delete the rows *keys*; if there are many, in a transaction."""
    for chunk in chunks(keys, KEYS_AT_ONCE):
        database.execute(f"DELETE FROM {table} WHERE id IN {marks(chunk)}", chunk)


def marks(values: Collection[Any]) -> str:
    """Return placeholders for *values*, in parentheses."""
    return f"({', '.join(['%s'] * len(values))})"
