"""Pages of traces that fit a query: an index walk, then the spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.db import DatabaseError
from msgspec.structs import replace

from tracing.clocks import time
from tracing.search.query import And, Query, Term, Text
from tracing.store import deadlines
from tracing.store.choice import asked
from tracing.store.conditions import NarrowedSearch, flag_is
from tracing.store.matching import LARGEST, Matcher, is_of_trace, split, trace_condition
from tracing.store.models import Trace
from tracing.store.pages import TracePage, TraceSearch
from tracing.store.queries import PAGE_SECONDS, PAGE_SIZE
from tracing.store.ranking import ORDERS
from tracing.store.suggestions import LABELS
from tracing.store.traces import summaries
from tracing.store.wildcards import FitsWildcard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.spans.summary import TraceSummary
    from tracing.store.queries import TraceQuerySet

ANY: Final = TraceSearch()
"""What every trace has."""
SPANS_SECONDS: Final = 0.07
"""How long a part of a page may be searched for in the spans of each candidate."""
SEARCH_SHARE: Final = 0.6
"""Of the time for a page: what remains draws what was found."""
_FIRST_BATCH: Final = 25
_LARGEST_BATCH: Final = 100
_BATCH_SECONDS: Final = 0.02
_MOST_DISPATCHES: Final = 2_000
"""Dispatches that are read in one go, some 30 ms; one trace may have more."""
_MOST_NAMES: Final = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan to answer a query."""

    search: TraceSearch
    """What the store can be asked for; everything that fits the query fits this too."""
    is_exact: bool
    """Everything that fits the search fits the query."""


def plan(query: Query, wanted: TraceSearch = ANY) -> Plan:
    """Return how to find what fits *query* and has what is *wanted*.

    The conditions on the trace become one SQL condition. Of those on its calls the store takes one
    value of each kind; what remains is looked for in the spans of what the store gives.
    """
    parts = query if isinstance(query, And) and not query.is_group else And((query,))
    own = [part for part in parts.parts if is_of_trace(part)]
    joint, others = split(parts)
    remaining = [part for part in others if not is_of_trace(part)]
    # The names that hold a word lead to its traces; of several words, the longest has the fewest.
    word = max((part.text for part in own if isinstance(part, Text)), key=len, default="")
    own = [part for part in own if part != Text(word)]
    search = replace(_driver(own, wanted), word=word)
    taken: dict[str, Any] = {}
    for part in joint:
        for term in part.parts if isinstance(part, And) else (part,):
            name = term.key.name if isinstance(term, Term) and _store_takes(term) else ""
            if isinstance(term, Term) and name and not (name in taken or getattr(wanted, name)):
                taken[name] = term.value
            else:
                remaining.append(term)
    return Plan(replace(search, **taken), is_exact=not remaining)


def _driver(own: list[Query], wanted: TraceSearch) -> TraceSearch:
    """Return the search for conditions on the trace, by index if possible.

    Those terms have indexes; a condition that is only SQL is tried on row after row.
    """
    search, simple = wanted, True
    for part in own:
        term = part if isinstance(part, Term) and "*" not in part.value else None
        taken = _taken(term, search) if term is not None else None
        if taken is None:
            simple = False
        else:
            search = replace(search, **taken)
    if simple:
        # The store's own terms say it all, and alone they walk an index without looking further.
        return search
    values = {name: getattr(search, name) for name in search.__struct_fields__}
    least = {
        ORDERS[term.key.name]: min(term.number, LARGEST)
        for term in own
        if isinstance(term, Term) and term.key.name in ORDERS and not term.operator.startswith("<")
    }
    return NarrowedSearch(**values, condition=trace_condition(And(tuple(own))), least=least)


def _taken(term: Term, search: TraceSearch) -> dict[str, Any] | None:
    """Return what *search* has with *term*; None if it cannot say all of it."""
    key, number = term.key.name, term.number
    if key == "duration" and term.operator in {">", ">="}:
        return {"slower_than_ns": max(search.slower_than_ns, number + (term.operator == ">"))}
    if key == "since":
        return {"since_ns": max(search.since_ns or 0, number)}
    if key == "until":
        return {"until_ns": number if search.until_ns is None else min(search.until_ns, number)}
    exact: dict[str, tuple[str, Any]] = {
        "kind": ("kind", term.value),
        "trace": ("trace_id", term.value.lower()),
        "failed": ("failed", term.value == "yes"),
    }
    if key == "name" and term.operator == "=":
        exact["name"] = ("name", term.value)
    field_name, value = exact.get(key, ("", None))
    # Of two values of one key the store has one, and the condition both.
    return {field_name: value} if field_name and not getattr(search, field_name) else None


def _store_takes(term: Term) -> bool:
    if term.key.name in {"signal", "sender", "receiver"}:
        if term.operator != ":" or not term.value:
            return False
        # The store walks one index run for each name; with very many, reading spans is faster.
        names = LABELS[term.key.name].objects.filter(FitsWildcard("name", term.value))
        return "*" not in term.value or names.count() <= _MOST_NAMES
    return term.key.name in {"outcome", "instance"} and "*" not in term.value


