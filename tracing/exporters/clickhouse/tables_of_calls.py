"""The table of receiver calls, and the views that read it."""

from __future__ import annotations

from typing import Final

_WHAT: Final = {
    "dispatch": {
        "Signal": "django.signal",
        "Sender": "django.signal.sender",
        "Action": "django.signal.action",
        "Created": "django.signal.created",
        "Using": "django.db.using",
        "Method": "django.signal.method",
        "Transaction": "django.db.transaction",
        "SentIn": "code.file.path",
        "SentBy": "code.function.name",
        "Depth": "django.signal.depth",
        "Above": "django.tracing.above",
        "AboveSignal": "django.tracing.above_signal",
        "AboveSender": "django.tracing.above_sender",
    },
    "call": {
        "Receiver": "django.signal.receiver",
        "App": "django.signal.app",
        "Uid": "django.signal.dispatch_uid",
        "Outcome": "django.signal.outcome",
        "ExceptionType": "error.type",
        "File": "code.file.path",
        "Mine": "django.signal.mine",
    },
}
"""Columns of a call that its shape tells: each value is worked out once for each shape."""
_TOLD: Final = ",\n    ".join(
    f"{column} LowCardinality(String) ALIAS JSONExtractString(Shape, '{part}', '{name}')"
    for part, names in _WHAT.items()
    for column, name in names.items()
)
# A call and its dispatch. Of those that are rows of the spans, too (of number 0), what is looked for alone.
CALLS: Final = f"""(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    Root UInt64 CODEC(ZSTD(1)),
    ServiceName LowCardinality(String),
    Resource LowCardinality(String),
    Shape LowCardinality(String) CODEC(ZSTD(1)),
    Instance String CODEC(ZSTD(3)),
    Duration UInt64 CODEC(T64, ZSTD(1)),
    Later Int64 CODEC(T64, ZSTD(1)),
    Longer Int64 CODEC(T64, ZSTD(1)),
    Below Int64 CODEC(T64, ZSTD(1)),
    CpuNs Int64 CODEC(T64, ZSTD(1)),
    QueryNs UInt64 CODEC(T64, ZSTD(1)),
    MoreQueryNs Int64 CODEC(T64, ZSTD(1)),
    Queries UInt32 CODEC(T64, ZSTD(1)),
    MoreQueries Int32 CODEC(T64, ZSTD(1)),
    Number UInt32 CODEC(Delta, ZSTD(1)),
    Back UInt32 CODEC(T64, ZSTD(1)),
    Parent UInt32 CODEC(T64, ZSTD(1)),
    First Bool CODEC(ZSTD(1)),
    ExceptionMessage String CODEC(ZSTD(1)),
    {_TOLD},
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_receiver Receiver TYPE set(0) GRANULARITY 1,
    INDEX idx_exception ExceptionType TYPE set(0) GRANULARITY 1
)"""


def _json(part: str, others: dict[str, str]) -> str:
    names = _WHAT[part].values()
    pairs = ", ".join(f"'{name}', a['{others.get(name, name)}']" for name in names)
    return f"toJSONString(mapFilter((name, text) -> text != '', map({pairs})))"


_SITE: Final = {
    "code.file.path": "django.signal.sent_in",
    "code.function.name": "django.signal.sent_by",
}
# Of a span that came through a collector the trace alone is known, not which of those with its id.
CALLS_FROM: Final = f"""SELECT Timestamp, TraceId,
    if(a['django.tracing.root'] != '', reinterpretAsUInt64(reverse(unhex(a['django.tracing.root']))),
        cityHash64(TraceId)) AS Root, ServiceName,
    concat('{{{{"dispatch":', {_json("dispatch", _SITE)}, ',"call":', {_json("call", {})}, '}}}}') AS Shape,
    StatusMessage AS ExceptionMessage, Duration,
    toUInt32OrZero(a['django.db.query_count']) AS Queries, a['django.signal.instance'] AS Instance
FROM (SELECT *, SpanAttributes AS a FROM {{spans}})
WHERE a['django.signal.receiver'] != ''"""  # noqa: S608 - names of ours.

