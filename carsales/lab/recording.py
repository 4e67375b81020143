"""Running an experiment while the tracer records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tracing
from tracing import pipeline
from tracing.testing import capture_dispatches

from .experiments import rolled_back

if TYPE_CHECKING:
    from tracing.testing import Captured

    from .findings import Findings
    from .lessons import Lesson


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an experiment.

    Attributes:
        findings: What it noted.
        captured: What was dispatched meanwhile.
    """

    findings: Findings
    captured: Captured


def run(lesson: Lesson) -> Outcome:
    """Run the experiment of *lesson*, undo what it did, and return what it found."""
    with capture_dispatches(name=f"lab: {lesson.slug}") as captured, rolled_back():
        findings = lesson.experiment()
    if tracing.is_instrumented():
        # What a capture sees is not stored by itself; the links into the viewer need it there.
        pipeline.submit(captured.trace)
    return Outcome(findings, captured)
