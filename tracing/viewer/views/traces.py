"""The list of traces: search, filters, paging, charts of what was found, and new ones as they come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.urls import reverse

from tracing.analysis.mine import NONE_OF_MINE, hidden_text
from tracing.search.completion import Problem, place_at, problem_of
from tracing.search.parser import parse, quoted
from tracing.search.query import EVERYTHING, Query, QueryError
from tracing.store.documents import row_document
from tracing.store.finding import Found, and_also, complete, find, fitting_newer, unknown_names
from tracing.store.pages import PAGE_SIZE
from tracing.store.stored import all_traces
from tracing.units import plural
from tracing.viewer.forms import FilterForm
from tracing.viewer.views.base import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse, QueryDict

    from tracing.store.models import Trace

_STATE = ("q", *FilterForm.base_fields, "order")
COLUMNS: Final = {
    "time": "Time",
    "dispatches": "Dispatches",
    "queries": "Queries",
    "errors": "Errors",
    "hazards": "Hazards",
    "duration": "Duration",
}
"""What the list may be sorted by."""
NEWEST_FIRST: Final = "-time"
IN_TIME: Final = (
    "A search that looks into spans finds traces in the order of time: they are not sorted by"
)


@dataclass(slots=True)
class Search:
    """What the address of a list asks for."""

    text: str
    """The query as typed."""
    query: Query
    """All that must hold; of the last good query, if this one has a mistake."""
    form: FilterForm
    problem: Problem | None
    state: dict[str, str]
    """The parameters that say the same again."""
    order: str = NEWEST_FIRST
    """A key of ``COLUMNS``, with ``-`` for the largest or newest first."""

    @property
    def address(self) -> str:
        """Return the parameters as they stand in an address."""
        return urlencode(self.state)

    @property
    def is_everything(self) -> bool:
        """Return whether every trace fits."""
        return self.query == EVERYTHING and not self.problem


def read_search(given: QueryDict) -> Search:
    """Return the search that the parameters of an address ask for."""
    text = given.get("q", "").strip()
    form = FilterForm(given)
    now_ns = time.time_ns()
    problem = None
    try:
        query = parse(text, now_ns=now_ns)
    except QueryError as error:
        problem = problem_of(text, error)
        try:
            query = parse(given.get("last", ""), now_ns=now_ns)
        except QueryError:
            query = EVERYTHING
    conditions = form.conditions()
    state = {name: given.get(name, "") for name in _STATE if given.get(name, "")}
    order = given.get("order", "")
    if order.removeprefix("-") not in COLUMNS or order == NEWEST_FIRST:
        order = NEWEST_FIRST
        state.pop("order", None)
    whole = and_also(query, *conditions) if conditions else query
    return Search(text, whole, form, problem, state, order)


@dataclass(slots=True, frozen=True)
class ListLine:
    """One line of the list."""

    row: Trace
    bar: str
    """Percent of a duration that nine of ten on the page are shorter than."""
    is_over: bool
    """It is longer than the bar has room for."""


def list_lines(rows: Sequence[Trace]) -> list[ListLine]:
    """Return *rows* with bars for their durations.

    One command of minutes would leave every request without a bar that can be seen. So the bars
    have room for nine of ten, and what is longer is marked.
    """
    durations = sorted(row.duration_ns for row in rows)
    room = max(1, durations[len(durations) * 9 // 10] if durations else 1)
    return [
        ListLine(
            row,
            f"{min(max(row.duration_ns / room * 100, 0.5), 100):.2f}",
            is_over=row.duration_ns > room,
        )
        for row in rows
    ]


class TraceList(Page):
    """The traces that fit a search, newest first."""

    template_name = "tracing/traces.html"
    section = "traces"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the page, its results alone, or the same as JSON."""
        search = read_search(request.GET)
        size = min(_whole(request.GET.get("size"), PAGE_SIZE) or PAGE_SIZE, 500)
        if search.problem and self.wants_json:
            document = {
                "error": search.problem.message,
                "at": len(search.problem.before),
                "wrong": search.problem.wrong,
                "suggestion": search.problem.suggestion,
            }
            return self.json(document, status=400)
        if search.problem and self.wants_part:
            # The last good result stays: only the words about the mistake are replaced.
            response = self.page({"search": search}, "tracing/includes/problem.html")
            response["HX-Retarget"] = "#search-problem"
            response["HX-Reswap"] = "outerHTML"
            response["HX-Replace-Url"] = "false"
            return response
        found, heading = self.found(search, size)
        if self.wants_json:
            return self.json(self.document(found))
        context = {
            **self.data(search, found),
            "heading": heading,
            "shown": "everything" if heading or self.everything else "mine",
        }
        template = "tracing/includes/results.html" if self.wants_part else ""
        return self.page(context, template)

    def found(self, search: Search, size: int) -> tuple[Found, str]:
        """Return the page of traces, and a heading where nothing in it is mine but all was shown."""
        before, after = self.request.GET.get("before", ""), self.request.GET.get("after", "")
        mine = not self.everything
        order = "" if search.order == NEWEST_FIRST else search.order
        found = find(search.query, before=before, after=after, size=size, mine=mine, order=order)
        if not mine or found.traces or not found.complete or before or after:
            return found, ""
        found = find(search.query, size=size, order=order)
        return found, NONE_OF_MINE if found.traces else ""

    def document(self, found: Found) -> dict[str, Any]:
        """Return the page of traces as JSON."""
        return {
            "traces": [row_document(row) for row in found.traces],
            "older": found.older,
            "newer": found.newer,
            "complete": found.complete,
            "left_out": [row.trace_id for row in found.left_out],
        }

    def data(self, search: Search, found: Found) -> dict[str, Any]:
        """Return what the page shows."""
        is_first = not (self.request.GET.get("before") or self.request.GET.get("after"))
        hidden = ""
        if found.hidden is None:
            # Whether they fit would have to be looked for in the spans of each.
            hidden = "" if self.everything else "Traces that are not yours were not looked into"
        elif found.hidden or found.hidden_more:
            hidden = hidden_text(found.hidden, "trace", more=found.hidden_more)
        hints = [
            {
                "what": f"No {term.key.name} called “{term.value}” was recorded.",
                "suggestion": near,
                "address": urlencode(
                    {**search.state, **_corrected(search, term.key.name, term.value, near)}
                ),
            }
            for term, near in unknown_names(search.query)
        ]
        hints += [
            {
                "what": f"Not looked into: {row}, of {plural(row.dispatch_count, 'dispatch', 'dispatches')}."
            }
            for row in found.left_out
        ]
        name = search.order.lstrip("-")
        is_by_time = name == "time" or not found.is_sortable
        if is_by_time and name != "time":
            hints.append({"what": f"{IN_TIME} {COLUMNS[name].lower()}."})
        return {
            "search": search,
            "found": found,
            "columns": _columns(search.order if found.is_sortable or name == "time" else "-time"),
            "is_newest_first": is_by_time and search.order != "time",
            "lines": list_lines(found.traces),
            "hints": hints,
            "hidden": hidden,
            "is_first": is_first,
            "last_row": all_traces().last_row_id() if is_first else 0,
            "is_empty_store": not found.traces
            and search.is_everything
            and not all_traces().exists(),
            "examples": EXAMPLES,
        }


