"""What the panel stores of a trace: plain JSON, small enough for every store of the toolbar.

The toolbar may keep it in memory, in a cache or in a database, and gives it back as JSON would: so
there are dictionaries with text keys, lists, numbers, text and None here, and nothing else. Numbers
stay numbers; ``tracing.panels.page`` turns them into words when the panel is looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracing.analysis import tree
from tracing.analysis.mine import spans_of_mine
from tracing.analysis.names import callsite_text, unreadable_text
from tracing.analysis.notes import notes
from tracing.panels.facts import (
    MAX_OCCURRENCES,
    Json,
    call_facts,
    clip,
    dispatch_facts,
    place_of,
    site_of,
)
from tracing.spans.records import Dispatch, Outcome, ReceiverCall
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from tracing.analysis.tree import Node, Span
    from tracing.spans.records import Bypass, Hazard, Trace

VERSION: Final = 1
"""Of the layout below; what another version stored is not shown."""

MAX_ROWS: Final = 600
"""Rows of the tree that are kept."""
MAX_BYTES: Final = 800_000
"""Size of the whole as JSON."""
MAX_BARS: Final = 60
"""Bars drawn in one row."""
MAX_LISTED: Final = 200
"""Receivers, unheard signals, bypasses and hazards."""
SLOWEST: Final = 25
"""Receiver calls of the list of the slowest."""
BAR_GAP: Final = 0.2
"""Percent of the axis under which two bars are drawn as one."""


def describe(trace: Trace, hazards: Sequence[Hazard], *, max_bytes: int = MAX_BYTES) -> Json:
    """Return what the panel keeps of *trace*, at most *max_bytes* long as JSON.

    Repetitions are folded. If that leaves too many rows, the quickest of those that did not fail
    are left out, and counted where they stood.
    """
    rows = MAX_ROWS
    listed = MAX_LISTED
    while True:
        stats = _describe(trace, hazards, rows=rows, listed=listed)
        if rows <= 1 or len(json.dumps(stats)) <= max_bytes:
            return stats
        rows //= 2
        listed = max(listed // 2, 1)


def _describe(trace: Trace, hazards: Sequence[Hazard], *, rows: int, listed: int) -> Json:
    totals, mine = tree.totals(trace), spans_of_mine(trace)
    shown = _Rows(trace, rows, mine)
    row_of = shown.position_of
    slowest = _slowest(trace, min(SLOWEST, listed), row_of, mine)
    called = {
        (call.receiver.name, call.receiver.file, call.receiver.line)
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
        if call.number in mine
    }
    receivers = [
        {**_receiver(total, row_of), "mine": (total.name, total.file, total.line) in called}
        for total in totals
    ]
    return {
        "version": VERSION,
        "trace_id": trace.trace_id,
        "root_span_id": trace.root_span_id,
        "name": clip(trace.name),
        "kind": str(trace.kind),
        "duration_ns": trace.duration_ns,
        "extent_ns": tree.extent_ns(trace),
        "signal_ns": trace.signal_ns,
        "overhead_ns": trace.overhead_ns,
        "dispatch_count": trace.dispatch_count,
        "receiver_call_count": trace.receiver_call_count,
        "query_count": trace.query_count,
        "receiver_query_count": sum(total.query_count for total in totals),
        "error_count": trace.error_count,
        "dropped_count": trace.dropped_count,
        "unheard_count": trace.unheard_count,
        "unreadable": unreadable_text(trace),
        "signals": _signals(trace),
        "rows": shown.rows,
        "rows_left_out": shown.left_out,
        "hidden": shown.hidden,
        "hidden_failures": shown.hidden_failures,
        "worst": next((call for call in slowest if call["mine"]), slowest[0] if slowest else None),
        "slowest": slowest,
        "receivers": receivers[:listed],
        "receivers_left_out": max(len(totals) - listed, 0),
        "notes": [
            {"kind": note.kind, "text": clip(note.text), "count": note.count}
            for note in notes(trace)[:listed]
        ],
        "unheard": _unheard(trace, listed),
        "unheard_left_out": max(len(trace.unheard) - listed, 0),
        "hazards": [_hazard(hazard, row_of) for hazard in hazards[:listed]],
        "hazard_count": len(hazards),
        "bypasses": [_bypass(bypass, row_of) for bypass in trace.bypasses[:listed]],
        "bypass_count": len(trace.bypasses),
    }


def _signals(trace: Trace) -> list[str]:
    sent = {dispatch.signal for dispatch in trace.dispatches}
    sent.update(signal for signal, _sender, _count in trace.unheard)
    return sorted(sent)


# --- the tree ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Entry:
    """A node that is about to become a row, or a note about rows that do not."""

    node: Node
    parent: int | None
    """Position of the parent's row."""


