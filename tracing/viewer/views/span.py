"""One span of a trace: its fields, and the repetitions folded into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import Http404, HttpResponse

from tracing.analysis import tree
from tracing.analysis.index import Index, Span, failed
from tracing.analysis.mine import view_of
from tracing.analysis.why import why
from tracing.presentation.documents import fields_of
from tracing.presentation.links import Links
from tracing.presentation.rows import Tree, source_of
from tracing.presentation.span_fields import dispatch_fields, linked, span_fields
from tracing.search.parser import quoted
from tracing.spans.codec import call_document, dispatch_document
from tracing.spans.records import Dispatch, Outcome, ReceiverCall, span_id
from tracing.store import traces
from tracing.viewer.access import Permission
from tracing.viewer.source import source_lines
from tracing.viewer.views.base import whole_number
from tracing.viewer.views.trace import PAGE_LINES, TracePage, offset_of, tree_data
from tracing.viewer.views.traces import list_address

if TYPE_CHECKING:
    from django.http import HttpRequest

    from tracing.spans import records
    from tracing.spans.summary import TraceSummary


class SpanDetail(TracePage):
    """A dispatch or receiver call, beside the tree or as a page."""

    template_name = "tracing/trace.html"
    has_switch = True

    def get(self, request: HttpRequest, address: str, number: int) -> HttpResponse:
        """Return everything known about the span *number*."""
        row = self.row(address)
        trace = traces.load(row)
        index = Index(trace)
        span = index.span(number)
        if span is None:
            raise Http404(f"The trace has no span {number}.")
        if self.wants_json:
            document = (
                dispatch_document(trace, span)
                if isinstance(span, Dispatch)
                else call_document(trace, span)
            )
            document["why"] = [step.sentence for step in why(trace, number)]
            return self.json(document)
        panel = self._panel(row, trace, index, span)
        if self.wants_part:
            return self.page(panel, "tracing/includes/span.html")
        return self.page(
            {
                **self.facts(row, trace, "tree"),
                **tree_data(request, trace, everything=self.everything, opened=span),
                **panel,
                "open": True,
            }
        )

    def _panel(
        self, row: TraceSummary, trace: records.Trace, index: Index, span: Span
    ) -> dict[str, Any]:
        call = span if isinstance(span, ReceiverCall) else None
        dispatch = index.dispatch_of(span) if isinstance(span, ReceiverCall) else span
        fields = [*span_fields(index, span)]
        if call is not None:
            fields += dispatch_fields(trace, dispatch)
        links, shows_source = Links(row.address), self.may(Permission.SOURCE)
        return {
            "row": row,
            "trace": trace,
            "span": span,
            "call": call,
            "dispatch": dispatch,
            "span_label": tree.label(span),
            "span_id": span_id(trace.root_span_id, span.number),
            "fields": linked(fields, links),
            "links": links,
            "source": source_lines(*source_of(span)) if shows_source else [],
            "shows_source": shows_source,
            "steps": why(trace, span.number),
            "span_hazards": [found for found in trace.hazards if span.number in found.numbers],
            "changes": [
                change for change in trace.connection_changes if change.parent_number == span.number
            ][:50],
            "effects": [
                effect for effect in trace.side_effects if effect.parent_number == span.number
            ],
            "children": [
                {"span": child, "label": tree.label(child), "failed": failed(child)}
                for child in index.below(span)[:50]
            ],
            "nests": call is not None and bool(index.below(call)),
            "siblings": _siblings(dispatch, span),
            "same_receiver": list_address(f"receiver={quoted(call.receiver.name)}") if call else "",
            "same_dispatch": list_address(
                f"signal={quoted(dispatch.signal)} sender={quoted(dispatch.sender)}"
            ),
            "was_called": call is not None and call.outcome is not Outcome.SKIPPED,
        }


def _siblings(dispatch: Dispatch, span: Span) -> dict[str, int | None]:
    """Return the numbers of the calls before and after *span*."""
    if isinstance(span, Dispatch):
        return {"before": None, "after": None}
    numbers = [call.number for call in dispatch.receiver_calls]
    at = numbers.index(span.number)
    return {
        "before": numbers[at - 1] if at else None,
        "after": numbers[at + 1] if at + 1 < len(numbers) else None,
    }


class Repetitions(TracePage):
    """The single spans of a folded line."""

    template_name = "tracing/repetitions.html"

    def get(self, request: HttpRequest, address: str, number: int) -> HttpResponse:
        """Return a page of the spans folded into the line *number*."""
        row = self.row(address)
        trace = traces.load(row)
        root = Index(trace).span(whole_number(request.GET.get("root")))
        shown = view_of(trace, everything=self.everything, root=root).shown
        drawn = Tree(trace, root=root, shown=shown, links=Links(trace.address))
        # Without cookies a page of everything asks here for what is mine.
        node = drawn.repeated(number) or Tree(trace, root=root).repeated(number)
        if node is None:
            raise Http404(f"The trace has no line {number}.")
        start = offset_of(request)
        numbers = node.numbers[start : start + PAGE_LINES]
        spans_here = [span for one in numbers if (span := drawn.index.span(one)) is not None]
        if self.wants_json:
            fields = ("number", "start_ns", "duration_ns", "query_count")
            spans = [fields_of(span, *fields) for span in spans_here]
            return self.json({**fields_of(node, "label", "count"), "start": start, "spans": spans})
        context = {
            "node": node,
            "number": number,
            "level": whole_number(request.GET.get("level")) or 1,
            "start": start,
            "last": min(start + PAGE_LINES, node.count),
            "next_start": start + PAGE_LINES if start + PAGE_LINES < node.count else None,
            "rows": [drawn.single(span) for span in spans_here],
            "row": row,
            "trace": trace,
            "view_box": "0 0 100 10",
        }
        if self.wants_part:
            return self.page(context, "tracing/includes/repetitions.html")
        return self.page({**self.facts(row, trace, "tree"), **context})
