"""The wiring of kinds of processes compared: ``wiring --processes``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis import process_wiring
from tracing.analysis.hazards.rules.processes import lacking
from tracing.analysis.mine import hidden_text
from tracing.analysis.names import place, short_signal
from tracing.clocks import time
from tracing.management.terminal import joined, table, text
from tracing.management.verbs.base import hidden_line, require_store
from tracing.store.processes import compared
from tracing.units import format_ago, format_count, format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracing.analysis.process_wiring import Difference, DifferenceSide, ProcessKind
    from tracing.management.layout import Table, Text
    from tracing.management.verbs.base import Run

NONE_YET = (
    "No process has told what it has connected. Each does so a few seconds after its first trace, "
    "and again when that changes."
)


def show_processes(run: Run) -> int:
    """Write which receivers are missing in which kinds of processes."""
    require_store()
    kinds, found = compared()
    found = [each for each in found if _is_wanted(run, each)]
    if run.as_json:
        run.terminal.json(process_wiring.as_dict(kinds, found))
        return 0
    write = run.terminal.print
    if not kinds:
        write(text(NONE_YET))
        return 0
    write(_kinds_table(kinds))
    shown = [each for each in found if run.shows_everything or each.is_hazard]
    for difference in shown:
        write()
        for line in _lines(difference):
            write(line)
    if not shown:
        write()
        write(text(_nothing(kinds)))
    if hidden := len(found) - len(shown):
        write()
        write(hidden_line(_hidden(found, hidden)))
    return 0


def _is_wanted(run: Run, difference: Difference) -> bool:
    options, receiver = run.options, difference.receiver
    return (
        options["signal"] in difference.signal
        and options["sender"].lower() in difference.sender.lower()
        and (options["receiver"] in receiver.name or options["receiver"] in receiver.file)
        and options["app"] in {"", receiver.app}
    )


def _nothing(kinds: Sequence[ProcessKind]) -> str:
    if len(kinds) == 1:
        return (
            "Only one kind of process has told what it has connected: there is nothing to compare."
        )
    return "Every receiver of yours is connected wherever it should be."


def _hidden(found: Sequence[Difference], hidden: int) -> str:
    foreign = sum(not each.receiver.mine for each in found)
    if foreign == hidden:
        return hidden_text(hidden, "difference")
    return f"{format_count(hidden)} more: not yours, or rightly so"


def _kinds_table(kinds: Sequence[ProcessKind]) -> Table:
    now_ns = time.time_ns()
    has_release = any(kind.release for kind in kinds)
    headings = ("process", *(("release",) if has_release else ()), "connections", "last seen")
    shown = table(*headings, right=("connections",), flexible="process")
    for kind in kinds:
        shown.add_row(
            text(kind.name, "bold"),
            *((text(kind.release),) if has_release else ()),
            text(format_count(len(kind.connections))),
            text(format_ago(now_ns - kind.newest.last_seen_ns)),
        )
    return shown


def _lines(difference: Difference) -> Iterator[Text]:
    label = difference.receiver
    of = "any sender" if difference.sender == "None" else difference.sender
    yield joined(
        (label.name, "bold"),
        "  ",
        (short_signal(difference.signal), "cyan"),
        f" from {of}",
        (f"  {place(label.file, label.line)}", "dim"),
    )
    for each in difference.connected:
        at = f"  {place(each.file, each.line)}" if each.file else ""
        yield joined("  connected in ", (each.kind, "bold"), at, (_since(each), "dim"))
    for each in difference.missing:
        what = f"  {lacking(each).upper()} in "
        yield joined((what, "bold red"), (each.kind, "bold"), (_since(each), "dim"))
    for each in difference.excused:
        yield joined("  not in ", (each.kind, "bold"), (f": {each.excuse}", "dim"))


def _since(one: DifferenceSide) -> str:
    release = f"release {one.release}, " if one.release else ""
    return f"  since {release}{format_moment(one.since_ns)}"
