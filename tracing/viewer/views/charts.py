"""The charts above the list: how many traces when, and how long each took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.urls import reverse

from tracing.analysis.mine import NONE_OF_MINE
from tracing.clocks import time
from tracing.presentation import charts
from tracing.presentation.documents import fields_of
from tracing.search.query import EVERYTHING, And, Term, terms
from tracing.spans.summary import summary_document
from tracing.store import traces
from tracing.store.finding import sample
from tracing.units import plural
from tracing.viewer.views.base import Page
from tracing.viewer.views.traces import Search, read_search

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

    from tracing.spans.summary import TraceSummary

SAMPLE: Final = 1_000
"""The newest matches that are drawn."""
SECONDS: Final = 0.07
"""How long they may be looked for."""


class Charts(Page):
    """A histogram over time and a scatter of durations, for a search."""

    template_name = "tracing/charts.html"
    section = "traces"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the charts: alone for htmx, as a page, or as JSON."""
        search = read_search(request.GET)
        data = self.data(search)
        if self.wants_json:
            columns = [
                fields_of(column, "since_ns", "until_ns", "count", "failed")
                for column in data["columns"]
            ]
            found = [summary_document(point.row) for point in data["scatter"].points]
            return self.json({"columns": columns, "traces": found, "complete": data["complete"]})
        template = "tracing/includes/charts.html" if self.wants_part else ""
        return self.page(data, template)

    def data(self, search: Search) -> dict[str, Any]:
        """Return both charts."""
        everything = self.everything
        found, heading = sample(search.query, SAMPLE, SECONDS, mine=not everything), ""
        if found.complete and not (found.traces or everything):
            # As the list does: where nothing is mine, all of it.
            found = sample(search.query, SAMPLE, SECONDS, mine=False)
            everything, heading = True, NONE_OF_MINE if found.traces else ""
        rows = found.traces[:SAMPLE]
        moments = [row.started_ns for row in rows]
        is_whole = not found.older and len(rows) < SAMPLE
        if not moments:
            return {
                "search": search,
                "columns": [],
                "scatter": charts.Scatter(),
                "caption": "",
                "complete": found.complete,
                "is_empty_store": search.is_everything and traces.is_empty(),
            }
        if _only_time(search) and not is_whole and everything:
            columns, caption = self._counted(search)
        else:
            marks = charts.edges(min(moments), max(moments))
            failed = [row.started_ns for row in rows if row.failed]
            columns = charts.columns(
                marks, charts.count_between(marks, moments), charts.count_between(marks, failed)
            )
            caption = plural(len(rows), "trace")
            if not is_whole:
                caption = f"the newest {caption} that fit"
        return {
            "search": search,
            "columns": columns,
            "caption": caption,
            "heading": heading,
            "complete": found.complete,
            "scatter": charts.scatter(rows, min(moments), max(moments), _addresses()),
            "sample": plural(len(rows), "trace")
            if is_whole
            else f"newest {plural(len(rows), 'trace')}",
            "first_ns": columns[0].since_ns if columns else 0,
            "last_ns": columns[-1].until_ns if columns else 0,
            "scatter_first_ns": min(moments),
            "scatter_last_ns": max(moments),
        }

    def _counted(self, search: Search) -> tuple[list[charts.Column], str]:
        """Return columns that count all traces of the time, by its index."""
        low = max((t.number for t in terms(search.query) if t.key.name == "since"), default=None)
        high = min((t.number for t in terms(search.query) if t.key.name == "until"), default=None)
        if low is None:
            low = traces.oldest_ns() or 0
        if high is None:
            high = time.time_ns()
        marks = charts.edges(low, max(high, low + 1))
        counts = traces.started_between(marks)
        failed = charts.count_between(marks, traces.failed_starts())
        columns = charts.columns(marks, counts, failed)
        return columns, f"all {plural(sum(counts), 'trace')}"


def _addresses() -> Callable[[TraceSummary], str]:
    """Return a function for the addresses of traces, which resolves once."""
    placeholder = f"{'0' * 32}/{'0' * 16}"
    before, _, after = reverse("tracing:trace", args=[placeholder]).rpartition(placeholder)
    return lambda row: f"{before}{row.address}{after}"


def _only_time(search: Search) -> bool:
    """Return whether nothing but the time limits the search."""
    if search.query == EVERYTHING:
        return True
    parts = search.query.parts if isinstance(search.query, And) else (search.query,)
    return all(isinstance(part, Term) and part.key.name in {"since", "until"} for part in parts)
