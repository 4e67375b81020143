"""A page of the traces in which a plain word occurs.

Names that hold the word are those of traces, and of dispatches and calls in them. Each name's index is walked
from the newest entry back, and the walks are merged in the order of the rows of dispatches; a trace whose own
name holds the word has the place of its last dispatch.
"""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import Max, Q
from msgspec.structs import replace

from tracing.store.conditions import row_conditions
from tracing.store.generics import all_of
from tracing.store.index_scan import NO_END, Walk
from tracing.store.occurrences import LISTED
from tracing.store.pages import Cursor
from tracing.store.ranges import KEYS_AT_ONCE, chunks, ends_of, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracing.store.generics import Trace
    from tracing.store.occurrences import Names, Occurrences

_MOST_RUNS: Final = 30
"""Names of a kind whose index is walked for each; of more, which must be common, all rows are looked at."""
_FIRST_BATCH: Final = 150
_LARGEST_BATCH: Final = 4_000
_TRACES_AT_ONCE: Final = 50


class _Entry(NamedTuple):
    """An entry that a walk came to."""

    row: int
    """Its place in the order: of a dispatch, a call, or a trace's last dispatch."""
    trace: int = 0
    dispatch: int = 0
    """Of a call, whose trace is still to be asked for."""
    is_own: bool = False
    """The trace itself holds the word."""

    @property
    def is_mark(self) -> bool:
        """Return whether it only says how far rows were looked at."""
        return not (self.trace or self.dispatch)


