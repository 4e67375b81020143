"""The verbs that show traces: ``show`` and ``tail``."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracing.analysis.hazards import as_dict, find_again
from tracing.analysis.mine import beside_tree, view_of
from tracing.analysis.totals import totals
from tracing.analysis.why import why
from tracing.clocks import time
from tracing.exporters import log_file
from tracing.management import report_tables, tables
from tracing.management.terminal import text
from tracing.management.verbs.base import (
    LAST,
    NOT_FOUND,
    Run,
    Verb,
    add_everything,
    add_format,
    add_trace,
    before_last,
    duration,
    fail,
    find_trace,
    hidden_line,
    last_text,
    no_span,
    positive,
    require_store,
    when,
)
from tracing.management.verbs.listing import SHORT_ID, row_record
from tracing.presentation.application_log import (
    application_lines_of,
    lines_document,
    remarks,
)
from tracing.presentation.rows import Tree
from tracing.presentation.task_links import task_document, told_tasks
from tracing.setup import log_path
from tracing.spans.codec import LineError, Reader, flat_document
from tracing.spans.summary import summary_of
from tracing.store import traces
from tracing.store.redirects import redirected_from, redirected_to
from tracing.store.task_links import task_links
from tracing.units import SECOND_NS, plural

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator

    from tracing.analysis.mine import MineView
    from tracing.spans.records import Trace
    from tracing.spans.summary import TraceSummary
    from tracing.store.task_links import LinkedTrace

# --- show ----------------------------------------------------------------------------------------


def _show_arguments(parser: ArgumentParser) -> None:
    add_trace(parser)
    parser.add_argument("--all", action="store_true", help="do not fold repetitions")
    parser.add_argument("--totals", action="store_true", help="add what each receiver cost")
    parser.add_argument("--sql", action="store_true", help="add the statements of receivers")
    parser.add_argument(
        "--logs", action="store_true", help="add the application's log lines of the trace"
    )
    parser.add_argument(
        "--why", type=positive, metavar="SPAN", help="say why the span of this number ran"
    )
    add_everything(parser)
    add_format(parser)


def trace_document(trace: Trace) -> dict[str, Any]:
    """Return a trace, its hazards found anew, as one JSON object."""
    found = flat_document(trace) | {"hazards": [as_dict(hazard) for hazard in find_again(trace)]}
    tasks = task_document(task_links(trace))
    return found | ({"tasks": tasks} if tasks else {})


def _show(run: Run) -> int:
    row = find_trace(run.options["trace"], method=run.options["method"])
    trace = traces.load(row)
    number = run.options["why"]
    if number is not None:
        return _why(run, trace, number)
    if run.as_json:
        logs = run.options["logs"]
        found = {"log": lines_document(trace, application_lines_of(trace))} if logs else {}
        run.terminal.json(trace_document(trace) | found)
        return 0
    write = run.terminal.print
    write(tables.heading(trace))
    write(tables.summary(trace))
    for line in _way(row, run.options["trace"], run.options["method"]):
        write(text(line, "dim"))
    for line in _tasks(trace):
        write(text(line, "dim"))
    write()
    view, unfold = view_of(trace, everything=run.shows_everything), run.options["all"]
    _write_tree(run, trace, view, unfold=unfold, sql=run.options["sql"])
    changes = ["connection_changes"] if unfold else []
    noted, hidden = beside_tree(trace, view, "side_effects", *changes)
    for extra in tables.extras(noted, everything=unfold):
        write(extra)
    if hidden:
        write(hidden_line(hidden))
    if run.options["totals"]:
        write()
        write(tables.totals(totals(trace, view.shown), run.terminal.width))
    hazards = [hazard for hazard in find_again(trace) if not hazard.known]
    if hazards:
        write()
        write(report_tables.hazards(hazards))
    if run.options["logs"]:
        write()
        _write_log(run, trace)
    return 0


def _write_log(run: Run, trace: Trace) -> None:
    """Write the application's lines, each with the number of its span."""
    found = application_lines_of(trace)
    for line in found.lines:
        fields = [f"{name}={value}" for name, value in line.fields.items()]
        number = [] if line.number is None else [f"#{line.number}"]
        parts = [line.timestamp, line.level, line.text, *fields, *number]
        run.terminal.say(" ".join(part for part in parts if part))
    for remark in remarks(found):
        run.terminal.say((remark, "dim"))


