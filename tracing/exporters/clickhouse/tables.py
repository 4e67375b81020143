"""The tables in ClickHouse and their views."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from tracing.analysis.histogram import GAMMA
from tracing.exporters.clickhouse.tables_of_calls import (
    ALL,
    ALL_TRACES,
    CALLS,
    CALLS_FROM,
    HOURS_OF_CALLS,
    SENT_ON_OF_CALLS,
)

_SPANS: Final = """(
    Timestamp DateTime64(9) CODEC(Delta, T64, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(6)),
    Duration UInt64 CODEC(T64, ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)"""
"""The columns of the collector's exporter, and its indices that are of use in another order."""

_TRACES: Final = """(
    TraceId String CODEC(ZSTD(1)),
    Start DateTime CODEC(Delta, ZSTD(1)),
    End DateTime CODEC(Delta, ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)"""
_TRACES_FROM: Final = """SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End
FROM {spans}
WHERE TraceId != '' AND ScopeName != 'tracing'
GROUP BY TraceId"""

_LIST: Final = """(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    Root UInt64 CODEC(ZSTD(1)),
    Name LowCardinality(String),
    Kind LowCardinality(String),
    Status LowCardinality(String),
    Failed Bool,
    Mine Bool,
    HttpMethod LowCardinality(String),
    HttpPath String CODEC(ZSTD(1)),
    HttpStatus UInt16,
    UserId String CODEC(ZSTD(1)),
    Host LowCardinality(String),
    Process UInt32 CODEC(ZSTD(1)),
    Thread LowCardinality(String),
    Release LowCardinality(String),
    Error String CODEC(ZSTD(1)),
    Dispatches UInt32 CODEC(ZSTD(1)),
    Calls UInt32 CODEC(ZSTD(1)),
    Queries UInt32 CODEC(ZSTD(1)),
    QueryNs UInt64 CODEC(ZSTD(1)),
    SignalNs Int64 CODEC(ZSTD(1)),
    Errors UInt32 CODEC(ZSTD(1)),
    Hazards UInt32 CODEC(ZSTD(1)),
    Dropped UInt32 CODEC(ZSTD(1)),
    Orphans UInt32 CODEC(ZSTD(1)),
    OverheadNs UInt64 CODEC(ZSTD(1)),
    Segment UInt32 CODEC(ZSTD(1)),
    ArrivalKey String CODEC(ZSTD(1)),
    RedirectKey String CODEC(ZSTD(1)),
    Task String CODEC(ZSTD(1)),
    Attempt UInt16,
    Enqueued Array(String) CODEC(ZSTD(1)),
    Rules Array(LowCardinality(String)),
    Fingerprints Array(String) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_span_id SpanId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_task Task TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_enqueued Enqueued TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_fingerprints Fingerprints TYPE bloom_filter(0.01) GRANULARITY 1
)"""
_LIST_FROM: Final = """SELECT Timestamp, Duration, TraceId, SpanId,
    if(rest = '', cityHash64(TraceId), reinterpretAsUInt64(reverse(unhex(SpanId)))) AS Root,
    if(rest = '', SpanName, JSONExtractString(rest, 'name')) AS Name,
    a['django.tracing.kind'] AS Kind, a['django.tracing.status'] AS Status,
    Status = 'error' OR Errors > 0 AS Failed, a['django.tracing.mine'] = 'true' AS Mine,
    a['http.request.method'] AS HttpMethod, a['url.path'] AS HttpPath,
    toUInt16OrZero(a['http.response.status_code']) AS HttpStatus, a['user.id'] AS UserId,
    r['host.name'] AS Host, toUInt32OrZero(a['process.pid']) AS Process, a['thread.name'] AS Thread,
    r['service.version'] AS Release,
    if(rest = '', StatusMessage, JSONExtractString(rest, 'error')) AS Error,
    toUInt32OrZero(a['django.tracing.dispatch_count']) AS Dispatches,
    toUInt32OrZero(a['django.tracing.receiver_call_count']) AS Calls,
    toUInt32OrZero(a['django.tracing.query_count']) AS Queries,
    JSONExtractUInt(rest, 'query_ns') AS QueryNs, JSONExtractInt(rest, 'signal_ns') AS SignalNs,
    toUInt32OrZero(a['django.tracing.error_count']) AS Errors,
    toUInt32(JSONExtractUInt(rest, 'hazard_count')) AS Hazards,
    toUInt32(JSONExtractUInt(rest, 'dropped_count')) AS Dropped,
    toUInt32(JSONExtractUInt(rest, 'orphan_count')) AS Orphans,
    JSONExtractUInt(rest, 'overhead_ns') AS OverheadNs,
    toUInt32(JSONExtractUInt(rest, 'segment')) AS Segment,
    JSONExtractString(rest, 'arrival_key') AS ArrivalKey,
    JSONExtractString(rest, 'redirect_key') AS RedirectKey,
    if(Kind = 'task', a['task_id'], '') AS Task, toUInt16OrZero(a['attempt']) AS Attempt,
    arrayFilter(id -> id != '', arrayMap(
        effect -> JSONExtractString(effect, 'task_id'), JSONExtractArrayRaw(rest, 'side_effects')
    )) AS Enqueued,
    arrayMap(e -> e['django.hazard.rule'], found) AS Rules,
    arrayMap(e -> e['django.hazard.fingerprint'], found) AS Fingerprints
FROM (
    SELECT *, SpanAttributes AS a, ResourceAttributes AS r, a['django.tracing.rest'] AS rest,
        arrayFilter(e -> e['django.hazard.rule'] != '', `Events.Attributes`) AS found
    FROM {spans}
)
WHERE a['django.tracing.kind'] != ''"""

_HOURS: Final = """(
    Hour DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String),
    Signal LowCardinality(String),
    Sender LowCardinality(String),
    Receiver LowCardinality(String),
    App LowCardinality(String),
    Mine Bool,
    Calls SimpleAggregateFunction(sum, UInt64),
    Errors SimpleAggregateFunction(sum, UInt64),
    TotalNs SimpleAggregateFunction(sum, UInt64),
    OuterNs SimpleAggregateFunction(sum, UInt64),
    Queries SimpleAggregateFunction(sum, UInt64),
    QueryNs SimpleAggregateFunction(sum, UInt64),
    CpuNs SimpleAggregateFunction(sum, UInt64),
    CpuCalls SimpleAggregateFunction(sum, UInt64),
    Durations SimpleAggregateFunction(sumMap, Map(UInt16, UInt64))
)"""
# The buckets are those of tracing.analysis.histogram: they add up, and give any percentile within 2 %.
_STEP: Final = math.log(GAMMA)


def _bucket(duration: str) -> str:
    return f"toUInt16(if({duration} = 0, 0, floor(log({duration}) / {_STEP!r}) + 1))"


_HOURS_FROM: Final = """SELECT toStartOfHour(Timestamp) AS Hour, ServiceName,
    a['django.signal'] AS Signal, a['django.signal.sender'] AS Sender,
    a['django.signal.receiver'] AS Receiver, a['django.signal.app'] AS App,
    a['django.signal.mine'] = 'true' AS Mine,
    count() AS Calls, countIf(StatusCode = 'Error') AS Errors, sum(Duration) AS TotalNs,
    sumIf(Duration, a['django.signal.depth'] = '0') AS OuterNs,
    sum(toUInt64OrZero(a['django.db.query_count'])) AS Queries,
    sum(toUInt64OrZero(a['django.db.query_ns'])) AS QueryNs,
    sum(toUInt64OrZero(a['django.signal.cpu_ns'])) AS CpuNs,
    countIf(a['django.signal.cpu_ns'] != '') AS CpuCalls,
    sumMap(map(
        {bucket},
        toUInt64(1)
    )) AS Durations
FROM (SELECT *, SpanAttributes AS a FROM {spans})
WHERE a['django.signal'] != '' OR a['django.signal.receiver'] != ''
GROUP BY Hour, ServiceName, Signal, Sender, Receiver, App, Mine"""

_HAZARDS: Final = """(
    Day Date,
    Fingerprint String,
    Traces SimpleAggregateFunction(sum, UInt64),
    First SimpleAggregateFunction(min, DateTime64(9)),
    Last SimpleAggregateFunction(max, DateTime64(9)),
    Finding AggregateFunction(argMax, String, DateTime64(9)) CODEC(ZSTD(1)),
    Name AggregateFunction(argMax, String, DateTime64(9)) CODEC(ZSTD(1))
)"""
_HAZARDS_FROM: Final = """SELECT toDate(Timestamp) AS Day, e['django.hazard.fingerprint'] AS Fingerprint,
    count() AS Traces, min(Timestamp) AS First, max(Timestamp) AS Last,
    argMaxState(e['django.tracing.rest'], Timestamp) AS Finding,
    argMaxState(JSONExtractString(a['django.tracing.rest'], 'name'), Timestamp) AS Name
FROM (SELECT Timestamp, SpanAttributes AS a, arrayJoin(`Events.Attributes`) AS e FROM {spans})
WHERE a['django.tracing.kind'] != '' AND Fingerprint != ''
GROUP BY Day, Fingerprint"""

_SENT_ON: Final = """(
    Day Date,
    Receiver LowCardinality(String),
    ReceiverSignal LowCardinality(String),
    ReceiverSender LowCardinality(String),
    Signal LowCardinality(String),
    Sender LowCardinality(String),
    Dispatches SimpleAggregateFunction(sum, UInt64)
)"""
_SENT_ON_FROM: Final = """SELECT toDate(Timestamp) AS Day, a['django.tracing.above'] AS Receiver,
    a['django.tracing.above_signal'] AS ReceiverSignal,
    a['django.tracing.above_sender'] AS ReceiverSender,
    a['django.signal'] AS Signal, a['django.signal.sender'] AS Sender, count() AS Dispatches
FROM (SELECT Timestamp, SpanAttributes AS a FROM {spans})
WHERE Receiver != ''
GROUP BY Day, Receiver, ReceiverSignal, ReceiverSender, Signal, Sender"""


class Table(NamedTuple):
    """A table, and what its rows are kept by."""

    suffix: str
    columns: str
    engine: str
    order: str
    moment: str
    """What its age is counted from."""
    younger: tuple[str, ...] = ()
    """Columns that a table of an older collector lacks."""


TABLES: Final = (
    Table(
        "",
        _SPANS,
        "MergeTree",
        # By trace and not, as the collector's, by name: what a trace repeats is stored once, and one
        # trace is read in one piece.
        "PARTITION BY toDate(Timestamp)\n"
        "ORDER BY (ServiceName, toStartOfFiveMinutes(toDateTime(Timestamp)), TraceId, Timestamp)",
        "toDateTime(Timestamp)",
        ("ScopeName String CODEC(ZSTD(1))", "ScopeVersion String CODEC(ZSTD(1))"),
    ),
    Table(
        "_trace_id_ts",
        _TRACES,
        "MergeTree",
        "PARTITION BY toDate(Start)\nORDER BY (TraceId, Start)",
        "toDateTime(Start)",
    ),
    Table(
        "_django",
        _LIST,
        "ReplacingMergeTree",
        "PARTITION BY toDate(Timestamp)\nORDER BY (Timestamp, SpanId)",
        "toDateTime(Timestamp)",
    ),
    Table(
        "_calls",
        CALLS,
        "MergeTree",
        "PARTITION BY toDate(Timestamp)\n"
        "ORDER BY (toStartOfFiveMinutes(toDateTime(Timestamp)), TraceId, Timestamp, Number)",
        "toDateTime(Timestamp)",
    ),
    Table(
        "_by_hour",
        _HOURS,
        "AggregatingMergeTree",
        "PARTITION BY toYYYYMM(Hour)\n"
        "ORDER BY (Receiver, Signal, Sender, Hour, ServiceName, App, Mine)",
        "",
    ),
    Table(
        "_hazards",
        _HAZARDS,
        "AggregatingMergeTree",
        "PARTITION BY Day\nORDER BY (Fingerprint, Day)",
        "toDateTime(Day + 1)",
    ),
    Table(
        "_sent_on",
        _SENT_ON,
        "AggregatingMergeTree",
        "PARTITION BY Day\nORDER BY (Day, Receiver, ReceiverSignal, ReceiverSender, Signal, Sender)",
        "toDateTime(Day + 1)",
    ),
)


class View(NamedTuple):
    """A view: its name, what it reads, and the table that it fills, if any."""

    suffix: str
    selects: str
    fills: str = ""


VIEWS: Final = tuple(
    view._replace(
        selects=view.selects.replace("{bucket}", _bucket("Duration")).replace(
            "{whole_bucket}", _bucket("(Duration + Longer)")
        )
    )
    for view in (
        View("_trace_id_ts_mv", _TRACES_FROM, "_trace_id_ts"),
        View("_django_mv", _LIST_FROM, "_django"),
        View("_calls_mv", CALLS_FROM, "_calls"),
        View("_by_hour_mv", _HOURS_FROM, "_by_hour"),
        View("_by_hour_calls_mv", HOURS_OF_CALLS, "_by_hour"),
        View("_hazards_mv", _HAZARDS_FROM, "_hazards"),
        View("_sent_on_mv", _SENT_ON_FROM, "_sent_on"),
        View("_sent_on_calls_mv", SENT_ON_OF_CALLS, "_sent_on"),
        View("_all", ALL),
        View("_all_trace_id_ts", ALL_TRACES),
    )
)
