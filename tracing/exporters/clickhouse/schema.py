"""The tables of ClickHouse: one node's, or those of a cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from tracing.exporters.clickhouse.connection import quote

WINDOW: Final = 1_000
"""Blocks whose tokens a table remembers: what comes again within so many is stored once."""

LONGEST: Final = timedelta(days=40 * 365)
"""A DateTime ends in 2106 and begins anew: what is to stay longer than that would go at once."""

_SPANS: Final = """(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
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
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
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
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)"""
"""The columns and indices of the collector's exporter."""

_TRACES: Final = """(
    TraceId String CODEC(ZSTD(1)),
    Start DateTime CODEC(Delta, ZSTD(1)),
    End DateTime CODEC(Delta, ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)"""
_TRACES_FROM: Final = """SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End
FROM {spans}
WHERE TraceId != ''
GROUP BY TraceId"""

_RECEIVERS: Final = """(
    Hour DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String),
    Receiver LowCardinality(String),
    Calls SimpleAggregateFunction(sum, UInt64),
    Errors SimpleAggregateFunction(sum, UInt64),
    TotalNs SimpleAggregateFunction(sum, UInt64),
    Durations AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt64)
)"""
_RECEIVERS_FROM: Final = """SELECT toStartOfHour(Timestamp) AS Hour, ServiceName,
    SpanAttributes['django.signal.receiver'] AS Receiver,
    count() AS Calls, countIf(StatusCode = 'Error') AS Errors, sum(Duration) AS TotalNs,
    quantilesTDigestState(0.5, 0.95, 0.99)(Duration) AS Durations
FROM {spans}
WHERE SpanAttributes['django.signal.receiver'] != ''
GROUP BY Hour, ServiceName, Receiver"""


class _Table(NamedTuple):
    """A table, and the view that fills it."""

    suffix: str
    columns: str
    engine: str
    order: str
    moment: str
    """What its age is counted from."""
    filled_by: str = ""
    view: str = ""


TABLES: Final = (
    _Table(
        "",
        _SPANS,
        "MergeTree",
        "PARTITION BY toDate(Timestamp)\nORDER BY (ServiceName, SpanName, toDateTime(Timestamp))",
        "toDateTime(Timestamp)",
    ),
    _Table(
        "_trace_id_ts",
        _TRACES,
        "MergeTree",
        "PARTITION BY toDate(Start)\nORDER BY (TraceId, Start)",
        "toDateTime(Start)",
        _TRACES_FROM,
        "_trace_id_ts_mv",
    ),
    _Table(
        "_receivers_by_hour",
        _RECEIVERS,
        "AggregatingMergeTree",
        "PARTITION BY toYYYYMM(Hour)\nORDER BY (ServiceName, Receiver, Hour)",
        "",
        _RECEIVERS_FROM,
        "_receivers_by_hour_mv",
    ),
)


class Schema(NamedTuple):
    """The tables: their place, and for how long they keep what is in them."""

    database: str = "default"
    table: str = "otel_traces"
    cluster: str = ""
    """Its name; empty for one node."""
    keep: timedelta | None = None
    """None for ever. Statistics by hour stay."""

    def statements(self) -> list[str]:
        """Return what makes missing tables, and sets what may change.

        Of a cluster, tables named ``…_local`` are on each node, and the ones that are written and
        read go to all of them.
        """
        made = [f"CREATE DATABASE IF NOT EXISTS {quote(self.database)}{self._on_cluster}"]
        for table in TABLES:
            made.append(self._create(table))
            made += self._settle(table)
        if self.cluster:
            made += [self._distribute(table) for table in TABLES]
        return made + [self._view(table) for table in TABLES if table.filled_by]

    def _named(self, suffix: str) -> str:
        return f"{quote(self.database)}.{quote(self.table + suffix)}"

    def _stored(self, suffix: str) -> str:
        return self._named(f"{suffix}_local" if self.cluster else suffix)

    @property
    def _on_cluster(self) -> str:
        return f" ON CLUSTER {quote(self.cluster)}" if self.cluster else ""

    def _create(self, table: _Table) -> str:
        engine = table.engine
        if self.cluster:
            # The path has the shard's and the replica's macros, which each node has its own of.
            path = f"/clickhouse/tables/{{shard}}/{self.database}/{self.table}{table.suffix}"
            engine = f"Replicated{engine}({_text(path)}, '{{replica}}')"
        settings = "index_granularity = 8192"
        if table.moment:
            settings += ", ttl_only_drop_parts = 1"
        return (
            f"CREATE TABLE IF NOT EXISTS {self._stored(table.suffix)}{self._on_cluster} "
            f"{table.columns}\nENGINE = {engine}\n{table.order}\nSETTINGS {settings}"
        )

    def _settle(self, table: _Table) -> list[str]:
        """Return what a table gets also when a collector has made it."""
        altered = f"ALTER TABLE {self._stored(table.suffix)}{self._on_cluster}"
        window = "replicated_deduplication_window" if self.cluster else ""
        window = window or "non_replicated_deduplication_window"
        made = [f"{altered} MODIFY SETTING {window} = {WINDOW}"]
        if table.moment and self.keep is not None:
            seconds = int(min(self.keep, LONGEST).total_seconds())
            made.append(f"{altered} MODIFY TTL {table.moment} + toIntervalSecond({seconds})")
        return made

    def _distribute(self, table: _Table) -> str:
        key = "rand()" if table.suffix == "_receivers_by_hour" else "cityHash64(TraceId)"
        arguments = ", ".join(
            _text(name)
            for name in (self.cluster, self.database, f"{self.table}{table.suffix}_local")
        )
        return (
            f"CREATE TABLE IF NOT EXISTS {self._named(table.suffix)}{self._on_cluster} "
            f"AS {self._stored(table.suffix)}\nENGINE = Distributed({arguments}, {key})"
        )

    def _view(self, table: _Table) -> str:
        return (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self._named(table.view)}{self._on_cluster}\n"
            f"TO {self._stored(table.suffix)} AS\n" + table.filled_by.format(spans=self._stored(""))
        )


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
