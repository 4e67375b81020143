"""Running an experiment while the tracer records it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.urls import reverse

import tracing
from tracing import pipeline
from tracing.analysis.hazards import diagnose
from tracing.testing import capture_dispatches

from .experiments import rolled_back

if TYPE_CHECKING:
    from tracing.spans.records import Hazard
    from tracing.testing import Captured

    from .findings import Findings
    from .hazards.exhibits import Exhibit
    from .lessons import Lesson


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an experiment.

    Attributes:
        findings: What it noted.
        captured: What was dispatched meanwhile.
        page: The path of the viewer's page, opened on the lesson's receiver; empty when traces are
            not stored.
    """

    findings: Findings
    captured: Captured
    page: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The diagnosis of a provoked hazard.

    Attributes:
        hazards: What the rules found, the worst first.
        captured: What was dispatched.
        page: The path of the viewer's page, opened on the span of the hazard; empty when traces are
            not stored.
    """

    hazards: list[Hazard]
    captured: Captured
    page: str


def run(lesson: Lesson) -> Outcome:
    """Run the experiment of *lesson*, undo what it did, and return what it found."""
    with capture_dispatches(name=f"lab: {lesson.slug}") as captured, rolled_back():
        findings = lesson.experiment()
    names = {f"{receiver.__module__}.{receiver.__qualname__}" for receiver in lesson.receivers}
    calls = [call for dispatch in captured.trace.dispatches for call in dispatch.receiver_calls]
    numbers = [call.number for call in calls if call.receiver.name in names]
    return Outcome(findings, captured, _store(captured, numbers))


def provoke(exhibit: Exhibit) -> Diagnosis:
    """Provoke the hazard of *exhibit*, undo what that did, and return what the rules found."""
    undo = nullcontext() if exhibit.commits else rolled_back()
    with capture_dispatches(name=f"lab: {exhibit.slug}") as captured, undo:
        exhibit.experiment()
    hazards = diagnose(captured.trace)
    numbers = [
        number for hazard in hazards if hazard.hazard == exhibit.slug for number in hazard.numbers
    ]
    return Diagnosis(hazards, captured, _store(captured, numbers))


def _store(captured: Captured, numbers: list[int]) -> str:
    """Hand the trace to the exporters, which a capture does not.

    Returns:
        The path of the page of the first of these spans, or of the trace; empty when nothing is stored.
    """
    if not tracing.is_instrumented():
        return ""
    pipeline.submit(captured.trace)
    if numbers:
        return reverse("tracing:span", args=[captured.trace.address, numbers[0]])
    return reverse("tracing:trace", args=[captured.trace.address])
