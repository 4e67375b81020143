"""A page of a list of traces in the order of one of their numbers: the slowest first, say.

The column's index is walked from the value and the row at which the page before ended: a page far down
costs as much as the first one, and traces that come meanwhile move none from one page to another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError
from django.db.models import Q

from tracing.store import deadlines
from tracing.store.conditions import row_conditions
from tracing.store.pages import TracePage, TraceSearch, read_cursor
from tracing.store.ranges import KEYS_AT_ONCE, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracing.store.conditions import TraceRows
    from tracing.store.generics import Trace

ORDERS: Final = {
    "duration": "duration_ns",
    "dispatches": "dispatch_count",
    "queries": "query_count",
    "errors": "error_count",
    "hazards": "hazard_count",
}
"""What traces may be sorted by, and the column, which has an index."""
_FIRST_STEP = 200
_LARGEST_STEP = 1_800
_SORTED_AT_ONCE = 20_000
"""Rows of a time that are sorted rather than looked for in the index."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a trace stands in the order: its value, and its row among those of that value."""

    value: int
    row: int

    def __str__(self) -> str:
        return f"{self.value}-{self.row}"


def read_place(text: str) -> Place | None:
    """Return what *text* says, None if it is no place."""
    cursor = read_cursor(text)
    return Place(cursor.row, cursor.trace) if cursor is not None and cursor.trace else None


class Ranking:
    """One search in the order of a column, from a place on or (``backwards``) up to it.

    Args:
        traces: The traces to look among.
        wanted: The conditions, none of them about dispatches.
        order: A key of ``ORDERS``, with ``-`` for the largest first.
        place: Where the page before ended; None for the first page.
        backwards: The page that ends at *place* is wanted.
    """

    def __init__(
        self,
        traces: TraceRows,
        wanted: TraceSearch,
        order: str,
        place: Place | None,
        *,
        backwards: bool,
    ) -> None:
        self.traces = traces
        self.rows = traces.select_related(None)
        self.wanted = wanted
        self.conditions = row_conditions(replace(wanted, mine=False), traces.db)
        self.column = ORDERS[order.lstrip("-")]
        self.place = place
        self.backwards = backwards and place is not None
        self.falls = order.startswith("-") != self.backwards
        self.at = place
        """The place examined last; None if there is nothing beyond it."""
        self._position = place

    def page(self, size: int, deadline: float) -> TracePage:
        """Return up to *size* traces, found before *deadline* (monotonic)."""
        found: list[Place] = []
        # Those that are not mine: up to the last trace on the page, and behind it.
        hidden = behind = 0
        complete = exhausted = True
        try:
            for batch in self._batches():
                for place, mine in batch:
                    if self.wanted.mine and not mine:
                        hidden += len(found) < size
                        behind += len(found) >= size
                    else:
                        found.append(place)
                if len(found) > size:
                    exhausted = False
                    break
                if self.at is not None and time.monotonic() > deadline:
                    complete = exhausted = False
                    break
        except DatabaseError:
            # Stopped in the middle of a batch: what the ones before it gave is a page, too.
            if not deadlines.is_over() or self.at == self.place:
                raise
            complete = exhausted = False
        page = self._page(found, size, exhausted=exhausted)
        page.complete, page.hidden = complete, hidden + (behind if exhausted else 0)
        return page

    def _page(self, found: list[Place], size: int, *, exhausted: bool) -> TracePage:
        end = str(found[size - 1]) if len(found) > size else "" if exhausted else str(self.at)
        found = found[:size]
        start = str(found[0]) if found else str(self.place or "")
        if self.backwards:
            return TracePage(self._load(found[::-1]), older=start, newer=end)
        return TracePage(self._load(found), older=end, newer=start if self.place else "")

    def _load(self, places: Sequence[Place]) -> list[Trace]:
        rows: dict[int, Trace] = {}
        for start in range(0, len(places), KEYS_AT_ONCE):
            keys = [place.row for place in places[start : start + KEYS_AT_ONCE]]
            rows |= {trace.pk: trace for trace in self.traces.filter(pk__in=keys)}
        return [rows[place.row] for place in places if place.row in rows]

    # -- In the order of the column

    def _batches(self) -> Iterator[list[tuple[Place, bool]]]:
        """Yield the traces that fit, in order, each with whether it is mine."""
        if self.conditions is None:
            return
        if (some := self._of_a_short_time()) is not None:
            self.at = None
            yield some
            return
        step = _FIRST_STEP
        while batch := self._next(step):
            fitting = self._fitting([place.row for place, _ in batch])
            self._position = batch[-1][0]
            self.at = self._position if len(batch) == step else None
            yield [entry for entry in batch if fitting is None or entry[0].row in fitting]
            if self.at is None:
                return
            step = min(step * 2, _LARGEST_STEP)

    def _of_a_short_time(self) -> list[tuple[Place, bool]] | None:
        """Return all that fit beyond the place, if the time that is asked for has few traces."""
        if self.wanted.since_ns is None and self.wanted.until_ns is None:
            return None
        rows = self.rows.between(self.wanted.since_ns, self.wanted.until_ns).order_by()
        if len(keys_of(rows)[: _SORTED_AT_ONCE + 1]) > _SORTED_AT_ONCE:
            return None
        found = [
            (Place(value, row), mine)
            for value, row, mine in rows.filter(self.conditions).values_list(
                self.column, "pk", "mine"
            )
        ]
        found.sort(key=lambda entry: (entry[0].value, entry[0].row), reverse=self.falls)
        if self.place is None:
            return found
        begin = (self.place.value, self.place.row)
        return [
            entry
            for entry in found
            if entry[0] != self.place and ((entry[0].value, entry[0].row) < begin) is self.falls
        ]

    def _next(self, step: int) -> list[tuple[Place, bool]]:
        """Return the next *step* traces from where the walk stands, whether they fit or not."""
        sign = "-" if self.falls else ""
        rows = self.rows.order_by(f"{sign}{self.column}", f"{sign}pk").values_list(
            self.column, "pk", "mine"
        )
        if self._position is None:
            found = list(rows[:step])
        else:
            # Two statements that each walk the index: of one with OR not every database does.
            beyond = "lt" if self.falls else "gt"
            same = {self.column: self._position.value, f"pk__{beyond}": self._position.row}
            found = list(rows.filter(**same)[:step])
            if len(found) < step:
                others = rows.filter(**{f"{self.column}__{beyond}": self._position.value})
                found += others[: step - len(found)]
        return [(Place(value, row), mine) for value, row, mine in found]

    def _fitting(self, keys: list[int]) -> set[int] | None:
        """Return those of *keys* whose traces fit; None if all do."""
        if self.conditions == Q():
            return None
        found: set[int] = set()
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = self.rows.filter(self.conditions, pk__in=keys[start : start + KEYS_AT_ONCE])
            found.update(keys_of(some.order_by()))
        return found
