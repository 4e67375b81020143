"""What the panel stores of a trace: plain JSON, small enough for every store of the toolbar.

The toolbar may keep it in memory, in a cache or in a database, and gives it back as JSON would: so
there are dictionaries with text keys, lists, numbers, text and None here, and nothing else. Numbers
stay numbers; ``tracing.panels.page`` turns them into words when the panel is looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tracing.analysis import tree
from tracing.analysis.names import ELLIPSIS, callsite_text, place, shorten_middle, unreadable_text
from tracing.analysis.notes import notes
from tracing.spans.records import Dispatch, Outcome, ReceiverCall, TransactionOutcome
from tracing.units import format_ns, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracing.analysis.tree import Node, Span
    from tracing.spans.records import Bypass, Callsite, Hazard, ReceiverLabel, Trace

Json: TypeAlias = dict[str, Any]

VERSION: Final = 1
"""Of the layout below; what another version stored is not shown."""

MAX_ROWS: Final = 600
"""Rows of the tree that are kept."""
MAX_BYTES: Final = 800_000
"""Size of the whole as JSON."""
MAX_TEXT: Final = 400
"""Characters of one text."""
MAX_BARS: Final = 60
"""Bars drawn in one row."""
MAX_OCCURRENCES: Final = 12
"""Spans of a folded row that are named one by one."""
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
    totals = tree.totals(trace)
    shown = _Rows(trace, rows)
    row_of = shown.position_of
    slowest = _slowest(trace, min(SLOWEST, listed), row_of)
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
        "worst": slowest[0] if slowest else None,
        "slowest": slowest,
        "receivers": [_receiver(total, row_of) for total in totals[:listed]],
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


def clip(text: str, width: int = MAX_TEXT) -> str:
    """Return *text* at most *width* long, without characters that would turn or hide the others."""
    return shorten_middle("".join(c if c.isprintable() else ELLIPSIS for c in text), width)


def place_of(file: str, line: int) -> Json | None:
    """Return a place in a source file, for reading and for opening; None without a file."""
    return {"file": clip(file), "line": line, "text": clip(place(file, line))} if file else None


def _site(callsite: Callsite | None) -> Json | None:
    return place_of(callsite.file, callsite.line) if callsite is not None else None


# --- the tree ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Entry:
    """A node that is about to become a row, or a note about rows that do not."""

    node: Node
    parent: int | None
    """Position of the parent's row."""


class _Rows:
    """The rows of the tree: the folded nodes, parents before children, at most so many."""

    def __init__(self, trace: Trace, limit: int) -> None:
        self.rows: list[Json] = []
        self.position_of: dict[int, int] = {}
        """Which row shows the span of that number."""
        self.left_out = 0
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
            spans = sum(below.count for below in tree.flatten(missing))
            self.left_out += spans
            entries.append(
                {
                    "is": "rest",
                    "parent": parent,
                    "depth": missing[0].depth,
                    "count": spans,
                    "total_ns": tree.time_of(missing),
                }
            )
        return entries

    def _row(self, node: Node, parent: int | None) -> Json:
        span = node.span
        is_dispatch = isinstance(span, Dispatch)
        row: Json = {
            "is": "dispatch" if is_dispatch else "call",
            "parent": parent,
            "depth": node.depth,
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
                _dispatch_facts(span, node) if isinstance(span, Dispatch) else _call_facts(span)
            ),
            "occurrences": self._occurrences(node),
        }
        if isinstance(span, Dispatch):
            row["instance"] = _instances(node)
            row["method"] = str(span.method)
            row["place"] = _site(span.callsite)
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


# --- what is known of one span -------------------------------------------------------------------


def _fact(name: str, text: str, where: Json | None = None) -> Json:
    return {"name": name, "text": clip(text), "place": where}


def _dispatch_facts(span: Dispatch, node: Node) -> Iterable[Json]:
    yield _fact("Signal", span.signal)
    yield _fact("Sender", span.sender)
    if node.instances:
        named = sorted(node.instances)[:MAX_OCCURRENCES]
        more = len(node.instances) - len(named)
        yield _fact("Instance", ", ".join(named) + (f" and {more} more" if more else ""))
    yield _fact("Sent with", f"{span.method}()")
    if span.callsite is not None:
        yield _fact("Sent by", callsite_text(span.callsite), _site(span.callsite))
    details = ", ".join(_details(span))
    if details:
        yield _fact("Details", details)
    yield from _arguments(span)
    yield _fact("Transaction", transaction_text(span))
    if span.exception_type:
        yield _fact("Left by", span.exception_type)
    if span.parent_is_link:
        yield _fact("Note", "ran later, in work that its parent had left behind")


