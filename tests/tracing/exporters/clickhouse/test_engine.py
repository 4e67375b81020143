"""The exporter and its tables on ClickHouse's own engine."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import override_settings
from msgspec.structs import replace

from tests.tracing.command_line import run
from tests.tracing.samples import full_trace, plain_trace
from tracing.conf import get_settings
from tracing.exporters.build import build_exporter
from tracing.exporters.clickhouse.exporter import ClickHouseExporter
from tracing.exporters.clickhouse.schema import Schema
from tracing.exporters.clickhouse.tables import VIEWS
from tracing.exporters.formats import otlp_spans
from tracing.pipeline import TemporaryError
from tracing.store.clickhouse.connection import Address

pytestmark = [pytest.mark.process, pytest.mark.services]

GUIDE = Path(__file__).resolve().parents[4] / "docs" / "guides" / "clickhouse.md"


@pytest.fixture
def exporter(address):
    made = ClickHouseExporter(address.url, database=address.database, service="shop", timeout=60)
    yield made
    made.shutdown()


def shown(heading):
    """Return the SQL below a heading of the guide, about the test's database."""
    text = GUIDE.read_text().partition(f"## {heading}\n")[2]
    return re.search(r"```sql\n(.*?)```", text, re.DOTALL)[1].replace("default.", "{db}.")


def test_spans_are_stored_as_they_are(exporter, ask):
    trace = full_trace()

    exporter.export([trace])

    rows = ask(
        "SELECT SpanId, ParentSpanId, SpanName, toUnixTimestamp64Nano(Timestamp), Duration, "
        "StatusMessage, Events.Name, Links.SpanId FROM {db}.otel_traces_all ORDER BY Timestamp"
    )
    spans = sorted(otlp_spans(trace), key=lambda span: span.start_ns)
    assert [tuple(row) for row in rows] == [
        (
            span.span_id,
            span.parent_span_id,
            span.name,
            span.start_ns,
            span.end_ns - span.start_ns,
            span.error or "",
            ["exception"] if span.exception else ["django.hazard"] if span.record is trace else [],
            [span.link_span_id] if span.link_span_id else [],
        )
        for span in spans
    ]


def test_values_of_every_script_arrive_unchanged(exporter, ask):
    name = "é 🚗 \t\n\\N 'x' \"y\" \0"

    exporter.export([plain_trace(attributes={"note": name}, release="1;2")])

    assert ask(
        "SELECT SpanAttributes['note'], ResourceAttributes['service.version'] "
        "FROM {db}.otel_traces WHERE SpanKind = 'Server'"
    ) == [(name, "1;2")]


def test_batch_that_comes_again_is_stored_and_counted_once(exporter, ask):
    for _ in range(3):
        exporter.export([plain_trace(1), plain_trace(2)])
    exporter.export([plain_trace(3)])

    assert ask("SELECT count(), uniqExact(TraceId) FROM {db}.otel_traces_all") == [(9, 3)]
    assert ask("SELECT count() FROM {db}.otel_traces_all_trace_id_ts") == [(3,)]
    assert ask("SELECT sum(Calls) FROM {db}.otel_traces_by_hour WHERE Receiver != ''") == [(3,)]


def test_segments_add_up_to_one_trace(exporter, ask):
    first, last = plain_trace(1, dispatches=1), plain_trace(1, dispatches=2)
    first.final = False
    del last.dispatches[0]

    exporter.export([first])
    exporter.export([last])

    assert ask("SELECT count(), uniqExact(SpanId) FROM {db}.otel_traces_all") == [(5, 5)]


def test_hazards_of_earlier_segments_are_told_when_the_trace_has_ended(exporter, ask):
    first, last = full_trace(), replace(full_trace(), hazards=[], segment=4)
    first.final = False

    for _ in range(2):
        exporter.export([first, last])
    exporter.export([replace(last, trace_id="2" * 32, root_span_id="2" * 16)])

    assert ask("SELECT Rules FROM {db}.otel_traces_django FINAL ORDER BY TraceId") == [
        (["slow-receiver"],),
        ([],),
    ]


def test_query_of_grafana_finds_one_trace(exporter, ask):
    trace = full_trace()
    trace.dispatches += plain_trace(2, dispatches=20).dispatches[10:]
    exporter.export([trace, plain_trace(2)])

    rows = ask(shown("One trace in Grafana").replace("YOUR-TRACE-ID", trace.trace_id))

    assert {row[1] for row in rows} == {span.span_id for span in otlp_spans(trace)}
    assert {row[3] for row in rows} == {"shop"}
    root = next(row for row in rows if row[4] == trace.name)
    assert root[5:7] == (trace.started_ns / 1e6, trace.duration_ns / 1e6)
    assert {"key": "django.tracing.kind", "value": "task"} in root[7]


