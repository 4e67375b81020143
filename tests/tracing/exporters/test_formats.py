from __future__ import annotations

import csv
import io
import json

import pytest

from benchmarks.synthetic import Filler
from tests.tracing.samples import full_trace, plain_trace
from tracing.exporters.formats import (
    CSV_COLUMNS,
    chrome_trace,
    lanes,
    otlp_json,
    speedscope,
    write_csv,
    write_jsonl,
)
from tracing.spans.codec import Reader
from tracing.spans.records import Method, ReceiverCall, ReceiverLabel

NEWEST_NS = 1_800_000_000_000_000_000


def made_up(dispatches=300):
    return list(Filler(4, newest_ns=NEWEST_NS).traces(dispatches))


def nest(bars, start, end):
    """Assert that *bars* lie one after another between *start* and *end*, and so inside."""
    at = start
    for bar in bars:
        assert at <= bar.start_ns <= bar.end_ns <= end
        nest(bar.bars, bar.start_ns, bar.end_ns)
        at = bar.end_ns


def count(bars):
    return sum(1 + count(bar.bars) for bar in bars)


@pytest.mark.parametrize("trace", [full_trace(), *made_up(60)], ids=lambda t: t.trace_id[:6])
def test_lanes_hold_every_span_once_without_overlap(trace):
    laid = lanes(trace)

    for lane in laid:
        nest(lane, 0, 2**63)
    ran = sum(
        1 + sum(call.outcome != "skipped" for call in dispatch.receiver_calls)
        for dispatch in trace.dispatches
    )
    assert sum(count(lane) for lane in laid) == ran


def test_receivers_that_ran_at_once_get_lanes_of_their_own():
    trace = plain_trace(1)
    dispatch = trace.dispatches[0]
    dispatch.method = Method.ASEND
    dispatch.duration_ns = 1_000
    dispatch.receiver_calls = [
        ReceiverCall(number, number, ReceiverLabel(f"r{number}"), 10 * number, 500)
        for number in range(3)
    ]

    laid = lanes(trace)

    assert [[bar.name for bar in lane] for lane in laid] == [
        ["post_save shop.Order"],
        ["r1"],
        ["r2"],
    ]
    assert [bar.name for bar in laid[0][0].bars] == ["r0"]


def test_speedscope_file_opens_and_closes_frames_in_order():
    document = json.loads(json.dumps(speedscope([full_trace(), *made_up()])))

    frames = document["shared"]["frames"]
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    for profile in document["profiles"]:
        stack, at = [], profile["startValue"]
        for event in profile["events"]:
            assert event["at"] >= at
            at = event["at"]
            if event["type"] == "O":
                assert 0 <= event["frame"] < len(frames)
                stack.append(event["frame"])
            else:
                assert stack.pop() == event["frame"]
        assert stack == []
        assert at <= profile["endValue"]


def test_chrome_trace_has_an_event_for_every_span():
    trace = full_trace()

    document = json.loads(json.dumps(chrome_trace([trace])))

    events = document["traceEvents"]
    assert [event["cat"] for event in events if event["ph"] == "X"].count("trace") == 1
    assert [event["cat"] for event in events if event["ph"] == "X"].count("dispatch") == 3
    assert [event["cat"] for event in events if event["ph"] == "X"].count("receiver") == 3
    first = next(event for event in events if event.get("cat") == "dispatch")
    assert (first["ts"], first["dur"]) == (trace.started_ns / 1000 + 1, 9.0)


def test_otlp_json_groups_by_process():
    traces = [plain_trace(1, process=1), plain_trace(2, process=2), plain_trace(3, process=1)]

    document = otlp_json(traces)

    assert [len(r["scopeSpans"][0]["spans"]) for r in document["resourceSpans"]] == [6, 3]


def test_csv_has_a_row_for_each_receiver_call():
    file = io.StringIO()

    write_csv([full_trace()], file)

    header, *rows = csv.reader(io.StringIO(file.getvalue()))
    assert tuple(header) == CSV_COLUMNS
    assert [row[header.index("outcome")] for row in rows] == [
        "returned",
        "raised",
        "cancelled",
        "skipped",
    ]


def test_csv_holds_no_formulas():
    trace = plain_trace(1, name="=HYPERLINK(1)")
    trace.dispatches[0].receiver_calls[0].exception_message = "@SUM(1)"
    file = io.StringIO()

    write_csv([trace], file)

    row = next(csv.DictReader(io.StringIO(file.getvalue())))
    assert (row["name"], row["exception_message"]) == ("'=HYPERLINK(1)", "'@SUM(1)")


def test_export_import_export_is_the_identity():
    first, second = io.StringIO(), io.StringIO()
    write_jsonl([full_trace(), *made_up()], first)
    reader = Reader()
    traces = [trace for line in first.getvalue().splitlines() if (trace := reader.feed(line))]

    write_jsonl(traces, second)

    assert second.getvalue() == first.getvalue()
