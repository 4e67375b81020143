"""The verbs of ``manage.py tracing``, a module for each group."""

from __future__ import annotations

from tracing.management.verbs import (
    clickhouse,
    collect,
    compare,
    explain,
    hazards,
    listing,
    make_test,
    mcp,
    profile,
    review,
    statistics,
    status,
    store,
    traces,
    why_not,
)
from tracing.management.verbs.base import Run, Verb

__all__ = ["VERBS", "Run", "Verb"]

VERBS: tuple[Verb, ...] = (
    *listing.VERBS,
    *traces.VERBS,
    *explain.VERBS,
    *why_not.VERBS,
    *profile.VERBS,
    *statistics.VERBS,
    *hazards.VERBS,
    *compare.VERBS,
    *review.VERBS,
    *make_test.VERBS,
    *store.VERBS,
    *status.VERBS,
    *collect.VERBS,
    *clickhouse.VERBS,
    *mcp.VERBS,
)
