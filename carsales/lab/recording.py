"""Running an experiment while the tracer records it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tracing
from tracing import pipeline
from tracing.analysis.hazards import diagnose
from tracing.testing import capture_dispatches

from .experiments import rolled_back

if TYPE_CHECKING:
    from tracing.capture.spans import Hazard
    from tracing.testing import Captured

    from .findings import Findings
    from .hazards.exhibits import Exhibit
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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came of provoking a hazard.

    Attributes:
        hazards: What the rules found, the worst first.
        captured: What was dispatched.
    """

    hazards: list[Hazard]
    captured: Captured


def run(lesson: Lesson) -> Outcome:
    """Run the experiment of *lesson*, undo what it did, and return what it found."""
    with capture_dispatches(name=f"lab: {lesson.slug}") as captured, rolled_back():
        findings = lesson.experiment()
    _store(captured)
    return Outcome(findings, captured)


def provoke(exhibit: Exhibit) -> Diagnosis:
    """Provoke the hazard of *exhibit*, undo what that did, and return what the rules found."""
    undo = nullcontext() if exhibit.commits else rolled_back()
    with capture_dispatches(name=f"lab: {exhibit.slug}") as captured, undo:
        exhibit.experiment()
    hazards = diagnose(captured.trace)
    _store(captured)
    return Diagnosis(hazards, captured)


def _store(captured: Captured) -> None:
    """Hand the trace to the exporters: a capture does not, and links into the viewer need it."""
    if tracing.is_instrumented():
        pipeline.submit(captured.trace)
