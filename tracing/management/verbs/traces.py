"""The verbs that read traces: ``list``, ``show`` and ``tail``."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracing.analysis import tree
from tracing.analysis.hazards import as_dict, find_again
from tracing.analysis.mine import NONE_OF_MINE, hidden_text, view_of
from tracing.analysis.why import why
from tracing.exporters import log_file
from tracing.management import report_tables, tables
from tracing.management.terminal import joined, table, text
from tracing.management.verbs.base import (
    NOT_FOUND,
    Run,
    Verb,
    add_everything,
    add_format,
    add_period,
    duration,
    fail,
    find_trace,
    hidden_line,
    positive,
    require_store,
    require_traces,
    traces,
    when,
)
from tracing.setup import log_path
from tracing.spans.codec import LineError, Reader, flat_document
from tracing.spans.records import Status
from tracing.store.pages import TracePage, TraceSearch
from tracing.store.queries import follow
from tracing.units import SECOND_NS, format_count, format_ns

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator

    from tracing import models
    from tracing.analysis.mine import MineView
    from tracing.spans.records import Trace

SHORT_ID = 12
"""Digits of a trace id in a list: enough to name it to the other verbs."""

# --- list ----------------------------------------------------------------------------------------


def _list_arguments(parser: ArgumentParser) -> None:
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


def chosen(options: dict[str, Any], limit: int, *, mine: bool = False) -> TracePage:
    """Return the newest traces that fit the options of ``add_filters``, newest first.

    Only those that are *mine*, if that is wanted.
    """
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
    found = TracePage([])
    while len(found.traces) < limit:
        room = min(limit - len(found.traces), _AT_ONCE)
        page = traces().search(wanted, before=found.older, size=room)
        found.traces += page.traces
        found.hidden += page.hidden
        found.hidden_more |= page.hidden_more
        found.older = page.older
        if not page.older:
            break
    return found


def row_record(row: models.Trace) -> dict[str, Any]:
    """Return a trace of a list as a JSON object."""
    names = (
        "trace_id",
        "root_span_id",
        "kind",
        "name",
        "status",
        "failed",
        "started_ns",
        "duration_ns",
        "http_method",
        "http_path",
        "http_status",
        "user_id",
        "host",
        "process",
        "release",
        "error",
        "dispatch_count",
        "receiver_call_count",
        "query_count",
        "query_ns",
        "signal_ns",
        "error_count",
        "hazard_count",
        "dropped_count",
        "mine",
        "pinned",
    )
    record = {name: getattr(row, name) for name in names}
    record["started_at"] = row.started_at.isoformat()
    return record


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
        raise fail("No trace has what you asked for.", NOT_FOUND)
    narrow = run.terminal.width < tables.NARROW
    numbers = ("time", "SQL") if narrow else ("time", "signals", "dispatches", "calls", "SQL")
    kind = () if narrow else ("kind",)
    shown = table("trace", "started", *numbers, "result", *kind, "name", right=numbers)
    for row in rows:
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
        shown.add_row(*cells, text(row.name, "bold"))
    if heading:
        run.terminal.print(text(heading, "bold"))
    run.terminal.print(shown)
    if found.hidden or found.hidden_more:
        run.terminal.print(hidden_line(hidden_text(found.hidden, "trace", more=found.hidden_more)))
    return 0


# --- show ----------------------------------------------------------------------------------------


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("trace", help="trace id, the beginning of one, or: last")
    parser.add_argument("--all", action="store_true", help="do not fold repetitions")
    parser.add_argument("--totals", action="store_true", help="add what each receiver cost")
    parser.add_argument("--sql", action="store_true", help="add the statements of receivers")
    parser.add_argument(
        "--why", type=positive, metavar="SPAN", help="say why the span of this number ran"
    )
    add_everything(parser)
    add_format(parser)


def trace_document(trace: Trace) -> dict[str, Any]:
    """Return a trace with its dispatches and hazards, found anew, as one JSON object."""
    return flat_document(trace) | {"hazards": [as_dict(hazard) for hazard in find_again(trace)]}


def _show(run: Run) -> int:
    trace = find_trace(run.options["trace"]).load()
    number = run.options["why"]
    if number is not None:
        return _why(run, trace, number)
    if run.as_json:
        run.terminal.json(trace_document(trace))
        return 0
    write = run.terminal.print
    write(tables.heading(trace))
    write(tables.summary(trace))
    write()
    view = view_of(trace, everything=run.shows_everything)
    _write_tree(run, trace, view, unfold=run.options["all"], sql=run.options["sql"])
    for extra in tables.extras(trace, everything=run.options["all"]):
        write(extra)
    if run.options["totals"]:
        write()
        write(tables.totals(tree.totals(trace, view.shown), run.terminal.width))
    hazards = [hazard for hazard in find_again(trace) if not hazard.known]
    if hazards:
        write()
        write(report_tables.hazards(hazards))
    return 0


def _write_tree(
    run: Run, trace: Trace, view: MineView, *, unfold: bool = False, sql: bool = False
) -> None:
    """Write what *view* shows of the tree of *trace*, what its marks mean and what is hidden."""
    nodes = (tree.unfolded if unfold else tree.fold)(trace, view.shown)
    critical = tree.critical_numbers(trace)
    write = run.terminal.print
    if view.heading:
        write(text(view.heading, "bold"))
    if nodes:
        write(tables.trace_tree(nodes, critical, run.terminal.width, sql=sql))
    if (legend := tables.legend(nodes, critical)) is not None:
        write(legend)
    if view.note:
        write(hidden_line(view.note))


def _why(run: Run, trace: Trace, number: int) -> int:
    steps = why(trace, number)
    if not steps:
        way = f"show {trace.address} --all --everything"
        raise fail(f"The trace has no span {number}; its numbers are in: {way}", NOT_FOUND)
    if run.as_json:
        run.terminal.json(
            [
                {
                    "sentence": step.sentence,
                    "file": step.file,
                    "line": step.line,
                    "number": step.number,
                }
                for step in steps
            ]
        )
        return 0
    for depth, step in enumerate(steps):
        run.terminal.print(joined(("   " * depth, ""), step.sentence))
    return 0


# --- tail ----------------------------------------------------------------------------------------


def _tail_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what comes")
    parser.add_argument("--lines", "-n", type=positive, default=10, help="traces (default 10)")
    parser.add_argument("--tree", action="store_true", help="show each trace with its tree")
    parser.add_argument("--failed", action="store_true", help="only traces with an error")
    parser.add_argument(
        "--every", type=duration, default=500_000_000, metavar="TIME", help="(default 500ms)"
    )
    parser.add_argument(
        "--log",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="FILE",
        help="read the log file instead of the store: that of the settings unless one is named",
    )
    add_everything(parser)
    add_format(parser)


class LoggedTrace:
    """A trace that was read from the log, with what a row of the store has."""

    pinned = False

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.failed = bool(trace.error_count) or trace.status is Status.ERROR
        self.mine = trace.is_mine
        self.started_at = datetime.fromtimestamp(trace.started_ns // 1000 / 1_000_000, tz=UTC)

    def __getattr__(self, name: str) -> Any:
        """Return what is a field of the trace."""
        return getattr(self._trace, name)

    def load(self) -> Trace:
        """Return the trace."""
        return self._trace


def _tail_log(run: Run, show: Callable[[Any], None]) -> None:
    """Show the last traces of the log file and, with ``--follow``, those that come."""
    options = run.options
    path: Path = log_path() if options["log"] == Path() else options["log"]
    if not path.exists() and not options["follow"]:
        raise fail(f"There is no file {path}.", NOT_FOUND)
    reader = Reader()
    last: deque[LoggedTrace] = deque(maxlen=options["lines"])
    is_at_end = False

    def show_last() -> None:
        nonlocal is_at_end
        is_at_end = True
        while last:
            show(last.popleft())
        run.terminal.flush()

    def pause(seconds: float) -> None:
        show_last()
        wait(seconds)

    for line in log_file.follow(
        path,
        from_start=True,
        poll_seconds=options["every"] / SECOND_NS,
        keep_on=lambda: options["follow"],
        wait=pause,
    ):
        try:
            trace = reader.feed(line)
        except LineError:
            # The import names them; here the next trace is of more interest.
            continue
        if trace is None:
            continue
        found = LoggedTrace(trace)
        if options["failed"] and not found.failed:
            continue
        if is_at_end:
            show(found)
        else:
            last.append(found)
    show_last()


def newest(run: Run) -> Iterator[models.Trace]:
    """Yield the last traces and, with ``--follow``, those that come, oldest first."""
    options = run.options
    wanted = traces().failed() if options["failed"] else traces()
    last = list(wanted.order_by("-pk")[: options["lines"]])
    yield from reversed(last)
    if options["follow"]:
        run.terminal.flush()
        seconds = options["every"] / SECOND_NS
        after = last[0].pk if last else 0
        yield from follow(wanted, after=after, poll_seconds=seconds, wait=wait)


wait = time.sleep
"""How ``tail`` waits for more."""


def _tail(run: Run) -> int:
    def show(row: models.Trace) -> None:
        if run.as_json:
            run.terminal.json(row_record(row), lines=True)
            return
        run.terminal.print(tables.tail_line(row, when(row)))
        if run.options["tree"]:
            trace = row.load()
            _write_tree(run, trace, view_of(trace, everything=run.shows_everything))
        run.terminal.flush()

    if run.options["log"] is not None:
        _tail_log(run, show)
        return 0
    require_store()
    for row in newest(run):
        show(row)
    return 0


VERBS = (
    Verb("list", "list traces, newest first", _list_arguments, _list),
    Verb("show", "show one trace as a tree", _show_arguments, _show),
    Verb("tail", "show the last traces, and those that come", _tail_arguments, _tail),
)
