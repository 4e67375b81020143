"""Rows of otel_traces: what the collector would have written of the same spans."""

from __future__ import annotations

from msgspec.structs import replace

from tests.tracing.exporters.clickhouse.fake import rows_in
from tests.tracing.samples import STARTED_NS, full_trace, plain_trace
from tracing.exporters.clickhouse.rows import block_of
from tracing.exporters.formats import otlp_spans
from tracing.spans.records import span_id


def rows_of(*traces):
    return rows_in(block_of(traces, "shop", "1.0"))


def test_every_span_is_a_row():
    trace = full_trace()

    rows = rows_of(trace)

    assert [(row["SpanId"], row.get("ParentSpanId", "")) for row in rows] == [
        (span.span_id, span.parent_span_id) for span in otlp_spans(trace)
    ]


def test_row_of_a_call_has_the_words_of_the_collector():
    trace = plain_trace(7, host="web1", process=42, release="1.2")

    row = rows_of(trace)[2]

    assert row == {
        "Timestamp": "1800000000.000000107",
        "TraceId": f"{7:032x}",
        "SpanId": span_id(trace.root_span_id, 2),
        "ParentSpanId": span_id(trace.root_span_id, 1),
        "SpanName": "shop.receivers.count",
        "SpanKind": "Internal",
        "ServiceName": "shop",
        "ResourceAttributes": {
            "service.name": "shop",
            "service.version": "1.2",
            "host.name": "web1",
            "process.pid": "42",
        },
        "ScopeName": "tracing",
        "ScopeVersion": "1.0",
        "SpanAttributes": {
            "django.signal.receiver": "shop.receivers.count",
            "django.signal.position": "0",
            "django.signal.outcome": "returned",
            "django.signal.weak": "true",
            "django.signal.is_async": "false",
            "django.db.query_count": "0",
            "code.function.name": "shop.receivers.count",
            "code.file.path": "/srv/shop/receivers.py",
            "code.line.number": "12",
            # What is looked for in a call and its dispatch at once, and what no other attribute says.
            "django.signal": "django.db.models.signals.post_save",
            "django.signal.sender": "shop.Order",
            "django.signal.method": "send",
            "django.signal.instance": "shop.Order:0",
            "django.signal.app": "shop",
            "django.db.transaction": "none",
            "django.tracing.root": trace.root_span_id,
            "django.tracing.rest": '{"number":2,"position":0,"receiver":{"name":""},"start_ns":0,'
            '"duration_ns":0}',
        },
        "Duration": 800,
        "StatusCode": "Unset",
    }


def test_request_is_a_server_and_an_error_has_its_message():
    trace = full_trace()
    row = rows_of(trace)[0]
    request = rows_of(plain_trace())[0]

    assert (row["SpanKind"], row["StatusCode"], row["StatusMessage"]) == (
        "Internal",
        "Error",
        "ValueError: no mail",
    )
    assert (request["SpanKind"], request["StatusCode"]) == ("Server", "Unset")


def test_exception_is_an_event_and_what_was_left_for_later_has_a_link():
    raised, detached = rows_of(full_trace())[3:5]
    moment = f"{STARTED_NS // 10**9}.000007250"

    assert raised["Events.Timestamp"] == [moment]
    assert raised["Events.Name"] == ["exception"]
    assert raised["Events.Attributes"][0]["exception.type"] == "ValueError"
    assert detached["Links.SpanId"] == [detached["ParentSpanId"]]
    assert detached["Links.TraceState"] == [""]
    assert detached["Links.Attributes"] == [{}]


def test_segment_of_a_running_trace_has_no_row_of_its_own():
    trace = replace(plain_trace(), final=False)

    assert [row["SpanName"] for row in rows_of(trace)] == [
        "post_save shop.Order",
        "shop.receivers.count",
    ]


def test_same_traces_are_the_same_block():
    assert block_of([full_trace()], "shop", "1") == block_of([full_trace()], "shop", "1")
