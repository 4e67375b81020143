"""Rows of otel_traces: what the collector would have written of the same spans."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.tracing.exporters.clickhouse.fake import rows_in
from tests.tracing.samples import STARTED_NS, full_trace, plain_trace
from tracing.exporters.clickhouse.calls import CallEncoder
from tracing.exporters.clickhouse.rows import Encoder
from tracing.exporters.formats import otlp_spans
from tracing.spans.records import Carried, Outcome, ReceiverLabel, span_id


@pytest.fixture(autouse=True)
def no_narrow_rows(monkeypatch):
    """Have all calls written as rows of spans, as those with more than numbers of their own are."""
    monkeypatch.setattr(CallEncoder, "rows", lambda *_given: [])


def rows_of(*traces):
    return rows_in(Encoder("shop", "1.0").blocks(traces)[0])


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
        "Timestamp": 1_800_000_000_000_000_107,
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
            "django.signal.outcome": "returned",
            "code.file.path": "/srv/shop/receivers.py",
            "code.line.number": "12",
            "django.signal.app": "shop",
            # What is looked for in a call and its dispatch at once.
            "django.signal": "django.db.models.signals.post_save",
            "django.signal.sender": "shop.Order",
            "django.signal.method": "send",
            "django.db.transaction": "none",
            "django.signal.instance": "shop.Order:0",
            "django.tracing.root": trace.root_span_id,
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
    moment = STARTED_NS + 7_250

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
    encoder = Encoder("shop", "1")

    blocks = {encoder.blocks([full_trace(), plain_trace()]) for _ in range(2)}

    assert blocks == {Encoder("shop", "1").blocks([full_trace(), plain_trace()])}


@pytest.mark.parametrize(
    "changes",
    [
        {"signal": "shop.signals.paid"},
        {"instance": "shop.Order:2", "query_count": 3, "query_ns": 40},
        {"depth": 2, "transaction_depth": 1, "named": ("a", "b")},
        {"created": True, "raw": False, "using": "other", "update_fields": ("x",)},
        {"values": {"order": "2"}},
        {"is_detached": True},
        {"exception_type": "ValueError"},
        {"pk_count": 4, "action": "post_add", "reverse": True},
        {"same_instance_as": 1, "in_event_loop": True},
    ],
)
def test_what_rows_share_is_told_of_no_row_that_differs(changes):
    trace = plain_trace(dispatches=3)
    trace.dispatches[1] = replace(trace.dispatches[1], **changes)
    alone = replace(trace, dispatches=[trace.dispatches[1]])

    rows = rows_of(trace)

    assert rows[3:5] == rows_of(alone)[1:]


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.RAISED, "exception_type": "E", "exception_message": "m"},
        {"outcome": Outcome.UNKNOWN, "response_type": "str"},
        {"query_count": 3, "query_ns": 40, "cpu_ns": 50, "self_ns": 60},
        {"thread_switch_ns": 5, "duplicate_of": 0, "position": 1},
        {"statements": (("SELECT 1", 1, 2),)},
        {"receiver": ReceiverLabel("shop.receivers.count", is_async=True, mine=True)},
    ],
)
def test_what_calls_share_is_told_of_no_call_that_differs(changes):
    trace = plain_trace(dispatches=3)
    dispatch = trace.dispatches[1]
    dispatch.receiver_calls[0] = replace(dispatch.receiver_calls[0], **changes)

    rows = rows_of(trace)

    assert rows[3:5] == rows_of(replace(trace, dispatches=[dispatch]))[1:]


def test_spans_of_opentelemetry_between_stay_the_parents():
    trace = replace(plain_trace(dispatches=2), diagnosis_context=Carried(outer_spans={1: "9" * 16}))

    rows = rows_of(trace)

    assert [row["ParentSpanId"] for row in rows[1::2]] == ["9" * 16, trace.root_span_id]


def test_block_has_the_types_of_the_table_where_the_bytes_are_the_same():
    encoder = Encoder("shop", "1.0")
    types = {
        "Timestamp": "DateTime64(9, 'UTC')",
        "Duration": "Int64",
        "ScopeName": "LowCardinality(String)",
        "SpanName": "String",
    }

    encoder.write_for({**types, "another": "JSON"})
    block, _calls = encoder.blocks([plain_trace()])

    assert all(kind.encode() in block for kind in types.values())
    assert rows_in(block) == rows_of(plain_trace())
    with pytest.raises(TypeError, match="SpanAttributes is JSON in it, and not Map"):
        encoder.write_for({"SpanAttributes": "JSON"})
