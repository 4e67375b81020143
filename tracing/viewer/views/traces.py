"""The list of traces: search, filters, pages, charts, live ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.urls import reverse

from tracing.analysis.mine import NONE_OF_MINE, hidden_text
from tracing.clocks import time
from tracing.presentation.documents import fields_of
from tracing.search.completion import Problem, place_at, problem_of
from tracing.search.parser import parse, quoted
from tracing.search.query import EVERYTHING, Query, QueryError
from tracing.spans.summary import summary_document
from tracing.store import traces
from tracing.store.finding import Found, and_also, find, fitting_newer
from tracing.store.pages import TraceSearch
from tracing.store.redirects import grouped
from tracing.store.suggestions import complete, unknown_names, unknown_words
from tracing.units import plural
from tracing.viewer.forms import FilterForm
from tracing.viewer.views.base import Page, sortable, whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse, QueryDict

    from tracing.spans.summary import TraceSummary

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
PAGE_SIZE: Final = 50
"""Traces on a page, unless the address says otherwise."""
MOST_PARTS: Final = 12
"""Parts of a page that the script asks for by itself, each with the time of a page."""
PARTS_HEADER: Final = "X-Search-Parts"
"""In a request for the next part: how many there are, and the traces found in them (``2 14``)."""
IN_TIME: Final = (
    "A search that looks into spans finds traces in the order of time: they are not sorted by"
)


@dataclass(slots=True)
class Search:
    """The search in the address of a list."""

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

    row: TraceSummary
    bar: str
    """Percent of a duration that nine of ten on the page are shorter than."""
    is_over: bool
    """It is longer than the bar has room for."""
    is_source: bool = False
    """Its redirect led to the request of the line above."""


def list_lines(rows: Sequence[TraceSummary], *, newest_first: bool = True) -> list[ListLine]:
    """Return *rows* as lines with bars of their durations.

    Newest first, a redirect stands below the request it led to.

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
            is_source=is_source,
        )
        for row, is_source in (grouped(rows) if newest_first else [(row, False) for row in rows])
    ]


class TraceList(Page):
    """The traces that fit a search, newest first."""

    template_name = "tracing/traces.html"
    section = "traces"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the page, its results alone, or the same as JSON."""
        search = read_search(request.GET)
        size = min(whole_number(request.GET.get("size")) or PAGE_SIZE, 500)
        parts, shown = self._parts_before()
        size = max(size - shown, 1)
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
            "parts": parts + 1,
            "in_parts": shown + len(found.traces),
            "goes_on": bool(
                not found.complete
                and found.older
                and parts + 1 < MOST_PARTS
                and not request.GET.get("after")
            ),
        }
        if not self.wants_part:
            return self.page(context)
        # Nothing found before: there is no table yet to which the next part could add.
        name = "more" if shown else "results"
        return self.page(context, f"tracing/includes/{name}.html")

    def _parts_before(self) -> tuple[int, int]:
        """Return how many parts of the page there are, and their traces."""
        if not self.wants_part:
            return 0, 0
        parts, _, shown = self.request.headers.get(PARTS_HEADER, "").partition(" ")
        return whole_number(parts) or 0, min(whole_number(shown) or 0, 500)

    def found(self, search: Search, size: int) -> tuple[Found, str]:
        """Return a page of traces, and a heading if everything was shown."""
        before, after = self.request.GET.get("before", ""), self.request.GET.get("after", "")
        mine = not self.everything
        order = "" if search.order == NEWEST_FIRST else search.order
        found = find(
            search.query, before=before, after=after, size=size, wanted=TraceSearch(mine=mine),
            order=order,
        )  # fmt: skip
        if not mine or found.traces or not found.complete or before or after:
            return found, ""
        found = find(search.query, size=size, order=order)
        return found, NONE_OF_MINE if found.traces else ""

    def document(self, found: Found) -> dict[str, Any]:
        """Return the page of traces as JSON."""
        return {
            "traces": [summary_document(row) for row in found.traces],
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
        hints = [] if found.traces else _word_hints(search)
        hints += [
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
        is_newest_first = is_by_time and search.order != "time"
        if is_by_time and name != "time":
            hints.append({"what": f"{IN_TIME} {COLUMNS[name].lower()}."})
        return {
            "search": search,
            "found": found,
            "columns": sortable(
                COLUMNS, search.order if found.is_sortable or name == "time" else "-time"
            ),
            "is_newest_first": is_newest_first,
            "lines": list_lines(found.traces, newest_first=is_newest_first),
            "hints": hints,
            "hidden": hidden,
            "is_first": is_first,
            "last_row": traces.last_row() if is_first else 0,
            "is_empty_store": not found.traces and search.is_everything and traces.is_empty(),
            "examples": EXAMPLES,
        }


EXAMPLES = (
    ("outcome:raised", "a receiver raised"),
    ("duration>100ms", "slow"),
    ("queries>10", "much SQL"),
    ("hazards>0", "with hazards"),
    ("kind:command", "commands"),
    ("since:1h status:5xx", "server errors of the last hour"),
)


def _word_hints(search: Search) -> list[dict[str, str]]:
    """Return what there is to say of plain words that no name holds."""
    return [
        {
            "what": f"No name that was recorded holds “{word}”; paths were looked into.",
            "suggestion": near,
            "address": urlencode({**search.state, "q": search.text.replace(word, near)}),
        }
        for word, near in unknown_words(search.query)
    ]


def _corrected(search: Search, name: str, value: str, near: str) -> dict[str, str]:
    """Return the parameters with the near name in place of the unknown."""
    if search.state.get(name) == value:
        return {name: near}
    return {"q": search.text.replace(f"{name}:{value}", f"{name}:{quoted(near)}")}


class Live(Page):
    """The traces recorded after a row, for a list that is live."""

    template_name = "tracing/includes/live.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the lines of the new traces, newest first, and where to go on."""
        search = read_search(request.GET)
        row = whole_number(request.GET.get("row")) or 0
        rows, last = fitting_newer(search.query, row, mine=not self.everything)
        if self.wants_json:
            return self.json({"traces": [summary_document(row) for row in rows], "row": last})
        return self.page({"search": search, "lines": list_lines(rows), "last_row": last})


class Complete(Page):
    """The completions at a place of a query."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the completions as JSON, with the range they replace."""
        text = request.GET.get("q", "")[:2_000].replace("\0", "")
        key = request.GET.get("key", "")
        if key:
            text = f"{key}:{text}"
        at = None if key else whole_number(request.GET.get("at"))
        place = place_at(text, len(text) if at is None else at)
        return self.json(
            {
                "start": place.start,
                "end": place.end,
                "completions": [fields_of(found, "text", "hint") for found in complete(place)],
            }
        )


def list_address(query: str) -> str:
    """Return the address of the list with a query."""
    return f"{reverse('tracing:traces')}?{urlencode({'q': query})}"
