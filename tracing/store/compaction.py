"""Statistics of past hours and days, added up to stay quick."""

from __future__ import annotations

from collections.abc import Callable, Sequence  # noqa: TC003 - of a dataclass
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.explain.trees import Tree
from tracing.analysis.histogram import Histogram
from tracing.clocks import time
from tracing.store.backends import delete_rows

if TYPE_CHECKING:
    from tracing.store.backends import Database

PAUSE_SECONDS = 0.005
"""Between two steps, so that a writer who waits for the lock gets it."""
ROWS_AT_ONCE = 2_000
DAY_HOURS = 24

_MERGED = "merged"
_DAYS_BY_HOUR = 3
_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """A table of sums by hour and writer.

    Args:
        table: Its name.
        key: The columns that say of what the sums are.
        columns: The sums.
        add: Returns the sum of the values of several rows.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    add: Callable[[Sequence[_Row]], _Row]

    @property
    def names(self) -> tuple[str, ...]:
        """Return all columns but the id."""
        return ("hour", "writer", *self.key, *self.columns)


def _added_rollups(rows: Sequence[_Row]) -> _Row:
    sums = (
        sum(read) if (read := [value for value in values if value is not None]) else None
        for values in list(zip(*rows, strict=True))[:-1]
    )
    return (*sums, Histogram.decode(*(row[-1] for row in rows)).encode())


def _added_trees(rows: Sequence[_Row]) -> _Row:
    tree = Tree.decode(*(bytes(tree) for (tree,) in rows))
    tree.trim()
    return (tree.encode(),)


SUMS: Final = (
    Sums(
        "tracing_rollup",
        ("signal_id", "sender_id", "receiver_id"),
        ("count", "error_count", "total_ns", "query_count", "query_ns", "cpu_ns", "histogram"),
        _added_rollups,
    ),
    Sums("tracing_pathrollup", ("signal_id", "sender_id", "label_id"), ("tree",), _added_trees),
)


def compact(database: Database, hour: int, is_late: Callable[[], bool]) -> tuple[int, bool]:
    """Add up what is past; return the rows that went and whether it is all.

    One step is taken however late it is, so that a worker with much to prune gets on with it too.
    """
    went = 0
    for sums in SUMS:
        gone, is_all = _compact(database, sums, hour, is_late)
        went += gone
        if not is_all:
            return went, False
    return went, True


def _compact(
    database: Database, sums: Sums, hour: int, is_late: Callable[[], bool]
) -> tuple[int, bool]:
    past = (hour - _DAYS_BY_HOUR * DAY_HOURS) // DAY_HOURS * DAY_HOURS
    hours = [
        found
        for (found,) in database.rows(
            f"SELECT DISTINCT hour FROM {sums.table} WHERE hour < %s AND writer <> %s",
            (hour - 3, _MERGED),
        )
    ]
    parts_of_days = [
        found
        for found, rest in database.rows(
            f"SELECT hour, SUM(CASE WHEN writer = %s THEN 0 ELSE 1 END) FROM {sums.table} "
            "WHERE hour < %s GROUP BY hour",
            (_MERGED, past),
        )
        if rest or found % DAY_HOURS
    ]
    days = {h // DAY_HOURS * DAY_HOURS for h in parts_of_days}
    spans = {(h, h + 1) for h in hours} | {(h, h + DAY_HOURS) for h in days}
    went = 0
    # The hours of a day before the day: a day of many processes is a lot to hold at once.
    for place, (first, end) in enumerate(sorted(spans, key=lambda span: (span[1], -span[0]))):
        if place and is_late():
            return went, False
        went += _merge(database, sums, first, end)
        time.sleep(PAUSE_SECONDS)
    return went, True


def _merge(database: Database, sums: Sums, first: int, end: int) -> int:
    """Make one row of each key's rows in the hours [*first*, *end*)."""
    names = ", ".join(map(database.quote, sums.names))
    width = 3 + len(sums.key)
    with database.transaction():
        # The lock on its row keeps two processes from adding up twice.
        database.insert_new("tracing_sequence", ("name", "value"), [("compact", 0)])
        database.execute("UPDATE tracing_sequence SET value = value + 1 WHERE name = 'compact'")
        groups: dict[_Row, list[_Row]] = {}
        for row in database.rows(
            f"SELECT id, {names} FROM {sums.table} WHERE hour >= %s AND hour < %s", (first, end)
        ):
            groups.setdefault(row[3:width], []).append(row)
        merged: list[_Row] = []
        gone: list[int] = []
        for key, group in groups.items():
            if len(group) == 1 and group[0][1:3] == (first, _MERGED):
                continue
            gone += [row[0] for row in group]
            values = [row[width:] for row in group]
            merged.append((first, _MERGED, *key, *(sums.add(values) if values[1:] else values[0])))
        delete_rows(database, sums.table, gone)
        if merged:
            database.insert(sums.table, sums.names, merged)
    return len(gone) - len(merged)
