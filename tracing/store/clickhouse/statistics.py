"""The statistics by hour, which outlive their traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tracing.analysis.histogram import HOUR_NS, Histogram, Statistics
from tracing.analysis.mine import NONE_OF_MINE, hidden_text
from tracing.clocks import time
from tracing.store.clickhouse.asking import Binder, one, table
from tracing.store.clickhouse.asking import rows as read
from tracing.store.rollups import SUBJECTS
from tracing.store.statistics import Shown, names_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_ORDERS: Final = {
    "count": "sum(Calls)",
    "error_count": "sum(Errors)",
    "total_ns": "sum(TotalNs)",
    "query_count": "sum(Queries)",
    "query_ns": "sum(QueryNs)",
    "cpu_ns": "sum(CpuNs)",
}
_OF_MINE: Final = {
    "signal": "Signal IN (SELECT Signal FROM {table} WHERE Mine)",
    "sender": "Sender IN (SELECT Sender FROM {table} WHERE Mine)",
    "dispatch": "(Signal, Sender) IN (SELECT Signal, Sender FROM {table} WHERE Mine)",
}


class _Row(msgspec.Struct, array_like=True, gc=False):
    signal: str
    sender: str
    receiver: str
    count: int
    errors: int
    total_ns: int
    queries: int
    query_ns: int
    cpu_ns: int
    cpu_calls: int
    app: str
    mine: int
    durations: dict[int, int]


def _within(bind: Binder, since_ns: int | None, until_ns: int | None = None) -> list[str]:
    parts = []
    if since_ns is not None:
        parts.append(f"Hour >= toDateTime({bind(max(since_ns, 0) // HOUR_NS * 3_600)})")
    if until_ns is not None:
        parts.append(f"Hour < toDateTime({bind(max(-(-until_ns // HOUR_NS), 0) * 3_600)})")
    return parts


def _subject(subject: str) -> str:
    """Return the condition on the rows for statistics by *subject*."""
    return "Receiver != ''" if "receiver" in SUBJECTS[subject] else "Receiver = ''"


def _mine(subject: str) -> str:
    return _OF_MINE[subject].format(table=table("_by_hour")) if subject in _OF_MINE else "Mine"


def _sums(
    bind: Binder,
    keys: Sequence[str],
    parts: Sequence[str],
    order_by: str,
    limit: int | None,
    *,
    percentiles: bool = True,
) -> list[Statistics]:
    columns = [key.title() for key in keys]
    names = ", ".join(key if key in columns else "''" for key in ("Signal", "Sender", "Receiver"))
    order = _ORDERS[order_by.lstrip("-")]
    way = "DESC" if order_by.startswith("-") else "ASC"
    sql = (
        f"SELECT {names}, sum(Calls), sum(Errors), sum(TotalNs), sum(Queries), sum(QueryNs), sum(CpuNs), "  # noqa: S608 - values are bound.
        f"sum(CpuCalls), any(App), max(Mine) > 0, "
        f"{'sumMap(Durations)' if percentiles else 'map()'} "
        f"FROM {table('_by_hour')} WHERE {' AND '.join(parts)} GROUP BY {', '.join(columns)} "
        f"ORDER BY {order} {way}, {', '.join(columns)}"
    )
    found = read(_Row, f"{sql} LIMIT {limit:d}" if limit is not None else sql, bind)
    return [_statistics(row) for row in found]


def _statistics(row: _Row) -> Statistics:
    return Statistics(
        row.signal, row.sender, row.receiver, row.count, row.errors, row.total_ns, row.queries,
        row.query_ns, Histogram(row.durations), row.cpu_ns if row.cpu_calls else None,
        app=row.app, mine=bool(row.mine),
    )  # fmt: skip


def by(
    subject: str,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    order_by: str = "-total_ns",
    limit: int = 100,
    everything: bool = True,
) -> Shown:
    """Return the statistics by *subject* of the hours of a time."""
    bind, keys, heading, note = Binder(), SUBJECTS[subject], "", ""
    parts = [_subject(subject), *_within(bind, since_ns, until_ns)]
    if not everything:
        columns = f"({', '.join(key.title() for key in keys)})"
        counted = f"uniqExact{columns}, uniqExactIf({columns}, {_mine(subject)})"
        sql = f"SELECT {counted} FROM {table('_by_hour')} WHERE {' AND '.join(parts)}"  # noqa: S608 - as above.
        whole, mine = one(tuple[int, int], sql, bind)
        if mine:
            name = subject if keys == (subject,) else "row"
            note = hidden_text(whole - mine, name) if whole > mine else ""
            parts.append(_mine(subject))
        else:
            heading = NONE_OF_MINE
    return Shown(_sums(bind, keys, parts, order_by, limit), heading, note)


def totals(subject: str, since_ns: int | None = None) -> dict[str, int]:
    """Return the sums over all of *subject*, and the time of dispatches."""
    bind = Binder()
    chosen = _subject("receiver" if subject == "receiver" else "dispatch")
    sums = ", ".join(f"sumIf({column}, {chosen})" for column in ("Calls", "Errors", "Queries"))
    where = " AND ".join(["1", *_within(bind, since_ns)])
    sql = f"SELECT {sums}, sum(OuterNs) FROM {table('_by_hour')} WHERE {where}"  # noqa: S608 - as above.
    count, errors, queries, total = one(tuple[int, int, int, int], sql, bind)
    return {"count": count, "error_count": errors, "query_count": queries, "total_ns": total}


def counts_by_hour(
    subject: str, rows: Sequence[Statistics], most_hours: int, since_ns: int | None = None
) -> dict[tuple[str, ...], dict[int, int]]:
    """Return the counts of each of *rows* by hour, by its names."""
    bind, keys = Binder(), SUBJECTS[subject]
    columns = [key.title() for key in keys]
    parts = [_subject(subject), *_within(bind, since_ns)]
    parts += [
        f"{column} IN {bind([getattr(row, key) for row in rows])}"
        for key, column in zip(keys, columns, strict=True)
    ]
    newest = f"(SELECT max(Hour) FROM {table('_by_hour')})"  # noqa: S608 - as above.
    parts.append(f"Hour > {newest} - toIntervalHour({most_hours:d})")
    names = ", ".join(columns)
    sql = (
        f"SELECT [{names}], intDiv(toUnixTimestamp(Hour), 3600), sum(Calls) FROM {table('_by_hour')} "  # noqa: S608 - as above.
        f"WHERE {' AND '.join(parts)} GROUP BY {names}, Hour"
    )
    wanted = {names_of(subject, row) for row in rows}
    counted: dict[tuple[str, ...], dict[int, int]] = {}
    for found, hour, count in read(tuple[list[str], int, int], sql, bind):
        if (key := tuple(found)) in wanted:
            counted.setdefault(key, {})[hour] = count
    return counted


def durations_by_hour(
    subject: str,
    most_hours: int,
    *,
    name: str = "",
    since_ns: int | None = None,
    everything: bool = True,
) -> tuple[list[tuple[int, Histogram]], str]:
    """Return durations by hour, oldest first, and a heading."""
    bind, heading = Binder(), ""
    first = (time.time_ns() // HOUR_NS - most_hours + 1) * HOUR_NS
    parts = [_subject(subject), *_within(bind, max(since_ns or 0, first))]
    if name and subject in {"receiver", "signal", "sender"}:
        parts.append(f"{subject.title()} = {bind(name)}")
    elif not everything:
        where = " AND ".join([*parts, _mine(subject)])
        if read(tuple[int], f"SELECT 1 FROM {table('_by_hour')} WHERE {where} LIMIT 1", bind):  # noqa: S608 - as above.
            parts.append(_mine(subject))
        else:
            heading = NONE_OF_MINE
    sql = (
        f"SELECT intDiv(toUnixTimestamp(Hour), 3600), sumMap(Durations) FROM {table('_by_hour')} "  # noqa: S608 - as above.
        f"WHERE {' AND '.join(parts)} GROUP BY Hour ORDER BY Hour"
    )
    found = read(tuple[int, dict[int, int]], sql, bind)
    return [(hour, Histogram(durations)) for hour, durations in found], heading


def busiest_calls(limit: int, since_ns: int | None = None) -> tuple[list[Statistics], bool]:
    """Return the receivers called most, and whether there are more."""
    bind = Binder()
    keys, parts = SUBJECTS["call"], [_subject("call"), *_within(bind, since_ns)]
    found = _sums(bind, keys, parts, "-count", limit, percentiles=False)
    is_cut = len(found) == limit
    if is_cut:
        names = {names_of("call", row) for row in found}
        mine = _sums(bind, keys, [*parts, "Mine"], "-count", limit, percentiles=False)
        found += [row for row in mine if names_of("call", row) not in names]
    return found, is_cut


def calls_of_receivers() -> dict[str, int]:
    """Return how often each receiver was called, by name."""
    found = _sums(
        Binder(), ("receiver",), [_subject("receiver")], "-count", None, percentiles=False
    )
    return {row.receiver: row.count for row in found}


def calls_of_pairs(
    pairs: Collection[tuple[str, str]], since_ns: int | None = None, until_ns: int | None = None
) -> dict[tuple[str, str, str], int]:
    """Return how often *pairs* were sent, and each receiver called for it."""
    bind, keys = Binder(), ("signal", "sender", "receiver")
    parts = [
        f"{column} IN {bind(sorted({pair[place] for pair in pairs}))}"
        for place, column in enumerate(("Signal", "Sender"))
    ]
    parts += _within(bind, since_ns, until_ns)
    found = _sums(bind, keys, parts, "-count", None, percentiles=False)
    return {
        (row.signal, row.sender, row.receiver): row.count
        for row in found
        if (row.signal, row.sender) in pairs
    }
