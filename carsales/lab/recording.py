"""Running an experiment while the tracer records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .experiments import rolled_back

if TYPE_CHECKING:
    from .findings import Findings
    from .lessons import Lesson


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an experiment.

    Attributes:
        findings: What it noted.
        trace: The tree of what was dispatched meanwhile.
    """

    findings: Findings
    trace: Any


def run(lesson: Lesson) -> Outcome:
    """Run the experiment of *lesson*, undo what it did, and return what it found."""
    with rolled_back():
        findings = lesson.experiment()
    return Outcome(findings, None)
