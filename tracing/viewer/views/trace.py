"""One trace: its tree, flame graph, table, receivers, hazards, log lines, and each span."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tracing.analysis import tree
from tracing.analysis.mine import hidden_text, view_of
from tracing.analysis.notes import notes
from tracing.search.parser import quoted
from tracing.spans.codec import document, lines
from tracing.spans.escapes import json_text
from tracing.store.cache import load
from tracing.store.documents import row_document
from tracing.store.matching import matching_calls
from tracing.store.stored import all_traces
from tracing.viewer.access import Permission
from tracing.viewer.forms import NoteForm
from tracing.viewer.tab_documents import tab_document
from tracing.viewer.tab_rows import (
    FLAME_ROW,
    TABLE_COLUMNS,
    TABLE_ORDERS,
    WHOLE,
    FlameBox,
    Statement,
    TableRow,
)
from tracing.viewer.views.base import Page
from tracing.viewer.views.traces import list_address, read_search
from tracing.viewer.waterfall import COLOURS, MAX_LINES, Waterfall, apps_of, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from tracing.spans import records
    from tracing.store.models import Trace

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
MAX_CHANGES: Final = 200
"""Changes of receivers that are listed."""
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

    def __init__(self, rows: list[Trace]) -> None:
        super().__init__()
        self.rows = rows


class TracePage(Page):
    """What the pages of one trace share: finding it, and the facts at the top."""

    section = "traces"

    def answer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer *request*; if several traces share the id that it names, let it choose."""
        try:
            return super().answer(request, *args, **kwargs)
        except SeveralTracesError as several:
            rows = several.rows
        if self.wants_json:
            return self.json({"traces": [row_document(row) for row in rows]}, status=300)
        trace_id = rows[0].trace_id
        context = {"rows": rows, "trace_id": trace_id, "all": list_address(f"trace:{trace_id}")}
        return self.page(context, "tracing/choice.html")

    def row(self, address: str) -> Trace:
        """Return the row of the trace that *address* names, or of ``?row=``.

        Raises:
            SeveralTracesError: It is a trace id that several traces share.
        """
        rows = list(all_traces().called(address).order_by("-id")[:MAX_OTHERS])
        if not rows:
            raise Http404(f"No trace {address} is stored.")
        wanted = self.request.GET.get("row", "")
        rows = [row for row in rows if str(row.pk) == wanted] or rows
        if len(rows) > 1:
            raise SeveralTracesError(rows)
        return rows[0]

    def facts(self, row: Trace, trace: records.Trace, tab: str) -> dict[str, Any]:
        """Return what the head of the page shows."""
        return {
            "row": row,
            "trace": trace,
            "tabs": [
                {"name": name, "title": title, "count": self._count(trace, name)}
                for name, title in TABS.items()
            ],
            "tab": tab,
            "others": all_traces()
            .with_trace_id(row.trace_id)
            .exclude(pk=row.pk)
            .order_by("-id")[:MAX_OTHERS_NAMED],
            "status_word": tree.status_word(trace),
            "apps": [pair for pair in apps_of(trace).items() if pair[0]][: COLOURS * 2],
            **self._parent(trace),
            "same_name": list_address(f"name={quoted(trace.name)}"),
            "before_it": self._before(row),
        }

    @staticmethod
    def _parent(trace: records.Trace) -> dict[str, Any]:
        """Return the trace in which *trace* was opened, or how many it may be."""
        if not trace.parent_trace_id:
            return {}
        rows = all_traces().with_trace_id(trace.parent_trace_id)
        exact = rows.filter(root_span_id=trace.parent_span_id).first()
        if exact is not None:
            return {"parent": exact}
        found = list(rows[:MAX_OTHERS])
        return {"parent": found[0]} if len(found) == 1 else {"parents": len(found)}

    @staticmethod
    def _count(trace: records.Trace, tab: str) -> int | None:
        return {"hazards": len(trace.hazards), "sql": trace.query_count}.get(tab)

    @staticmethod
    def _before(row: Trace) -> Trace | None:
        """Return the trace of the same name before this one: the nearest to compare it with."""
        return all_traces().filter(label=row.label_id, pk__lt=row.pk).order_by("-pk").first()