@dataclass(slots=True)
class Found:
    """A page of traces, and what there is to say about the search."""

    traces: list[TraceSummary] = field(default_factory=list)
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
    left_out: list[TraceSummary] = field(default_factory=list)
    """Traces that are so large that looking into them took all the time."""


@asked
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
    """Return a page of the traces that fit *query*, newest recorded first.

    Args:
        query: What they must fit.
        before: ``older`` of a page, to get the next.
        after: ``newer`` of a page, to get the one before it.
        size: Traces on a page; a search through spans may give some more.
        seconds: How long to search; None for the usual time.
        wanted: What else they must have.
        order: ``time`` for the oldest first, or a key of ``ranking.ORDERS``, with ``-`` for the
            largest first; those only count if no span must be looked into.
    """
    if order == "time":
        # The walk up is the one that comes back from a page further down.
        is_first = not (before or after)
        found = find(
            query, before=after, after=before or ("0" if is_first else ""), size=size,
            seconds=seconds, wanted=wanted,
        )  # fmt: skip
        found.traces.reverse()
        found.older, found.newer = found.newer, "" if is_first else found.older
        return found
    return _find(
        query, Trace.objects.all(), before=before, after=after, size=size, seconds=seconds,
        wanted=wanted, order=order,
    )  # fmt: skip


@asked
def sample(query: Query, size: int, seconds: float, *, mine: bool) -> Found:
    """Return the newest traces that fit *query*, for a chart.

    Args:
        query: What they must fit.
        size: How many.
        seconds: How long to search.
        mine: Only those that are mine.
    """
    # The few names are read once and shared: joined, each of the rows would get one of its own.
    rows = Trace.objects.select_related(None).prefetch_related("label")
    return _find(
        query, rows.filter(flag_is("mine", True)) if mine else rows, size=size, seconds=seconds
    )


def _find(
    query: Query,
    rows: TraceQuerySet,
    *,
    before: str = "",
    after: str = "",
    size: int,
    seconds: float | None,
    wanted: TraceSearch = ANY,
    order: str = "",
) -> Found:
    with deadlines.share(SEARCH_SHARE):
        answer = plan(query, wanted)
        is_sortable = answer.is_exact and not answer.search.asks_for_dispatches
        if answer.is_exact:
            page = rows.search(
                answer.search, before=before, after=after, size=size,
                seconds=seconds or PAGE_SECONDS, order=order if is_sortable else "",
            )  # fmt: skip
            return Found(
                summaries(page.traces), page.older, page.newer, page.complete, hidden=page.hidden,
                hidden_more=page.hidden_more, is_sortable=is_sortable,
            )  # fmt: skip
        search = _SpanSearch(query, answer, rows, before=before, after=after)
        found = search.page(size, time.monotonic() + (seconds or SPANS_SECONDS))
        found.is_sortable = False
        return found


class _SpanSearch:
    """A search that reads the spans of each trace the store finds."""

    def __init__(
        self, query: Query, answer: Plan, traces: TraceQuerySet, *, before: str, after: str
    ) -> None:
        self.wanted = answer.search
        self.traces = traces
        self.matcher = Matcher(query)
        self.backwards = bool(after)
        self.cursor = after or before

    def page(self, size: int, deadline: float) -> Found:
        """Return *size* traces or some more, before *deadline* (monotonic)."""
        found = Found()
        batch, is_first = min(size, _FIRST_BATCH), True
        while True:
            begun = time.monotonic()
            page = None
            try:
                page = self._candidates(batch, deadline)
                fitting = summaries(self.matcher.fitting(page.traces))
            except DatabaseError:
                is_one = page is not None and len(page.traces) == 1
                if not deadlines.is_over() or (is_first and not is_one):
                    raise
                found.complete = False
                if not is_first or page is None:
                    break
                # The search goes on behind it, or it would never come any further.
                found.left_out, fitting = summaries(page.traces), []
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


def _readable(rows: Sequence[Trace]) -> int:
    """Return how many of *rows* are read in one go: at least one."""
    dispatches = 0
    for place, row in enumerate(rows):
        dispatches += row.dispatch_count
        if place and dispatches > _MOST_DISPATCHES:
            return place
    return len(rows)


@asked
def fitting_newer(
    query: Query, row_id: int, size: int = 100, *, mine: bool = False
) -> tuple[list[TraceSummary], int]:
    """Return what was recorded after a row and fits, and the last row id.

    Only those that are *mine*, if that is wanted.
    """
    rows = Trace.objects.newer_than(row_id, size)
    if not is_of_trace(query):
        # What is not read now is read when the page asks again.
        rows = rows[: _readable(rows)]
    last = rows[-1].pk if rows else row_id
    rows = [row for row in rows if row.mine or not mine]
    with deadlines.share(SEARCH_SHARE):
        try:
            return summaries(Matcher(query).fitting(rows)[::-1]), last
        except DatabaseError:
            # One that takes all the time is passed: else the list would wait for it for ever.
            if not deadlines.is_over() or len(rows) > 1:
                raise
            return [], last


def and_also(query: Query, *others: Query) -> Query:
    """Return the query that *query* and all of *others* fit."""
    parts: list[Query] = []
    for one in (query, *others):
        if isinstance(one, And) and not one.is_group:
            parts += one.parts
        else:
            parts.append(one)
    return parts[0] if len(parts) == 1 else And(tuple(parts))
