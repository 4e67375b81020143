"""Pages of traces that fit a query: the store walks an index, what it cannot ask is asked here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from django.db import DatabaseError

from tracing.search.completion import Completion, Place, complete_key
from tracing.search.parser import quoted
from tracing.search.query import Both, Match, Query, Term, nearest, terms
from tracing.store import deadlines
from tracing.store.matching import Matcher, is_of_trace, split, trace_condition
from tracing.store.models import ReceiverLabel, SenderLabel, SignalLabel, Trace, TraceLabel
from tracing.store.pages import PAGE_SECONDS, PAGE_SIZE, TracePage, TraceSearch
from tracing.store.stored import all_traces
from tracing.store.wildcards import FitsWildcard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Q

    from tracing.store.queries import TraceQuerySet

SPANS_SECONDS: Final = 0.3
"""How long a page may search whose query must look into the spans of each candidate."""
SEARCH_SHARE: Final = 0.6
"""Of the time for a page: what remains draws what was found."""
_FIRST_BATCH: Final = 25
_LARGEST_BATCH: Final = 100
_BATCH_SECONDS: Final = 0.05
_MOST_DISPATCHES: Final = 4_000
"""Dispatches that are read in one go, some 60 ms; one trace may have more."""
_MOST_NAMES: Final = 50
_LONGEST_NAME: Final = 100
"""Characters that are compared with other names: that takes the square of them."""

_LABELS: Final[dict[str, Any]] = {
    "signal": SignalLabel,
    "sender": SenderLabel,
    "receiver": ReceiverLabel,
    "name": TraceLabel,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query is answered."""

    search: TraceSearch
    """What the store can be asked for; everything that fits the query fits this too."""
    is_exact: bool
    """Everything that fits the search fits the query."""


def plan(query: Query) -> Plan:
    """Return how *query* is answered.

    The conditions on the trace become one SQL condition. Of those on its calls the store takes one
    value of each kind; what remains is looked for in the spans of what the store gives.
    """
    parts = query if isinstance(query, Both) and not query.is_group else Both((query,))
    own = [part for part in parts.parts if is_of_trace(part)]
    joint, others = split(parts)
    remaining = [part for part in others if not is_of_trace(part)]
    condition: Q | None = trace_condition(Both(tuple(own))) if own else None
    search = _driver(own, condition)
    taken: dict[str, Any] = {}
    for part in joint:
        for term in part.parts if isinstance(part, Both) else (part,):
            if isinstance(term, Term) and _store_takes(term) and term.key.name not in taken:
                taken[term.key.name] = term.value
            else:
                remaining.append(term)
    return Plan(replace(search, **taken), is_exact=not remaining)


def _driver(own: list[Query], condition: Q | None) -> TraceSearch:
    """Return the search for the conditions on the trace, in the store's own terms where it has them.

    Those terms have indexes; a condition that is only SQL is tried on row after row.
    """
    search = TraceSearch(condition=condition)
    simple = True
    for part in own:
        term = part if isinstance(part, Term) else None
        if term is None or "*" in term.value:
            simple = False
        elif term.key.name == "kind":
            search = replace(search, kind=term.value)
        elif term.key.name == "duration" and term.operator in {">", ">="}:
            floor = term.number + (term.operator == ">")
            search = replace(search, slower_than_ns=max(search.slower_than_ns, floor))
        elif term.key.name == "trace":
            search = replace(search, trace_id=term.value.lower())
        elif term.key.name == "since":
            search = replace(search, since_ns=max(search.since_ns or 0, term.number))
        elif term.key.name == "until":
            until = term.number if search.until_ns is None else min(search.until_ns, term.number)
            search = replace(search, until_ns=until)
        elif (term.key.name, term.operator, term.number) == ("errors", ">", 0):
            search = replace(search, failed=True)
            simple = False
        else:
            simple = False
    kinds = [part.value for part in own if isinstance(part, Term) and part.key.name == "kind"]
    if simple and len(set(kinds)) <= 1:
        # The store's own terms say it all, and alone they walk an index without looking further.
        search = replace(search, condition=None)
    return search


def _store_takes(term: Term) -> bool:
    if term.key.name in {"signal", "sender", "receiver"}:
        if term.operator != ":" or not term.value:
            return False
        # The store walks one index run for each name; with very many, reading spans is faster.
        names = _LABELS[term.key.name].objects.filter(FitsWildcard("name", term.value))
        return "*" not in term.value or names.count() <= _MOST_NAMES
    return term.key.name in {"outcome", "instance"} and "*" not in term.value


