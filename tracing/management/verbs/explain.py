"""The verb ``explain``: what follows a signal, receiver or trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing import pipeline
from tracing.analysis.explain.steps import as_dict
from tracing.analysis.why_not.target import UnknownNameError
from tracing.management.layout import rows_of
from tracing.management.tables import NARROW, guides
from tracing.management.terminal import joined, table, text
from tracing.management.verbs.base import (
    WRONG,
    Run,
    Verb,
    add_everything,
    add_format,
    add_period,
    fail,
    hidden_line,
    positive,
    require_store,
)
from tracing.presentation.explanation import tell
from tracing.presentation.mermaid import flowchart
from tracing.presentation.templating import draw
from tracing.spans.escapes import escape_control
from tracing.store.explaining import MOST_TRACES, Wanted, explain

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from tracing.management.layout import Table, Text
    from tracing.presentation.explanation import Line, Told

_NUMBERS: Final = ("follows", "times", "p50", "p95", "SQL")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what",
        help="sender (orders.Order), signal, receiver, route, command or task, or the end of its dotted path",
    )
    parser.add_argument("signal", nargs="?", default="", help="a signal of that sender")
    parser.add_argument(
        "--limit",
        type=positive,
        help="read so many of the newest traces instead of sums of all (where there are none: "
        f"at most {MOST_TRACES})",
    )
    add_period(parser)
    add_everything(parser)
    add_format(parser, "mermaid", "html")


def _explain(run: Run) -> int:
    options = run.options
    # What this process itself has recorded, if it is asked from inside.
    pipeline.default.force_flush(5)
    require_store()
    wanted = Wanted(
        options["what"], options["signal"], options["since"], options["until"], options["limit"]
    )
    try:
        found = explain(wanted)
    except UnknownNameError as error:
        raise fail("\n".join(map(escape_control, str(error).splitlines())), WRONG) from None
    if run.as_json:
        run.terminal.json(as_dict(found))
        return 0
    told = tell(found, everything=run.shows_everything)
    if options["format"] == "mermaid":
        run.terminal.raw(flowchart(told))
    elif options["format"] == "html":
        run.terminal.raw(draw("tracing/explain_file.html", {"told": told}))
    else:
        _write(run, told)
    return 0


def _write(run: Run, told: Told) -> None:
    write = run.terminal.print
    write(joined("What follows ", (told.title, "bold")))
    for sentence in told.sentences:
        write(text(sentence))
    write()
    guided = guides([(line.level + 1, bool(line.step.children)) for line in told.lines])
    branches = [branch for branch, _ in guided]
    heading, *rows = rows_of(_table(told, branches, run.terminal.width), run.terminal.width)
    if told.is_recorded:
        write(heading)
    for line, row, (_, below) in zip(told.lines, rows, guided, strict=True):
        write(row)
        for note in line.notes:
            write(joined(f"{below}  ", (note.text, "dim"), (note.bad, "yellow")))
    if told.hidden:
        write(hidden_line(told.hidden))


def _table(told: Told, branches: Sequence[str], width: int) -> Table:
    numbers = _NUMBERS if told.is_recorded else ()
    wide = width >= NARROW or not told.is_recorded
    shown = table(
        "", *numbers, *(("where",) if wide else ()), right=numbers, flexible="where" if wide else ""
    )
    for line, branch in zip(told.lines, branches, strict=True):
        cells: list[Text] = [joined((branch, "dim"), (line.label, _style(line)))]
        if told.is_recorded:
            cells += [text(each) for each in (line.share, line.times, line.p50, line.p95)]
            cells.append(text(line.queries))
        if wide:
            cells.append(text(line.where, "dim"))
        shown.add_row(*cells)
    return shown


def _style(line: Line) -> str:
    if line.is_failed:
        return "red"
    if line.step.is_unseen:
        return "dim"
    return "bold" if line.is_receiver else "cyan"


VERBS: tuple[Verb, ...] = (
    Verb(
        "explain",
        "what follows a signal, a receiver or a unit of work",
        _arguments,
        _explain,
        description="What follows a signal, a receiver, a request, a command or a task: one tree, merged "
        "from all traces that were recorded; without any, what is connected. Exit codes: 0 an answer; "
        "2 wrong arguments, an unknown or ambiguous name; 4 no store.",
    ),
)
