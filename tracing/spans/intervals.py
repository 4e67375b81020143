"""Intervals of time, as (start, end) in nanoseconds: sums that count each moment once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.spans.records import Dispatch, ReceiverCall


def covered(intervals: Iterable[tuple[int, int]]) -> int:
    """Return how many nanoseconds *intervals* cover, overlaps counted once."""
    total = 0
    reached = -1 << 62
    for start, end in sorted(intervals):
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def time_once(spans: Iterable[Dispatch | ReceiverCall]) -> int:
    """Return the time in which any of *spans* ran, in nanoseconds.

    Spans that nest in their like, or run at the same time, share moments: a sum of their durations
    would count those several times.
    """
    return covered([(span.start_ns, span.start_ns + span.duration_ns) for span in spans])


def covered_within(span: Dispatch | ReceiverCall, inner: Iterable[Dispatch | ReceiverCall]) -> int:
    """Return how much of the time of *span* is that of any of *inner*, in nanoseconds."""
    start, end = span.start_ns, span.start_ns + span.duration_ns
    clipped = [
        (max(each.start_ns, start), min(each.start_ns + each.duration_ns, end)) for each in inner
    ]
    return covered([pair for pair in clipped if pair[0] < pair[1]])
