"""The context of the panel: the kept trace, and connected receivers."""

from __future__ import annotations

from itertools import filterfalse
from typing import TYPE_CHECKING, Any, Final

from django.urls import get_script_prefix
from msgspec import Struct

from tracing.analysis.index import Span, was_made
from tracing.analysis.mine import hidden_text, notes_of_mine, spans_of_mine, view_of
from tracing.analysis.names import unreadable_text
from tracing.analysis.wiring import ANY
from tracing.panels.stored import MAX_ROWS, Json
from tracing.presentation.colours import legend_of
from tracing.presentation.links import Links
from tracing.presentation.receivers import receivers_of
from tracing.presentation.rows import MAX_LEVEL, Row, Tree, ticks
from tracing.presentation.span_fields import linked, span_fields
from tracing.presentation.templating import SHOW_COOKIE
from tracing.spans.codec import unpack
from tracing.spans.labels import ReceiverLabel
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracing.analysis.wiring import Route, WiredReceiver
    from tracing.presentation.receivers import Receivers
    from tracing.spans.records import Bypass, Trace

SLOWEST: Final = 25
"""Receiver calls of the list of the slowest."""
SOURCE_ROWS: Final = 100
"""Rows of the tree of the request whose redirect led here."""
MAX_REPETITIONS: Final = 12
"""Spans of a folded row that are named one by one."""


class IdleReceiver(Struct):
    """A receiver that is connected and was not called."""

    receiver: ReceiverLabel
    signal: str
    sender: str
    reason: str


def context(
    stored: Json, wiring: Iterable[Route] = (), source: Json | None = None
) -> dict[str, Any]:
    """Return the template's context for what was *stored*.

    Args:
        stored: What ``tracing.panels.stored.describe`` returned, and what the panel added.
        wiring: What is connected now.
        source: What was stored of the request whose redirect led here.
    """
    trace = unpack(stored["trace"])
    view, mine = view_of(trace), spans_of_mine(trace) or None
    is_numbered = stored.get("stored", False) and stored.get("numbered", False)
    links = Links(trace.address if stored.get("stored") else "", of="panel", has_spans=is_numbered)
    drawn = Tree(trace, max_rows=MAX_ROWS, max_level=MAX_LEVEL, mine=mine, links=links)
    rows = drawn.rows()
    links.rows = {number: row.number for row in rows for number in row.node.numbers}
    for row in rows:
        row.fields = linked(span_fields(drawn.index, row.span, row.node), links)
        row.slowest = _slowest_of(row)
    receivers, slowest = receivers_of(trace, mine=mine), _slowest(drawn, mine)
    idle = [*_idle(trace, wiring)]
    others = [*filterfalse(notes_of_mine(trace), trace.bypasses)] if mine else []
    return {
        "in_panel": True,
        "source": None if source is None else _source(source),
        "show_cookie": SHOW_COOKIE,
        "cookie_path": get_script_prefix(),
        "trace": trace,
        "request_id": stored.get("request_id", ""),
        "note": stored.get("note", ""),
        "unreadable": unreadable_text(trace),
        "left_out": stored["left_out"] and plural(stored["left_out"], "item"),
        "links": links,
        "apps": legend_of(trace),
        "rows": rows,
        "tree": drawn,
        "ticks": ticks(drawn.whole_ns),
        "heading": view.heading,
        "receivers": receivers,
        "idle": idle,
        "idle_mine": sum(each.receiver.mine for each in idle),
        "called_mine": sum(each.is_mine for each in receivers.called),
        "slowest": slowest,
        "hazards": trace.hazards,
        "others": others,
        "bypasses_mine": len(trace.bypasses) - len(others),
        "hidden": _hidden(view.note, receivers, idle, slowest, others),
    }


def _source(stored: Json) -> dict[str, Any]:
    """Return the tree, without details, of the request that redirected here."""
    trace = unpack(stored["trace"])
    links = Links(trace.address if stored.get("stored") else "", of="panel")
    view = view_of(trace)
    drawn = Tree(trace, max_rows=SOURCE_ROWS, max_level=MAX_LEVEL, shown=view.shown, links=links)
    rows = drawn.rows()
    left_out = drawn.count() - len(rows) + stored["left_out"]
    return {
        "trace": trace,
        "links": links,
        "rows": rows,
        "tree": drawn,
        "ticks": ticks(drawn.whole_ns),
        "hidden": view.note,
        "left_out": left_out and plural(left_out, "item"),
    }


def _hidden(
    note: str,
    receivers: Receivers,
    idle: Sequence[IdleReceiver],
    slowest: Sequence[Row],
    bypasses: Sequence[Bypass],
) -> dict[str, str]:
    """Return what each list hides while it shows *mine*, in one line."""
    others = {
        "receivers": (sum(not each.is_mine for each in receivers.called), "receiver"),
        "idle": (sum(not each.receiver.mine for each in idle), "receiver"),
        "slowest": (sum(not each.is_mine for each in slowest), "call"),
        "bypasses": (len(bypasses), "write"),
    }
    lines = {name: hidden_text(*found) if found[0] else "" for name, found in others.items()}
    return {"rows": note, **lines}


def _slowest_of(row: Row) -> list[Span]:
    """Return the slowest spans of a folded row; nothing for a single one."""
    if row.node.count == 1:
        return []
    return sorted(row.node.spans, key=lambda span: -span.duration_ns)[:MAX_REPETITIONS]


def _slowest(drawn: Tree, mine: frozenset[int] | None) -> list[Row]:
    """Return the calls with most self time, and as many of *mine*."""
    calls = [call for each in drawn.trace.dispatches for call in each.receiver_calls]
    calls = sorted(filter(was_made, calls), key=lambda call: -call.self_ns)
    chosen = {call.number for call in calls[:SLOWEST]}
    if mine is not None:
        chosen.update([call.number for call in calls if call.number in mine][:SLOWEST])
    return [drawn.single(call) for call in calls if call.number in chosen]


def _idle(trace: Trace, wiring: Iterable[Route]) -> Iterable[IdleReceiver]:
    """Yield the connected receivers that *trace* did not call, and why."""
    called = {
        (call.receiver.name, call.receiver.file, call.receiver.line)
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
    }
    sent = {dispatch.signal for dispatch in trace.dispatches}
    sent.update(signal for signal, _sender, _count in trace.orphans)
    for route in wiring:
        for connection in route.connections:
            label = connection.receiver
            # Those for any sender stand in the routes of all senders, too.
            elsewhere = label.any_sender and route.sender != ANY
            if elsewhere or (label.name, label.file, label.line) in called:
                continue
            sender = "any sender" if label.any_sender else route.sender
            reason = _reason(connection, was_sent=route.signal in sent)
            yield IdleReceiver(label, route.signal, sender, reason)


def _reason(connection: WiredReceiver, *, was_sent: bool) -> str:
    if not connection.alive:
        return "dead: connected weakly, and nothing else held it"
    return "sent, but by other senders" if was_sent else "signal not sent"
