"""The verb ``make-test``: a recorded trace as the source of a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracing.analysis.index import Index
from tracing.management.verbs.base import (
    LAST,
    WRONG,
    Run,
    Verb,
    add_trace,
    fail,
    find_trace,
    no_span,
    positive,
)
from tracing.presentation.made_test import made_test
from tracing.store import traces
from tracing.units import plural

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from tracing.analysis.index import Span
    from tracing.spans.records import Trace
    from tracing.spans.summary import TraceSummary

_LOOKED_AT: Final = 1_000
"""Newest traces among which one of mine is looked for."""


def _arguments(parser: ArgumentParser) -> None:
    add_trace(parser)
    parser.add_argument(
        "--span",
        type=positive,
        metavar="N",
        help="only the dispatch of this number, or what the receiver call of it sent",
    )
    parser.add_argument(
        "--output", "-o", type=Path, metavar="FILE", help="a new file, instead of stdout"
    )


def _make_test(run: Run) -> int:
    options = run.options
    path: Path | None = options["output"]
    if path is not None and path.exists():
        raise fail(f"{path} is there already: name a new file.", WRONG)
    trace = traces.load(_find(run))
    span = _span(trace, options["span"])
    source = made_test(trace, span=span)
    if trace.dropped_count:
        lost = plural(trace.dropped_count, "item")
        run.terminal.warn(f"{lost} of the trace were not recorded: its tree is not whole.")
    if path is None:
        run.terminal.raw(source)
        return 0
    try:
        path.write_text(source, encoding="utf-8")
    except OSError as error:
        raise fail(f"{path} cannot be written: {error.strerror}", WRONG) from None
    run.terminal.say(f"{path}: fill in what it marks, then run it: pytest {path}")
    return 0


def _find(run: Run) -> TraceSummary:
    """Return the trace that is asked for.

    For ``last`` that is the newest in which a receiver of mine ran, if there is one: which it is, is told.
    """
    wanted, method = run.options["trace"], run.options["method"]
    found = find_trace(wanted, method=method)
    if wanted != LAST:
        return found
    newest = traces.newest(_LOOKED_AT, method=method)
    chosen = next((row for row in newest if row.mine), found)
    which = f"Made of {chosen.kind} {chosen.name}, {chosen.address}"
    if not chosen.mine:
        run.terminal.warn(f"{which}: no receiver of yours ran in it.")
    elif newer := [row.row for row in newest].index(chosen.row):
        none = "has" if newer == 1 else "have"
        run.terminal.warn(f"{which}; {plural(newer, 'newer trace')} {none} no receiver of yours.")
    else:
        run.terminal.warn(f"{which}.")
    return chosen


def _span(trace: Trace, number: int | None) -> Span | None:
    if number is None:
        return None
    span = Index(trace).span(number)
    if span is None:
        raise no_span(trace.address, number)
    return span


VERBS = (
    Verb(
        "make-test",
        "turn a trace into a test that asserts its tree",
        _arguments,
        _make_test,
        "Write a pytest function that does again what was recorded and asserts the tree of its dispatches. A "
        "request is written with method and path; what no trace holds, as bodies and what was in the "
        "database, is marked.",
    ),
)
