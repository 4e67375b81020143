"""Requests that a redirect joins: its sender, and its destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.instrumentation.scopes.redirects import LONGEST_NS
from tracing.store.choice import asked
from tracing.store.models import Trace
from tracing.store.traces import summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracing.spans.summary import TraceSummary
    from tracing.store.queries import TraceQuerySet

NEAR: Final = 1_000
"""Rows before and behind a trace among which its other half is looked for."""


@asked
def redirected_from(row: TraceSummary) -> TraceSummary | None:
    """Return the request that redirected to *row*; None if unknown."""
    since = row.started_ns - LONGEST_NS
    sources = _near(row, "redirect_key", row.arrival_key)
    sources = sources.filter(started_ns__lt=row.started_ns, started_ns__gte=since)
    return _first(sources.order_by("-started_ns"))


@asked
def redirected_to(row: TraceSummary) -> TraceSummary | None:
    """Return the request that *row* redirected to; None if unknown."""
    until = row.started_ns + LONGEST_NS
    targets = _near(row, "arrival_key", row.redirect_key)
    targets = targets.filter(started_ns__gt=row.started_ns, started_ns__lte=until)
    return _first(targets.order_by("started_ns"))


def _first(rows: TraceQuerySet) -> TraceSummary | None:
    row: Trace | None = rows.first()
    return None if row is None else summary(row)


def pairs_among(rows: Iterable[TraceSummary]) -> dict[int, int]:
    """Return the redirecting row of each of *rows* that one led to."""
    waiting: dict[str, TraceSummary] = {}
    pairs: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: row.started_ns):
        source = waiting.pop(row.arrival_key, None)
        if source is not None and row.started_ns - source.started_ns <= LONGEST_NS:
            pairs[row.row] = source.row
        if row.redirect_key:
            waiting[row.redirect_key] = row
    return pairs


def grouped(rows: Sequence[TraceSummary]) -> list[tuple[TraceSummary, bool]]:
    """Return *rows*, each with whether it redirected to the one before it.

    Such a one is put there if it stands further down.
    """
    sources = pairs_among(rows)
    by_id = {row.row: row for row in rows}
    moved = set(sources.values())
    found: list[tuple[TraceSummary, bool]] = []
    for row in rows:
        if row.row in moved:
            continue
        found.append((row, False))
        at = row.row
        while at := sources.get(at, 0):
            found.append((by_id[at], True))
    return found


def _near(row: TraceSummary, name: str, key: str) -> TraceQuerySet:
    """Return the traces stored about when *row* was whose key *name* is *key*."""
    if not key:
        return Trace.objects.none()
    near = Trace.objects.filter(pk__range=(row.row - NEAR, row.row + NEAR))
    return near.filter(extra__contains=f'"{name}":"{key}"')
