"""A page of a list of traces.

A list over millions of dispatches must neither sort nor count them. A search walks one
index from the newest entry back until the page is full or its time is up, and then says how far it
came: whatever is asked for, a page takes a bounded time.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DatabaseError
from django.db.models import Max, Min, Q

from tracing.instrumentation.attributes.redaction import known_as
from tracing.spans import records
from tracing.store import deadlines
from tracing.store.columns import full_instance
from tracing.store.conditions import TraceRows, flag_is, row_conditions
from tracing.store.pages import Cursor, TracePage, TraceSearch, read_cursor
from tracing.store.ranges import keys_of
from tracing.store.wildcards import FitsWildcard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tracing.store.generics import Trace

_SMALLEST_BATCH = 150
_FIRST_BATCH = 500
_LARGEST_BATCH = 4_000
HIDDEN_COUNTED = 1_000
"""Up to so many traces that are not mine are counted beside a page."""
_HIDDEN_SECONDS = 0.05
_HIDDEN_STEP = 10_000
_RARE = 2_000
"""Up to so many matches of an index are fetched at once instead of walked."""


class Walk:
    """One search, from the newest row back or (``backwards``) from a row forward."""

    def __init__(
        self,
        traces: TraceRows,
        wanted: TraceSearch,
        cursor: Cursor | None,
        *,
        backwards: bool,
    ) -> None:
        self.traces = traces
        self.using = traces.db
        self.wanted = wanted
        self.cursor = cursor
        self.backwards = backwards
        self.low, self.high = self._window()
        self.at = cursor
        """The row examined last, at each batch; None if there is nothing beyond it."""
        self.hidden = 0

    # -- Whole pages

    def page(self, size: int, deadline: float) -> TracePage:
        """Return up to *size* traces, found before *deadline* (monotonic)."""
        found: list[tuple[int, Trace]] = []
        complete, exhausted = True, True
        try:
            for batch in self._batches(size + 1) if self.low <= self.high else ():
                found += self._only_mine(batch, size - len(found))
                if len(found) > size:
                    exhausted = False
                    break
                # A slow machine has not searched in part what it has searched to the end.
                if self.at is not None and time.monotonic() > deadline:
                    complete = exhausted = False
                    break
        except DatabaseError:
            # Stopped in the middle of a batch: what the ones before it gave is a page, too.
            if not deadlines.is_over() or self.at == self.cursor:
                raise
            complete = exhausted = False
        page = self._page(found, size, complete=complete, exhausted=exhausted)
        if self.wanted.mine:
            self._count_hidden(page)
        return page

    def _only_mine(self, batch: list[tuple[int, Trace]], room: int) -> Iterable[tuple[int, Trace]]:
        """Yield those of *batch* that are mine, if only they are wanted; count those between them.

        What comes behind the last one on the page, for which there is *room*, is the next page's.
        """
        if not (self.wanted.mine and self.wanted.asks_for_dispatches):
            yield from batch
            return
        for entry in batch:
            if entry[1].mine:
                room -= 1
                yield entry
            elif room > 0:
                self.hidden += 1

    def _count_hidden(self, page: TracePage) -> None:
        """Say in *page* how many traces fit beside it that are not mine, counting for a moment."""
        page.hidden = self.hidden
        conditions = row_conditions(replace(self.wanted, mine=False), self.using)
        if self.wanted.asks_for_dispatches or conditions is None:
            return
        others = self.traces.select_related(None).filter(flag_is("mine", False), conditions)
        first, position = self._range_of(page)
        give_up_at, step = time.monotonic() + _HIDDEN_SECONDS, _HIDDEN_STEP
        try:
            while position >= first:
                window = Q(pk__lte=position, pk__gt=max(position - step, first - 1))
                room = HIDDEN_COUNTED - page.hidden + 1
                page.hidden += others.filter(window).order_by()[:room].count()
                position, step = position - step, step * 2
                is_late = position >= first and time.monotonic() > give_up_at
                if page.hidden > HIDDEN_COUNTED or is_late:
                    page.hidden, page.hidden_more = min(page.hidden, HIDDEN_COUNTED), True
                    return
        except DatabaseError:
            if not deadlines.is_over():
                raise
            page.hidden_more = True

    def _range_of(self, page: TracePage) -> tuple[int, int]:
        """Return the first and the last row from where *page* begins to where the next one does."""
        first, last = self._filled()
        # The row of a cursor is the last one on its page, or the last one that was looked at.
        older, newer = read_cursor(page.older), read_cursor(page.newer)
        if self.backwards and self.cursor is not None:
            return max(first, self.cursor.row + 1), min(last, newer.row) if newer else last
        if self.cursor is not None:
            last = min(last, self.cursor.row - 1)
        return max(first, older.row) if older else first, last

    def _page(
        self, found: list[tuple[int, Trace]], size: int, *, complete: bool, exhausted: bool
    ) -> TracePage:
        further = len(found) > size
        found = found[:size]
        end = ""
        if further:
            row, trace = found[-1]
            end = str(Cursor(row, trace.pk if self.wanted.asks_for_dispatches else 0))
        elif not exhausted:
            end = str(self.at)
        start = ""
        if found:
            row, trace = found[0]
            start = str(Cursor(row, trace.pk if self.wanted.asks_for_dispatches else 0))
        elif self.cursor is not None:
            start = str(self.cursor)
        traces = [trace for _, trace in found]
        if self.backwards:
            return TracePage(traces[::-1], older=start, newer=end, complete=complete)
        return TracePage(
            traces, older=end, newer=start if self.cursor is not None else "", complete=complete
        )

    def _window(self) -> tuple[int, int]:
        """Return the first and the last trace row that can have started in the wanted time."""
        wanted = self.wanted
        if wanted.since_ns is None and wanted.until_ns is None:
            return 0, 2**62
        span = (
            self.traces.select_related(None)
            .between(wanted.since_ns, wanted.until_ns)
            .aggregate(low=Min("pk"), high=Max("pk"))
        )
        return (1, 0) if span["low"] is None else (span["low"], span["high"])

    def _batches(self, size: int) -> Iterator[list[tuple[int, Trace]]]:
        if self.wanted.asks_for_dispatches:
            return self._by_dispatch()
        return self._by_trace(size)

    # -- By the traces themselves

    @property
    def _indexed(self) -> bool:
        """Return whether an index gives the wanted traces in the order of their ids."""
        wanted = self.wanted
        if wanted.mine and (wanted.kind or wanted.failed is not None):
            # Of two indexes one is walked, and what the other one has may be far between in it.
            return False
        return replace(wanted, kind="", failed=None, mine=False) == TraceSearch()

    def _by_trace(self, size: int) -> Iterator[list[tuple[int, Trace]]]:
        conditions = row_conditions(self.wanted, self.using)
        if conditions is None:
            return
        matching = self.traces.filter(conditions)
        if self.wanted.slower_than_ns:
            rare = self._rare(matching)
            if rare is not None:
                self.at = None
                yield [(trace.pk, trace) for trace in rare]
                return
        step = 2**62 if self._indexed else 10_000
        position = self._start()
        first, last = self._ends()
        while first <= position <= last:
            if self.backwards:
                window = Q(pk__gte=position, pk__lte=min(position + step, last))
                rows = matching.filter(window).order_by("pk")[:size]
            else:
                window = Q(pk__lte=position, pk__gte=max(position - step, first))
                rows = matching.filter(window).order_by("-pk")[:size]
            batch = [(trace.pk, trace) for trace in rows]
            if len(batch) == size:
                position = batch[-1][0] + (1 if self.backwards else -1)
            else:
                position += (step + 1) if self.backwards else -(step + 1)
            self.at = None
            if first <= position <= last:
                self.at = Cursor(position + (-1 if self.backwards else 1))
            yield batch
            step = min(step * 2, 200_000) if step < 2**61 else step

    def _start(self) -> int:
        if self.cursor is None:
            return min(self.high, self.traces.last_row_id())
        if self.backwards:
            return max(self.cursor.row + 1, self.low)
        return min(self.cursor.row - 1, self.high)

    def _ends(self) -> tuple[int, int]:
        return (self.low, self.high) if self._indexed else self._filled()

    def _filled(self) -> tuple[int, int]:
        """Return the first and the last row that there is in the wanted time."""
        span = self.traces.select_related(None).aggregate(low=Min("pk"), high=Max("pk"))
        return max(self.low, span["low"] or 1), min(self.high, span["high"] or 0)

    def _rare(self, matching: TraceRows) -> list[Trace] | None:
        """Return all slow traces, or those of a trace id, beyond the cursor; None if not few."""
        wanted, candidates = self.wanted, self.traces.select_related(None)
        if wanted.trace_id:
            keys = candidates.keys_with_digits(wanted.trace_id, _RARE + 1)
        else:
            candidates = candidates.filter(duration_ns__gte=min(wanted.slower_than_ns, 2**62))
            keys = list(keys_of(candidates.order_by("-duration_ns")[: _RARE + 1]))
        if len(keys) > _RARE:
            return None
        if self.cursor is not None:
            beyond = self.cursor.row
            keys = [key for key in keys if (key > beyond if self.backwards else key < beyond)]
        traces: list[Trace] = []
        for start in range(0, len(keys), 500):
            traces += matching.filter(pk__in=keys[start : start + 500])
        return sorted(traces, key=lambda trace: trace.pk, reverse=not self.backwards)

    # -- By dispatches

    def _by_dispatch(self) -> Iterator[list[tuple[int, Trace]]]:
        conditions = row_conditions(self.wanted, self.using)
        source = self._source()
        if conditions is None or source is None:
            return
        latest = self.cursor.trace if self.cursor is not None else 0
        seen = {latest} if latest else set()
        for candidates in source:
            fresh: dict[int, int] = {}
            if candidates:
                latest = candidates[-1][1]
            if self.at is not None:
                # More of the same trace may lie beyond this row.
                self.at = Cursor(self.at.row, latest)
            for row, trace_key in candidates:
                if trace_key not in seen:
                    seen.add(trace_key)
                    fresh[trace_key] = row
            keys = [key for key in fresh if self.low <= key <= self.high]
            traces: dict[int, Trace] = {}
            for start in range(0, len(keys), 500):
                chunk = keys[start : start + 500]
                traces |= {
                    trace.pk: trace for trace in self.traces.filter(conditions, pk__in=chunk)
                }
            yield [(row, traces[key]) for key, row in fresh.items() if key in traces]

    def _labels(self, model: str, name: str) -> list[int]:
        """Return the ids of the labels that *name* can mean: the whole path or the end of it."""
        manager = apps.get_model("tracing", model).objects.using(self.using)
        if "*" in name:
            return list(keys_of(manager.filter(FitsWildcard("name", name))))
        exact = list(keys_of(manager.filter(name=name)))
        return exact or list(keys_of(manager.filter(name__endswith=f".{name}"))[:200])

    def _source(self) -> Iterator[list[tuple[int, int]]] | None:  # noqa: PLR0911 - guards.
        """Return batches of (row, trace) of the matching dispatches; None if a name is unknown.

        The index of the rarest condition is walked; the others are looked at in its rows, in Python
        and not in SQL, so that the database cannot search on and on for a full batch.
        """
        wanted = self.wanted
        signals = senders = receivers = None
        if wanted.signal and not (signals := self._labels("SignalLabel", wanted.signal)):
            return None
        if wanted.sender and not (senders := self._labels("SenderLabel", wanted.sender)):
            return None
        if wanted.receiver and not (receivers := self._labels("ReceiverLabel", wanted.receiver)):
            return None
        if wanted.outcome and wanted.outcome not in set(records.Outcome):
            return None
        checks = _DispatchChecks(
            signals=frozenset(signals) if signals else None,
            senders=frozenset(senders) if senders else None,
            instances=frozenset(known_as(wanted.instance) if wanted.instance else ()),
        )
        if wanted.outcome == records.Outcome.RAISED:
            return self._calls("FailedCall", receivers, checks, "")
        if receivers or wanted.outcome:
            return self._calls("ReceiverCall", receivers, checks, wanted.outcome)
        drivers = [("signal", signals), ("sender", senders)]
        if wanted.instance and not senders:
            # An instance nearly always has its own model as sender.
            drivers.append(
                ("sender", self._labels("SenderLabel", wanted.instance.partition(":")[0]) or None)
            )
        usable = [(column, keys) for column, keys in drivers if keys]
        if not usable:
            return self._dispatches("", [], checks)
        column, keys = min(usable, key=lambda driver: self._frequency(*driver))
        return self._dispatches(column, keys or [], checks)

    def _frequency(self, column: str, keys: list[int] | None) -> int:
        """Return how many dispatches have one of *keys*, up to a bound."""
        dispatches = apps.get_model("tracing", "Dispatch").objects.using(self.using)
        return sum(
            dispatches.filter(**{column: key}).order_by()[: _RARE * 5].count() for key in keys or []
        )

    def _dispatches(
        self, column: str, keys: list[int], checks: _DispatchChecks
    ) -> Iterator[list[tuple[int, int]]]:
        manager = apps.get_model("tracing", "Dispatch").objects.using(self.using)
        columns = ("id", "trace_id", *checks.columns)
        runs = [manager.filter(**{column: key}) for key in keys] if column else [manager.all()]
        for rows in self._merged([run.values_list(*columns) for run in runs]):
            yield [(row[0], row[1]) for row in rows if checks.accept(*row[2:])]

    def _calls(
        self, model: str, receivers: list[int] | None, checks: _DispatchChecks, outcome: str
    ) -> Iterator[list[tuple[int, int]]]:
        manager = apps.get_model("tracing", model).objects.using(self.using)
        dispatches = apps.get_model("tracing", "Dispatch").objects.using(self.using)
        columns = ("id", "dispatch_id", *(("outcome",) if outcome else ()))
        runs = [manager.filter(receiver=key) for key in receivers] if receivers else [manager.all()]
        for rows in self._merged([run.values_list(*columns) for run in runs]):
            calls = [row for row in rows if not outcome or row[2] == outcome]
            owners: dict[int, tuple[Any, ...]] = {}
            keys = list({row[1] for row in calls})
            for start in range(0, len(keys), 500):
                owners |= {
                    owner[0]: owner[1:]
                    for owner in dispatches.filter(pk__in=keys[start : start + 500]).values_list(
                        "id", "trace_id", *checks.columns
                    )
                }
            yield [
                (row[0], owners[row[1]][0])
                for row in calls
                if row[1] in owners and checks.accept(*owners[row[1]][1:])
            ]

    def _merged(self, runs: Sequence[Any]) -> Iterator[list[tuple[Any, ...]]]:
        """Yield batches of rows in the order of their ids out of *runs*, each in that order."""
        # Many labels are read a little at a time: most of what each gives comes after the page.
        first = max(_FIRST_BATCH // max(len(runs), 1), 50)
        streams = [self._stream(run, first) for run in runs]
        sign = 1 if self.backwards else -1
        merged = heapq.merge(*streams, key=lambda row: sign * row[0])
        size, batch = _SMALLEST_BATCH, []
        for row in merged:
            batch.append(row)
            if len(batch) >= size:
                self.at = Cursor(row[0])
                yield batch
                size, batch = min(size * 2, _LARGEST_BATCH), []
        if batch:
            self.at = None
            yield batch

    def _stream(self, run: Any, size: int) -> Iterator[tuple[Any, ...]]:
        position = self.cursor.row if self.cursor is not None else None
        while True:
            rows = run
            if position is not None:
                rows = run.filter(**{"pk__gt" if self.backwards else "pk__lt": position})
            batch = list(rows.order_by("pk" if self.backwards else "-pk")[:size])
            yield from batch
            if len(batch) < size:
                return
            position = batch[-1][0]
            size = min(size * 2, _LARGEST_BATCH)


@dataclass(frozen=True, slots=True)
class _DispatchChecks:
    """The conditions on a dispatch that the walked index does not answer."""

    signals: frozenset[int] | None
    senders: frozenset[int] | None
    instances: frozenset[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns to look at; the instance costs a join, so only if it is asked for."""
        plain = ("signal_id", "sender_id")
        return (*plain, "sender__name", "instance") if self.instances else plain

    def accept(self, signal: int, sender: int, sender_name: str = "", instance: str = "") -> bool:
        """Return whether a dispatch with these columns has what is wanted."""
        return (
            (self.signals is None or signal in self.signals)
            and (self.senders is None or sender in self.senders)
            and (not self.instances or full_instance(instance, sender_name) in self.instances)
        )
