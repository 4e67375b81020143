"""Hazards of processes: what is connected in the one and not in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.hazards.rules.processes import findings, wired_differently
from tracing.analysis.hazards.ruleset import current

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.process_wiring import Difference
    from tracing.spans.records import Hazard


def diagnose_processes(differences: Iterable[Difference]) -> list[Hazard]:
    """Return the hazards of *differences*, once each, known ones too.

    Args:
        differences: What ``tracing.analysis.process_wiring.differences`` returned.
    """
    return list(current().judge(wired_differently.id, findings(differences)))
