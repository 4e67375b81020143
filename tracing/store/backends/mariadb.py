"""MariaDB and MySQL on the raw driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracing.store.backends.base import BUSY_SECONDS, Database

if TYPE_CHECKING:
    from collections.abc import Sequence


class MariaDB(Database):
    """MariaDB and MySQL: executemany, which makes multi-row INSERTs."""

    vendor = "mysql"
    share_lock = " LOCK IN SHARE MODE"

    def parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return Django's parameters, with limits on waiting for the server."""
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
        self.executemany(self.insert_statement(table, columns), rows)

    def insert_new(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert those of *rows* that violate no unique constraint."""
        key = self.quote(columns[0])
        statement = self.insert_statement(table, columns)
        # Not INSERT IGNORE: that ignores everything else as well.
        self.executemany(f"{statement} ON DUPLICATE KEY UPDATE {key} = {key}", rows)

    def upsert_statement(self, table: str, keys: Sequence[str], columns: Sequence[str]) -> str:
        """Return the statement for ``upsert``."""
        changes = ", ".join(f"{self.quote(name)} = VALUES({self.quote(name)})" for name in columns)
        return (
            f"{self.insert_statement(table, [*keys, *columns])} ON DUPLICATE KEY UPDATE {changes}"
        )

    def says_missing(self, error: Exception) -> bool:
        """Return whether the error is ER_NO_SUCH_TABLE or ER_BAD_FIELD_ERROR."""
        return bool(error.args) and error.args[0] in {1146, 1054}
