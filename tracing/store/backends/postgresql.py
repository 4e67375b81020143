"""PostgreSQL on the raw driver."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tracing.store.backends.base import BUSY_SECONDS, Database
from tracing.store.ranges import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class PostgreSQL(Database):
    """PostgreSQL: COPY with psycopg 3, multi-row INSERT with psycopg 2."""

    vendor = "postgresql"
    share_lock = " FOR SHARE"

    def __init__(self, alias: str, *, shared: bool = False) -> None:
        super().__init__(alias, shared=shared)
        self._types: dict[str, dict[str, str]] = {}
        self._commits = "on"

    def parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return Django's parameters, with limits on waiting for the server."""
        # libpq's tcp_user_timeout is in ms.
        limits = {"connect_timeout": BUSY_SECONDS, "tcp_user_timeout": BUSY_SECONDS * 2000}
        return {**limits, "application_name": "tracing", **parameters}

    def prepare(self) -> None:
        """Leave transactions to the statements; sync only those of batches."""
        self.raw.autocommit = True
        self._types.clear()
        # Labels and ids that a crash of the server takes back are given away again.
        self._commits = self.rows("SHOW synchronous_commit")[0][0]
        self.execute("SET synchronous_commit TO off")

    def begin_statement(self) -> str:
        """Return the statement that begins a transaction, as durable as others."""
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
        self, table: str, columns: Sequence[str], parts: Iterable[Sequence[tuple[Any, ...]]]
    ) -> None:
        """Insert all rows of *parts* through one COPY, which begins at once."""
        names = ", ".join(map(self.quote, columns))
        # Binary spares the server reading numbers, which is most of what it has to read.
        is_in_c = _is_in_c()
        form = " (FORMAT BINARY)" if is_in_c else ""
        types = self._column_types(table, columns) if is_in_c else ()
        with (
            self.raw.cursor() as cursor,
            cursor.copy(f"COPY {self.quote(table)} ({names}) FROM STDIN{form}") as copy,
        ):
            if is_in_c:
                copy.set_types(types)
                write = copy.write_row
                for rows in parts:
                    for row in rows:
                        write(row)
            else:
                for rows in parts:
                    for some in chunks(rows, 500):
                        copy.write(_copy_text(some))

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
        for chunk in chunks(rows, 200):
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
        """Return the last id given away of each sequence, in one statement."""
        change, parameters = self._raise_by(needed)
        found = self.rows(f"{change} RETURNING name, value", parameters)
        return {name: value - needed[name] for name, value in found}

    def says_missing(self, error: Exception) -> bool:
        """Return whether the error is undefined_table or undefined_column."""
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        return state in {"42P01", "42703"}


@cache
def _is_in_c() -> bool:
    """Return whether the driver is in C, where write_row() is the quicker."""
    # Asked on a connection of that driver, which is therefore there already.
    try:
        from psycopg import pq  # noqa: PLC0415 - most stores are no PostgreSQL.
    except ImportError:
        return False
    return pq.__impl__ != "python"


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
