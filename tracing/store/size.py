"""The size of traces in a database, in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from tracing.store.backends import marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.store.backends import Database

_TABLES = (
    "tracing_trace", "tracing_dispatch", "tracing_receivercall", "tracing_failedcall",
    "tracing_orphan", "tracing_bypass", "tracing_hazard", "tracing_hazardoccurrence",
    "tracing_rollup", "tracing_recorderstate", "tracing_signallabel", "tracing_senderlabel",
    "tracing_receiverlabel", "tracing_callsitelabel", "tracing_sharedattributes", "tracing_tracelabel",
    "tracing_statementlabel", "tracing_wiringversion", "tracing_tasklink",
    "tracing_objectindex",
    "tracing_pathrollup",
)  # fmt: skip


def size_of(store: Database | Reader) -> int:
    """Return how many bytes the traces take, asked over *store*."""
    if store.vendor == "sqlite":
        return _sqlite_size(store)
    if store.vendor == "postgresql":
        (size,) = store.rows(
            "SELECT COALESCE(SUM(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
            "WHERE c.relkind = 'r' AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)",
            [list(_TABLES)],
        )[0]
    else:
        (size,) = store.rows(
            "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables "
            f"WHERE table_schema = DATABASE() AND table_name IN {marks(_TABLES)}",
            _TABLES,
        )[0]
    return int(size)


class Reader:
    """Django's connection of the running thread, for faces."""

    def __init__(self, alias: str) -> None:
        self._connection: Any = connections[alias]
        self.vendor: str = self._connection.vendor

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall())


def used_size_of(store: Database | Reader) -> int:
    """Return the bytes of the traces without free space.

    The files of a server stay as large as they were. Pruning by that size would go on until nothing
    is left. On PostgreSQL it is estimated, from what it knows of its rows, mostly within a tenth.
    """
    if store.vendor != "postgresql":
        return size_of(store)
    return int(store.rows(_USED_SIZE, [list(_TABLES)])[0][0])


_USED_SIZE = """
    WITH widths AS (
        SELECT schemaname, tablename, attname, avg_width * (1 - null_frac) AS width FROM pg_stats
    ), tables AS (
        SELECT
            pg_total_relation_size(c.oid) AS total,
            s.n_live_tup AS living,
            s.n_live_tup + s.n_dead_tup AS present,
            (
                SELECT SUM(width) + 28 FROM widths w
                WHERE w.schemaname = s.schemaname AND w.tablename = c.relname
            ) AS of_row,
            (
                SELECT SUM(20 + (
                    SELECT COALESCE(SUM(width), 0)
                    FROM widths w JOIN pg_attribute a ON a.attname = w.attname
                    WHERE a.attrelid = c.oid AND a.attnum = ANY(i.indkey::smallint[])
                    AND w.schemaname = s.schemaname AND w.tablename = c.relname
                )) FROM pg_index i WHERE i.indrelid = c.oid
            ) AS of_indexes
        FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
        WHERE c.relkind = 'r' AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)
    )
    -- Nothing is known of rows in the first second; dead ones are there until a VACUUM, and after it
    -- their room is.
    SELECT COALESCE(SUM(CASE WHEN present = 0 THEN total ELSE LEAST(
        total * living / present,
        COALESCE(living * (of_row + of_indexes), total)
    ) END), 0) FROM tables
"""
"""A row has a header of 24 bytes and a pointer of 4, an entry of an index 8, a pointer and padding."""


def _sqlite_size(store: Database | Reader) -> int:
    pages, free, page_size = (
        store.rows(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_size)
