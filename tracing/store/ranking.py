"""A page of traces in the order of a number: the slowest first, say.

The column's index is walked from the value and the row at which the page before ended: a page far down
costs as much as the first one, and traces that come meanwhile move none from one page to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db.models import Q
from msgspec.structs import replace

from tracing.store.conditions import row_conditions
from tracing.store.pages import TraceSearch, read_cursor
from tracing.store.ranges import KEYS_AT_ONCE, chunks, keys_of
from tracing.store.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracing.store.conditions import TraceConditions
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
class Rank:
    """The place of a trace in the order: its value, then its row."""

    value: int
    row: int

    def __str__(self) -> str:
        return f"{self.value}-{self.row}"


def read_place(text: str) -> Rank | None:
    """Return what *text* says, None if it is no place."""
    cursor = read_cursor(text)
    return (
        Rank(cursor.row, cursor.trace)
        if cursor is not None and cursor.trace and not cursor.own
        else None
    )


class Ranking(Scan[Rank, bool]):
    """One search in the order of a column, down or up.

    Args:
        traces: The traces to look among.
        wanted: The conditions, none of them about dispatches.
        order: A key of ``ORDERS``, with ``-`` for the largest first.
        place: Where the page before ended; None for the first page.
        backwards: The page that ends at *place* is wanted.
    """

    def __init__(
        self,
        traces: TraceConditions,
        wanted: TraceSearch,
        order: str,
        place: Rank | None,
        *,
        backwards: bool,
    ) -> None:
        super().__init__(wanted, place, backwards=backwards and place is not None)
        self.traces = traces
        self.rows = traces.select_related(None)
        self.conditions = row_conditions(replace(wanted, mine=False), traces.db)
        self.column = ORDERS[order.lstrip("-")]
        self.falls = order.startswith("-") != self.backwards
        self._position = place

    def is_mine(self, found: bool) -> bool:  # noqa: FBT001 - what was found with the place.
        """Return what the row said."""
        return found

    def traces_of(self, found: Sequence[tuple[Rank, bool]]) -> list[Trace]:
        """Return the rows at the places *found* that are still there."""
        rows: dict[int, Trace] = {}
        for keys in chunks([place.row for place, _ in found], KEYS_AT_ONCE):
            rows |= {trace.pk: trace for trace in self.traces.filter(pk__in=keys)}
        return [rows[place.row] for place, _ in found if place.row in rows]

    # -- In the order of the column

    def batches(self, size: int) -> Iterator[list[tuple[Rank, bool]]]:  # noqa: ARG002 - any.
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

    def _of_a_short_time(self) -> list[tuple[Rank, bool]] | None:
        """Return all that fit in a time of few traces; None for another."""
        if self.wanted.since_ns is None and self.wanted.until_ns is None:
            return None
        rows = self.rows.between(self.wanted.since_ns, self.wanted.until_ns).order_by()
        if len(keys_of(rows)[: _SORTED_AT_ONCE + 1]) > _SORTED_AT_ONCE:
            return None
        found = [
            (Rank(value, row), mine)
            for value, row, mine in rows.filter(self.conditions).values_list(
                self.column, "pk", "mine"
            )
        ]
        found.sort(key=lambda entry: (entry[0].value, entry[0].row), reverse=self.falls)
        if self.begin is None:
            return found
        begin = (self.begin.value, self.begin.row)
        return [
            entry
            for entry in found
            if entry[0] != self.begin and ((entry[0].value, entry[0].row) < begin) is self.falls
        ]

    def _next(self, step: int) -> list[tuple[Rank, bool]]:
        """Return the next *step* traces in order, whether they fit or not."""
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
        return [(Rank(value, row), mine) for value, row, mine in found]

    def _fitting(self, keys: list[int]) -> set[int] | None:
        """Return those of *keys* whose traces fit; None if all do."""
        if self.conditions == Q():
            return None
        found: set[int] = set()
        for some in chunks(keys, KEYS_AT_ONCE):
            fitting = self.rows.filter(self.conditions, pk__in=some)
            found.update(keys_of(fitting.order_by()))
        return found
