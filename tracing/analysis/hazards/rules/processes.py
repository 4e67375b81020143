"""Rules about kinds of processes, which no trace shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.hazards.rule import finding, lines, rule, who
from tracing.analysis.names import place, short_signal
from tracing.units import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracing.analysis.hazards.facts import Facts
    from tracing.analysis.hazards.rule import Options
    from tracing.analysis.process_wiring import Difference, DifferenceSide
    from tracing.spans.records import Hazard


@rule(
    "wired-differently",
    severity="warning",
    summary="A receiver is connected in one kind of process and not in another.",
    why="What it does happens after a save in the one and silently not after the same save in the other.",
    remedy="Connect it in ready() of an AppConfig, which every process runs.",
    wants="of_processes",
)
def wired_differently(_facts: Facts, _options: Options) -> Iterable[Hazard]:
    """Find nothing in a trace: ``findings`` looks at processes."""
    return ()


def findings(differences: Iterable[Difference]) -> Iterator[Hazard]:
    """Yield a finding for each receiver of the project that is missing."""
    for difference in differences:
        if not difference.is_hazard:
            continue
        of = "" if difference.sender == "None" else f" of {difference.sender}"
        message = (
            f"{who(difference.receiver)} is connected to {short_signal(difference.signal)}{of} in "
            f"{_kinds(difference.connected)}, and not in {_kinds(difference.missing)}."
        )
        evidence = lines([*difference.connected, *difference.missing], _line)
        hazard = finding(message, receiver=difference.receiver, evidence=evidence)
        hazard.signal, hazard.sender = difference.signal, difference.sender
        yield hazard


def _kinds(places: Iterable[DifferenceSide]) -> str:
    names = [each.kind for each in places]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _line(one: DifferenceSide) -> str:
    release = f"release {one.release}, " if one.release else ""
    since = f"since {release}{format_moment(one.since_ns)}"
    if one.file:
        return f"{one.kind}: connected at {place(one.file, one.line)}, {since}"
    return f"{one.kind}: {lacking(one)}, {since}"


def lacking(one: DifferenceSide) -> str:
    """Return the words for a place in which a receiver is not connected."""
    return "not connected any more" if one.was_connected else "not connected"