def _way(row: TraceSummary, wanted: str, method: str) -> Iterator[str]:
    """Yield which trace ``last`` is, and the requests around a redirect."""
    if (back := before_last(wanted)) is not None:
        which = last_text(back, method)
        before = f"{LAST}~{back + 1}" if "~" in wanted else f"{wanted}^"
        before += f" --method {method}" if method else ""
        yield f"{wanted}: {which}; the one before it: show {before}"
    if (source := redirected_from(row)) is not None:
        did = f"{plural(source.receiver_call_count, 'receiver call')}"
        yield f"after the redirect of {_request(source)}, {did}: show {source.trace_id[:SHORT_ID]}"
    if (target := redirected_to(row)) is not None:
        yield f"redirected to {_request(target)}: show {target.trace_id[:SHORT_ID]}"


def _tasks(trace: Trace) -> Iterator[str]:
    """Yield what enqueued the task that ran, and what ran those enqueued."""
    told = told_tasks(task_links(trace))
    if told is None:
        return
    if told.sender:
        senders = [f"{each.summary.name}: {_shown(each)}" for each in told.links.enqueued_by]
        yield f"enqueued by {', '.join(senders) or f'a trace that is {told.sender}'}"
    for task, state in told.enqueued:
        runs = [f"attempt {run.attempt} {run.summary.status}: {_shown(run)}" for run in task.runs]
        yield f"enqueued {task.name} ({task.task_id}), {', '.join(runs) or state}"
    if told.links.left_out:
        yield f"enqueued {plural(told.links.left_out, 'further task')}"


def _shown(linked: LinkedTrace) -> str:
    return f"show {linked.summary.trace_id[:SHORT_ID]}"


def _request(row: TraceSummary) -> str:
    return f"{row.http_method} {row.http_path} ({row.http_status})"


def _write_tree(
    run: Run, trace: Trace, view: MineView, *, unfold: bool = False, sql: bool = False
) -> None:
    """Write what *view* shows of the tree of *trace*, and what is hidden."""
    rows = Tree(trace, shown=view.shown, is_folded=not unfold).rows()
    write = run.terminal.print
    if view.heading:
        write(text(view.heading, "bold"))
    if rows:
        write(tables.trace_tree(rows, run.terminal.width, sql=sql))
    if (legend := tables.legend(rows)) is not None:
        write(legend)
    if view.note:
        write(hidden_line(view.note))


def _why(run: Run, trace: Trace, number: int) -> int:
    steps = why(trace, number)
    if not steps:
        raise no_span(trace.address, number)
    if run.as_json:
        run.terminal.json([asdict(step) for step in steps])
        return 0
    for depth, step in enumerate(steps):
        run.terminal.say(("   " * depth, ""), step.sentence)
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


def _tail_log(run: Run, show: Callable[[TraceSummary, Trace], None]) -> None:
    """Show the last traces of the log and, with ``--follow``, new ones."""
    options = run.options
    path: Path = log_path() if options["log"] == Path() else options["log"]
    if not path.exists() and not options["follow"]:
        raise fail(f"There is no file {path}.", NOT_FOUND)
    reader = Reader()
    last: deque[Trace] = deque(maxlen=options["lines"])
    is_at_end = False

    def show_last() -> None:
        nonlocal is_at_end
        is_at_end = True
        while last:
            trace = last.popleft()
            show(summary_of(trace), trace)
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
        found = summary_of(trace)
        if options["failed"] and not found.failed:
            continue
        if is_at_end:
            show(found, trace)
        else:
            last.append(trace)
    show_last()


def newest(run: Run) -> Iterator[TraceSummary]:
    """Yield the last traces and, with ``--follow``, new ones."""
    options = run.options
    last = traces.newest(options["lines"], failed=options["failed"])
    yield from reversed(last)
    if options["follow"]:
        run.terminal.flush()
        seconds = options["every"] / SECOND_NS
        after = last[0].row if last else 0
        yield from traces.follow(
            failed=options["failed"], after=after, poll_seconds=seconds, wait=wait
        )


wait = time.sleep
"""How ``tail`` waits for more."""


def _tail(run: Run) -> int:
    def show(row: TraceSummary, logged: Trace | None = None) -> None:
        if run.as_json:
            run.terminal.json(row_record(row), lines=True)
            return
        run.terminal.print(tables.tail_line(row, when(row)))
        if run.options["tree"]:
            trace = logged or traces.load(row)
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
    Verb("show", "show one trace as a tree", _show_arguments, _show),
    Verb("tail", "show the last traces, and those that come", _tail_arguments, _tail),
)
