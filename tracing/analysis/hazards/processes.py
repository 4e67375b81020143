"""Hazards of processes: what is connected in the one and not in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.hazards import known
from tracing.analysis.hazards.rules.processes import findings, wired_differently
from tracing.analysis.hazards.ruleset import current

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.process_wiring import Difference
    from tracing.spans.records import Hazard


def diagnose_processes(
    differences: Iterable[Difference], *, include_known: bool = False
) -> list[Hazard]:
    """Return the hazards of *differences*, each connection once.

    Args:
        differences: What ``tracing.analysis.process_wiring.differences`` returned.
        include_known: Also return what the project marked as known.
    """
    rules = current()
    active = next((each for each in rules.rules if each.rule.id == wired_differently.id), None)
    if active is None:
        return []
    found = list(findings(differences))
    for hazard in found:
        active.sign(hazard)
        hazard.known = known.known_reason(hazard, rules.marks)
    return [hazard for hazard in found if include_known or not hazard.known]
