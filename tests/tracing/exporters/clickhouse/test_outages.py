"""A ClickHouse that is down, slow, old, without rights, or answers half."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys

import pytest
from opentelemetry.context import get_value

from tests.tracing.exporters.clickhouse.fake import FakeClickHouse
from tests.tracing.samples import full_trace, plain_trace
from tracing.conf import read
from tracing.conf.parts import PipelineOptions
from tracing.exporters.build import build_exporter, in_order
from tracing.exporters.clickhouse.exporter import ClickHouseExporter
from tracing.pipeline import Pipeline, TemporaryError
from tracing.spans.records import span_id
from tracing.store.clickhouse.connection import Address, BadValueError


@pytest.fixture
def clickhouse():
    server = FakeClickHouse()
    yield server
    server.stop()


@pytest.fixture
def exporter(clickhouse):
    made = ClickHouseExporter(clickhouse.url, password="hunter2", service="shop", timeout=10)
    yield made
    made.shutdown()


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_rows_arrive_with_token_and_settings(clickhouse, exporter):
    trace = full_trace()

    exporter.export([trace, plain_trace(2)])

    (parameters, rows), (parameters_of_calls, calls) = clickhouse.inserts
    form = "FORMAT RowBinaryWithNamesAndTypes"
    assert parameters["query"] == f"INSERT INTO `default`.`otel_traces` {form}"
    assert parameters_of_calls["query"] == f"INSERT INTO `default`.`otel_traces_calls` {form}"
    assert {row["TraceId"] for row in (*rows, *calls)} == {trace.trace_id, f"{2:032x}"}
    assert len(parameters["insert_deduplication_token"]) == 32
    assert parameters["async_insert"] == "0"
    assert parameters["deduplicate_blocks_in_dependent_materialized_views"] == "1"
    assert rows[0]["SpanId"] == span_id(trace.root_span_id, 0)


def test_what_comes_again_has_the_same_token(clickhouse, exporter):
    for _ in range(2):
        exporter.export([full_trace(), plain_trace(3)])
    exporter.export([plain_trace(2)])

    tokens = [each["insert_deduplication_token"] for each, _ in clickhouse.inserts]
    assert tokens[:2] == tokens[2:4]
    assert len(set(tokens)) == len(clickhouse.stored) == 4


def test_nothing_to_say_is_not_sent(clickhouse, exporter):
    exporter.export([plain_trace(dispatches=0, final=False)])

    assert clickhouse.inserts == []


def test_server_that_is_down_is_asked_again():
    exporter = ClickHouseExporter(f"http://127.0.0.1:{closed_port()}")

    with pytest.raises(
        TemporaryError, match=r"^ClickHouse at http://[\d.:]+: \[Errno 111\] Connection refused$"
    ):
        exporter.export([plain_trace()])


@pytest.mark.thorough
def test_server_that_does_not_answer_is_given_up_after_the_timeout(clickhouse):
    exporter = ClickHouseExporter(clickhouse.url, timeout=1)
    clickhouse.stands_still.clear()

    with pytest.raises(TemporaryError, match=r": Read timed out$"):
        exporter.export([plain_trace()])


def test_server_that_is_too_old_is_named(clickhouse, exporter):
    clickhouse.version = "21.3.1"
    with pytest.raises(TemporaryError, match=r"is 21\.3\.1; 23\.8 or later is needed"):
        exporter.export([plain_trace()])

    clickhouse.has_settings = False
    with pytest.raises(TemporaryError, match=r"is too old; 23\.8 or later is needed"):
        exporter.export([plain_trace()])

    assert clickhouse.inserts == []


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (60, "DB::Exception: Table x does not exist. (UNKNOWN_TABLE)", "--apply makes it"),
        (497, "DB::Exception: Not enough privileges. (ACCESS_DENIED)", "does not let 'default' in"),
        (16, "DB::Exception: No such column. (NO_SUCH_COLUMN)", "is no table of the collector's"),
        (252, "DB::Exception: Too many parts. (TOO_MANY_PARTS)", r"Too many parts\. \(TOO_MANY"),
        (241, "DB::Exception: Memory limit. (MEMORY_LIMIT_EXCEEDED)", "Memory limit"),
        (999, "nobody knows", "nobody knows"),
    ],
)
def test_refusal_says_what_to_do_and_the_batch_is_kept(clickhouse, exporter, code, words, told):
    clickhouse.refuses = (code, words)
    with pytest.raises(TemporaryError, match=told):
        exporter.export([plain_trace()])

    clickhouse.refuses = None
    exporter.export([plain_trace()])

    assert len(clickhouse.rows) == 2


def test_password_is_in_no_message(clickhouse, exporter):
    clickhouse.refuses = (516, "DB::Exception: default:hunter2 is wrong. (AUTHENTICATION_FAILED)")

    with pytest.raises(TemporaryError, match="…") as raised:
        exporter.export([plain_trace()])

    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(exporter.address)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (b'["SpanAttributes","JSON"]\n', "is no table of the collector's: SpanAttributes is JSON"),
        (b"none", "answers what is none"),
    ],
)
def test_table_of_another_make_is_told_and_nothing_is_sent(clickhouse, exporter, columns, told):
    clickhouse.columns = columns

    with pytest.raises(TemporaryError, match=f"ClickHouse at {clickhouse.url}.* {told}"):
        exporter.export([plain_trace()])

    assert clickhouse.inserts == []


def test_half_an_answer_stores_once(clickhouse, exporter):
    clickhouse.loses_answers = True
    with pytest.raises(TemporaryError):
        exporter.export([plain_trace()])
    clickhouse.loses_answers = False
    exporter.export([plain_trace()])

    assert len(clickhouse.inserts) >= 2
    assert len(clickhouse.rows) == 2


def test_value_that_cannot_be_read_is_blamed_on_its_trace(clickhouse, exporter):
    clickhouse.refuses = (27, "DB::Exception: Cannot parse input. (CANNOT_PARSE_INPUT)")

    with pytest.raises(BadValueError, match="Cannot parse input"):
        exporter.export([plain_trace()])


def test_lone_surrogate_is_repaired_and_the_others_arrive(clickhouse, exporter):
    pipeline = Pipeline(PipelineOptions(synchronous=True))
    pipeline.add_exporter(exporter)
    traces = [plain_trace(1), plain_trace(2, name="\ud800"), plain_trace(3)]

    for trace in traces:
        pipeline.submit(trace)
    assert pipeline.force_flush()

    assert {row["TraceId"] for row in clickhouse.rows} == {trace.trace_id for trace in traces}
    assert pipeline.statistics().exporters["clickhouse"].dropped == 0
    pipeline.shutdown()


def test_outage_is_told_once_counted_and_ends(clickhouse, exporter, caplog):
    pipeline = Pipeline(PipelineOptions(batch_seconds=0.01))
    pipeline.add_exporter(exporter)
    clickhouse.refuses = (241, "DB::Exception: Memory limit. (MEMORY_LIMIT_EXCEEDED)")
    with caplog.at_level(logging.WARNING):
        pipeline.submit(plain_trace())
        assert not pipeline.force_flush(60)
        assert not pipeline.force_flush(60)
        during = pipeline.statistics().exporters["clickhouse"]
        clickhouse.refuses = None
        assert pipeline.force_flush(60)
    pipeline.shutdown()

    assert (during.failures, during.waiting, during.dropped) == (2, 1, 0)
    assert "Memory limit" in during.error
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "The clickhouse exporter cannot write traces",
        "The clickhouse exporter writes traces again after 2 failed attempts; 0 traces lost.",
    ]
    assert len(clickhouse.rows) == 2


def test_server_that_is_down_is_told_in_one_line(caplog):
    pipeline = Pipeline(PipelineOptions(batch_seconds=0.01, exit_seconds=0.1))
    pipeline.add_exporter(ClickHouseExporter(f"http://127.0.0.1:{closed_port()}"))
    with caplog.at_level(logging.INFO):
        pipeline.submit(plain_trace())
        assert not pipeline.force_flush(60)
        assert not pipeline.force_flush(60)
    pipeline.shutdown()

    [record] = caplog.records
    assert record.getMessage().startswith("The clickhouse exporter cannot write traces (")


@pytest.mark.process
def test_driver_changes_no_logging_of_the_application():
    script = (
        "import logging; from tracing.store.clickhouse.connection import load_driver;"
        "load_driver(); print(logging.getLogger('urllib3').level)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert told.stdout == "0\n"


def test_missing_driver_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)

    with pytest.raises(ImportError, match=r"pip install 'django-signal-tracing\[clickhouse\]'"):
        ClickHouseExporter()


def test_settings_make_the_exporter(clickhouse):
    options = {"URL": clickhouse.url, "table": "spans", "rows": 30_000, "keep": "30d"}
    settings, problems = read({"CLICKHOUSE": options})

    made = build_exporter("clickhouse", settings)
    made.export([plain_trace()])
    made.shutdown()

    assert problems == []
    assert (made.gathers, made.service) == ((30_000, 5), "django")
    assert clickhouse.inserts[0][0]["query"].startswith("INSERT INTO `default`.`spans` ")
    assert in_order(["clickhouse", "database"]) == ["database", "clickhouse"]


def test_instrumentations_of_opentelemetry_record_nothing_of_it(exporter, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Address, "insert", lambda *_: seen.append(get_value("suppress_instrumentation"))
    )

    exporter.export([plain_trace()])

    assert (seen, get_value("suppress_instrumentation")) == ([True, True], None)


def test_child_process_connects_itself(clickhouse, exporter):
    exporter.export([plain_trace(1)])
    mine = exporter._client
    exporter.after_fork()
    exporter.export([plain_trace(2)])

    assert exporter._client is not mine
    assert len(clickhouse.rows) == 4
