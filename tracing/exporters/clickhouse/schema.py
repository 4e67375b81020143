"""The tables of ClickHouse: one node's, or those of a cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from tracing.exporters.clickhouse.tables import TABLES, VIEWS, Table, View
from tracing.store.clickhouse.connection import quote

WINDOW: Final = 1_000
"""Blocks whose tokens a table remembers: what comes again within so many is stored once."""

LONGEST: Final = timedelta(days=40 * 365)
"""A DateTime ends in 2106 and begins anew: what is to stay longer than that would go at once."""


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
        return made + [self._view(view) for view in VIEWS]

    def _named(self, suffix: str) -> str:
        return f"{quote(self.database)}.{quote(self.table + suffix)}"

    def _stored(self, suffix: str) -> str:
        return self._named(f"{suffix}_local" if self.cluster else suffix)

    @property
    def _on_cluster(self) -> str:
        return f" ON CLUSTER {quote(self.cluster)}" if self.cluster else ""

    def _create(self, table: Table) -> str:
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

    def _settle(self, table: Table) -> list[str]:
        """Return what a table gets also when a collector has made it."""
        altered = f"ALTER TABLE {self._stored(table.suffix)}{self._on_cluster}"
        window = "replicated_deduplication_window" if self.cluster else ""
        window = window or "non_replicated_deduplication_window"
        made = [f"{altered} MODIFY SETTING {window} = {WINDOW}"]
        made += [f"{altered} ADD COLUMN IF NOT EXISTS {column}" for column in table.younger]
        if table.moment and self.keep is not None:
            seconds = int(min(self.keep, LONGEST).total_seconds())
            made.append(f"{altered} MODIFY TTL {table.moment} + toIntervalSecond({seconds})")
        return made

    def _distribute(self, table: Table) -> str:
        key = "rand()" if "Aggregating" in table.engine else "cityHash64(TraceId)"
        arguments = ", ".join(
            _text(name)
            for name in (self.cluster, self.database, f"{self.table}{table.suffix}_local")
        )
        return (
            f"CREATE TABLE IF NOT EXISTS {self._named(table.suffix)}{self._on_cluster} "
            f"AS {self._stored(table.suffix)}\nENGINE = Distributed({arguments}, {key})"
        )

    def _view(self, view: View) -> str:
        name = f"{self._named(view.suffix)}{self._on_cluster}"
        if not view.fills:
            selects = view.selects.format(
                spans=self._named(""),
                calls=self._named("_calls"),
                traces=self._named("_django"),
                times=self._named("_trace_id_ts"),
            )
            return f"CREATE OR REPLACE VIEW {name} AS\n{selects}"
        selects = view.selects.format(spans=self._stored(""), calls=self._stored("_calls"))
        return (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name}\n"
            f"TO {self._stored(view.fills)} AS\n{selects}"
        )


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
