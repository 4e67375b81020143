"""Requests that a redirect joins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.instrumentation.scopes.redirects import LONGEST_NS
from tracing.store.clickhouse.asking import Binder
from tracing.store.clickhouse.traces import listed

if TYPE_CHECKING:
    from tracing.spans.summary import TraceSummary


def redirected_from(row: TraceSummary) -> TraceSummary | None:
    """Return the request that redirected to *row*; None if unknown."""
    since, until = row.started_ns - LONGEST_NS, row.started_ns - 1
    return _between("RedirectKey", row.arrival_key, since, until, "DESC")


def redirected_to(row: TraceSummary) -> TraceSummary | None:
    """Return the request that *row* redirected to; None if unknown."""
    since, until = row.started_ns + 1, row.started_ns + LONGEST_NS
    return _between("ArrivalKey", row.redirect_key, since, until, "ASC")


def _between(
    column: str, key: str, since_ns: int, until_ns: int, order: str
) -> TraceSummary | None:
    if not key:
        return None
    bind = Binder()
    parts = [
        f"{column} = {bind(key)}",
        f"Timestamp BETWEEN {bind.moment(since_ns)} AND {bind.moment(until_ns)}",
    ]
    return next(iter(listed(bind, parts, 1, order=order)), None)
