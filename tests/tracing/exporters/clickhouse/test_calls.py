"""Receiver calls as narrow rows, and as the spans that they stand for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.tracing.exporters.clickhouse.fake import rows_in
from tests.tracing.samples import full_trace, plain_trace
from tracing.exporters.clickhouse.attributes import facts_of_dispatch
from tracing.exporters.clickhouse.calls import CallEncoder
from tracing.exporters.clickhouse.exporter import ClickHouseExporter
from tracing.exporters.clickhouse.rows import Encoder
from tracing.spans.records import Carried, Outcome


def with_call(number=1, **changes):
    """Return a trace whose second dispatch has a call with *changes*."""
    trace = plain_trace(number, dispatches=3)
    calls = trace.dispatches[1].receiver_calls
    calls[0] = replace(calls[0], **changes)
    return trace


def with_dispatch(**changes):
    trace = plain_trace(dispatches=3)
    trace.dispatches[1] = replace(trace.dispatches[1], **changes)
    return trace


def test_call_is_a_row_with_what_it_shares_and_its_numbers():
    trace = with_call(query_count=2, query_ns=30, self_ns=500, cpu_ns=7)
    dispatch = trace.dispatches[1]
    (call,) = dispatch.receiver_calls

    first, row, last = rows_in(Encoder("shop", "1.0").blocks([trace])[1])

    assert first["Shape"] == row["Shape"] == last["Shape"]
    assert (row["TraceId"], row["Root"]) == (trace.trace_id, int(trace.root_span_id, 16))
    assert row["Timestamp"] == trace.started_ns + dispatch.start_ns
    assert row["Timestamp"] + row["Later"] == trace.started_ns + call.start_ns
    assert (row["Number"], row["Back"]) == (call.number, call.number - dispatch.number)
    assert (row["Duration"], row["Longer"]) == (
        call.duration_ns,
        dispatch.duration_ns - call.duration_ns,
    )
    assert (row["Queries"], row["QueryNs"], row["CpuNs"]) == (2, 30, 7)
    assert row["Below"] == call.duration_ns - 500
    assert (row["MoreQueries"], row["MoreQueryNs"]) == (-2, -30)


@pytest.mark.parametrize(
    "trace",
    [
        with_dispatch(exception_type="ValueError"),
        with_dispatch(values={"order": "2"}),
        with_dispatch(is_detached=True),
        with_dispatch(receiver_calls=[]),
        with_call(outcome=Outcome.RAISED, exception_type="E", exception_message="m"),
        with_call(outcome=Outcome.SKIPPED),
        with_call(thread_switch_ns=5),
        replace(plain_trace(dispatches=3), diagnosis_context=Carried(outer_spans={3: "9" * 16})),
    ],
)
def test_what_has_more_than_numbers_of_its_own_is_a_row_of_the_spans(trace):
    spans, calls = map(rows_in, Encoder("shop", "1.0").blocks([trace]))

    assert len(calls) == 2
    assert [row["SpanId"][-2:] for row in spans][:2] == [
        trace.root_span_id[-2:],
        f"{int(trace.root_span_id[-2:], 16) + 3:02x}"[-2:],
    ]


def test_number_that_no_column_has_is_refused():
    with pytest.raises(OverflowError):
        Encoder("shop", "1.0").blocks([with_call(query_count=2**32)])


@pytest.mark.process
@pytest.mark.services
def test_spans_of_narrow_rows_are_those_of_the_collector(address, ask, monkeypatch):
    exporter = ClickHouseExporter(address.url, database=address.database, timeout=60)
    numbers = with_call(5, query_count=2, query_ns=30, self_ns=500, cpu_ns=0)
    high = replace(plain_trace(3, dispatches=2), root_span_id="f" * 15 + "e")
    traces = [full_trace(), with_dispatch(instance="shop.Order:é", query_count=3), numbers, high]
    # Calls among the spans repeat what is looked for of their dispatch.
    facts = [*facts_of_dispatch(full_trace().dispatches[0]), "django.tracing.root"]
    spans = (
        "SELECT * EXCEPT (Sent) REPLACE (mapSort(mapFilter((name, text) -> NOT (name IN "
        f"{facts} AND has(mapKeys(SpanAttributes), 'django.signal.receiver')), SpanAttributes)) AS "
        "SpanAttributes) "
        "FROM {db}.otel_traces_all ORDER BY TraceId, SpanId, Duration"
    )
    sums = (
        "SELECT Receiver, Signal, Sender, sum(Calls), sum(TotalNs), sum(OuterNs), sum(Queries), "
        "sum(QueryNs), sum(CpuNs), sum(CpuCalls), sumMap(Durations), any(App), max(Mine) "
        "FROM {db}.otel_traces_by_hour GROUP BY Receiver, Signal, Sender ORDER BY 1, 2, 3"
    )
    sent_on = "SELECT * FROM {db}.otel_traces_sent_on FINAL ORDER BY ALL"

    exporter.export(traces)
    narrow = [ask(spans), ask(sums), ask(sent_on)]
    assert ask("SELECT countIf(Number > 0) > 4 FROM {db}.otel_traces_calls") == [(1,)]
    address.run(
        f"TRUNCATE TABLE {address.quoted(suffix)}"
        for suffix in ("", "_calls", "_by_hour", "_sent_on")
    )
    monkeypatch.setattr(CallEncoder, "rows", lambda *_given: [])
    exporter.export(traces[::-1])
    exporter.shutdown()

    assert narrow == [ask(spans), ask(sums), ask(sent_on)]
