"""A page of a list of traces.

A list over millions of dispatches must neither sort nor count them. A search walks one
index from the newest entry back until the page is full or its time is up, and then says how far it
came: whatever is asked for, a page takes a bounded time.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError
from django.db.models import F, Max, Min, Q
from msgspec.structs import replace

from tracing.clocks import time
from tracing.instrumentation.attributes.redaction import known_as
from tracing.spans import records
from tracing.store import deadlines, objects
from tracing.store.columns import full_instance
from tracing.store.conditions import TraceConditions, flag_is, least_numbers, row_conditions
from tracing.store.generics import Trace, all_of
from tracing.store.pages import Cursor, TracePage, TraceSearch, read_cursor
from tracing.store.ranges import chunks, ends_of, keys_of
from tracing.store.scan import Scan
from tracing.store.wildcards import FitsWildcard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SMALLEST_BATCH = 150
_FIRST_BATCH = 500
_LARGEST_BATCH = 4_000
HIDDEN_COUNTED = 1_000
"""Up to so many traces that are not mine are counted beside a page."""
_HIDDEN_SECONDS = 0.05
"""How long, if so much of the time for the page is left."""
_LEAST_SECONDS = 0.01
_RARE = 2_000
"""Up to so many matches of an index are looked up instead of looked for along the rows."""
_KEYS_AT_ONCE = 500
_RARE_AT_ONCE = 100
NO_END = 2**62


class Walk(Scan[Cursor, Trace]):
    """One search along row ids, down or (``backwards``) up."""

    def __init__(
        self,
        traces: TraceConditions,
        wanted: TraceSearch,
        cursor: Cursor | None,
        *,
        backwards: bool,
    ) -> None:
        super().__init__(wanted, cursor, backwards=backwards)
        self.traces = traces
        self.using = traces.db
        self.by_dispatch = wanted.asks_for_dispatches
        """Dispatches are walked along, and the traces that they are of looked at."""
        self.is_rare = False
        """An index says of few traces that they may fit."""
        self.low, self.high = self._window()

    # -- Whole pages

    def page(self, size: int, deadline: float) -> TracePage:
        """Return up to *size* traces, found before *deadline* (monotonic)."""
        page = super().page(size, deadline)
        if self.wanted.mine and not (self.by_dispatch or self.is_rare):
            self._count_hidden(page, deadline)
        return page

    def is_mine(self, found: Trace) -> bool:
        """Return whether a receiver that is mine was in it."""
        return found.mine

    def traces_of(self, found: Sequence[tuple[Cursor, Trace]]) -> list[Trace]:
        """Return them as they were found."""
        return [trace for _, trace in found]

    def _count_hidden(self, page: TracePage, deadline: float) -> None:
        """Count in *page*, for a moment, the traces beside it that are not mine."""
        conditions = row_conditions(replace(self.wanted, mine=False), self.using)
        if conditions is None:
            return
        others = self.traces.select_related(None).filter(flag_is("mine", False), conditions)
        first, position = self._range_of(page)
        begun = time.monotonic()
        give_up_at = min(max(deadline, begun + _LEAST_SECONDS), begun + _HIDDEN_SECONDS)
        try:
            for step in self.steps():
                if position < first:
                    return
                window = Q(pk__lte=position, pk__gt=max(position - step, first - 1))
                room = HIDDEN_COUNTED - page.hidden + 1
                page.hidden += others.filter(window).order_by()[:room].count()
                position -= step
                is_late = position >= first and time.monotonic() > give_up_at
                if page.hidden > HIDDEN_COUNTED or is_late:
                    page.hidden, page.hidden_more = min(page.hidden, HIDDEN_COUNTED), True
                    return
        except DatabaseError:
            if not deadlines.is_over():
                raise
            page.hidden_more = True

    def _range_of(self, page: TracePage) -> tuple[int, int]:
        """Return the first and last row from *page* to where the next begins."""
        first, last = self._filled()
        # The row of a cursor is the last one on its page, or the last one that was looked at.
        older, newer = read_cursor(page.older), read_cursor(page.newer)
        if self.backwards and self.begin is not None:
            return max(first, self.begin.row + 1), min(last, newer.row) if newer else last
        if self.begin is not None:
            last = min(last, self.begin.row - 1)
        return max(first, older.row) if older else first, last

    def _window(self) -> tuple[int, int]:
        """Return the first and last row that started in the wanted time.

        Of an expression: for a plain id, servers look along all rows for the first that fits.
        """
        wanted, row = self.wanted, F("pk") + 0
        ends: dict[str, Any] = {}
        if wanted.since_ns is not None:
            ends["low"] = Min(row)
        if wanted.until_ns is not None:
            ends["high"] = Max(row)
        if not ends:
            return 0, NO_END
        rows = all_of("Trace", self.using).select_related(None).order_by()
        span = rows.between(wanted.since_ns, wanted.until_ns).aggregate(**ends)
        if None in span.values():
            return 1, 0
        return span.get("low", 0), span.get("high", NO_END)

    def batches(self, size: int) -> Iterator[list[tuple[Cursor, Trace]]]:
        """Yield the traces that fit, newest first; ``backwards``, oldest first."""
        if self.low > self.high:
            return iter(())
        return self._by_dispatch() if self.by_dispatch else self._by_trace(size)

    # -- By the traces themselves

    @property
    def _indexed(self) -> bool:
        """Return whether an index has the wanted traces in order of id."""
        wanted = self.wanted
        if wanted.mine and (wanted.kind or wanted.failed is not None):
            # Of two indexes one is walked, and what the other one has may be far between in it.
            return False
        return replace(wanted, kind="", failed=None, mine=False) == TraceSearch()

    def _by_trace(self, size: int) -> Iterator[list[tuple[Cursor, Trace]]]:
        conditions = row_conditions(self.wanted, self.using)
        if conditions is None:
            return
        if (keys := self._rare()) is not None:
            self.is_rare = True
            yield from self._among(keys)
            return
        matching = self.traces.filter(conditions)
        position = self._start()
        first, last = (self.low, self.high) if self._indexed else self._filled()
        for step in repeat(NO_END) if self._indexed else self.steps():
            if not first <= position <= last:
                return
            if self.backwards:
                window = Q(pk__gte=position, pk__lte=min(position + step, last))
                rows = matching.filter(window).order_by("pk")[:size]
            else:
                window = Q(pk__lte=position, pk__gte=max(position - step, first))
                rows = matching.filter(window).order_by("-pk")[:size]
            batch = [(Cursor(trace.pk), trace) for trace in rows]
            if len(batch) == size:
                position = batch[-1][1].pk + (1 if self.backwards else -1)
            else:
                position += (step + 1) if self.backwards else -(step + 1)
            self.at = None
            if first <= position <= last:
                self.at = Cursor(position + (-1 if self.backwards else 1))
            yield batch

    def _start(self) -> int:
        if self.begin is None:
            return min(self.high, self.traces.last_row_id())
        if self.backwards:
            return max(self.begin.row + 1, self.low)
        return min(self.begin.row - 1, self.high)

    def _filled(self) -> tuple[int, int]:
        """Return the first and the last row that there is in the wanted time."""
        first, last = ends_of(self.traces.select_related(None))
        return max(self.low, first), min(self.high, last)

    def _rare(self) -> list[int] | None:
        """Return the traces beyond the cursor that may fit; None if they are many.

        Each indexed number that must be large is asked for, which leaves few if it is.
        """
        for column, least in least_numbers(self.wanted).items():
            rows = self.traces.select_related(None).filter(**{f"{column}__gte": least})
            keys = list(keys_of(rows.order_by(f"-{column}")[: _RARE + 1]))
            if len(keys) <= _RARE:
                beyond = self.begin.row if self.begin is not None else None
                keys = [
                    key
                    for key in keys
                    if beyond is None or (key > beyond if self.backwards else key < beyond)
                ]
                return sorted(keys, reverse=not self.backwards)
        return None

    def _among(self, keys: list[int]) -> Iterator[list[tuple[Cursor, Trace]]]:
        """Yield those of *keys* that fit, in that order."""
        conditions = row_conditions(replace(self.wanted, mine=False), self.using)
        matching = self.traces.filter(conditions or Q())
        self.at = None
        for some in chunks(keys, _RARE_AT_ONCE):
            rows = {trace.pk: trace for trace in matching.filter(pk__in=some)}
            self.at = None if some[-1] == keys[-1] else Cursor(some[-1])
            yield [(Cursor(key), rows[key]) for key in some if key in rows]

    # -- By dispatches

    def _by_dispatch(self) -> Iterator[list[tuple[Cursor, Trace]]]:
        conditions = row_conditions(self.wanted, self.using)
        source = self._source()
        if conditions is None or source is None:
            return
        latest = self.begin.trace if self.begin is not None else 0
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
            for some in chunks(keys, _KEYS_AT_ONCE):
                traces |= {trace.pk: trace for trace in self.traces.filter(conditions, pk__in=some)}
            yield [(Cursor(row, key), traces[key]) for key, row in fresh.items() if key in traces]

    def _labels(self, model: str, name: str) -> list[int]:
        """Return the ids of labels called *name*, or whose end it is."""
        labels = all_of(model, self.using)
        if "*" in name:
            return list(keys_of(labels.filter(FitsWildcard("name", name))))
        exact = list(keys_of(labels.filter(name=name)))
        return exact or list(keys_of(labels.filter(name__endswith=f".{name}"))[:200])

    def _source(self) -> Iterator[list[tuple[int, int]]] | None:  # noqa: PLR0911 - guards.
        """Return batches of (row, trace) of dispatches; None if nothing fits.

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
        if wanted.instance:
            return self._about(checks)
        drivers = [("signal", signals), ("sender", senders)]
        usable = [(column, keys) for column, keys in drivers if keys]
        if not usable:
            return self._dispatches("", [], checks)
        column, keys = min(usable, key=lambda driver: self._frequency(*driver))
        return self._dispatches(column, keys or [], checks)

    def _frequency(self, column: str, keys: list[int] | None) -> int:
        """Return how many dispatches have one of *keys*, up to a bound."""
        dispatches = all_of("Dispatch", self.using)
        return sum(
            dispatches.filter(**{column: key}).order_by()[: _RARE * 5].count() for key in keys or []
        )

    def _dispatches(
        self, column: str, keys: list[int], checks: _DispatchChecks
    ) -> Iterator[list[tuple[int, int]]]:
        dispatches = all_of("Dispatch", self.using)
        columns = ("id", "trace_id", *checks.columns)
        runs = [dispatches.filter(**{column: key}) for key in keys] if column else [dispatches]
        for rows in self._merged([run.values_list(*columns) for run in runs]):
            yield [(row[0], row[1]) for row in rows if checks.accept(*row[2:])]

    def _about(self, checks: _DispatchChecks) -> Iterator[list[tuple[int, int]]]:
        dispatches = all_of("Dispatch", self.using)
        columns = ("id", "trace_id", *checks.columns)
        for condition, at in objects.windows(
            self.using,
            checks.instances,
            checks.likely,
            self._last_row,
            backwards=self.backwards,
        ):
            rows = dispatches.filter(condition).order_by("pk" if self.backwards else "-pk")
            found = [row[:2] for row in rows.values_list(*columns) if checks.accept(*row[2:])]
            self.at = None if at is None else Cursor(at)
            yield found

    def _calls(
        self, model: str, receivers: list[int] | None, checks: _DispatchChecks, outcome: str
    ) -> Iterator[list[tuple[int, int]]]:
        every, dispatches = all_of(model, self.using), all_of("Dispatch", self.using)
        columns = ("id", "dispatch_id", *(("outcome",) if outcome else ()))
        runs = [every.filter(receiver=key) for key in receivers] if receivers else [every]
        for rows in self._merged([run.values_list(*columns) for run in runs]):
            calls = [row for row in rows if not outcome or row[2] == outcome]
            owners: dict[int, tuple[Any, ...]] = {}
            for some in chunks(list({row[1] for row in calls}), _KEYS_AT_ONCE):
                found = dispatches.filter(pk__in=some)
                rows_of_them = found.values_list("id", "trace_id", *checks.columns)
                owners |= {owner[0]: owner[1:] for owner in rows_of_them}
            yield [
                (row[0], owners[row[1]][0])
                for row in calls
                if row[1] in owners and checks.accept(*owners[row[1]][1:])
            ]

    def _merged(self, runs: Sequence[Any]) -> Iterator[list[tuple[Any, ...]]]:
        """Yield batches of rows in order of id, out of *runs* in that order."""
        # Many labels are read a little at a time: most of what each gives comes after the page.
        first = max(_FIRST_BATCH // max(len(runs), 1), 50)
        streams = [self._stream(run, first, self._last_row) for run in runs]
        sign = 1 if self.backwards else -1
        merged = (
            heapq.merge(*streams, key=lambda row: sign * row[0]) if len(streams) > 1 else streams[0]
        )
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

    @property
    def _last_row(self) -> int | None:
        return self.begin.row if self.begin is not None else None

    def _stream(self, run: Any, size: int, position: int | None) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of *run* beyond the id *position*, in growing batches."""
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
    def likely(self) -> frozenset[str]:
        """Return what the column of the instance holds of those that are wanted."""
        # Without its model, if that is the sender.
        ends = (each[at:] for each in self.instances for at, c in enumerate(each) if c == ":")
        return self.instances.union(ends)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns to look at, the instance last; it alone costs a join."""
        plain = ("signal_id", "sender_id")
        return (*plain, "sender__name", "instance") if self.instances else plain

    def accept(self, signal: int, sender: int, sender_name: str = "", instance: str = "") -> bool:
        """Return whether a dispatch with these columns has what is wanted."""
        return (
            (self.signals is None or signal in self.signals)
            and (self.senders is None or sender in self.senders)
            and (not self.instances or full_instance(instance, sender_name) in self.instances)
        )