def _columns(order: str) -> dict[str, dict[str, str]]:
    """Return for each column by which the list may be sorted what its heading says and leads to."""
    return {
        name: {
            "title": title,
            "next": name if order == f"-{name}" else f"-{name}",
            "sorted": {f"-{name}": "descending", name: "ascending"}.get(order, "none"),
        }
        for name, title in COLUMNS.items()
    }


LONGEST_ID: Final = 18
"""Digits that surely fit into 64 bits."""
EXAMPLES = (
    ("outcome:raised", "a receiver raised"),
    ("duration>100ms", "slow"),
    ("queries>10", "much SQL"),
    ("hazards>0", "with hazards"),
    ("kind:command", "commands"),
    ("since:1h status:5xx", "server errors of the last hour"),
)


def _corrected(search: Search, name: str, value: str, near: str) -> dict[str, str]:
    """Return the parameters in which the unknown name is replaced by the near one."""
    if search.state.get(name) == value:
        return {name: near}
    return {"q": search.text.replace(f"{name}:{value}", f"{name}:{quoted(near)}")}


def _whole(text: str | None, default: int) -> int:
    is_whole = text and text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID
    return int(text) if text and is_whole else default


class Live(Page):
    """The traces recorded after a row: what the list asks for while it is live."""

    template_name = "tracing/includes/live.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the lines of the new traces, newest first, and where to go on."""
        search = read_search(request.GET)
        row = _whole(request.GET.get("row"), 0)
        rows, last = fitting_newer(search.query, row, mine=not self.everything)
        if self.wants_json:
            return self.json({"traces": [row_document(row) for row in rows], "row": last})
        return self.page({"search": search, "lines": list_lines(rows), "last_row": last})


class Complete(Page):
    """What may be typed at a place of a query."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the completions as JSON, and which part of the query each replaces."""
        text = request.GET.get("q", "")[:2_000].replace("\0", "")
        key = request.GET.get("key", "")
        if key:
            text = f"{key}:{text}"
        place = place_at(text, _whole(request.GET.get("at"), len(text)) if not key else len(text))
        return self.json(
            {
                "start": place.start,
                "end": place.end,
                "completions": [
                    {"text": found.text, "hint": found.hint} for found in complete(place)
                ],
            }
        )


def list_address(query: str) -> str:
    """Return the address of the list with a query."""
    return f"{reverse('tracing:traces')}?{urlencode({'q': query})}"
