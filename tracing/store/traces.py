"""The stored traces, as all rooms above ask for them.

What fits a query is found by ``finding``. And speak in queries, summaries, records and plain values.
"""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from django.db import DatabaseError
from django.db.models import Count, Min, Q, Sum

from tracing.clocks import time
from tracing.conf import store_alias
from tracing.spans.summary import COLUMNS, TraceSummary
from tracing.store import cache, queries
from tracing.store.availability import vendor
from tracing.store.choice import asked
from tracing.store.columns import decode_trace_extra
from tracing.store.digits import begins_with_digits
from tracing.store.models import Dispatch, Trace
from tracing.store.pages import TraceSearch
from tracing.store.retention import file_size, store_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tracing.spans import records

MOST_LISTED = 50
_RECENT_ROWS = 20_000
_RELEASE_ROWS = 50_000
"""Newest rows among which a release is looked for: it has no index, and what is compared is recent."""
_FAILURES_DRAWN = 5_000

_columns = attrgetter(*COLUMNS)


class NotStoredError(LookupError):
    """A trace is not in the store any more."""


def summary(row: Trace) -> TraceSummary:
    """Return what a list says of the trace of *row*."""
    keys = decode_trace_extra(row.extra) if '_key":' in row.extra else {}
    arrival, redirect = keys.get("arrival_key", ""), keys.get("redirect_key", "")
    return TraceSummary(row.pk, arrival, redirect, *_columns(row))


def summaries(rows: Iterable[Trace]) -> list[TraceSummary]:
    """Return what a list says of the traces of *rows*."""
    return [summary(row) for row in rows]


# -- By name ---------------------------------------------------------------------------------


@asked
def called(name: str, most: int = MOST_LISTED) -> list[TraceSummary]:
    """Return the traces that *name* is for, newest first.

    It is a trace id, a root span id or an address.
    """
    return summaries(Trace.objects.called(name).order_by("-pk")[:most])


@asked
def beginning_with(digits: str, most: int = MOST_LISTED) -> list[TraceSummary]:
    """Return the traces with an id that begins with *digits*."""
    return summaries(Trace.objects.filter(begins_with_digits(digits)).order_by("-pk")[:most])


@asked
def sharing_id(one: TraceSummary, most: int) -> list[TraceSummary]:
    """Return the newest other traces with the trace id of *one*."""
    others = Trace.objects.filter(trace_id=one.trace_id).exclude(pk=one.row)
    return summaries(others.order_by("-pk")[:most])


@asked
def before(one: TraceSummary) -> TraceSummary | None:
    """Return the trace of the same name before *one*."""
    label = Trace.objects.filter(pk=one.row).order_by().values("label")[:1]
    row = Trace.objects.filter(label=label, pk__lt=one.row).order_by("-pk").first()
    return None if row is None else summary(row)


# -- Newest ----------------------------------------------------------------------------------


@asked
def is_empty() -> bool:
    """Return whether no trace is stored."""
    return not Trace.objects.exists()


@asked
def last_row() -> int:
    """Return the number of the newest trace; 0 for an empty store."""
    return Trace.objects.last_row_id()


@asked
def newest(
    most: int,
    *,
    skip: int = 0,
    failed: bool = False,
    method: str = "",
    since_ns: int | None = None,
    until_ns: int | None = None,
    kind: str = "",
    name: str = "",
    release: str | None = None,
) -> list[TraceSummary]:
    """Return the newest traces that have what is asked for.

    Args:
        most: How many.
        skip: How many newer ones to pass over.
        failed: Only those that ended with an error or in which a receiver raised.
        method: Only requests by this method.
        since_ns: When they started, at the earliest (wall clock, ns).
        until_ns: Before when they started.
        kind: Only those of this kind.
        name: Only those of exactly this name.
        release: Only those of this release.
    """
    found = Trace.objects.between(since_ns, until_ns)
    if failed:
        found = found.failed()
    if method:
        found = found.filter(http_method=method)
    if kind:
        found = found.filter(kind=kind)
    if name:
        found = found.filter(label__name=name)
    if release is not None:
        found = found.filter(release=release)
    return summaries(found.order_by("-pk")[skip : skip + most])


@asked
def started_within(
    since_ns: int | None, until_ns: int | None, most: int, *, seconds: float
) -> list[TraceSummary]:
    """Return the newest traces of a time that are found within *seconds*."""
    wanted = TraceSearch(since_ns=since_ns, until_ns=until_ns)
    return summaries(Trace.objects.search(wanted, size=most, seconds=seconds).traces)