class _Rows:
    """The rows of the tree: the folded nodes, parents before children, at most so many."""

    def __init__(self, trace: Trace, limit: int, mine: Container[int]) -> None:
        self.rows: list[Json] = []
        self.position_of: dict[int, int] = {}
        """Which row shows the span of that number."""
        self.left_out = 0
        self.hidden = 0
        """Spans of the rows that are not mine."""
        self.hidden_failures = 0
        self._mine = mine
        self._index = tree.Index(trace)
        self._extent = tree.extent_ns(trace)
        self._critical = tree.critical_numbers(trace)
        top = tree.fold(trace)
        self._chosen = _choose(top, limit)
        self._fill(top)

    def _fill(self, top: list[Node]) -> None:
        # A note of what was left out stands after its siblings: (nodes, parent) as a stack.
        stack: list[_Entry | Json] = self._entries(top, None)[::-1]
        while stack:
            entry = stack.pop()
            if isinstance(entry, dict):
                self.rows.append(entry)
                continue
            position = len(self.rows)
            self.rows.append(self._row(entry.node, entry.parent))
            self.position_of.update(dict.fromkeys(entry.node.numbers, position))
            stack += self._entries(entry.node.children, position)[::-1]

    def _entries(self, nodes: list[Node], parent: int | None) -> list[_Entry | Json]:
        kept = [node for node in nodes if id(node) in self._chosen]
        entries: list[_Entry | Json] = [_Entry(node, parent) for node in kept]
        if len(kept) < len(nodes):
            missing = [node for node in nodes if id(node) not in self._chosen]
            below = list(tree.flatten(missing))
            spans = sum(node.count for node in below)
            self.left_out += spans
            entries.append(
                {
                    "is": "rest",
                    "parent": parent,
                    "depth": missing[0].depth,
                    "count": spans,
                    "total_ns": tree.time_of(missing),
                    "mine": self._is_mine(below),
                }
            )
        return entries

    def _is_mine(self, nodes: Sequence[Node]) -> bool:
        """Return whether any of *nodes* is mine; count their spans as hidden if none is."""
        if any(number in self._mine for node in nodes for number in node.numbers):
            return True
        spans = [span for node in nodes for span in node.spans]
        self.hidden += len(spans)
        self.hidden_failures += sum(map(tree.failed, spans))
        return False

    def _row(self, node: Node, parent: int | None) -> Json:
        span = node.span
        is_dispatch = isinstance(span, Dispatch)
        row: Json = {
            "is": "dispatch" if is_dispatch else "call",
            "parent": parent,
            "depth": node.depth,
            "mine": self._is_mine([node]),
            "number": span.number,
            "label": clip(node.label, 160),
            "count": node.count,
            "total_ns": node.total_ns,
            "mean_ns": node.mean_ns,
            "max_ns": node.max_ns,
            "self_ns": node.self_ns,
            "query_count": node.query_count,
            "query_ns": node.query_ns,
            "error_count": node.error_count,
            "outcome": _outcome(span),
            "critical": any(number in self._critical for number in node.numbers),
            "bars": self._bars(node),
            "facts": list(
                dispatch_facts(span, node) if isinstance(span, Dispatch) else call_facts(span)
            ),
            "occurrences": self._occurrences(node),
        }
        if isinstance(span, Dispatch):
            row["instance"] = _instances(node)
            row["method"] = str(span.method)
            row["place"] = site_of(span.callsite)
            row["later"] = span.parent_is_link
        else:
            row["place"] = place_of(span.receiver.file, span.receiver.line)
            row["async"] = span.receiver.is_async
        return row

    def _bars(self, node: Node) -> list[list[float]]:
        """Return (left, width) in percent of the axis, what lies close together drawn as one."""
        spans = [span for number in node.numbers if (span := self._index.span(number)) is not None]
        spans.sort(key=lambda span: span.start_ns)
        bars: list[list[float]] = []
        for span in spans:
            left = min(span.start_ns / self._extent * 100, 100 - tree.MIN_WIDTH)
            width = min(max(span.duration_ns / self._extent * 100, tree.MIN_WIDTH), 100 - left)
            if bars and left - (bars[-1][0] + bars[-1][1]) < BAR_GAP:
                bars[-1][1] = round(max(bars[-1][1], left + width - bars[-1][0]), 2)
            else:
                bars.append([round(left, 2), round(width, 2)])
        while len(bars) > MAX_BARS:
            bars = [_joined(bars[i : i + 2]) for i in range(0, len(bars), 2)]
        return bars

    def _occurrences(self, node: Node) -> list[Json]:
        """Return the slowest spans of a folded node, one by one; nothing for a single one."""
        if node.count == 1:
            return []
        spans = [span for number in node.numbers if (span := self._index.span(number)) is not None]
        spans.sort(key=lambda span: -span.duration_ns)
        return [
            {
                "number": span.number,
                "text": clip(_occurrence_text(span, self._index)),
                "start_ns": span.start_ns,
                "duration_ns": span.duration_ns,
            }
            for span in spans[:MAX_OCCURRENCES]
        ]