_ATTRIBUTES: Final = "Map(LowCardinality(String), String)"


def _id(number: str) -> str:
    """Return the id of a span of that number, past the zero."""
    return f"lower(leftPad(hex(Root + {number} + (Root + {number} < Root)), 16, '0'))"


def _spans_of_calls(which: str, **told: str) -> str:
    texts = ", ".join(f"'{name}', {text}" for name, text in _OWN[which == "call"].items())
    return f"""SELECT fromUnixTimestamp64Nano(At + {told["later"]}) AS Timestamp, TraceId,
    {told["id"]} AS SpanId, {told["parent"]} AS ParentSpanId, '' AS TraceState,
    {told["name"]} AS SpanName, 'Internal' AS SpanKind, ServiceName,
    JSONExtract(Resource, 'resource', '{_ATTRIBUTES}') AS ResourceAttributes,
    'tracing' AS ScopeName, JSONExtractString(Resource, 'version') AS ScopeVersion,
    CAST(mapConcat(JSONExtract(Shape, '{which}', 'Map(String, String)'),
        mapFilter((name, text) -> text != '', map({texts}))), '{_ATTRIBUTES}') AS SpanAttributes,
    {told["duration"]} AS Duration, 'Unset' AS StatusCode, '' AS StatusMessage,
    CAST([], 'Array(DateTime64(9))') AS `Events.Timestamp`,
    CAST([], 'Array(LowCardinality(String))') AS `Events.Name`,
    CAST([], 'Array({_ATTRIBUTES})') AS `Events.Attributes`,
    CAST([], 'Array(String)') AS `Links.TraceId`, CAST([], 'Array(String)') AS `Links.SpanId`,
    CAST([], 'Array(String)') AS `Links.TraceState`,
    CAST([], 'Array({_ATTRIBUTES})') AS `Links.Attributes`, Sent
FROM (
    SELECT Timestamp AS Sent, toUnixTimestamp64Nano(Timestamp) AS At, Duration AS Took, TraceId, Root,
        ServiceName, Resource, Shape, Instance, Later, Longer, Below, CpuNs, QueryNs, MoreQueryNs,
        Queries, MoreQueries, Number, Back, Parent
    FROM {{calls}} WHERE {told["where"]}
)"""  # noqa: S608 - as above.


def _unless(nothing: str, number: str) -> str:
    return f"if({number} = {nothing}, '', toString({number}))"


_OWN: Final = (
    {
        "django.signal.instance": "Instance",
        "django.db.query_count": _unless("0", "Queries + MoreQueries"),
        "django.db.query_ns": _unless("0", "QueryNs + MoreQueryNs"),
    },
    {
        "django.signal.instance": "Instance",
        "django.db.query_count": _unless("0", "Queries"),
        "django.db.query_ns": _unless("0", "QueryNs"),
        "django.signal.cpu_ns": _unless("-1", "CpuNs"),
        "django.signal.self_ns": "if(Below = 0, '', toString(Took - Below))",
    },
)
"""Attributes that each dispatch and each call has its own of."""