@asked
def follow(
    *,
    failed: bool = False,
    after: int | None = None,
    poll_seconds: float = 0.5,
    keep_on: Callable[[], bool] = lambda: True,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[TraceSummary]:
    """Yield traces as they are stored, each once; see ``queries.follow``.

    Args:
        failed: Only those that ended with an error or in which a receiver raised.
        after: The row after which to begin; None for what is stored from now on.
        poll_seconds: How often to look.
        keep_on: Asked at each look; the iteration ends when it returns False.
        wait: How to wait, in seconds.
    """
    rows = Trace.objects.failed() if failed else Trace.objects.all()
    fresh = queries.follow(rows, after=after, poll_seconds=poll_seconds, keep_on=keep_on, wait=wait)
    yield from map(summary, fresh)


# -- Whole -----------------------------------------------------------------------------------


@asked
def load(one: TraceSummary) -> records.Trace:
    """Return the finished spans of *one*, shared: do not change them.

    Raises:
        NotStoredError: It was deleted meanwhile.
    """
    key = (
        Trace.objects.db, one.row, one.trace_id, one.segment, one.final, one.duration_ns,
        one.hazard_count,
    )  # fmt: skip
    return cache.kept(key, lambda: next(load_all([one]), None) or _missing(one))


def _missing(one: TraceSummary) -> records.Trace:
    raise NotStoredError(f"The trace {one.address} was deleted.")


@asked
def load_all(many: Iterable[TraceSummary]) -> Iterator[records.Trace]:
    """Yield the finished spans of each of *many* that is still stored."""
    for some in queries.readable_at_once(many):
        rows = {row.pk: row for row in Trace.objects.filter(pk__in=[one.row for one in some])}
        yield from Trace.objects.load_rows(rows[one.row] for one in some if one.row in rows)


# -- Numbers ---------------------------------------------------------------------------------


class Counts(NamedTuple):
    """The number of stored traces."""

    traces: int
    pinned: int
    oldest_ns: int | None
    """When the oldest trace started."""


@asked
def request_count(method: str) -> int:
    """Return how many requests by *method* are stored."""
    return Trace.objects.select_related(None).filter(http_method=method).count()


@asked
def count_named(name: str) -> int:
    """Return how many traces of exactly this *name* are stored."""
    return Trace.objects.select_related(None).filter(label__name=name).count()


@asked
def counts() -> Counts:
    """Return how many traces are stored."""
    rows = Trace.objects.select_related(None)
    return Counts(rows.count(), rows.pinned().count(), oldest_ns())


class Place(NamedTuple):
    """The place of the stored traces, and the room that they take."""

    name: str
    """The alias of the database, or ClickHouse's database and table."""
    engine: str
    """As Django calls the kind of a database, or ``clickhouse``."""
    size: int | None
    """Bytes that the traces take; None where the server does not tell."""
    file_size: int | None
    """Bytes of the file of SQLite, which has free pages as well; None for a server."""
    kept_days: int | None = None
    """After how many days the server deletes them by itself; None where nobody said."""


@asked
def place() -> Place:
    """Return where the traces are stored."""
    alias = store_alias()
    size: int | None = None
    file_bytes: int | None = None
    # A server may refuse to tell; a page is not worse for it.
    with suppress(DatabaseError):
        size = store_size(alias)
        file_bytes = file_size(alias)
    return Place(alias, vendor(alias), size, file_bytes)


@asked
def oldest_ns() -> int | None:
    """Return when the oldest trace started; None for an empty store."""
    started = Trace.objects.select_related(None).order_by("started_ns")
    return started.values_list("started_ns", flat=True).first()


@asked
def failed_count() -> int:
    """Return how many stored traces failed."""
    return Trace.objects.select_related(None).failed().count()


@asked
def dispatch_count() -> int:
    """Return how many dispatches are stored."""
    return Dispatch.objects.count()


@asked
def started_between(marks: Sequence[int]) -> list[int]:
    """Return how many traces started between each two of *marks*."""
    return Trace.objects.counts_between(marks)


@asked
def failed_starts() -> list[int]:
    """Return the starts of the newest traces that failed."""
    rows = Trace.objects.select_related(None).failed().order_by("-pk")
    return list(rows.values_list("started_ns", flat=True)[:_FAILURES_DRAWN])


class Overhead(NamedTuple):
    """The cost of recording the newest traces."""

    sample: int
    overhead_ns: int
    duration_ns: int
    dispatches: int


@asked
def overhead(most: int) -> Overhead:
    """Return what recording the *most* newest traces cost."""
    rows = (
        Trace.objects.all()
        .select_related(None)
        .order_by("-pk")
        .values("overhead_ns", "duration_ns", "dispatch_count")
    )
    sums = rows[:most].aggregate(
        sample=Count("*"), overhead=Sum("overhead_ns"), duration=Sum("duration_ns"),
        dispatches=Sum("dispatch_count"),
    )  # fmt: skip
    return Overhead(
        sums["sample"], sums["overhead"] or 0, sums["duration"] or 0, sums["dispatches"] or 0
    )


# -- Releases --------------------------------------------------------------------------------


@asked
def is_release(name: str) -> bool:
    """Return whether a stored trace is of the release *name*."""
    return Trace.objects.filter(release=name).exists()


@asked
def releases(*, recent: bool = False) -> list[str]:
    """Return the releases of all or of *recent* traces, oldest first."""
    rows = Trace.objects.exclude(release="")
    if recent:
        rows = rows.filter(pk__gt=last_row() - _RECENT_ROWS)
    first = rows.select_related(None).order_by().values("release").annotate(first=Min("pk"))
    return list(first.order_by("first").values_list("release", flat=True))


@asked
def of_release(name: str, most: int) -> list[TraceSummary]:
    """Return the newest of the recent traces of the release *name*."""
    recent = Q(pk__gt=last_row() - _RELEASE_ROWS)
    return summaries(Trace.objects.filter(recent, release=name).order_by("-pk")[:most])


# -- What people add -------------------------------------------------------------------------


@asked
def annotate(one: TraceSummary, *, pinned: bool, note: str) -> None:
    """Keep a *note* with *one*, and, if it is *pinned*, keep it from pruning."""
    Trace.objects.filter(pk=one.row).update(pinned=pinned, note=note)
