"""The verb ``why-not``: why a receiver was not called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracing import pipeline
from tracing.analysis.names import place
from tracing.analysis.why_not.target import UnknownNameError
from tracing.analysis.why_not.words import as_dict
from tracing.management.terminal import joined, text
from tracing.management.verbs.base import (
    FOUND,
    WRONG,
    Run,
    Verb,
    add_format,
    before_last,
    fail,
    find_trace,
    last_text,
    require_store,
)
from tracing.spans.escapes import escape_control
from tracing.store.answers import Wanted, why_not_called

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from tracing.analysis.why_not.words import Answer
    from tracing.spans.summary import TraceSummary

UNCERTAIN = 5
"""The records cannot say whether it ran."""


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("receiver", help="dotted path of a receiver, or its end")
    parser.add_argument("--signal", default="", help="dotted path of a signal, or its last part")
    parser.add_argument("--sender", default="", help="as orders.Order")
    parser.add_argument(
        "--trace",
        default="",
        help="only this trace and what is inside it: an id, the beginning of one, or last",
    )
    add_format(parser)


def _why_not(run: Run) -> int:
    options = run.options
    # What this process itself has recorded, if it is asked from inside.
    pipeline.default.force_flush(5)
    require_store()
    trace = find_trace(options["trace"]) if options["trace"] else None
    wanted = Wanted(options["receiver"], options["signal"], options["sender"], trace)
    try:
        answer = why_not_called(wanted)
    except UnknownNameError as error:
        lines = str(error).splitlines()
        raise fail("\n".join(map(escape_control, lines)), WRONG) from None
    if run.as_json:
        run.terminal.json(as_dict(answer))
    else:
        _write(run, answer, _asked(trace, options["trace"]))
    if answer.ran:
        return 0
    return UNCERTAIN if answer.verdict == "not-recorded" else FOUND


def _asked(trace: TraceSummary | None, wanted: str) -> str:
    """Return the trace that was asked about, and which one ``last`` is."""
    if trace is None:
        return ""
    back = before_last(wanted)
    which = "" if back is None else f" ({wanted}: {last_text(back)})"
    return f"{trace.trace_id}, {trace.kind} {escape_control(trace.name)}{which}"


def _write(run: Run, answer: Answer, asked: str) -> None:
    write = run.terminal.print
    style = "bold green" if answer.verdict == "ran" else "bold yellow" if answer.ran else "bold red"
    write(joined((answer.verdict, style), "  ", (answer.receiver, "bold")))
    write(text(answer.sentence))
    for each in answer.evidence:
        where = place(each.file, each.line)
        write(joined("  ", (f"{where}  " if where else "", "cyan"), each.text))
    if answer.remedy:
        write(joined(("Remedy: ", "dim"), answer.remedy))
    facts: list[Any] = [f"{answer.calls} calls"] if answer.calls > 1 else []
    if answer.trace_id:
        facts.append(
            f"trace {answer.trace_id}" if asked[:32] != answer.trace_id else f"trace {asked}"
        )
    if asked and asked[:32] != answer.trace_id:
        facts.append(f"asked about trace {asked}")
    if facts:
        write(text(", ".join(facts), "dim"))


VERBS = (
    Verb(
        "why-not",
        "why a receiver was not called",
        _arguments,
        _why_not,
        description="Why a receiver was not called: the reason, the line to change, the remedy. "
        "Exit codes: 0 it ran; 1 it did not; 2 wrong arguments, an unknown or ambiguous receiver; "
        "3 no such trace; 4 no store; 5 the records cannot say.",
    ),
)
