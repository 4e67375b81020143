"""The stored traces, with the questions that can be asked of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.store.models import Rollup, Trace

if TYPE_CHECKING:
    from tracing.store.queries import TraceQuerySet
    from tracing.store.statistics import RollupQuerySet


def all_traces() -> TraceQuerySet:
    """Return every trace with its name."""
    return Trace.objects.get_queryset()


def all_rollups() -> RollupQuerySet:
    """Return the statistics of every hour."""
    return Rollup.objects.all()
