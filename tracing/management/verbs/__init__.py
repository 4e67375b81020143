"""The verbs of ``manage.py tracing``: thin faces of library functions, a module for each group."""

from __future__ import annotations

from tracing.management.verbs import comparing, diagnosing, keeping, reading, recording
from tracing.management.verbs.base import Run, Verb

__all__ = ["VERBS", "Run", "Verb"]

VERBS: tuple[Verb, ...] = (
    *reading.VERBS,
    *diagnosing.VERBS,
    *comparing.VERBS,
    *keeping.VERBS,
    *recording.VERBS,
)
