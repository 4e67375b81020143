"""One trace: tree, flame graph, table, receivers, hazards, log, spans."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from msgspec.structs import replace

from tracing.analysis import tree
from tracing.analysis.index import Index, Span, lost_receivers, only, status_word, walk
from tracing.analysis.mine import beside_tree, spans_of_mine, view_of
from tracing.analysis.notes import notes
from tracing.analysis.totals import totals
from tracing.presentation.application_log import application_lines_of, remarks
from tracing.presentation.colours import apps_of, legend_of
from tracing.presentation.columns import COLUMNS
from tracing.presentation.links import Links
from tracing.presentation.receivers import hidden_receivers, receivers_of
from tracing.presentation.rows import MAX_LEVEL, MAX_ROWS, Tree, ticks
from tracing.presentation.task_links import task_document, told_tasks
from tracing.search.parser import quoted
from tracing.spans.codec import document, lines
from tracing.spans.escapes import json_text
from tracing.spans.summary import summary_document
from tracing.store import traces
from tracing.store.matching import matching_calls
from tracing.store.redirects import redirected_from, redirected_to
from tracing.store.task_links import task_links
from tracing.viewer.access import Permission
from tracing.viewer.forms import NoteForm
from tracing.viewer.minimap import minimap
from tracing.viewer.tabs import FLAME_ROW, TABLE_ORDERS, WHOLE, FlameBox, Statement, tab_document
from tracing.viewer.views.base import Page, sortable, whole_number
from tracing.viewer.views.traces import list_address, read_search

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from tracing.spans import records
    from tracing.spans.summary import TraceSummary

TABS: Final = {
    "tree": "Tree",
    "flame": "Flame graph",
    "table": "Table",
    "receivers": "Receivers",
    "sql": "SQL",
    "hazards": "Hazards",
    "log": "Log lines",
    "json": "JSON",
}
TABS_OF_EVERYTHING: Final = frozenset({"hazards", "log", "json"})
"""Tabs in which nothing is hidden."""
PAGE_LINES: Final = 200
"""Lines of a table or of unfolded repetitions on one page."""
MAX_LOG_LINES: Final = 2_000
MAX_JSON: Final = 200
"""Dispatches in the JSON that is shown on the page; its address gives all."""
MAX_JSON_TEXT: Final = 200_000
MAX_BOXES: Final = 3_000
"""Boxes of a flame graph; the smallest are left out first."""


MAX_OTHERS: Final = 50
"""Traces with one id that are listed to choose from; the list of traces has all."""
MAX_OTHERS_NAMED: Final = 5
"""Of them, those that the head of a page names."""


class SeveralTracesError(Exception):
    """An id names several traces."""

    def __init__(self, rows: list[TraceSummary]) -> None:
        super().__init__()
        self.rows = rows


class TracePage(Page):
    """The common parts of a trace's pages: its finding, and its head."""

    section = "traces"

    def answer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer *request*; offer a choice where an id names several traces."""
        try:
            return super().answer(request, *args, **kwargs)
        except SeveralTracesError as several:
            rows = several.rows
        except traces.NotStoredError as error:
            raise Http404(str(error)) from None
        if self.wants_json:
            return self.json({"traces": [summary_document(row) for row in rows]}, status=300)
        trace_id = rows[0].trace_id
        context = {"rows": rows, "trace_id": trace_id, "all": list_address(f"trace:{trace_id}")}
        return self.page(context, "tracing/choice.html")

    def row(self, address: str) -> TraceSummary:
        """Return the row of the trace that *address* names, or of ``?row=``.

        Raises:
            SeveralTracesError: It is a trace id that several traces share.
        """
        rows = traces.called(address, MAX_OTHERS)
        if not rows:
            raise Http404(f"No trace {address} is stored.")
        wanted = self.request.GET.get("row", "")
        rows = [row for row in rows if str(row.row) == wanted] or rows
        if len(rows) > 1:
            raise SeveralTracesError(rows)
        return rows[0]

    def facts(self, row: TraceSummary, trace: records.Trace, tab: str) -> dict[str, Any]:
        """Return what the head of the page shows."""
        return {
            "row": row,
            "trace": trace,
            "tabs": [
                {"name": name, "title": title, "count": self._count(trace, name)}
                for name, title in TABS.items()
            ],
            "tab": tab,
            "others": traces.sharing_id(row, MAX_OTHERS_NAMED),
            "status_word": status_word(trace),
            "links": Links(row.address),
            **self._parent(trace),
            "same_name": list_address(f"name={quoted(trace.name)}"),
            "before_it": traces.before(row),
            "redirected_from": redirected_from(row),
            "redirected_to": redirected_to(row),
            "tasks": told_tasks(task_links(trace)),
        }

    @staticmethod
    def _parent(trace: records.Trace) -> dict[str, Any]:
        """Return the trace in which *trace* was opened, or how many it may be."""
        if not trace.parent_trace_id:
            return {}
        found = traces.called(f"{trace.parent_trace_id}/{trace.parent_span_id}", 1)
        if not found and trace.parent_trace_id != trace.trace_id:
            found = traces.called(trace.parent_trace_id, MAX_OTHERS)
        return {"parent": found[0]} if len(found) == 1 else {"parents": len(found)}

    @staticmethod
    def _count(trace: records.Trace, tab: str) -> int | None:
        return {"hazards": len(trace.hazards), "sql": trace.query_count}.get(tab)


class TraceDetail(TracePage):
    """One trace, as one of its tabs."""

    template_name = "tracing/trace.html"

    def get(self, _request: HttpRequest, address: str, tab: str = "tree") -> HttpResponse:
        """Return the tab *tab* of the trace."""
        if tab not in TABS:
            raise Http404(f"There is no tab {tab}.")
        self.has_switch = tab not in TABS_OF_EVERYTHING
        row = self.row(address)
        trace = traces.load(row)
        if self.wants_json and tab in {"tree", "json"}:
            return self.json(document(trace) | {"tasks": task_document(task_links(trace))})
        data = getattr(self, f"_{tab}")(trace)
        if self.wants_json:
            return self.json(tab_document(tab, trace, data))
        if tab == "tree" and self.wants_part:
            return self.page(
                {"trace": trace, "links": Links(row.address), **data},
                "tracing/includes/tree_rows.html",
            )
        return self.page({**self.facts(row, trace, tab), **data})

    # -- Tabs

    def _tree(self, trace: records.Trace) -> dict[str, Any]:
        return tree_data(self.request, trace, everything=self.everything)

    def _flame(self, trace: records.Trace) -> dict[str, Any]:
        merged = self.request.GET.get("order") != "time"
        view = view_of(trace, everything=self.everything)
        boxes = tree.flame(trace, merged=merged, shown=view.shown)
        left_out = max(0, len(boxes) - MAX_BOXES)
        if left_out:
            boxes = sorted(boxes, key=lambda box: (-box.width, box.depth))[:MAX_BOXES]
        index, colours = Index(trace), apps_of(trace)
        height = max((box.depth for box in boxes), default=0) + 1
        return {
            "apps": legend_of(trace, view.shown),
            "boxes": [FlameBox.of(box, index, colours) for box in boxes],
            "flame_height": height * FLAME_ROW,
            "merged": merged,
            "left_out": left_out,
            "view": view,
            "hidden": view.note,
        }

    def _table(self, trace: records.Trace) -> dict[str, Any]:
        order = self.request.GET.get("order", "-self")
        if order.lstrip("-") not in TABLE_ORDERS:
            order = "-self"
        view = view_of(trace, everything=self.everything)
        rows = [(visit.span, visit.depth) for visit in walk(trace, view.shown)]
        by = TABLE_ORDERS[order.lstrip("-")]
        rows.sort(key=lambda row: by(row[0]), reverse=order.startswith("-"))
        start, spans = offset_of(self.request), Tree(trace, links=Links(trace.address))
        return {
            "rows": [spans.single(*row) for row in rows[start : start + PAGE_LINES]],
            "order": order,
            "columns": sortable({name: COLUMNS[name] for name in TABLE_ORDERS}, order).values(),
            "view": view,
            "hidden": view.note,
            "total": len(rows),
            "start": start,
            "first": start + 1,
            "last": min(start + PAGE_LINES, len(rows)),
            "next_start": start + PAGE_LINES if start + PAGE_LINES < len(rows) else None,
            "previous_start": max(start - PAGE_LINES, 0) if start else None,
        }

    def _receivers(self, trace: records.Trace) -> dict[str, Any]:
        view = view_of(trace, everything=self.everything)
        mine = spans_of_mine(trace) if view.only_mine else None
        receivers = receivers_of(trace, view.shown, mine)
        return {"view": view, "hidden": receivers.hidden, "receivers": receivers}

    def _sql(self, trace: records.Trace) -> dict[str, Any]:
        statements: dict[tuple[str, str], Statement] = {}
        view = view_of(trace, everything=self.everything)
        for dispatch in trace.dispatches:
            for call in only(dispatch.receiver_calls, view.shown):
                for sql, count, duration_ns in call.statements:
                    key = (call.receiver.name, sql)
                    found = statements.get(key)
                    if found is None:
                        found = statements[key] = Statement(call.receiver, sql, call.number)
                    found.count += count
                    found.duration_ns += duration_ns
                    found.calls += 1
        inside = sum(
            call.query_count for dispatch in trace.dispatches for call in dispatch.receiver_calls
        )
        everyone = sum(total.query_count > 0 for total in totals(trace))
        by_receiver = [total for total in totals(trace, view.shown) if total.query_count]
        return {
            "view": view,
            "hidden": hidden_receivers(everyone - len(by_receiver)),
            "by_receiver": sorted(by_receiver, key=lambda total: -total.query_ns),
            "statements": sorted(statements.values(), key=lambda found: -found.duration_ns)[:200],
            "inside": inside,
            "outside": max(0, trace.query_count - inside),
        }

    def _hazards(self, trace: records.Trace) -> dict[str, Any]:
        order = {"error": 0, "warning": 1, "info": 2}
        found = [
            sorted(hazards, key=lambda hazard: order.get(hazard.severity, 3))
            for hazards in (trace.hazards, trace.known_hazards)
        ]
        return {"hazards": found[0], "known_hazards": found[1]}

    def _log(self, trace: records.Trace) -> dict[str, Any]:
        found = islice(lines(trace), MAX_LOG_LINES)
        index, own = Index(trace), application_lines_of(trace)
        return {
            "log_lines": [line.decode() for _level, _event, line in found],
            "application": own,
            "remarks": remarks(own),
            "told_lines": [(line, index.span(line.number)) for line in own.lines],
        }

    def _json(self, trace: records.Trace) -> dict[str, Any]:
        text = json_text(document(trace, MAX_JSON), indent=2)
        return {
            "json_text": text[:MAX_JSON_TEXT],
            "json_cut": len(trace.dispatches) > MAX_JSON or len(text) > MAX_JSON_TEXT,
        }


def tree_data(
    request: HttpRequest,
    trace: records.Trace,
    *,
    everything: bool,
    opened: Span | None = None,
) -> dict[str, Any]:
    """Return the context of the tree tab, with *opened* always shown."""
    root = Index(trace).span(whole_number(request.GET.get("root")))
    view = view_of(trace, everything=everything, root=root, opened=opened)
    search = read_search(request.GET)
    matches = [] if search.is_everything else matching_calls(search.query, trace)
    drawn = Tree(
        trace,
        root=root,
        matches=matches,
        start=offset_of(request),
        max_rows=MAX_ROWS,
        max_level=MAX_LEVEL,
        shown=view.shown,
        links=Links(trace.address),
    )
    rows = drawn.rows()
    outside = [change for change in trace.connection_changes if change.parent_number is None]
    trace = replace(trace, connection_changes=outside)
    noted, hidden_notes = beside_tree(trace, view, "connection_changes")
    left, width = _zoom(request.GET.get("zoom", ""))
    return {
        "rows": rows,
        "apps": legend_of(trace, view.shown),
        "tree": drawn,
        "next_start": drawn.next_start,
        "first_line": drawn.start + 1,
        "last_line": drawn.start + len(rows),
        "previous_start": max(drawn.start - MAX_ROWS, 0) if drawn.start else None,
        "match_count": len(matches),
        "hidden_matches": sum(
            view.shown is not None and each not in view.shown for each in matches
        ),
        "view": view,
        "hidden": view.note,
        "search": search,
        "view_box": f"{left:g} 0 {width:g} 10",
        "zoom": f"{left:g}-{left + width:g}" if width < WHOLE else "",
        "minimap": [] if drawn.start else minimap(drawn, rows),
        "ticks": ticks(drawn.whole_ns),
        "noted": noted,
        "lost": lost_receivers(noted),
        "notes": notes(noted),
        "hidden_notes": hidden_notes,
        "root_span": root,
        "root_label": tree.label(root) if root is not None else "",
    }


def _zoom(text: str) -> tuple[float, float]:
    """Return offset and width in percent of ``20-35``; else of everything."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,4})?)-(\d{1,3}(?:\.\d{1,4})?)", text)
    if match is None:
        return 0, 100
    left, right = float(match[1]), float(match[2])
    return (left, right - left) if 0 <= left < right <= WHOLE else (0, WHOLE)


def offset_of(request: HttpRequest) -> int:
    """Return from which line on the page is asked for."""
    return whole_number(request.GET.get("start")) or 0


class Annotate(TracePage):
    """Pinning a trace and keeping a note about it."""

    changing: ClassVar[Permission] = Permission.ANNOTATE
    http_method_names = ["post"]

    def post(self, request: HttpRequest, address: str) -> HttpResponse:
        """Keep what the form says and go back to the trace."""
        row = self.row(address)
        form = NoteForm(request.POST)
        if form.is_valid():
            traces.annotate(row, **form.cleaned_data)
        if self.wants_json:
            return self.json(
                summary_document(self.row(address)), status=200 if form.is_valid() else 400
            )
        return HttpResponseRedirect(reverse("tracing:trace", args=[row.address]))
