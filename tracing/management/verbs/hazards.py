"""The verbs that diagnose: ``hazards`` and ``wiring``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.management.base import CommandError
from django.db import DatabaseError

from tracing.analysis import wiring
from tracing.analysis.hazards import (
    SEVERITIES,
    active_rules,
    as_dict,
    current,
    diagnose_across,
    find_again,
)
from tracing.analysis.hazards.connected import diagnose_wiring
from tracing.analysis.hazards.processes import diagnose_processes
from tracing.analysis.names import in_library
from tracing.management import report_tables
from tracing.management.verbs import processes
from tracing.management.verbs.base import (
    FOUND,
    NAMES_OF_TRACES,
    NOT_FOUND,
    WRONG,
    Run,
    Verb,
    add_everything,
    add_format,
    add_period,
    fail,
    find_trace,
    positive,
    require_store,
)
from tracing.presentation.documents import fields_of
from tracing.spans.escapes import json_text
from tracing.store import traces
from tracing.store.processes import compared
from tracing.store.statistics import calls_of_receivers
from tracing.units import plural

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable

    from tracing.analysis.wiring import Route
    from tracing.spans.records import Hazard, Trace

# --- hazards -------------------------------------------------------------------------------------


def _hazards_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--trace", help=f"only this trace: {NAMES_OF_TRACES}")
    parser.add_argument(
        "--hazard", action="append", metavar="ID", help="only this hazard; may be repeated"
    )
    parser.add_argument("--severity", choices=SEVERITIES, help="only this severity and worse")
    parser.add_argument("--known", action="store_true", help="also what is marked as known")
    parser.add_argument(
        "--limit", type=positive, default=500, help="newest traces to look at (default 500)"
    )
    add_period(parser)
    parser.add_argument(
        "--no-wiring",
        action="store_true",
        help="leave out what is connected, in this process and in others",
    )
    parser.add_argument("--rules", action="store_true", help="list the rules instead")
    parser.add_argument(
        "--grouped", action="store_true", help="JSON: each finding once, with its trace_ids"
    )
    parser.add_argument(
        "--fail-on", choices=SEVERITIES, help="exit with 1 if there is this severity or worse"
    )
    add_format(parser)


def _hazards(run: Run) -> int:
    options = run.options
    if options["rules"]:
        return _rules(run)
    wanted = set(options["hazard"] or ())
    unknown = wanted - {rule.id for rule in active_rules()}
    if unknown:
        ids = ", ".join(sorted(rule.id for rule in active_rules()))
        raise fail(f"There is no rule {', '.join(sorted(unknown))}. The rules are: {ids}", WRONG)
    found = [
        hazard
        for hazard in _found(run)
        if (options["known"] or not hazard.known)
        and (not wanted or hazard.hazard in wanted)
        and _is_as_bad(hazard, options["severity"] or SEVERITIES[-1])
    ]
    if run.as_json and options["grouped"]:
        run.terminal.json(
            [as_dict(newest) | {"trace_ids": ids} for newest, ids in _by_finding(found)]
        )
    elif run.as_json:
        run.terminal.json([as_dict(hazard) for hazard in found])
    elif found:
        groups = _by_finding(found)
        seen = {newest.fingerprint: len(ids) for newest, ids in groups}
        run.terminal.print(report_tables.hazards([newest for newest, _ids in groups], seen))
    else:
        run.terminal.say("No hazards found.")
    for problem in current().problems:
        run.terminal.warn(f"TRACING: {problem}")
    threshold = options["fail_on"]
    if threshold and any(_is_as_bad(hazard, threshold) for hazard in found if not hazard.known):
        return FOUND
    return 0


def _by_finding(found: Iterable[Hazard]) -> list[tuple[Hazard, list[str]]]:
    """Return each finding in its newest trace, with all its traces' ids.

    The worst is first.
    """
    groups: dict[str, tuple[Hazard, dict[str, None]]] = {}
    for hazard in found:
        _newest, ids = groups.setdefault(hazard.fingerprint, (hazard, {}))
        ids |= {hazard.trace_id: None} if hazard.trace_id else {}
    return sorted(
        ((newest, list(ids)) for newest, ids in groups.values()),
        key=lambda group: (SEVERITIES.index(group[0].severity), in_library(group[0].file)),
    )


def _is_as_bad(hazard: Hazard, threshold: str) -> bool:
    return SEVERITIES.index(hazard.severity) <= SEVERITIES.index(threshold)


def _found(run: Run) -> list[Hazard]:
    """Return the hazards of the traces that were asked for, known ones too."""
    options = run.options
    if options["trace"]:
        return find_again(traces.load(find_trace(options["trace"])))
    found: list[Hazard] = []
    if not options["no_wiring"]:
        found += diagnose_wiring(wiring.read_wiring())
    recent = _recent(run)
    if not options["no_wiring"]:
        found += diagnose_processes(compared()[1])
    for trace in recent:
        found += find_again(trace)
    return found + diagnose_across(recent)


def _recent(run: Run) -> list[Trace]:
    require_store()
    options = run.options
    newest = traces.newest(options["limit"], since_ns=options["since"], until_ns=options["until"])
    return list(traces.load_all(newest))


def _rules(run: Run) -> int:
    active = current().rules
    if run.as_json:
        run.terminal.json(
            [
                {
                    "hazard": each.rule.id,
                    "severity": each.severity,
                    **fields_of(each.rule, "summary", "why", "remedy"),
                    "options": dict(each.options),
                }
                for each in active
            ]
        )
        return 0
    for each in active:
        style = report_tables.STYLES[each.severity]
        set_to = ", ".join(f"{name}={value}" for name, value in each.options.items())
        run.terminal.say(
            (f"{each.severity:<8}", style),
            (each.rule.id, "bold"),
            (f"  {set_to}" if set_to else "", "dim"),
            "\n",
            f"        {each.rule.summary}",
        )
    return 0


# --- wiring --------------------------------------------------------------------------------------


def _wiring_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--signal", default="", help="part of the signal's dotted path")
    parser.add_argument("--sender", default="", help="part of the sender's label")
    parser.add_argument("--receiver", default="", help="part of the receiver's name or file")
    parser.add_argument("--app", default="", help="label of the application it is from")
    parser.add_argument(
        "--unseen", action="store_true", help="only receivers that the store never saw called"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the wiring for --check")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="compare with what was written; exit 1 if not"
    )
    parser.add_argument(
        "--processes",
        action="store_true",
        help="which receivers some kinds of processes have connected and others have not",
    )
    add_everything(parser)
    add_format(parser)


def _wiring(run: Run) -> int:
    options = run.options
    if options["processes"]:
        if clashing := [name for name in ("check", "write", "unseen") if options[name]]:
            raise fail(f"--processes does not go with --{clashing[0]}.", WRONG)
        return processes.show_processes(run)
    routes = wiring.matching(
        wiring.read_wiring(),
        signal=options["signal"],
        sender=options["sender"],
        receiver=options["receiver"],
        app=options["app"],
    )
    if options["check"]:
        return _check(run, options["check"], routes)
    if options["write"]:
        return _write(run, options["write"], routes)
    seen = seen_receivers(required=options["unseen"])
    if options["unseen"]:
        routes = wiring.unseen(routes, seen or {})
    if run.as_json:
        run.terminal.json(wiring.as_dicts(routes, seen))
    elif routes:
        run.terminal.print(report_tables.wiring(routes, seen))
    elif options["unseen"]:
        run.terminal.say("Every receiver that is connected has been called.")
    else:
        raise fail("No receiver is connected that fits.", NOT_FOUND)
    return 0


def seen_receivers(*, required: bool) -> dict[str, int] | None:
    """Return how often the store saw each receiver called; None without one.

    Args:
        required: Fail rather than answer None.
    """
    try:
        require_store()
        return calls_of_receivers()
    except (CommandError, DatabaseError):
        if required:
            raise
        return None


def _write(run: Run, path: Path, routes: Iterable[Route]) -> int:
    document = wiring.to_file(routes)
    content = json_text(document, indent=2) + "\n"
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise fail(f"{path} cannot be written: {error}", WRONG) from None
    count = sum(
        len(lines) for senders in document["signals"].values() for lines in senders.values()
    )
    if not run.as_json:
        run.terminal.say(f"{path}: {plural(count, 'connection')}. Check them with --check {path}")
    return 0


def _check(run: Run, path: Path, routes: list[Route]) -> int:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        changes = wiring.compare_wiring(document, routes)
    except OSError as error:
        message = f"{path} cannot be read: {error}. Write it with --write {path}"
        raise fail(message, NOT_FOUND) from None
    except ValueError as error:
        raise fail(f"{path} is no wiring file: {error}", WRONG) from None
    if run.as_json:
        run.terminal.json(
            [
                {
                    "change": change.kind,
                    "signal": change.signal,
                    "sender": None if change.sender == wiring.ANY else change.sender,
                    "receiver": change.receiver,
                    "was": change.was or None,
                }
                for change in changes
            ]
        )
    elif changes:
        styles = {"+": "green", "-": "red", "~": "yellow", "↕": "yellow"}
        for line in wiring.change_lines(changes):
            run.terminal.say((line, styles.get(line.strip()[:1], "bold")))
        run.terminal.print()
        meant = f"If that is meant: --write {path}"
        run.terminal.say(f"The wiring differs from {path}. {meant}")
    else:
        run.terminal.say(f"The wiring is that of {path}.")
    return FOUND if changes else 0


VERBS = (
    Verb(
        "hazards",
        "name the bugs in traces and in the wiring, with evidence and remedy",
        _hazards_arguments,
        _hazards,
        "Apply the rules to the newest traces of the store and to what is connected here. "
        "docs/hazards explains each rule, and how to mark a finding as known.",
    ),
    Verb(
        "wiring",
        "which receivers are connected to what, in calling order",
        _wiring_arguments,
        _wiring,
        "List the receivers of every signal and sender in calling order; --write and --check keep "
        "them under version control.",
    ),
)