def _joined(bars: list[list[float]]) -> list[float]:
    left = bars[0][0]
    return [left, round(bars[-1][0] + bars[-1][1] - left, 2)]


def _occurrence_text(span: Span, index: tree.Index) -> str:
    dispatch = span if isinstance(span, Dispatch) else index.dispatch_of(span)
    text = dispatch.instance or dispatch.sender
    return f"{text} · {span.exception_type}" if span.exception_type else text


def _choose(top: list[Node], limit: int) -> set[int]:
    """Return the ids of the nodes to keep: failed ones, then the longest, and all above them."""
    everything = list(tree.flatten(top))
    if len(everything) <= limit:
        return {id(node) for node in everything}
    above = {id(child): node for node in everything for child in node.children}
    ranked = sorted(everything, key=lambda node: (not node.error_count, -node.total_ns))
    chosen: set[int] = set()
    for node in ranked:
        if len(chosen) >= limit:
            break
        chain: list[int] = []
        link: Node | None = node
        while link is not None and id(link) not in chosen:
            chain.append(id(link))
            link = above.get(id(link))
        # Of a chain that is longer than what is left, the upper part.
        chosen.update(chain[::-1][: limit - len(chosen)])
    return chosen


def _instances(node: Node) -> str:
    if not node.instances:
        return ""
    if len(node.instances) == 1:
        return clip(next(iter(node.instances)), 120)
    return plural(len(node.instances), "instance")


def _outcome(span: Span) -> str:
    if isinstance(span, ReceiverCall):
        return str(span.outcome)
    return "raised" if span.exception_type else "returned"


# --- the other tabs ------------------------------------------------------------------------------


def _slowest(trace: Trace, limit: int, row_of: dict[int, int], mine: Container[int]) -> list[Json]:
    """Return the calls with the most time of their own, and as many of *mine*, the slowest first."""
    calls = [
        (call, dispatch)
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
        if call.outcome is not Outcome.SKIPPED
    ]
    calls.sort(key=lambda pair: -pair[0].self_ns)
    chosen = {call.number for call, _ in calls[:limit]}
    chosen.update([call.number for call, _ in calls if call.number in mine][:limit])
    return [
        {
            "number": call.number,
            "mine": call.number in mine,
            "row": row_of.get(call.number),
            "label": clip(tree.label(call), 160),
            "of": clip(tree.label(dispatch), 160),
            "instance": clip(dispatch.instance, 120),
            "name": clip(call.receiver.name),
            "place": place_of(call.receiver.file, call.receiver.line),
            "self_ns": call.self_ns,
            "total_ns": call.duration_ns,
            "query_count": call.query_count,
            "query_ns": call.query_ns,
            "outcome": str(call.outcome),
        }
        for call, dispatch in calls
        if call.number in chosen
    ]


def _receiver(total: tree.ReceiverTotal, row_of: dict[int, int]) -> Json:
    return {
        "name": clip(total.name),
        "place": place_of(total.file, total.line),
        "key": [total.name, total.file, total.line],
        "app": clip(total.app),
        "calls": total.calls,
        "total_ns": total.total_ns,
        "self_ns": total.self_ns,
        "max_ns": total.max_ns,
        "query_count": total.query_count,
        "error_count": total.error_count,
        "skipped_count": total.skipped_count,
        "share": total.share,
        "signals": [clip(signal) for signal in total.signals[:5]],
        "senders": [clip(sender) for sender in total.senders[:5]],
        "number": total.slowest_number,
        "row": row_of.get(total.slowest_number),
    }


def _unheard(trace: Trace, limit: int) -> list[Json]:
    ranked = sorted(trace.unheard, key=lambda item: (-item[2], item[0], item[1]))
    return [
        {"signal": clip(signal), "sender": clip(sender), "count": count}
        for signal, sender, count in ranked[:limit]
    ]


def _hazard(hazard: Hazard, row_of: dict[int, int]) -> Json:
    return {
        "hazard": hazard.hazard,
        "severity": hazard.severity,
        "message": clip(hazard.message, 600),
        "remedy": clip(hazard.remedy, 600),
        "evidence": [clip(line) for line in hazard.evidence[:12]],
        "place": place_of(hazard.file, hazard.line),
        "number": next(iter(hazard.numbers), None),
        "row": next((row_of[number] for number in hazard.numbers if number in row_of), None),
    }


def _bypass(bypass: Bypass, row_of: dict[int, int]) -> Json:
    return {
        "operation": bypass.operation,
        "model": clip(bypass.model),
        "rows": bypass.rows,
        "signals": [clip(signal) for signal in bypass.signals],
        "receivers": [
            {"name": clip(label.name), "place": place_of(label.file, label.line)}
            for label in bypass.receivers[:20]
        ],
        "receiver_count": len(bypass.receivers),
        "place": site_of(bypass.callsite),
        "by": clip(callsite_text(bypass.callsite)),
        "number": bypass.parent_number,
        "row": row_of.get(bypass.parent_number or 0),
    }
