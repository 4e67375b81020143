"""Receiver calls of many traces, to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.regression import Sample, samples
from tracing.store.clickhouse.traces import load_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.spans.summary import TraceSummary


def receiver_samples(many: Iterable[TraceSummary]) -> dict[str, Sample]:
    """Return what ``samples`` makes of *many* traces."""
    return samples(load_all(many))