class WordWalk(Walk):
    """One search for a word that names of calls hold.

    Args:
        given: As for a ``Walk``.
        found: Where the word occurs.
        backwards: From the cursor forward.
    """

    def __init__(self, *given: Any, found: Occurrences, backwards: bool) -> None:
        super().__init__(*given, backwards=backwards)
        self.found = found
        self.by_dispatch = True
        self.sign = 1 if backwards else -1
        at = self.begin or Cursor(0)
        self.border = at.own + (backwards and at.own == at.trace) if at.own else NO_END
        """Of the traces that hold it themselves: those below are older than where the walk stands."""

    def _by_dispatch(self) -> Iterator[list[tuple[Cursor, Trace]]]:
        conditions = row_conditions(replace(self.wanted, word="", mine=False), self.using)
        if conditions is None:
            return
        latest = self.begin.trace if self.begin is not None else 0
        seen = {latest} if latest else set[int]()
        size, batch = _FIRST_BATCH, list[_Entry]()
        for entry in heapq.merge(*self._walks(), key=lambda entry: self.sign * entry.row):
            batch.append(entry)
            if len(batch) < size and not entry.is_mark:
                continue
            placed = list(self._placed(batch, seen))
            latest = placed[-1][0].trace if placed else latest
            self.at = Cursor(entry.row, latest, self.border % NO_END)
            yield self._loaded(placed, conditions)
            size, batch = min(size * 2, _LARGEST_BATCH), []
        placed = list(self._placed(batch, seen))
        self.at = None
        yield self._loaded(placed, conditions)

    # -- From entries to traces

    def _placed(self, batch: list[_Entry], seen: set[int]) -> Iterator[tuple[Cursor, bool]]:
        """Yield the place of each new trace of *batch*, and if it is its own."""
        owners = self._owners([entry.dispatch for entry in batch if entry.dispatch])
        for entry in batch:
            trace = entry.trace or owners.get(entry.dispatch, 0)
            if entry.is_own:
                self.border = trace + self.backwards
                yield Cursor(entry.row, trace, trace), True
            elif trace and trace not in seen:
                yield Cursor(entry.row, trace, self.border % NO_END), False
            seen.add(trace)

    def _owners(self, dispatches: list[int]) -> dict[int, int]:
        """Return the trace of each of *dispatches*."""
        rows = self._rows("Dispatch")
        found: dict[int, int] = {}
        for keys in chunks(list(dict.fromkeys(dispatches)), KEYS_AT_ONCE):
            found.update(rows.filter(pk__in=keys).values_list("pk", "trace_id"))
        return found

    def _loaded(
        self, placed: list[tuple[Cursor, bool]], conditions: Q
    ) -> list[tuple[Cursor, Trace]]:
        """Return those traces that fit everything, each where it stands."""
        traces: dict[int, Trace] = {}
        rows = self.traces.select_related(None).order_by()
        elsewhere: set[int] = set()
        for places in chunks(placed, KEYS_AT_ONCE // 2):
            keys = [at.trace for at, _ in places if self.low <= at.trace <= self.high]
            traces |= {trace.pk: trace for trace in self.traces.filter(conditions, pk__in=keys)}
            # What holds the word itself has its place there, and not where a call of it holds it.
            of_calls = [at.trace for at, is_own in places if not is_own and at.trace in traces]
            elsewhere.update(keys_of(rows.filter(self.found.of_trace, pk__in=of_calls)))
        return [
            (at, traces[at.trace])
            for at, is_own in placed
            if at.trace in traces and (is_own or at.trace not in elsewhere)
        ]

    # -- The walks

    def _walks(self) -> Iterator[Iterator[_Entry]]:
        found = self.found
        for column, names in (("signal", found.signals), ("sender", found.senders)):
            yield from self._along("Dispatch", column, names, _of_dispatch)
        yield from self._along("ReceiverCall", "receiver", found.receivers, _of_call)
        if found.callsites:
            rows = self._rows("Dispatch").filter(found.callsites.condition("callsite"))
            yield self._looked_at("Dispatch", rows.values_list("pk", "trace_id"), _of_dispatch)
        yield self._own()

    def _along(
        self, model: str, column: str, names: Names, entry: Callable[[int, int], _Entry]
    ) -> Iterator[Iterator[_Entry]]:
        """Yield a walk along each name's index; of too many, one along all."""
        rows = self._rows(model).values_list(
            "pk", "trace_id" if entry is _of_dispatch else "dispatch_id"
        )
        if len(names.keys) > _MOST_RUNS:
            yield self._looked_at(model, rows.filter(names.condition(column)), entry)
            return
        for key in names.keys:
            run = self._stream(rows.filter(**{column: key}), _FIRST_BATCH, self._last_row)
            yield (entry(*row) for row in run)

    def _looked_at(
        self, model: str, rows: Any, entry: Callable[[int, int], _Entry]
    ) -> Iterator[_Entry]:
        """Yield the entries of *rows* without an index, and marks of progress."""
        for found, position in self._windows(rows, *ends_of(self._rows(model)), self._last_row):
            for row in found:
                yield entry(*row)
            yield _Entry(position)

    def _windows(
        self, rows: Any, low: int, high: int, start: int | None
    ) -> Iterator[tuple[list[Any], int]]:
        """Yield *rows* in windows of ids, each with the last id of it.

        Beyond *start*, if there is one. A window is as wide as a fraction of the time for a page reads.
        """
        at = low - 1 if self.backwards else high + 1
        if start is not None:
            at = max(at, start) if self.backwards else min(at, start)
        for step in self.steps():
            if self.backwards:
                first, last, order = max(at + 1, low), min(at + step, high), "pk"
            else:
                first, last, order = max(at - step, low), min(at - 1, high), "-pk"
            if first > last:
                return
            at = last if self.backwards else first
            yield list(rows.filter(pk__range=(first, last)).order_by(order)), at

    def _own(self) -> Iterator[_Entry]:
        """Yield the traces that hold the word themselves, in order of id."""
        row = NO_END if not self.backwards else 0
        for keys in self._own_keys():
            rows = dict(
                self._rows("Dispatch")
                .filter(trace__in=keys)
                .values_list("trace_id")
                .annotate(last=Max("pk"))
            )
            for key in keys:
                near = rows.get(key) or self._row_before(key)
                row = max(row, near) if self.backwards else min(row, near)
                yield _Entry(row, key, is_own=True)

    def _row_before(self, key: int) -> int:
        """Return the last row of the traces before *key*, which has none."""
        rows = self._rows("Dispatch").filter(trace__lt=key).order_by("-trace", "-pk")
        return rows.values_list("pk", flat=True).first() or 0

    def _own_keys(self) -> Iterator[list[int]]:
        """Yield the ids of those traces, some at a time, beyond the border."""
        beyond = Q(pk__gte=self.border) if self.backwards else Q(pk__lt=self.border)
        rows, names = self.traces.select_related(None).filter(beyond), self.found.traces
        if len(names.keys) > _MOST_RUNS:
            holding = keys_of(rows.filter(self.found.of_trace))
            for found, _ in self._windows(holding, *ends_of(rows), None):
                yield from map(list, chunks(found, _TRACES_AT_ONCE))
            return
        runs: list[Iterator[int]] = [
            (
                key
                for (key,) in self._stream(
                    rows.filter(label=label).values_list("pk"), _TRACES_AT_ONCE, None
                )
            )
            for label in names.keys
        ]
        if self.found.begins_ids:
            keys = rows.keys_with_digits(self.found.text, LISTED)
            runs.append(iter(sorted(keys, reverse=not self.backwards)))
        merged = heapq.merge(*runs, reverse=not self.backwards)
        while keys := list(islice(merged, _TRACES_AT_ONCE)):
            yield list(dict.fromkeys(keys))

    def _rows(self, model: str) -> Any:
        return all_of(model, self.using).order_by()


def _of_dispatch(row: int, trace: int) -> _Entry:
    return _Entry(row, trace)


def _of_call(row: int, dispatch: int) -> _Entry:
    return _Entry(row, dispatch=dispatch)
