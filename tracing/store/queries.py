"""Questions about traces: one, a page, those stored from now on.

Every process has the models and so this; what answers is imported by who asks.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from django.apps import apps
from django.db import connections, models

from tracing.clocks import time
from tracing.store.conditions import TraceConditions
from tracing.store.generics import Trace
from tracing.store.ranges import chunks, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tracing.spans import records
    from tracing.store.pages import TracePage, TraceSearch

PAGE_SIZE = 50
PAGE_SECONDS = 0.07
"""How long one page may search; the check is between batches, so a page takes a little more."""
_OVERLAP = 1_000
_DELETED_AT_ONCE = 500
_ROWS_AT_ONCE = 200
_MOST_AT_ONCE = 20_000
"""Dispatches of the traces that are read together; one trace may have more."""


class _Counted(Protocol):
    """A row or a summary."""

    @property
    def dispatch_count(self) -> Any: ...


_T = TypeVar("_T", bound=_Counted)


def readable_at_once(rows: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield *rows* in batches that are read together."""
    waiting: list[_T] = []
    dispatches = 0
    for row in rows:
        if waiting and (
            len(waiting) >= _ROWS_AT_ONCE or dispatches + row.dispatch_count > _MOST_AT_ONCE
        ):
            yield waiting
            waiting, dispatches = [], 0
        waiting.append(row)
        dispatches += row.dispatch_count
    if waiting:
        yield waiting


class TraceQuerySet(TraceConditions):
    """Questions about traces."""

    # -- One trace ---------------------------------------------------------------------------

    def load(self, wanted: str) -> records.Trace:
        """Return the finished spans of the trace *wanted*, by id or address.

        If several have the trace id, it is the newest.

        Raises:
            Trace.DoesNotExist: No such trace is stored.
        """
        row = self.called(wanted).select_related("label").order_by("-id").first()
        if row is None:
            raise self.model.DoesNotExist(f"No trace {wanted}.")
        return self.load_row(row)

    def load_row(self, row: Trace) -> records.Trace:
        """Return the finished spans of the trace that *row* is about."""
        return next(self.load_rows([row]))

    def load_rows(self, rows: Iterable[Trace]) -> Iterator[records.Trace]:
        """Yield the finished spans of each of *rows*, some hundred at a time."""
        from tracing.store.load import load_traces

        for some in readable_at_once(rows):
            yield from load_traces(some, self.db)

    # -- A page of traces --------------------------------------------------------------------

    def search(
        self,
        wanted: TraceSearch,
        *,
        before: str = "",
        after: str = "",
        size: int = PAGE_SIZE,
        seconds: float = PAGE_SECONDS,
        order: str = "",
    ) -> TracePage:
        """Return a page of the traces that have the *wanted*, newest first.

        Args:
            wanted: The conditions.
            before: ``older`` of a page, to get the next; an unreadable cursor is the first page.
            after: ``newer`` of a page, to get the one before it.
            size: Traces on a page.
            seconds: How long to search before giving what was found.
            order: A key of ``ranking.ORDERS``, with ``-`` for the largest first, in place of the
                newest; nothing may be *wanted* of dispatches then.
        """
        from tracing.store.index_scan import Walk
        from tracing.store.pages import read_cursor
        from tracing.store.ranking import Ranking, read_place

        if order:
            place = read_place(after or before)
            ranking = Ranking(self, wanted, order, place, backwards=bool(after))
            return ranking.page(size, time.monotonic() + seconds)
        cursor = read_cursor(after or before)
        walk = Walk(self, wanted, cursor, backwards=bool(after))
        if wanted.word and not wanted.asks_for_dispatches:
            from tracing.store.occurrences import occurrences
            from tracing.store.word_scan import WordWalk

            found = occurrences(wanted.word, self.db)
            if found.in_calls:
                walk = WordWalk(self, wanted, cursor, found=found, backwards=bool(after))
        return walk.page(size, time.monotonic() + seconds)

    # -- Deleting ----------------------------------------------------------------------------

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the traces with all that is theirs; return Django's counts.

        Django's own way would look for the receiver calls of each dispatch, for which there is no
        index: their ids follow the dispatch's.
        """
        from tracing.store.backends import beside_the_application
        from tracing.store.delete import delete_traces

        deleted: Counter[str] = Counter()
        with beside_the_application(self.db) as database:
            for keys in chunks(list(keys_of(self.order_by("pk"))), _DELETED_AT_ONCE):
                with database.transaction():
                    deleted += delete_traces(database, keys)
        models = apps.get_app_config("tracing").get_models(include_auto_created=True)
        labels = {model._meta.db_table: model._meta.label for model in models}  # noqa: SLF001
        return deleted.total(), {labels[table]: count for table, count in deleted.items()}

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class TraceManager(models.Manager[Trace]):
    """Traces with their names, which nearly everything shows."""

    def get_queryset(self) -> TraceQuerySet:
        """Return all traces."""
        return super().get_queryset().select_related("label")  # type: ignore[return-value]

    def counts_between(self, marks: Sequence[int]) -> list[int]:
        """Return how many traces started between *marks* (wall clock, ns).

        One statement: of sixty, making them took ten times as long as the store's counting.
        """
        connection = connections[self.db]
        table = connection.ops.quote_name(self.model._meta.db_table)  # noqa: SLF001 - documented.
        count = f"(SELECT COUNT(*) FROM {table} WHERE started_ns >= %s AND started_ns < %s)"  # noqa: S608 - a name of ours.
        between = list(pairwise(marks))
        if not between:
            return []
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {', '.join([count] * len(between))}",
                [moment for pair in between for moment in pair],
            )
            return list(cursor.fetchone())


# -- Following -------------------------------------------------------------------------------


def follow(
    traces: TraceQuerySet,
    *,
    after: int | None = None,
    poll_seconds: float = 0.5,
    keep_on: Callable[[], bool] = lambda: True,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[Trace]:
    """Yield traces as they are stored, each once.

    Two processes may commit in another order than they took their ids, so the last thousand ids
    are looked at again each time.

    Args:
        traces: Those to follow, as ``Trace.objects.all()`` or a filtered queryset.
        after: Row id after which to begin; None for what is stored from now on.
        poll_seconds: How often to look.
        keep_on: Asked at each look; the iteration ends when it returns False.
        wait: How to wait, in seconds.
    """
    first = traces.last_row_id() if after is None else after
    seen: dict[int, None] = {}
    if after is None:
        seen = dict.fromkeys(keys_of(traces.filter(pk__gt=first - _OVERLAP)))
        first -= _OVERLAP
    while True:
        fresh = [row for row in traces.newer_than(first, _OVERLAP * 2) if row.pk not in seen]
        for row in fresh:
            seen[row.pk] = None
            yield row
        if seen:
            first = max(first, max(seen) - _OVERLAP)
            for key in [key for key in seen if key <= first]:
                del seen[key]
        if not fresh:
            if not keep_on():
                return
            wait(poll_seconds)
