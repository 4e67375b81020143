"""The self time of receiver calls, divided into Python, SQL and waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tracing.spans.records import ReceiverCall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.index import Span


class TimeSplit(NamedTuple):
    """Self time divided, in nanoseconds."""

    cpu_ns: int
    """Its thread computed, outside queries."""
    sql_ns: int
    """It queried the database."""
    waiting_ns: int
    """The rest: it slept, or waited for a lock, the network, or for its turn on the processor."""


def split_time(spans: Iterable[Span]) -> TimeSplit | None:
    """Return the self time of *spans* divided; None where one was not read.

    That is the case of dispatches, of calls under ``asend``, and without ``CAPTURE_CPU``.
    """
    cpu = sql = waiting = 0
    found = False
    for span in spans:
        if not isinstance(span, ReceiverCall) or (span.was_called and span.cpu_ns is None):
            return None
        if span.cpu_ns is None:
            continue
        found = True
        own = max(span.self_ns, 0)
        queries = min(span.query_ns, own)
        # Two clocks, which differ by a little.
        computed = min(span.cpu_ns, own - queries)
        cpu, sql, waiting = cpu + computed, sql + queries, waiting + own - queries - computed
    return TimeSplit(cpu, sql, waiting) if found else None