_SPAN_COLUMNS: Final = (
    "Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, "
    "ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage, "
    "`Events.Timestamp`, `Events.Name`, `Events.Attributes`, `Links.TraceId`, `Links.SpanId`, "
    "`Links.TraceState`, `Links.Attributes`"
)
ALL: Final = "\nUNION ALL\n".join(
    (
        # Older collectors have durations with a sign.
        f"""SELECT * REPLACE (toUInt64(Duration) AS Duration)
FROM (SELECT {_SPAN_COLUMNS}, Timestamp AS Sent FROM {{spans}})""",  # noqa: S608 - as above.
        _spans_of_calls(
            "dispatch",
            later="0",
            id=_id("toUInt32(Number - Back)"),
            parent=_id("Parent"),
            name="JSONExtractString(Shape, 'name')",
            duration="toUInt64(Took + Longer)",
            where="First AND Number > 0",
        ),
        _spans_of_calls(
            "call",
            later="Later",
            id=_id("Number"),
            parent=_id("toUInt32(Number - Back)"),
            name="JSONExtractString(Shape, 'call', 'django.signal.receiver')",
            duration="Took",
            where="Number > 0",
        ),
    )
)
"""All spans as the collector writes them, and when what they belong to was sent, which the order is by."""
# Ours have a row in the table of traces, and may go on behind their own end.
ALL_TRACES: Final = """SELECT TraceId, Start, End FROM {times}
UNION ALL
SELECT TraceId, toDateTime(Timestamp) AS Start, Start + toIntervalDay(1) AS End FROM {traces}"""

HOURS_OF_CALLS: Final = """SELECT Hour, ServiceName,
    JSONExtractString(Shape, 'dispatch', 'django.signal') AS Signal,
    JSONExtractString(Shape, 'dispatch', 'django.signal.sender') AS Sender,
    if(IsCall, JSONExtractString(Shape, 'call', 'django.signal.receiver'), '') AS Receiver,
    if(IsCall, JSONExtractString(Shape, 'call', 'django.signal.app'), '') AS App,
    IsCall AND JSONExtractString(Shape, 'call', 'django.signal.mine') = 'true' AS Mine,
    sums.1 AS Calls, toUInt64(0) AS Errors, sums.2 AS TotalNs,
    if(IsCall OR JSONExtractString(Shape, 'dispatch', 'django.signal.depth') != '0', 0, TotalNs) AS OuterNs,
    sums.3 AS Queries, sums.4 AS QueryNs, if(IsCall, CallCpuNs, 0) AS CpuNs,
    if(IsCall, CallCpuCalls, 0) AS CpuCalls, sums.5 AS Durations
FROM (
    SELECT *, arrayJoin([0, 1]) = 1 AS IsCall, if(IsCall, OfCalls, OfDispatches) AS sums
    FROM (
        SELECT toStartOfHour(Timestamp) AS Hour, ServiceName, Shape,
            sum(greatest(CpuNs, 0)) AS CallCpuNs, countIf(CpuNs >= 0) AS CallCpuCalls,
            (count(), sum(Duration), sum(toUInt64(Queries)), sum(QueryNs),
                sumMap(map({bucket}, toUInt64(1)))) AS OfCalls,
            (countIf(First), toUInt64(sumIf(Duration + Longer, First)),
                toUInt64(sumIf(Queries + MoreQueries, First)),
                toUInt64(sumIf(QueryNs + MoreQueryNs, First)),
                sumMapIf(map({whole_bucket}, toUInt64(1)), First)) AS OfDispatches
        FROM {calls}
        WHERE Number > 0
        GROUP BY Hour, ServiceName, Shape
    )
)
WHERE Calls > 0"""

SENT_ON_OF_CALLS: Final = """SELECT Day,
    JSONExtractString(Shape, 'dispatch', 'django.tracing.above') AS Receiver,
    JSONExtractString(Shape, 'dispatch', 'django.tracing.above_signal') AS ReceiverSignal,
    JSONExtractString(Shape, 'dispatch', 'django.tracing.above_sender') AS ReceiverSender,
    JSONExtractString(Shape, 'dispatch', 'django.signal') AS Signal,
    JSONExtractString(Shape, 'dispatch', 'django.signal.sender') AS Sender, Sum AS Dispatches
FROM (
    SELECT toDate(Timestamp) AS Day, Shape, count() AS Sum FROM {calls}
    WHERE First AND Parent > 0 AND Number > 0 GROUP BY Day, Shape
)
WHERE Receiver != ''"""