@dataclass(slots=True)
class Found:
    """A page of traces, and what there is to say about the search."""

    traces: list[Trace] = field(default_factory=list)
    older: str = ""
    newer: str = ""
    complete: bool = True
    """False if the time was up first: ``older`` goes on from there."""
    hidden: int | None = None
    """Traces beside it that fit and are not mine; None if they were not counted."""
    hidden_more: bool = False
    """There are more than ``hidden``."""
    is_sortable: bool = True
    """False if spans must be looked into: what fits is found in the order of time."""
    left_out: list[Trace] = field(default_factory=list)
    """Traces that are so large that looking into them took all the time."""


def find(
    query: Query,
    *,
    before: str = "",
    after: str = "",
    size: int = PAGE_SIZE,
    seconds: float | None = None,
    among: TraceQuerySet | None = None,
    mine: bool = False,
    order: str = "",
) -> Found:
    """Return a page of the traces that fit *query*, newest recorded first.

    Args:
        query: What they must fit.
        before: ``older`` of a page, to get the next.
        after: ``newer`` of a page, to get the one before it.
        size: Traces on a page; a search through spans may give some more.
        seconds: How long to search; None for the usual time.
        among: Traces to look among; None for all, each loaded with its name.
        mine: Only those that are mine.
        order: ``time`` for the oldest first, or a key of ``ranking.ORDERS``, with ``-`` for the
            largest first; those only count if no span must be looked into.
    """
    if order == "time":
        # The walk up is the one that comes back from a page further down.
        is_first = not (before or after)
        found = find(
            query, before=after, after=before or ("0" if is_first else ""), size=size,
            seconds=seconds, among=among, mine=mine,
        )  # fmt: skip
        found.traces.reverse()
        found.older, found.newer = found.newer, "" if is_first else found.older
        return found
    with deadlines.share(SEARCH_SHARE):
        answer = plan(query)
        if mine:
            answer = replace(answer, search=replace(answer.search, mine=True))
        traces = all_traces() if among is None else among
        is_sortable = answer.is_exact and not answer.search.asks_for_dispatches
        if answer.is_exact:
            page = traces.search(
                answer.search, before=before, after=after, size=size,
                seconds=seconds or PAGE_SECONDS, order=order if is_sortable else "",
            )  # fmt: skip
            return Found(
                page.traces, page.older, page.newer, page.complete, hidden=page.hidden,
                hidden_more=page.hidden_more, is_sortable=is_sortable,
            )  # fmt: skip
        search = _SpanSearch(query, answer, traces, before=before, after=after)
        found = search.page(size, time.monotonic() + (seconds or SPANS_SECONDS))
        found.is_sortable = False
        return found


class _SpanSearch:
    """A search that must look into the spans of each trace that the store finds."""

    def __init__(
        self, query: Query, answer: Plan, traces: TraceQuerySet, *, before: str, after: str
    ) -> None:
        self.wanted = answer.search
        self.traces = traces
        self.matcher = Matcher(query)
        self.backwards = bool(after)
        self.cursor = after or before

    def page(self, size: int, deadline: float) -> Found:
        """Return up to *size* traces or some more, looked for until *deadline* (monotonic)."""
        found = Found()
        batch, is_first = min(size, _FIRST_BATCH), True
        while True:
            begun = time.monotonic()
            page = None
            try:
                page = self._candidates(batch, deadline)
                fitting = self.matcher.fitting(page.traces)
            except DatabaseError:
                if not deadlines.is_over() or (is_first and not _is_one_trace(page)):
                    raise
                found.complete = False
                if not is_first or page is None:
                    break
                # The search goes on behind it, or it would never come any further.
                found.left_out, fitting = page.traces, []
            found.traces = fitting + found.traces if self.backwards else found.traces + fitting
            if is_first:
                found.newer, found.older = page.newer, page.older
            if self.backwards:
                found.newer = self.cursor = page.newer
            else:
                found.older = self.cursor = page.older
            is_first = False
            if not self.cursor or len(found.traces) >= size:
                break
            now = time.monotonic()
            if now >= deadline or found.left_out:
                found.complete = False
                break
            # As much as a fraction of the time reads: some traces have thousands of dispatches.
            batch = batch * 2 if now - begun < _BATCH_SECONDS else batch // 2
            batch = min(max(batch, 1), _LARGEST_BATCH)
        return found

    def _candidates(self, size: int, deadline: float) -> TracePage:
        """Return the next traces that may fit, no more than are read in one go."""
        page = self._search(size, deadline)
        readable = _readable(page.traces[::-1] if self.backwards else page.traces)
        return page if readable == len(page.traces) else self._search(readable, deadline)

    def _search(self, size: int, deadline: float) -> TracePage:
        return self.traces.search(
            self.wanted,
            before="" if self.backwards else self.cursor,
            after=self.cursor if self.backwards else "",
            size=size,
            seconds=max(deadline - time.monotonic(), 0.02),
        )


