"""Pages of traces that fit a query."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tracing.clocks import time
from tracing.store.clickhouse.asking import Binder, one, rows, table
from tracing.store.clickhouse.conditions import Conditions, within
from tracing.store.clickhouse.traces import COLUMNS, ListRow, load_all, summaries
from tracing.store.finding import ANY, Found
from tracing.store.matching import ran_under
from tracing.store.pages import TraceSearch
from tracing.store.queries import PAGE_SIZE
from tracing.units import SECOND_NS

if TYPE_CHECKING:
    from tracing.search.query import Query
    from tracing.spans.summary import TraceSummary

_ORDERS: Final = {
    "duration": "Duration",
    "dispatches": "Dispatches",
    "queries": "Queries",
    "errors": "Errors",
    "hazards": "Hazards",
}
_HOUR_NS: Final = 3_600_000_000_000
_FIRST_WINDOW_NS: Final = _HOUR_NS
_GROWTH: Final = 12
_SECONDS: Final = 1.0
"""How long a page that looks into receiver calls goes back in time, if nothing else is said."""
_MOST_HIDDEN: Final = 1_000
_LOADED_AT_ONCE: Final = 25
"""Traces whose spans are looked into together."""
_END: Final = 2**62
_CURSOR: Final = re.compile(r"(-?\d{1,19})(?:-(\d{1,19}))?-([0-9a-f]{0,16})", re.ASCII)


class _Cursor(NamedTuple):
    """A place in a list: value of its order, start, root span id."""

    value: int
    started_ns: int
    root: str

    def __str__(self) -> str:
        return f"{self.value}-{self.started_ns}-{self.root}"


def _read_cursor(text: str) -> _Cursor | None:
    match = _CURSOR.fullmatch(text)
    return None if match is None else _Cursor(int(match[1]), int(match[2] or 0), match[3])


class _List:
    """One search, in one order.

    Args:
        query: What traces must fit.
        wanted: What else they must have.
        order: A key of ``_ORDERS``, with ``-`` for the largest first; empty for the newest first.
    """

    def __init__(self, query: Query, wanted: TraceSearch, order: str = "") -> None:
        self.bind = Binder()
        conditions = Conditions(self.bind)
        self.parts = [*conditions.of_query(query), *conditions.of_search(wanted)]
        self.chains = conditions.chains
        self.asks_for_calls = conditions.asks_for_calls
        self.mine = wanted.mine
        self.column = "" if self.asks_for_calls else _ORDERS.get(order.lstrip("-"), "")
        self.descending = not self.column or order.startswith("-")

    def place(self, row: ListRow) -> str:
        """Return the cursor of *row*."""
        value = getattr(row, self.column.lower()) if self.column else 0
        return str(_Cursor(value, row.started_ns, row.root))

    def rows(
        self,
        size: int,
        cursor: _Cursor | None,
        *,
        backwards: bool = False,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[ListRow]:
        """Return the *size* rows behind *cursor*, in the way of the walk."""
        descending = self.descending != backwards
        parts = self._conditions(cursor, descending=descending)
        if self.mine:
            parts.append("Mine")
        if since_ns is not None and until_ns is not None:
            parts.append(self._between(since_ns, until_ns))
        way = "DESC" if descending else "ASC"
        by = [self.column] if self.column else []
        order = ", ".join(f"{name} {way}" for name in (*by, "Timestamp", "SpanId"))
        return rows(
            ListRow,
            f"SELECT {COLUMNS} FROM {table('_django')} {_where(parts)} "  # noqa: S608 - values are bound.
            f"ORDER BY {order} LIMIT {size:d}",
            self.bind,
        )

    def _conditions(self, cursor: _Cursor | None, *, descending: bool) -> list[str]:
        if cursor is None:
            return list(self.parts)
        sign, bind = "<" if descending else ">", self.bind
        moment, root = bind.moment(cursor.started_ns), bind(cursor.root)
        if self.column:
            place = f"({bind(cursor.value)}, {moment}, {root})"
            return [*self.parts, f"({self.column}, Timestamp, SpanId) {sign} {place}"]
        behind = f"(Timestamp {sign} {moment} OR (Timestamp = {moment} AND SpanId {sign} {root}))"
        return [*self.parts, behind]

    def _between(self, since_ns: int, until_ns: int) -> str:
        bind = self.bind
        return f"Timestamp >= {bind.moment(since_ns)} AND Timestamp < {bind.moment(until_ns)}"

    def look_at(self, since_ns: int, until_ns: int) -> None:
        """Look for receiver calls of a time alone, which is known in seconds."""
        self.bind.values["calls_since"] = since_ns - SECOND_NS
        self.bind.values["calls_until"] = until_ns

    def hidden(self, newest: str, oldest: str) -> int:
        """Return how many fit and are not mine between two places."""
        parts = [*self.parts, "NOT Mine"]
        if cursor := _read_cursor(newest):
            parts = [*self._conditions(cursor, descending=self.descending), "NOT Mine"]
        if cursor := _read_cursor(oldest):
            behind = self._conditions(cursor, descending=not self.descending)[-1]
            parts.append(behind)
        inner = f"SELECT 1 FROM {table('_django')} {_where(parts)} LIMIT {_MOST_HIDDEN + 1}"  # noqa: S608 - as above.
        return one(tuple[int], f"SELECT count() FROM ({inner})", self.bind)[0]  # noqa: S608 - as above.


def _where(parts: list[str]) -> str:
    return f"WHERE {' AND '.join(parts)}" if parts else ""


def find(
    query: Query,
    *,
    before: str = "",
    after: str = "",
    size: int = PAGE_SIZE,
    seconds: float | None = None,
    wanted: TraceSearch = ANY,
    order: str = "",
) -> Found:
    """Return a page of the traces that fit *query*, newest started first."""
    if order == "time":
        is_first = not (before or after)
        found = find(
            query, before=after, after=before or ("0-0-" if is_first else ""), size=size,
            seconds=seconds, wanted=wanted,
        )  # fmt: skip
        found.traces.reverse()
        found.older, found.newer = found.newer, "" if is_first else found.older
        return found
    asked = _List(query, wanted, order)
    cursor = _read_cursor(after or before)
    found = Found(is_sortable=not asked.asks_for_calls)
    backwards = bool(after)
    if asked.asks_for_calls:
        fitting, rest = _through_calls(asked, size, cursor, seconds, backwards=backwards)
        found.complete = not rest
    else:
        fitting = asked.rows(size + 1, cursor, backwards=backwards)
        rest = ""
    more = len(fitting) > size
    fitting = fitting[:size]
    if backwards:
        fitting.reverse()
    found.traces = summaries(fitting)
    first, last = (asked.place(fitting[0]), asked.place(fitting[-1])) if fitting else ("", "")
    if backwards:
        found.newer, found.older = rest or (first if more else ""), last or after
    else:
        found.newer, found.older = (first if cursor else ""), rest or (last if more else "")
    if asked.mine and not asked.asks_for_calls:
        hidden = asked.hidden(
            found.newer if backwards else before, found.older if (found.older or backwards) else ""
        )
        found.hidden, found.hidden_more = min(hidden, _MOST_HIDDEN), hidden > _MOST_HIDDEN
    return found


def _through_calls(
    asked: _List, size: int, cursor: _Cursor | None, seconds: float | None, *, backwards: bool
) -> tuple[list[ListRow], str]:
    """Return what fits, and where to go on if the time was up first.

    Windows of time, each larger than the one before, so that a common receiver is not looked for in all
    calls that there ever were.
    """
    deadline = time.monotonic() + max(seconds or 0, _SECONDS)
    oldest, newest = one(
        tuple[int, int],
        "SELECT toUnixTimestamp64Nano(min(Timestamp)), toUnixTimestamp64Nano(max(Timestamp)) "  # noqa: S608 - a name.
        f"FROM {table('_django')}",
    )
    edge = oldest if backwards else newest + 1
    if cursor is not None and not (backwards and cursor.started_ns < oldest):
        edge = cursor.started_ns + (not backwards)
    length = _FIRST_WINDOW_NS
    found: list[ListRow] = []
    while True:
        since, until = (edge, edge + length) if backwards else (edge - length, edge)
        asked.look_at(since, until + _longest(since, until) + _HOUR_NS)
        most = _LOADED_AT_ONCE if asked.chains else size + 1 - len(found)
        new = asked.rows(most, cursor, backwards=backwards, since_ns=since, until_ns=until)
        found += _fitting(asked, new)
        is_late = time.monotonic() >= deadline
        if asked.chains and len(new) == most:
            # There may be more of this window behind those that were looked into.
            cursor = _read_cursor(asked.place(new[-1]))
            if len(found) <= size and not is_late:
                continue
            return found, str(cursor) if len(found) <= size else ""
        edge = until if backwards else since
        is_end = edge > newest if backwards else edge <= oldest
        if len(found) > size or is_end:
            return found, ""
        if is_late:
            return found, f"0-{edge}-"
        length *= _GROWTH


def _longest(since_ns: int, until_ns: int) -> int:
    """Return how long the longest trace took that started within a time."""
    bind = Binder()
    where = _where(within(bind, since_ns, until_ns))
    sql = f"SELECT max(Duration) FROM {table('_django')} {where}"  # noqa: S608 - values are bound.
    return one(tuple[int], sql, bind)[0]


def _fitting(asked: _List, found: list[ListRow]) -> list[ListRow]:
    """Return those of *found* whose spans nest as they are asked to."""
    if not asked.chains:
        return found
    fits = {
        trace.root_span_id
        for trace in load_all(summaries(found))
        if all(ran_under(chain, trace) for chain in asked.chains)
    }
    return [row for row in found if row.root in fits]


def sample(query: Query, size: int, seconds: float, *, mine: bool) -> Found:
    """Return the newest traces that fit *query*, for a chart."""
    found = find(query, size=size, seconds=seconds, wanted=TraceSearch(mine=mine))
    found.hidden, found.hidden_more = None, False
    return found


def fitting_newer(
    query: Query, row_id: int, size: int = 100, *, mine: bool = False
) -> tuple[list[TraceSummary], int]:
    """Return what ended after a moment and fits, and the last end."""
    asked = _List(query, TraceSearch(mine=mine))
    asked.look_at(row_id - 24 * _HOUR_NS, _END)
    bind = asked.bind
    recent = [
        f"Timestamp > {bind.moment(row_id - 24 * _HOUR_NS)}",
        f"toUnixTimestamp64Nano(Timestamp) + Duration > {bind(row_id)}",
    ]
    ends = "toUnixTimestamp64Nano(Timestamp) + Duration"
    last = one(
        tuple[int],
        f"SELECT max({ends}) FROM {table('_django')} {_where(recent[:1])}",  # noqa: S608 - as above.
        bind,
    )[0]
    parts = [*asked.parts, *recent, *(["Mine"] if mine else [])]
    found = rows(
        ListRow,
        f"SELECT {COLUMNS} FROM {table('_django')} {_where(parts)} ORDER BY {ends} LIMIT {size:d}",  # noqa: S608 - as above.
        bind,
    )
    return summaries(_fitting(asked, found))[::-1], max(last, row_id)