class TraceDetail(TracePage):
    """One trace, as one of its tabs."""

    template_name = "tracing/trace.html"

    def get(self, _request: HttpRequest, address: str, tab: str = "tree") -> HttpResponse:
        """Return the tab *tab* of the trace."""
        if tab not in TABS:
            raise Http404(f"There is no tab {tab}.")
        self.has_switch = tab not in TABS_OF_EVERYTHING
        row = self.row(address)
        trace = load(row)
        if self.wants_json and tab in {"tree", "json"}:
            return self.json(document(trace))
        data = getattr(self, f"_{tab}")(trace)
        if self.wants_json:
            return self.json(tab_document(tab, trace, data))
        if tab == "tree" and self.wants_part:
            return self.page({"trace": trace, **data}, "tracing/includes/tree_rows.html")
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
        index, colours = tree.Index(trace), apps_of(trace)
        height = max((box.depth for box in boxes), default=0) + 1
        return {
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
        rows = [(visit.span, visit.depth) for visit in tree.walk(trace, view.shown)]
        by = TABLE_ORDERS[order.lstrip("-")]
        rows.sort(key=lambda row: by(row[0]), reverse=order.startswith("-"))
        start = offset_of(self.request)
        return {
            "table": [TableRow.of(*row) for row in rows[start : start + PAGE_LINES]],
            "order": order,
            "columns": [
                {
                    "name": name,
                    "title": title,
                    "next": name if order == f"-{name}" else f"-{name}",
                    "sorted": {f"-{name}": "descending", name: "ascending"}.get(order, "none"),
                }
                for name, title in TABLE_COLUMNS
            ],
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
        view, colours = view_of(trace, everything=self.everything), apps_of(trace)
        totals = tree.totals(trace, view.shown)
        called = [total for total in totals if total.calls]
        skipped = [total for total in totals if total.skipped_count]
        bypassed: dict[str, dict[str, Any]] = {}
        for bypass in trace.bypasses:
            for receiver in bypass.receivers:
                entry = bypassed.setdefault(receiver.name, {"receiver": receiver, "bypasses": []})
                entry["bypasses"].append(bypass)
        return {
            "view": view,
            "hidden": _hidden_receivers(tree.totals(trace), totals),
            "called": [
                {
                    "total": total,
                    "colour": colours.get(total.app, 0),
                    "share": f"{total.share * 100:.2f}",
                }
                for total in called
            ],
            "skipped": skipped,
            "bypassed": list(bypassed.values()),
            "lost": tree.lost_receivers(trace),
            "notes": notes(trace),
            "changes": _changes(trace)[:MAX_CHANGES],
            "changes_left_out": max(0, len(trace.connection_changes) - MAX_CHANGES),
            "unheard": sorted(trace.unheard, key=lambda entry: (-entry[2], entry[0], entry[1])),
        }

    def _sql(self, trace: records.Trace) -> dict[str, Any]:
        statements: dict[tuple[str, str], Statement] = {}
        view = view_of(trace, everything=self.everything)
        for dispatch in trace.dispatches:
            for call in tree.only(dispatch.receiver_calls, view.shown):
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
        everyone = [total for total in tree.totals(trace) if total.query_count]
        by_receiver = [total for total in tree.totals(trace, view.shown) if total.query_count]
        return {
            "view": view,
            "hidden": _hidden_receivers(everyone, by_receiver),
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
        return {"log_lines": [line.decode() for _level, _event, line in found]}

    def _json(self, trace: records.Trace) -> dict[str, Any]:
        text = json_text(document(trace, MAX_JSON), indent=2)
        return {
            "json_text": text[:MAX_JSON_TEXT],
            "json_cut": len(trace.dispatches) > MAX_JSON or len(text) > MAX_JSON_TEXT,
        }


def _hidden_receivers(everyone: Sequence[object], shown: Sequence[object]) -> str:
    """Return how many receivers are hidden, in one line; empty if none is."""
    count = len(everyone) - len(shown)
    return hidden_text(count, "receiver") if count else ""


def tree_data(
    request: HttpRequest,
    trace: records.Trace,
    *,
    everything: bool,
    opened: tree.Span | None = None,
) -> dict[str, Any]:
    """Return the tree of *trace* as its tab shows it, or only what is mine and the span *opened*."""
    root = tree.Index(trace).span(whole_number(request.GET.get("root")))
    view = view_of(trace, everything=everything, root=root, opened=opened)
    search = read_search(request.GET)
    matches = [] if search.is_everything else matching_calls(search.query, trace)
    waterfall = Waterfall(
        trace,
        root=root,
        matches=matches,
        start=offset_of(request),
        shown=view.shown,
    )
    lines = waterfall.lines()
    left, width = _zoom(request.GET.get("zoom", ""))
    return {
        "lines": lines,
        "waterfall": waterfall,
        "next_start": waterfall.next_start,
        "first_line": waterfall.start + 1,
        "last_line": waterfall.start + len(lines),
        "previous_start": max(waterfall.start - MAX_LINES, 0) if waterfall.start else None,
        "match_count": len(matches),
        "hidden_matches": sum(
            view.shown is not None and each not in view.shown for each in matches
        ),
        "view": view,
        "hidden": view.note,
        "search": search,
        "view_box": f"{left:g} 0 {width:g} 10",
        "zoom": f"{left:g}-{left + width:g}" if width < WHOLE else "",
        "minimap": [] if waterfall.start else waterfall.minimap(lines),
        "ticks": ticks(waterfall.whole_ns),
        "lost": tree.lost_receivers(trace),
        "notes": notes(trace),
        "outside_changes": [
            change for change in trace.connection_changes if change.parent_number is None
        ],
        "root_span": waterfall.root,
        "root_label": tree.label(waterfall.root) if waterfall.root is not None else "",
    }


def _changes(trace: records.Trace) -> list[dict[str, Any]]:
    """Return the changes of receivers in order of time, each with the receiver that made it."""
    index = tree.Index(trace)
    found = []
    for change in sorted(trace.connection_changes, key=lambda change: change.start_ns):
        span = index.span(change.parent_number)
        found.append({"change": change, "label": tree.label(span) if span is not None else ""})
    return found


def _zoom(text: str) -> tuple[float, float]:
    """Return offset and width in percent out of ``20-35``; everything if it says no range."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,4})?)-(\d{1,3}(?:\.\d{1,4})?)", text)
    if match is None:
        return 0, 100
    left, right = float(match[1]), float(match[2])
    return (left, right - left) if 0 <= left < right <= WHOLE else (0, WHOLE)


def whole_number(text: str | None) -> int | None:
    """Return the number that *text* of an address is; None if it is none."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,12}", text) else None


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
            all_traces().filter(pk=row.pk).update(**form.cleaned_data)
        if self.wants_json:
            return self.json(
                row_document(self.row(address)), status=200 if form.is_valid() else 400
            )
        return HttpResponseRedirect(reverse("tracing:trace", args=[row.address]))
