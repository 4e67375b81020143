"""The verb ``list``, and what else chooses traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracing.analysis.mine import NONE_OF_MINE, hidden_text
from tracing.clocks import time
from tracing.management import tables
from tracing.management.terminal import joined, table, text
from tracing.management.verbs.base import (
    NOT_FOUND,
    WRONG,
    Run,
    Verb,
    add_everything,
    add_format,
    add_period,
    duration,
    fail,
    hidden_line,
    positive,
    require_traces,
    when,
)
from tracing.search.parser import parse
from tracing.search.query import QueryError
from tracing.spans.escapes import escape_control
from tracing.spans.summary import summary_document
from tracing.store.finding import Found, find
from tracing.store.pages import TraceSearch
from tracing.store.redirects import grouped
from tracing.store.suggestions import unknown_words
from tracing.units import format_count, format_ns

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from tracing.search.query import Query
    from tracing.spans.summary import TraceSummary

SHORT_ID = 12
"""Digits of a trace id in a list: enough to name it to the other verbs."""


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "search",
        nargs="*",
        help="a word, as make_sale: part of any name; or a search as in the viewer, as 'took>5ms'",
    )
    add_filters(parser)
    parser.add_argument("--limit", type=positive, default=20, help="traces (default 20)")
    add_everything(parser)
    add_format(parser)


def add_filters(parser: ArgumentParser) -> None:
    """Add the conditions that choose traces."""
    kinds = ["request", "command", "task", "test", "block", "dispatch"]
    parser.add_argument("--kind", choices=kinds, default="")
    parser.add_argument("--name", default="", help="exactly this route, command or test")
    parser.add_argument("--text", default="", help="part of the name or the path")
    parser.add_argument("--signal", default="", help="dotted path, or its last part")
    parser.add_argument("--sender", default="", help="as orders.Order")
    parser.add_argument("--receiver", default="", help="dotted path, or the end of it")
    outcomes = ["returned", "raised", "skipped", "cancelled"]
    parser.add_argument("--outcome", choices=outcomes, default="", help="of a receiver call")
    parser.add_argument("--instance", default="", help="as orders.Order:42")
    parser.add_argument("--failed", action="store_true", help="only traces with an error")
    parser.add_argument("--hazards", action="store_true", help="only traces with a hazard")
    parser.add_argument(
        "--slower-than", type=duration, default=0, metavar="TIME", help="e.g. 250ms"
    )
    add_period(parser)


_AT_ONCE = 200
"""Traces that are asked for in one go."""


def chosen(options: dict[str, Any], limit: int, *, mine: bool = False) -> Found:
    """Return the newest traces that fit a search and ``add_filters``.

    Only those that are *mine*, if that is wanted.
    """
    query = _query(" ".join(options.get("search", ())))
    wanted = TraceSearch(
        kind=options["kind"],
        failed=True if options["failed"] else None,
        hazardous=options["hazards"],
        name=options["name"],
        text=options["text"],
        slower_than_ns=options["slower_than"],
        since_ns=options["since"],
        until_ns=options["until"],
        signal=options["signal"],
        sender=options["sender"],
        receiver=options["receiver"],
        outcome=options["outcome"],
        instance=options["instance"],
        mine=mine,
    )
    found = Found()
    while len(found.traces) < limit:
        room = min(limit - len(found.traces), _AT_ONCE)
        page = find(query, wanted=wanted, before=found.older, size=room)
        found.traces += page.traces
        found.hidden = (found.hidden or 0) + (page.hidden or 0)
        found.hidden_more |= page.hidden_more
        found.older = page.older
        if not page.older:
            break
    return found


def _query(text: str) -> Query:
    """Return what the search *text* means.

    Raises:
        CommandError: It is none; the message shows where.
    """
    try:
        return parse(text, now_ns=time.time_ns())
    except QueryError as error:
        marks = " " * error.start + "^" * max(error.end - error.start, 1)
        near = f" Did you mean {error.suggestion}?" if error.suggestion else ""
        message = f"{error.message}{near}\n  {escape_control(text)}\n  {marks}"
        raise fail(message, WRONG) from None


def row_record(row: TraceSummary) -> dict[str, Any]:
    """Return a trace of a list as a JSON object."""
    return summary_document(row) | {"started_at": row.started_at.isoformat()}


def _list(run: Run) -> int:
    require_traces()
    options, limit = run.options, run.options["limit"]
    found = chosen(options, limit, mine=not run.shows_everything)
    heading = ""
    if not (found.traces or run.shows_everything):
        found, heading = chosen(options, limit), NONE_OF_MINE
    rows = found.traces
    if run.as_json:
        run.terminal.json([row_record(row) for row in rows])
        return 0
    if not rows:
        words = unknown_words(_query(" ".join(options["search"])))
        near = [near for _, near in words if near]
        hint = f" Did you mean {' '.join(near)}?" if near else ""
        raise fail(f"No trace has what you asked for.{hint}", NOT_FOUND)
    narrow = run.terminal.width < tables.NARROW
    numbers = ("time", "SQL") if narrow else ("time", "signals", "dispatches", "calls", "SQL")
    kind = () if narrow else ("kind",)
    shown = table("trace", "started", *numbers, "result", *kind, "name", right=numbers)
    for row, is_source in grouped(rows):
        started = when(row)
        cells = [text(row.trace_id[:SHORT_ID], "dim"), text(started[11:] if narrow else started)]
        cells.append(text(format_ns(row.duration_ns)))
        if not narrow:
            cells.append(text(format_ns(row.signal_ns)))
            cells.append(text(format_count(row.dispatch_count)))
            cells.append(text(format_count(row.receiver_call_count)))
        cells += [text(format_count(row.query_count)), tables.result(row)]
        if not narrow:
            cells.append(text(row.kind))
        led_on = "  redirected to the request above" if is_source else ""
        shown.add_row(*cells, joined((row.name, "bold"), (led_on, "dim")))
    if heading:
        run.terminal.say((heading, "bold"))
    run.terminal.print(shown)
    if found.hidden or found.hidden_more:
        hidden = hidden_text(found.hidden or 0, "trace", more=found.hidden_more)
        run.terminal.print(hidden_line(hidden))
    return 0


VERBS = (Verb("list", "list traces, newest first", _list_arguments, _list),)
