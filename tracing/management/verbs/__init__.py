"""The verbs of ``manage.py tracing``: thin faces of library functions, a module for each group."""

from __future__ import annotations

from tracing.management.verbs import compare, hazards, statistics, status, store, traces
from tracing.management.verbs.base import Run, Verb

__all__ = ["VERBS", "Run", "Verb"]

VERBS: tuple[Verb, ...] = (
    *traces.VERBS,
    *statistics.VERBS,
    *hazards.VERBS,
    *compare.VERBS,
    *store.VERBS,
    *status.VERBS,
)
