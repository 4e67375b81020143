"""The verbs that compare: ``compare`` for periods, ``diff`` for traces."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError

from tracing.analysis import comparison
from tracing.analysis.mine import listed
from tracing.analysis.regression import ALPHA, RATIO, compare_samples
from tracing.management import report_tables, tables
from tracing.management.verbs.base import (
    FOUND,
    NAMES_OF_TRACES,
    NOT_FOUND,
    Run,
    Verb,
    add_everything,
    add_format,
    fail,
    find_trace,
    hidden_line,
    positive,
    require_traces,
    timestamp,
)
from tracing.presentation.documents import change_document, regression_document
from tracing.spans.escapes import escape_control
from tracing.store import traces
from tracing.store.receiver_samples import receiver_samples
from tracing.units import plural

# --- compare -------------------------------------------------------------------------------------


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    forms = "a release; a moment (2h, 2026-11-20): until then; or a period FROM..TO"
    parser.add_argument(
        "--before", default="", metavar="WHAT", help=f"{forms} (default: the release before)"
    )
    parser.add_argument(
        "--after",
        default="",
        metavar="WHAT",
        help="the same, but from then on (default: the newest release; with a moment before: the same)",
    )
    parser.add_argument("--kind", default="", help="only traces of this kind")
    parser.add_argument("--name", default="", help="only this route, command or test")
    parser.add_argument(
        "--sample", type=positive, default=2000, help="newest traces of each side (default 2000)"
    )
    parser.add_argument(
        "--alpha", type=_share, default=ALPHA, help=f"significance level (default {ALPHA})"
    )
    parser.add_argument(
        "--ratio", type=float, default=RATIO, help=f"growth that matters (default {RATIO})"
    )
    parser.add_argument("--all", action="store_true", help="also what did not change")
    parser.add_argument("--fail", action="store_true", help="exit with 1 if anything got worse")
    add_everything(parser)
    add_format(parser)


def _share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1")
    return found


def side(wanted: str, *, later: bool) -> tuple[dict[str, Any], str]:
    """Return the traces that one side of a comparison means, and its name.

    They are returned as arguments of ``traces.newest``.

    A release wins over a moment of the same spelling. A moment is a border: before it, or from it
    on.

    Raises:
        CommandError: It is none of the three.
    """
    if traces.is_release(wanted):
        return {"release": wanted}, f"release {wanted}"
    first, dots, last = wanted.partition("..")
    try:
        if dots:
            since = timestamp(first) if first else None
            until = timestamp(last) if last else None
            return {"since_ns": since, "until_ns": until}, wanted
        border = timestamp(wanted)
    except argparse.ArgumentTypeError:
        raise CommandError(_no_side(wanted), returncode=NOT_FOUND) from None
    if later:
        return {"since_ns": border}, f"from {wanted} on"
    return {"until_ns": border}, f"before {wanted}"


def sides(before: str, after: str) -> tuple[str, str]:
    """Return what to compare, where one or both were left open.

    Raises:
        CommandError: It cannot be told.
    """
    if before and after:
        return before, after
    if before and not traces.is_release(before) and ".." not in before:
        return before, before
    known = traces.releases()
    after = after or (known[-1] if known else "")
    earlier = known[: known.index(after)] if after in known else []
    before = before or (earlier[-1] if earlier else "")
    if before and after and before != after:
        return before, after
    message = (
        "There are no two releases to compare. Say when the deploy was, as in --before 1d, "
        'or set TRACING["RELEASE"] and deploy again.'
    )
    raise fail(message, NOT_FOUND)


def _no_side(wanted: str) -> str:
    releases = ", ".join(escape_control(release) for release in sorted(traces.releases()[-50:]))
    hint = (
        f"The store has the releases {releases}."
        if releases
        else ('No trace in the store has a release; set TRACING["RELEASE"].')
    )
    forms = "neither a release nor a moment (2h, 2026-11-20) nor FROM..TO"
    return f"{escape_control(wanted)!r} is {forms}. {hint}"


def _compare(run: Run) -> int:
    require_traces()
    options = run.options
    before, after = sides(options["before"], options["after"])
    compared = [side(before, later=False), side(after, later=True)]
    limits = {"kind": options["kind"], "name": options["name"]}
    taken = [
        receiver_samples(traces.newest(options["sample"], **limits, **chosen))
        for chosen, _ in compared
    ]
    for (_, name), sample in zip(compared, taken, strict=True):
        if not sample:
            raise fail(f"No receiver was called {escape_control(name)}.", NOT_FOUND)
    found = compare_samples(*taken, alpha=options["alpha"], ratio=options["ratio"])
    if run.as_json:
        run.terminal.json([regression_document(regression) for regression in found])
    else:
        # What fails is seen.
        everything = run.shows_everything or options["fail"]
        view = listed(found, "receiver", everything=everything)
        shown = [regression for regression in view.rows if regression.verdicts or options["all"]]
        run.terminal.say((compared[0][1], "bold"), " and ", (compared[1][1], "bold"))
        if view.heading:
            run.terminal.say((view.heading, "bold"))
        if shown:
            run.terminal.print(report_tables.regressions(shown, run.terminal.width))
        same = len(view.rows) - len(shown)
        if same:
            run.terminal.say((f"{plural(same, 'receiver')} without a difference.", "dim"))
        if view.note:
            run.terminal.print(hidden_line(view.note))
        method = (
            f"Self time and SQL per call: Mann-Whitney U; errors: Fisher's exact test; "
            f"p corrected by Holm, alpha {options['alpha']:g}, ratio {options['ratio']:g}."
        )
        run.terminal.say((method, "dim"))
    worse = any(regression.is_worse for regression in found)
    return FOUND if options["fail"] and worse else 0


# --- diff ----------------------------------------------------------------------------------------


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="TRACE", help=NAMES_OF_TRACES)
    parser.add_argument("after", metavar="TRACE")
    parser.add_argument("--all", action="store_true", help="also what did not change")
    add_everything(parser)
    add_format(parser)


def _diff(run: Run) -> int:
    before, after = (traces.load(find_trace(run.options[name])) for name in ("before", "after"))
    found = comparison.compare(before, after)
    view = listed(found.changes, "place", everything=run.shows_everything)
    changes = [change for change in view.rows if change.verdicts or run.options["all"]]
    if run.as_json:
        run.terminal.json([change_document(change) for change in changes])
        return 0
    for trace in (before, after):
        run.terminal.print(tables.heading(trace))
    run.terminal.print()
    if view.heading:
        run.terminal.say((view.heading, "bold"))
    if changes:
        run.terminal.print(report_tables.comparison(changes))
    elif found.changed:
        run.terminal.say("Nothing of yours changed.")
    else:
        run.terminal.say("The same receivers ran, about as long and with as much SQL.")
    if view.note:
        run.terminal.print(hidden_line(view.note))
    return 0


VERBS = (
    Verb(
        "compare",
        "which receivers got slower between two releases or periods",
        _compare_arguments,
        _compare,
        "Compare the receiver calls of two releases or periods with statistical tests, so that "
        "chance is not taken for a change.",
    ),
    Verb("diff", "what differs between two traces", _diff_arguments, _diff),
)
