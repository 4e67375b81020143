"""Statistics of past hours and days, added up to stay quick."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tracing.analysis.histogram import Histogram
from tracing.store.backends import delete_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracing.store.backends import Database

PAUSE_SECONDS = 0.005
"""Between two steps, so that a writer who waits for the lock gets it."""
ROWS_AT_ONCE = 2_000
DAY_HOURS = 24

_MERGED = "merged"
_DAYS_BY_HOUR = 3
_KEY = ("signal_id", "sender_id", "receiver_id")
_SUMS = ("count", "error_count", "total_ns", "query_count", "query_ns")
_COLUMNS = ("hour", *_KEY, "writer", *_SUMS, "histogram")

_Row = tuple[Any, ...]
"""A rollup: its id, then ``_COLUMNS``."""


def compact(database: Database, hour: int, is_late: Callable[[], bool]) -> tuple[int, bool]:
    """Add up what is past; return the rows that went and whether it is all.

    One step is taken however late it is, so that a worker with much to prune gets on with it too.
    """
    past = (hour - _DAYS_BY_HOUR * DAY_HOURS) // DAY_HOURS * DAY_HOURS
    hours = [
        found
        for (found,) in database.rows(
            "SELECT DISTINCT hour FROM tracing_rollup WHERE hour < %s AND writer <> %s",
            (hour - 3, _MERGED),
        )
    ]
    parts_of_days = [
        found
        for found, rest in database.rows(
            "SELECT hour, SUM(CASE WHEN writer = %s THEN 0 ELSE 1 END) FROM tracing_rollup "
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
        went += _merge(database, first, end)
        time.sleep(PAUSE_SECONDS)
    return went, True


def _merge(database: Database, first: int, end: int) -> int:
    """Make one row of each key's rows in the hours [*first*, *end*)."""
    names = ", ".join(map(database.quote, _COLUMNS))
    with database.transaction():
        # The lock on its row keeps two processes from adding up twice.
        database.insert_new("tracing_sequence", ("name", "value"), [("compact", 0)])
        database.execute("UPDATE tracing_sequence SET value = value + 1 WHERE name = 'compact'")
        groups: dict[_Row, list[_Row]] = {}
        for row in database.rows(
            f"SELECT id, {names} FROM tracing_rollup WHERE hour >= %s AND hour < %s", (first, end)
        ):
            groups.setdefault(row[2:5], []).append(row)
        merged: list[_Row] = []
        gone: list[int] = []
        for key, group in groups.items():
            if len(group) == 1 and (group[0][1], group[0][5]) == (first, _MERGED):
                continue
            gone += [row[0] for row in group]
            merged.append(_added(key, first, group))
        delete_rows(database, "tracing_rollup", gone)
        if merged:
            database.insert("tracing_rollup", _COLUMNS, merged)
    return len(gone) - len(merged)


def _added(key: _Row, hour: int, group: Sequence[_Row]) -> _Row:
    sums = (sum(row[place] for row in group) for place in range(6, 6 + len(_SUMS)))
    histogram = Histogram.decode(*(row[-1] for row in group))
    return (hour, *key, _MERGED, *sums, histogram.encode())