def _is_one_trace(page: TracePage | None) -> bool:
    return page is not None and len(page.traces) == 1


def _readable(rows: Sequence[Trace]) -> int:
    """Return how many of *rows*, from the first, are read in one go: at least one."""
    dispatches = 0
    for place, row in enumerate(rows):
        dispatches += row.dispatch_count
        if place and dispatches > _MOST_DISPATCHES:
            return place
    return len(rows)


def fitting_newer(
    query: Query, row_id: int, size: int = 100, *, mine: bool = False
) -> tuple[list[Trace], int]:
    """Return the traces recorded after the row *row_id* that fit, newest first, and the last id.

    Only those that are *mine*, if that is wanted.
    """
    rows = all_traces().newer_than(row_id, size)
    if not is_of_trace(query):
        # What is not read now is read when the page asks again.
        rows = rows[: _readable(rows)]
    last = rows[-1].pk if rows else row_id
    rows = [row for row in rows if row.mine or not mine]
    with deadlines.share(SEARCH_SHARE):
        try:
            return Matcher(query).fitting(rows)[::-1], last
        except DatabaseError:
            # One that takes all the time is passed: else the list would wait for it for ever.
            if not deadlines.is_over() or len(rows) > 1:
                raise
            return [], last


# --- names ---------------------------------------------------------------------------------------


def unknown_names(query: Query) -> list[tuple[Term, str]]:
    """Return the terms whose name no trace ever had, each with the nearest known name."""
    found = []
    for term in terms(query):
        model = _LABELS.get(term.key.name)
        if model is None or term.key.match is not Match.DOTTED or "*" in term.value:
            continue
        names = model.objects.all()
        if not (
            names.filter(name=term.value).exists()
            or names.filter(name__endswith=f".{term.value}").exists()
        ):
            known = list(names.values_list("name", flat=True)[:2_000])
            shorts = [name.rpartition(".")[2] for name in known]
            found.append((term, nearest(term.value[:_LONGEST_NAME], [*shorts, *known])))
    return found


def complete(place: Place, size: int = 12) -> list[Completion]:  # noqa: PLR0911 - one answer for each kind.
    """Return what may be typed at *place*: keys, or values of its key that the store has."""
    if place.key is None:
        return complete_key(place)[:size]
    key, typed = place.key, place.typed
    if key.choices:
        starting = [word for word in key.choices if word.startswith(typed)]
        holding = [word for word in key.choices if typed in word and word not in starting]
        return [Completion(word) for word in starting + holding][:size]
    if key.name in {"duration", "took"}:
        return [Completion(word) for word in ("1ms", "10ms", "50ms", "100ms", "1s") if not typed]
    if key.name in {"since", "until"}:
        return [Completion(word) for word in ("5m", "1h", "2h", "1d", "7d") if not typed]
    if key.name == "app":
        apps = ReceiverLabel.objects.filter(app__icontains=typed).exclude(app="")
        return [
            Completion(quoted(app))
            for app in apps.values_list("app", flat=True).distinct().order_by("app")[:size]
        ]
    model = _LABELS.get(key.name)
    if model is None or "\0" in typed:
        return []
    names = model.objects.filter(name__icontains=typed).order_by("name")
    values = names.values_list("name", flat=True).distinct()[:200]
    # A name that begins with it, or whose last part does, is more likely meant.
    ranked = sorted(
        values,
        key=lambda name: (
            not name.rpartition(".")[2].startswith(typed),
            not name.startswith(typed),
            name,
        ),
    )
    return [Completion(quoted(name)) for name in ranked[:size]]


def and_also(query: Query, *others: Query) -> Query:
    """Return the query that *query* and all of *others* fit."""
    parts: list[Query] = []
    for one in (query, *others):
        if isinstance(one, Both) and not one.is_group:
            parts += one.parts
        else:
            parts.append(one)
    return parts[0] if len(parts) == 1 else Both(tuple(parts))
