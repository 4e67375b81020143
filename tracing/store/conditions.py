"""Conditions on the row of a trace."""

from __future__ import annotations

from typing import Final, Self

from django.db import models
from django.db.models import Max, Q
from msgspec import field

from tracing.spans import records
from tracing.store.digits import ROOT_DIGITS, begins_with_digits, digits_conditions
from tracing.store.generics import Trace, all_of
from tracing.store.pages import TraceSearch
from tracing.store.ranges import keys_of

_FEW: Final = 100
"""Traces with like ids that are looked up beforehand."""


class NarrowedSearch(TraceSearch, frozen=True):
    """A search with a condition in SQL that its other fields cannot tell."""

    condition: Q = field(default_factory=Q)
    """About the trace's own row."""
    least: dict[str, int] = field(default_factory=dict)
    """What it says of columns that have an index and must be as large."""


def least_numbers(wanted: TraceSearch) -> dict[str, int]:
    """Return what columns with an index must have at least, to be *wanted*."""
    least = wanted.least if isinstance(wanted, NarrowedSearch) else {}
    slow = wanted.slower_than_ns
    return least | ({"duration_ns": min(slow, 2**62)} if slow else {})


def flag_is(name: str, value: bool) -> Q:  # noqa: FBT001 - the value of a column.
    """Return the condition on a flag for which SQLite asks its index.

    It does not for ``WHERE mine``, which is what Django makes of ``mine=True``.
    """
    return Q(**{f"{name}__in": [value]})


def row_conditions(wanted: TraceSearch, using: str) -> Q | None:
    """Return the conditions on a trace row; None if nothing can fit."""
    if wanted.kind and wanted.kind not in set(records.Kind):
        return None
    conditions = _flags(wanted) & started_between(wanted.since_ns, wanted.until_ns)
    if wanted.slower_than_ns:
        conditions &= Q(duration_ns__gte=min(wanted.slower_than_ns, 2**62))
    if wanted.kind:
        conditions &= Q(kind=wanted.kind)
    if wanted.user_id:
        conditions &= Q(user_id=wanted.user_id)
    if wanted.trace_id:
        conditions &= _called(wanted.trace_id, using)
    if isinstance(wanted, NarrowedSearch):
        conditions &= wanted.condition
    if wanted.word:
        from tracing.store.occurrences import occurrences

        conditions &= occurrences(wanted.word, using).condition
    names = all_of("TraceLabel", using)
    if wanted.name:
        conditions &= Q(label__in=list(keys_of(names.filter(name=wanted.name))))
    if wanted.text:
        labels = list(keys_of(names.filter(name__icontains=wanted.text)))
        conditions &= (
            Q(label__in=labels)
            | Q(http_path__icontains=wanted.text)
            | Q(trace_id__startswith=wanted.text.lower())
            | Q(root_span_id__startswith=wanted.text.lower())
        )
    return conditions


def _called(first: str, using: str) -> Q:
    """Return the condition that an id begins so; for a few traces, their keys.

    Each of the two ids has an index, which the database would not ask in a range of rows.
    """
    traces: TraceConditions = all_of("Trace", using)
    keys = traces.keys_with_digits(first, _FEW + 1)
    return Q(pk__in=keys) if len(keys) <= _FEW else begins_with_digits(first)


def _flags(wanted: TraceSearch) -> Q:
    conditions = Q()
    if wanted.failed is not None:
        conditions &= flag_is("failed", wanted.failed)
    if wanted.mine and not wanted.asks_for_dispatches:
        conditions &= flag_is("mine", True)
    if wanted.hazardous:
        conditions &= Q(hazard_count__gt=0)
    if wanted.pinned:
        conditions &= Q(pinned=True)
    return conditions


def started_between(since_ns: int | None, until_ns: int | None) -> Q:
    """Return the condition on the start (wall clock, ns); None for no limit."""
    conditions = Q()
    if since_ns is not None:
        conditions &= Q(started_ns__gte=since_ns)
    if until_ns is not None:
        conditions &= Q(started_ns__lt=until_ns)
    return conditions


class TraceConditions(models.QuerySet[Trace]):
    """Rows of traces, chosen by their columns."""

    def failed(self) -> Self:
        """Return those that ended with an error or in which a receiver raised."""
        return self.filter(flag_is("failed", True))

    def pinned(self) -> Self:
        """Return those that pruning keeps."""
        return self.filter(pinned=True)

    def between(self, since_ns: int | None = None, until_ns: int | None = None) -> Self:
        """Return those that started in [*since_ns*, *until_ns*), wall clock."""
        return self.filter(started_between(since_ns, until_ns))

    def called(self, name: str) -> Self:
        """Return the rows of a trace id, a root span id or an address."""
        trace_id, slash, root = name.lower().partition("/")
        if slash:
            return self.filter(root_span_id=root, trace_id=trace_id)
        if len(trace_id) == ROOT_DIGITS:
            return self.filter(root_span_id=trace_id)
        return self.filter(trace_id=trace_id)

    def keys_with_digits(self, first: str, most: int) -> list[int]:
        """Return the keys of those with such an id, at most *most* of each id.

        Each from its own index, in the order of that.
        """
        by_trace_id, by_root = digits_conditions(first)
        keys = list(keys_of(self.filter(by_trace_id).order_by("trace_id")[:most]))
        if by_root is not None:
            keys += keys_of(self.filter(by_root).order_by("root_span_id")[:most])
        return list(dict.fromkeys(keys))

    def newer_than(self, row_id: int, size: int = 1_000) -> list[Trace]:
        """Return up to *size* traces after the row *row_id*, oldest first."""
        return list(self.filter(pk__gt=row_id).order_by("pk")[:size])

    def last_row_id(self) -> int:
        """Return the id of the newest row; 0 for an empty store."""
        return self.aggregate(last=Max("pk"))["last"] or 0
