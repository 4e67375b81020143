"""Names in the store that nothing refers to, and their removal.

A writer knows the ids of labels by heart. The *epoch* of the labels is a row that it locks, shared,
in each transaction that refers to them, and that goes up, under an exclusive lock, in each one
that deletes some: whoever sees another epoch than its own takes new ids for its rows and asks for
all labels anew. So what is committed never refers to a label that is gone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracing.store.backends import KEYS_AT_ONCE, delete_rows, marks
from tracing.store.ranges import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tracing.store.backends import Database

_EPOCH: Final = "labels"
_IDS_AT_ONCE: Final = 50_000
_LABELS_AT_ONCE: Final = 2_000
_WORTH_A_SCAN: Final = 1_000
"""Fewer labels than this are not worth reading all dispatches for, unless somebody asks."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A column that refers to labels.

    Args:
        table: Its table.
        column: A column of ids; of JSON with a *key*.
        is_indexed: An index leads from a label to its rows.
        key: The columns hold JSON: an array of ids ("" for the key), or an object that has, under
            this key, an array of arrays whose first item is the id.
    """

    table: str
    column: str
    is_indexed: bool = False
    key: str | None = None


LABELS: Final[dict[str, tuple[_Source, ...]]] = {
    "tracing_tracelabel": (_Source("tracing_trace", "label_id", is_indexed=True),),
    "tracing_signallabel": (
        _Source("tracing_dispatch", "signal_id", is_indexed=True),
        _Source("tracing_rollup", "signal_id"),
        _Source("tracing_pathrollup", "signal_id"),
        _Source("tracing_orphan", "signal_id"),
    ),
    "tracing_senderlabel": (
        _Source("tracing_dispatch", "sender_id", is_indexed=True),
        _Source("tracing_rollup", "sender_id"),
        _Source("tracing_pathrollup", "sender_id"),
        _Source("tracing_orphan", "sender_id"),
    ),
    "tracing_receiverlabel": (
        _Source("tracing_receivercall", "receiver_id", is_indexed=True),
        _Source("tracing_failedcall", "receiver_id", is_indexed=True),
        _Source("tracing_rollup", "receiver_id"),
        _Source("tracing_bypass", "receivers", key=""),
    ),
    "tracing_callsitelabel": (
        _Source("tracing_bypass", "callsite_id"),
        _Source("tracing_dispatch", "callsite_id"),
    ),
    "tracing_sharedattributes": (_Source("tracing_dispatch", "shared_id"),),
    "tracing_statementlabel": (_Source("tracing_receivercall", "extra", key="statements"),),
}
"""The tables of labels, each with what refers to it."""


def epoch(database: Database) -> int:
    """Return the epoch of the labels, locked for the transaction."""
    statement = "SELECT value FROM tracing_sequence WHERE name = %s"
    found = database.rows(f"{statement}{database.share_lock}", (_EPOCH,))
    return int(found[0][0]) if found else -1


def begin_epoch(database: Database) -> int:
    """Return the epoch, outside any transaction; make it, in a new store."""
    found = epoch(database)
    if found < 0:
        with database.transaction():
            database.insert_new("tracing_sequence", ("name", "value"), [(_EPOCH, 0)])
        found = epoch(database)
    return found


def _end_epoch(database: Database) -> None:
    """Begin another epoch, after who writes, and keep writers out."""
    database.execute("UPDATE tracing_sequence SET value = value + 1 WHERE name = %s", (_EPOCH,))


def sweep(database: Database, *, every: bool) -> Iterator[int]:
    """Delete unused labels; yield how many went after each step.

    Args:
        database: The store.
        every: Also where all dispatches have to be read for a few labels.
    """
    begin_epoch(database)
    for table, sources in LABELS.items():
        yield from _Sweep(database, table, sources, every=every).run()


class _Sweep:
    """Of one table of labels."""

    def __init__(
        self, database: Database, table: str, sources: Sequence[_Source], *, every: bool
    ) -> None:
        self.database = database
        self.table = table
        self.indexed = [source for source in sources if source.is_indexed]
        self.scanned = [source for source in sources if not source.is_indexed]
        self.every = every
        self.last: dict[str, int] = {}

    def run(self) -> Iterator[int]:
        unused = self._without_index_entry()
        is_worth_it = self.every or self.indexed or len(unused) >= _WORTH_A_SCAN
        if not unused or not is_worth_it:
            return
        if self.scanned:
            with self.database.transaction():
                # All rows up to the last one are there from here on: who had taken lower ids and
                # has not written them takes others.
                _end_epoch(self.database)
            for source in self.scanned:
                first, last = self._extent(source.table)
                self.last[source.table] = last
                for start in range(first, last + 1, _IDS_AT_ONCE):
                    unused -= self._used(source, start, min(start + _IDS_AT_ONCE - 1, last))
                    yield 0
                    if not unused:
                        return
        for chunk in chunks(sorted(unused), _LABELS_AT_ONCE):
            with self.database.transaction():
                _end_epoch(self.database)
                rest = self._still_unused(chunk)
                delete_rows(self.database, self.table, sorted(rest))
                if self.table == "tracing_tracelabel":
                    self._delete_trees(sorted(rest))
            yield len(rest)

    def _delete_trees(self, keys: Sequence[int]) -> None:
        """Delete the sums by path of names that no trace has any more."""
        for chunk in chunks(keys, KEYS_AT_ONCE):
            self.database.execute(
                "DELETE FROM tracing_pathrollup WHERE signal_id = 0 AND sender_id = 0 "
                f"AND label_id IN {marks(chunk)}",
                chunk,
            )

    def _still_unused(self, keys: Sequence[int]) -> set[int]:
        """Return those of *keys* that nothing written in the meantime refers to."""
        unused = self._without_index_entry(keys) if self.indexed else set(keys)
        for source in self.scanned:
            unused -= self._used(source, self.last[source.table] + 1, None)
        return unused

    def _without_index_entry(self, keys: Sequence[int] | None = None) -> set[int]:
        """Return the labels, of *keys* if given, that no indexed column refers to."""
        conditions = [
            f"NOT EXISTS (SELECT 1 FROM {source.table} s WHERE s.{source.column} = l.id)"
            for source in self.indexed
        ]
        found: set[int] = set()
        for chunk in [None] if keys is None else list(chunks(keys, 500)):
            narrowed = [f"l.id IN {marks(chunk)}"] if chunk else []
            where = " AND ".join(conditions + narrowed) or "1 = 1"
            statement = f"SELECT l.id FROM {self.table} l WHERE {where}"
            found.update(key for (key,) in self.database.rows(statement, chunk or ()))
        return found

    def _extent(self, table: str) -> tuple[int, int]:
        """Return the first and last id of *table*; (1, 0) if it is empty."""
        first, last = self.database.rows(f"SELECT MIN(id), MAX(id) FROM {table}")[0]
        return (1, 0) if last is None else (int(first), int(last))

    def _used(self, source: _Source, first: int, last: int | None) -> set[int]:
        """Return the labels that rows *first* to *last* of *source* refer to."""
        where = "id >= %s"
        parameters: list[Any] = [first]
        if last is not None:
            where, parameters = "id BETWEEN %s AND %s", [first, last]
        if source.key:
            where, parameters = (
                f"{where} AND {source.column} LIKE %s",
                [*parameters, f'%"{source.key}"%'],
            )
        columns = f"DISTINCT {source.column}" if source.key is None else source.column
        values: Iterable[Any] = (
            value
            for (value,) in self.database.rows(
                f"SELECT {columns} FROM {source.table} WHERE {where} "
                f"AND {source.column} IS NOT NULL",
                parameters,
            )
        )
        if source.key is None:
            return set(values)
        return {key for text in values for key in _ids_in(text, source.key)}


def _ids_in(text: str, key: str) -> Iterator[int]:
    """Yield the ids in a column of JSON; see ``_Source``."""
    if not key:
        yield from json.loads(text or "[]")
    else:
        yield from (item[0] for item in json.loads(text).get(key, ()))
