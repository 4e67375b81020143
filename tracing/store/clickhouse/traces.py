"""The traces in ClickHouse: by name, newest, whole, and their numbers.

Its rows have no numbers of their own: that of a summary is the moment when the trace ended.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tracing.clocks import time
from tracing.conf import get_settings
from tracing.spans.summary import TraceSummary
from tracing.store import cache
from tracing.store.backends import beside_the_application
from tracing.store.clickhouse.asking import Binder, UnreachableError, address, one, rows, table
from tracing.store.clickhouse.conditions import Conditions, within
from tracing.store.clickhouse.spans import SPAN_COLUMNS, SpanRow, TraceReader
from tracing.store.digits import ROOT_DIGITS
from tracing.store.models import Trace
from tracing.store.queries import readable_at_once
from tracing.store.traces import MOST_LISTED, Counts, NotStoredError, Overhead, Place
from tracing.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tracing.spans import records

_FAILURES_DRAWN: Final = 5_000
_DAY_NS: Final = 86_400 * 10**9
_OVERLAP_NS: Final = 60 * 10**9
"""How much later than its end a trace may come and still be followed: exporters gather rows."""


class ListRow(msgspec.Struct, array_like=True, gc=False):
    """A row of the table of traces, in the order of ``COLUMNS``."""

    started_ns: int
    duration: int
    trace_id: str
    root: str
    name: str
    kind: str
    status: str
    failed: bool
    mine: bool
    http_method: str
    http_path: str
    http_status: int
    user_id: str
    host: str
    process: int
    thread: str
    release: str
    error: str
    dispatches: int
    calls: int
    queries: int
    query_ns: int
    signal_ns: int
    errors: int
    hazards: int
    dropped: int
    orphans: int
    overhead_ns: int
    segment: int
    arrival_key: str
    redirect_key: str


COLUMNS: Final = (
    "toUnixTimestamp64Nano(Timestamp), Duration, TraceId, SpanId, Name, Kind, Status, Failed, Mine, "
    "HttpMethod, HttpPath, HttpStatus, UserId, Host, Process, Thread, Release, Error, Dispatches, Calls, "
    "Queries, QueryNs, SignalNs, Errors, Hazards, Dropped, Orphans, OverheadNs, Segment, ArrivalKey, "
    "RedirectKey"
)


def summaries(found: Sequence[ListRow]) -> list[TraceSummary]:
    """Return the summaries of *found*, with notes and pins."""
    unique = {row.root: row for row in found}
    said = Trace.objects.filter(root_span_id__in=list(unique)).values_list(
        "root_span_id", "pinned", "note"
    )
    by_root = {root: (pinned, note) for root, pinned, note in said} if unique else {}
    return [_summary(row, *by_root.get(row.root, (False, ""))) for row in unique.values()]


def _summary(row: ListRow, pinned: bool, note: str) -> TraceSummary:  # noqa: FBT001 - a column.
    return TraceSummary(
        row.started_ns + row.duration, row.arrival_key, row.redirect_key, row.trace_id, row.root,
        row.name, row.kind, row.status, row.failed, row.started_ns, row.duration, row.http_method,
        row.http_path, row.http_status or None, row.user_id, row.host, row.process, row.thread,
        row.release, row.error, row.dispatches, row.calls, row.queries, row.query_ns, row.signal_ns,
        row.errors, row.hazards, row.dropped, row.orphans, row.overhead_ns, row.segment, True,
        row.mine, pinned, note,
    )  # fmt: skip


def listed(
    bind: Binder, parts: Sequence[str], most: int, *, skip: int = 0, order: str = "DESC"
) -> list[TraceSummary]:
    """Return the first traces that all of *parts* hold for."""
    where = f"WHERE {' AND '.join(parts)}" if parts else ""
    sql = (
        f"SELECT {COLUMNS} FROM {table('_django')} {where} "  # noqa: S608 - values are bound.
        f"ORDER BY Timestamp {order}, SpanId {order} LIMIT {most:d} OFFSET {skip:d}"
    )
    return summaries(rows(ListRow, sql, bind))


_ONCE: Final = "FINAL"
"""What was sent twice counts once, also before its parts are merged."""
_BY_DAY: Final = "SETTINGS do_not_merge_across_partitions_select_final = 1"


def _number(what: str, *parts: str, bind: Binder | None = None) -> int:
    where = f"WHERE {' AND '.join(parts)}" if parts else ""
    sql = f"SELECT {what} FROM {table('_django')} {_ONCE} {where} {_BY_DAY}"  # noqa: S608 - as above.
    return one(tuple[int], sql, bind)[0]


# -- By name ---------------------------------------------------------------------------------


def called(name: str, most: int = MOST_LISTED) -> list[TraceSummary]:
    """Return the traces that *name* is for, newest first."""
    bind = Binder()
    trace_id, slash, root = name.lower().partition("/")
    if slash:
        parts = [f"TraceId = {bind(trace_id)}", f"SpanId = {bind(root)}"]
    else:
        column = "SpanId" if len(trace_id) == ROOT_DIGITS else "TraceId"
        parts = [f"{column} = {bind(trace_id)}"]
    return listed(bind, parts, most)


def beginning_with(digits: str, most: int = MOST_LISTED) -> list[TraceSummary]:
    """Return the traces with an id that begins with *digits*."""
    bind = Binder()
    return listed(bind, [Conditions(bind).digits(digits)], most)


def sharing_id(one: TraceSummary, most: int) -> list[TraceSummary]:
    """Return the newest other traces with the trace id of *one*."""
    bind = Binder()
    parts = [f"TraceId = {bind(one.trace_id)}", f"SpanId != {bind(one.root_span_id)}"]
    return listed(bind, parts, most)


def before(one: TraceSummary) -> TraceSummary | None:
    """Return the trace of the same name before *one*."""
    bind = Binder()
    parts = [f"Name = {bind(one.name)}", f"Timestamp < {bind.moment(one.started_ns)}"]
    return next(iter(listed(bind, parts, 1)), None)


# -- Newest ----------------------------------------------------------------------------------


def is_empty() -> bool:
    """Return whether no trace is stored."""
    return not rows(tuple[int], f"SELECT 1 FROM {table('_django')} LIMIT 1")  # noqa: S608 - a name.


def last_row() -> int:
    """Return when the last trace ended; 0 for an empty store."""
    # Within a day of the newest start: not every trace is read for it.
    newest = f"SELECT max(Timestamp) FROM {table('_django')}"  # noqa: S608 - a name.
    sql = (
        f"SELECT max(toUnixTimestamp64Nano(Timestamp) + Duration) FROM {table('_django')} "  # noqa: S608 - as above.
        f"WHERE Timestamp > ({newest}) - toIntervalDay(1)"
    )
    return one(tuple[int], sql)[0]


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
    """Return the newest traces that have what is asked for."""
    bind = Binder()
    parts = ["Failed"] if failed else []
    if method:
        parts.append(f"HttpMethod = {bind(method)}")
    if kind:
        parts.append(f"Kind = {bind(kind)}")
    if name:
        parts.append(f"Name = {bind(name)}")
    if release is not None:
        parts.append(f"Release = {bind(release)}")
    return listed(bind, [*parts, *within(bind, since_ns, until_ns)], most, skip=skip)


def started_within(
    since_ns: int | None, until_ns: int | None, most: int, *, seconds: float
) -> list[TraceSummary]:
    """Return the newest traces of a time."""
    del seconds  # The table is in the order of time: no search is needed.
    return newest(most, since_ns=since_ns, until_ns=until_ns)


def follow(
    *,
    failed: bool = False,
    after: int | None = None,
    poll_seconds: float = 0.5,
    keep_on: Callable[[], bool] = lambda: True,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[TraceSummary]:
    """Yield traces as they are stored, each once, in the order of their ends."""
    first = last_row() if after is None else after
    seen: dict[str, int] = {}
    if after is None:
        seen = {each.root_span_id: each.row for each in _ended_after(first - _OVERLAP_NS, failed)}
        first -= _OVERLAP_NS
    while True:
        fresh = [each for each in _ended_after(first, failed) if each.root_span_id not in seen]
        for each in fresh:
            seen[each.root_span_id] = each.row
            yield each
        if seen:
            first = max(first, max(seen.values()) - _OVERLAP_NS)
            seen = {root: ended for root, ended in seen.items() if ended > first}
        if not fresh:
            if not keep_on():
                return
            wait(poll_seconds)


def _ended_after(row: int, failed: bool) -> list[TraceSummary]:  # noqa: FBT001 - a condition.
    bind = Binder()
    parts = [
        f"Timestamp > {bind.moment(row - _DAY_NS)}",
        f"toUnixTimestamp64Nano(Timestamp) + Duration > {bind(row)}",
        *(["Failed"] if failed else []),
    ]
    found = listed(bind, parts, 10_000, order="ASC")
    return sorted(found, key=lambda each: each.row)


# -- Whole -----------------------------------------------------------------------------------


def load(one: TraceSummary) -> records.Trace:
    """Return the finished spans of *one*, shared: do not change them.

    Raises:
        NotStoredError: It was deleted meanwhile.
    """
    key = (address(), one.trace_id, one.root_span_id, one.row, one.hazard_count)
    return cache.kept(key, lambda: next(load_all([one]), None) or _missing(one))


def _missing(one: TraceSummary) -> records.Trace:
    raise NotStoredError(f"The trace {one.address} was deleted.")


class _Row(SpanRow, array_like=True, gc=False):
    trace_id: str = ""


def load_all(many: Iterable[TraceSummary]) -> Iterator[records.Trace]:
    """Yield the finished spans of each of *many* that is still stored."""
    for some in readable_at_once(many):
        bind, ids = Binder(), [each.trace_id for each in some]
        # What a trace started may go on behind its end, for a day at most.
        since = min(each.started_ns for each in some)
        until = max(each.row for each in some) + _DAY_NS
        where = " AND ".join([f"TraceId IN {bind(ids)}", *within(bind, since, until, "Sent")])
        found: defaultdict[str, list[SpanRow]] = defaultdict(list)
        sql = f"SELECT {SPAN_COLUMNS}, TraceId FROM {table('_all')} WHERE {where}"  # noqa: S608 - values are bound.
        for row in rows(_Row, sql, bind):
            found[row.trace_id].append(row)
        for each in some:
            spans = found[each.trace_id]
            root = next((row for row in spans if _is_root(row, each)), None)
            if root is not None:
                yield TraceReader(root, spans).trace(each.trace_id)


def _is_root(row: SpanRow, one: TraceSummary) -> bool:
    return row.span_id == one.root_span_id and row.started_ns + row.duration_ns == one.row


# -- Numbers ---------------------------------------------------------------------------------


def request_count(method: str) -> int:
    """Return how many requests by *method* are stored."""
    bind = Binder()
    return _number("count()", f"HttpMethod = {bind(method)}", bind=bind)


def count_named(name: str) -> int:
    """Return how many traces of exactly this *name* are stored."""
    bind = Binder()
    return _number("count()", f"Name = {bind(name)}", bind=bind)


def counts() -> Counts:
    """Return how many traces are stored."""
    pinned = Trace.objects.select_related(None).pinned().count()
    return Counts(_number("count()"), pinned, oldest_ns())


def place() -> Place:
    """Return where the traces are stored."""
    chosen, bind = address(), Binder()
    tables = bind(chosen.table)
    sql = (
        "SELECT sum(bytes_on_disk) FROM system.parts "  # noqa: S608 - as above.
        f"WHERE active AND database = {bind(chosen.database)} "
        f"AND (table = {tables} OR startsWith(table, concat({tables}, '_')))"
    )
    size: int | None = None
    with suppress(UnreachableError):
        size = one(tuple[int], sql, bind)[0]
    keep = get_settings().clickhouse.keep
    days = max(keep.days, 1) if keep is not None else None
    return Place(f"{chosen.database}.{chosen.table}", "clickhouse", size, None, days)


def oldest_ns() -> int | None:
    """Return when the oldest trace started; None for an empty store."""
    sql = f"SELECT toUnixTimestamp64Nano(min(Timestamp)) FROM {table('_django')}"  # noqa: S608 - a name.
    return one(tuple[int], sql)[0] or None


def failed_count() -> int:
    """Return how many stored traces failed."""
    return _number("count()", "Failed")


def dispatch_count() -> int:
    """Return how many dispatches are stored."""
    return _number("sum(Dispatches)")


def started_between(marks: Sequence[int]) -> list[int]:
    """Return how many traces started between each two of *marks*."""
    between = list(pairwise(marks))
    if not between:
        return []
    bind = Binder()
    at = "toUnixTimestamp64Nano(Timestamp)"
    counted = ", ".join(
        f"countIf({at} >= {since:d} AND {at} < {until:d})" for since, until in between
    )
    parts = within(bind, min(marks), max(marks))
    where = " AND ".join(parts)
    sql = f"SELECT [{counted}] FROM {table('_django')} {_ONCE} WHERE {where} {_BY_DAY}"  # noqa: S608 - numbers.
    return one(tuple[list[int]], sql, bind)[0]


def failed_starts() -> list[int]:
    """Return the starts of the newest traces that failed."""
    sql = (
        f"SELECT toUnixTimestamp64Nano(Timestamp) FROM {table('_django')} WHERE Failed "  # noqa: S608 - a name.
        f"ORDER BY Timestamp DESC LIMIT {_FAILURES_DRAWN}"
    )
    return [each[0] for each in rows(tuple[int], sql)]


def overhead(most: int) -> Overhead:
    """Return what recording the *most* newest traces cost."""
    inner = (
        f"SELECT OverheadNs, Duration, Dispatches FROM {table('_django')} "  # noqa: S608 - a name.
        f"ORDER BY Timestamp DESC LIMIT {most:d}"
    )
    sql = f"SELECT count(), sum(OverheadNs), sum(Duration), sum(Dispatches) FROM ({inner})"  # noqa: S608 - as above.
    return Overhead(*one(tuple[int, int, int, int], sql))


# -- Releases --------------------------------------------------------------------------------


def is_release(name: str) -> bool:
    """Return whether a stored trace is of the release *name*."""
    return bool(of_release(name, 1))


def releases(*, recent: bool = False) -> list[str]:
    """Return the releases of all or of *recent* traces, oldest first."""
    bind = Binder()
    parts = ["Release != ''"]
    if recent:
        parts.append(f"Timestamp > {bind.moment(last_row() - 7 * _DAY_NS)}")
    sql = (
        f"SELECT Release FROM {table('_django')} WHERE {' AND '.join(parts)} "  # noqa: S608 - values are bound.
        "GROUP BY Release ORDER BY min(Timestamp)"
    )
    return [each[0] for each in rows(tuple[str], sql, bind)]


def of_release(name: str, most: int) -> list[TraceSummary]:
    """Return the newest traces of the release *name*."""
    return newest(most, release=name)


# -- What people add -------------------------------------------------------------------------


def annotate(one: TraceSummary, *, pinned: bool, note: str) -> None:
    """Keep a *note* with *one*, and pin it, in Django's database.

    What is kept is copied there, to be there when ClickHouse has it no longer.
    """
    kept: Any = Trace.objects.filter(root_span_id=one.root_span_id)
    if (pinned or note) and not kept.exists():
        with beside_the_application(kept.db) as database:
            Writer().store(database, [load(one)], check=True)
    kept.update(pinned=pinned, note=note)