def _details(span: Dispatch) -> Iterable[str]:
    """Yield what the model signals say about themselves."""
    if span.action:
        yield span.action
    if span.created is not None:
        yield "created" if span.created else "updated"
    if span.raw:
        yield "raw (a fixture)"
    if span.reverse:
        yield "from the other side of the relation"
    if span.pk_count is not None:
        yield plural(span.pk_count, "primary key")


def _arguments(span: Dispatch) -> Iterable[Json]:
    if span.update_fields is not None:
        yield _fact("update_fields", ", ".join(span.update_fields) or "(none)")
    if span.values:
        for name, value in span.values.items():
            yield _fact(f"{name} =", value)
    elif span.named:
        yield _fact("Arguments", ", ".join(span.named))


_TRANSACTIONS: Final = {
    TransactionOutcome.COMMITTED: "committed",
    TransactionOutcome.ROLLED_BACK: "rolled back",
    TransactionOutcome.SAVEPOINT_ROLLED_BACK: "its savepoint was rolled back",
    TransactionOutcome.TEST: "of a test, which rolls it back",
    TransactionOutcome.UNKNOWN: "had not ended yet",
}


def transaction_text(span: Dispatch) -> str:
    """Return in what transaction *span* was sent and what became of that."""
    using = f" on {span.using}" if span.using else ""
    if span.transaction is TransactionOutcome.NONE:
        return f"none: autocommit{using}"
    depth = f", block {span.transaction_depth}" if span.transaction_depth > 1 else ""
    return f"atomic{using}{depth}: {_TRANSACTIONS[span.transaction]}"


def _call_facts(span: ReceiverCall) -> Iterable[Json]:
    label = span.receiver
    yield _fact("Receiver", label.name)
    if label.file:
        yield _fact("Defined at", place(label.file, label.line), place_of(label.file, label.line))
    yield _fact("Connected", _connection(label))
    if label.app:
        yield _fact("App", label.app)
    if span.response_type:
        yield _fact("Returned", f"{span.response_type} object")
    if span.exception_type:
        message = f": {span.exception_message}" if span.exception_message else ""
        yield _fact("Raised", f"{span.exception_type}{message}")
    if span.outcome is Outcome.SKIPPED:
        yield _fact("Note", "never called: an earlier receiver raised")
    if span.hop_ns:
        yield _fact("Thread hop", f"{format_ns(span.hop_ns)} to another thread and back")
    if span.same_as is not None:
        yield _fact("Note", f"the same function as the receiver in place {span.same_as + 1}")
    statements = sorted(span.statements, key=lambda statement: -statement[2])
    for sql, count, total_ns in statements[:5]:
        yield {**_fact(f"SQL {tree.TIMES}{count}, {format_ns(total_ns)}", sql), "wide": True}


def _connection(label: ReceiverLabel) -> str:
    parts = ["weakly" if label.weak else "strongly"]
    if label.any_sender:
        parts.append("for any sender")
    if label.dispatch_uid:
        parts.append(f"dispatch_uid {label.dispatch_uid}")
    parts.append("async" if label.is_async else "sync")
    return ", ".join(parts)


# --- the other tabs ------------------------------------------------------------------------------


def _slowest(trace: Trace, limit: int, row_of: dict[int, int]) -> list[Json]:
    """Return the receiver calls with the most time of their own, the slowest first."""
    calls = [
        (call, dispatch)
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
        if call.outcome is not Outcome.SKIPPED
    ]
    calls.sort(key=lambda pair: -pair[0].self_ns)
    return [
        {
            "number": call.number,
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
        for call, dispatch in calls[:limit]
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
        "place": _site(bypass.callsite),
        "by": clip(callsite_text(bypass.callsite)),
        "number": bypass.parent_number,
        "row": row_of.get(bypass.parent_number or 0),
    }