def test_query_of_receivers_by_hour_has_all_of_them(exporter, ask):
    exporter.export([full_trace(), plain_trace(2)])

    rows = ask(shown("Receivers by hour"))

    assert {(row[1], row[2], row[3]) for row in rows} == {
        ("shop.receivers.index", 1, 0),
        ("shop.receivers.count", 1, 0),
        ("functools.partial(shop.receivers.mail)", 2, 1),
    }


def test_rows_of_other_writers_stay_and_are_no_receivers(exporter, ask, address):
    columns, values = "Timestamp, TraceId, ServiceName", "now64(9), 'not ours', 'billing'"
    address.run([f"INSERT INTO {address.quoted()} ({columns}) VALUES ({values})"])
    exporter.export([plain_trace()])

    assert ask("SELECT ServiceName, count() FROM {db}.otel_traces_all GROUP BY 1 ORDER BY 1") == [
        ("billing", 1),
        ("shop", 3),
    ]
    assert ask("SELECT sum(Calls) FROM {db}.otel_traces_by_hour WHERE Receiver != ''") == [(1,)]


def test_table_of_an_older_collector_takes_what_it_has_columns_for(exporter, ask, address):
    address.run(f"DROP VIEW {address.quoted(view.suffix)}" for view in VIEWS)
    for column in ("ScopeName", "ScopeVersion"):
        address.run([f"ALTER TABLE {address.quoted()} DROP COLUMN {column}"])
    address.run(
        f"ALTER TABLE {address.quoted()} {change}"
        for change in (
            "MODIFY COLUMN StatusCode String",
            "DROP INDEX idx_duration",
            "MODIFY COLUMN Duration Int64",
        )
    )
    address.run(Schema(address.database).statements())

    exporter.export([full_trace(), plain_trace()])

    found = "SELECT count(), sum(Duration), any(ScopeName) FROM {db}.otel_traces_all"
    spans = [*otlp_spans(full_trace()), *otlp_spans(plain_trace())]
    took = sum(span.end_ns - span.start_ns for span in spans)
    assert ask(found) == [(len(spans), took, "tracing")]


def test_schema_leaves_what_is_there_and_changes_how_long_it_stays(exporter, ask, address):
    exporter.export([plain_trace()])
    address.run(Schema(address.database, keep=timedelta(days=9_000)).statements())

    assert ask("SELECT count() FROM {db}.otel_traces_all") == [(3,)]
    [(made,)] = ask(
        "SELECT create_table_query FROM system.tables WHERE name = 'otel_traces' "
        f"AND database = '{address.database}'"
    )
    assert f"toIntervalSecond({9_000 * 86_400})" in made
    assert "non_replicated_deduplication_window = 1000" in made


def test_what_is_to_stay_for_ever_does(exporter, ask, address):
    # A century on, the clock of the table has begun anew: all would be too old.
    address.run(Schema(address.database, keep=timedelta(days=36_500)).statements())

    exporter.export([plain_trace()])

    assert ask("SELECT count() FROM {db}.otel_traces_all") == [(3,)]


def test_what_is_too_old_goes(ask, address):
    address.run(Schema(address.database, keep=timedelta(days=30)).statements())
    values = "(now64(9) - INTERVAL 31 DAY, 'old'), (now64(9), 'new')"
    address.run([f"INSERT INTO {address.quoted()} (Timestamp, TraceId) VALUES {values}"])
    address.run([f"OPTIMIZE TABLE {address.quoted()} FINAL"])

    assert ask("SELECT TraceId FROM {db}.otel_traces") == [("new",)]


def test_missing_table_and_wrong_password_are_told(engine):
    missing = ClickHouseExporter(engine, database="nowhere", timeout=60)
    refused = ClickHouseExporter(engine, user="reader", password="hunter2", timeout=60)

    with pytest.raises(TemporaryError, match=r"it has no `nowhere`\.`otel_traces`; manage\.py"):
        missing.export([plain_trace()])
    with pytest.raises(TemporaryError, match="does not let 'reader' in"):
        refused.export([plain_trace()])


def test_command_makes_the_tables_that_the_exporter_writes(engine):
    options = {"url": engine, "database": "made", "timeout": 60, "keep": "30d"}

    with override_settings(TRACING={"CLICKHOUSE": options}):
        for _ in range(2):
            assert run("clickhouse-schema", "--apply") == f"33 statements run at {engine}.\n"
        exporter = build_exporter("clickhouse", get_settings())
        exporter.export([plain_trace()])
        exporter.shutdown()


def test_statements_of_a_cluster_are_understood(engine):
    client = Address(engine, "default", "", "x", "y", 60).connect()
    statements = Schema("shop's", "otel_traces", "main", timedelta(days=7)).statements()

    for statement in statements:
        literal = statement.replace("\\", "\\\\").replace("'", "\\'")
        assert client.query(f"SELECT formatQuery('{literal}')").result_rows[0][0]
    client.close()

    assert sum("ENGINE = Replicated" in statement for statement in statements) == 7
    assert sum("ENGINE = Distributed" in statement for statement in statements) == 7
    assert all(" ON CLUSTER `main`" in statement for statement in statements)
