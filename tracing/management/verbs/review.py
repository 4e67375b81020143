"""The verb ``review``: a change's effects on signals, from two records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tracing.analysis.review import Change, RecordError, Recording, read, review
from tracing.management.verbs.base import FOUND, WRONG, Run, Verb, add_format, fail
from tracing.presentation import review as documents
from tracing.units import plural

if TYPE_CHECKING:
    from argparse import ArgumentParser

_TESTS = 3
"""Tests that are named of one change; the other formats have all."""


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("base", type=Path, metavar="BASE", help="folder recorded before the change")
    parser.add_argument("head", type=Path, metavar="HEAD", help="folder recorded with the change")
    parser.add_argument(
        "--fail-on-change", action="store_true", help="exit with 1 if there is any change"
    )
    add_format(parser, "markdown", "sarif", "github")


def _review(run: Run) -> int:
    options = run.options
    base, head = _read(run, options["base"]), _read(run, options["head"])
    changes = review(base, head)
    compared = base.tests.keys() & head.tests.keys()
    if not compared:
        run.terminal.warn("The two records have no test in common, so that nothing was compared.")
    _show(run, changes, len(compared))
    return FOUND if changes and options["fail_on_change"] else 0


def _read(run: Run, folder: Path) -> Recording:
    try:
        found = read(folder)
    except RecordError as error:
        raise fail(str(error), WRONG) from None
    for problem in found.problems:
        run.terminal.warn(problem)
    return found


def _show(run: Run, changes: list[Change], tests: int) -> None:
    terminal = run.terminal
    match run.options["format"]:
        case "json":
            terminal.json([documents.as_dict(change) for change in changes])
        case "markdown":
            terminal.raw(documents.markdown(changes, tests))
        case "github":
            terminal.raw(documents.github(changes))
        case "sarif":
            from tracing import __version__  # noqa: PLC0415 - the package offers it when asked.

            terminal.json(documents.sarif(changes, __version__))
        case _:
            _show_text(run, changes, tests)


def _show_text(run: Run, changes: list[Change], tests: int) -> None:
    for change in changes:
        told = documents.difference(change)
        where = documents.location(change)
        run.terminal.say(
            (f"{change.kind:<19}", "bold"),
            f" {documents.subject(change)}",
            (f": {told}" if told else "", ""),
            (f"  {where}" if where else "", "dim"),
        )
        more = len(change.tests) - _TESTS
        for test in change.tests[:_TESTS]:
            run.terminal.say((f"{'':20}{test}", "dim"))
        if more > 0:
            run.terminal.say((f"{'':20}and {more} more", "dim"))
    said = plural(len(changes), "change") if changes else documents.NO_CHANGE
    run.terminal.say((f"{said} in {plural(tests, 'test')}.", "" if changes else "green"))


VERBS = (
    Verb(
        "review",
        "what a change does to signals, from the records of two test runs",
        _arguments,
        _review,
        "Compare what the tests did in signals before and after a change. Record each side with "
        "pytest --tracing-record DIR; neither project, nor a store, is needed to compare.",
    ),
)
