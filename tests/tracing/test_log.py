from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from msgspec.structs import replace

from benchmarks.synthetic import Filler
from tests.tracing.samples import decided, full_trace, plain_trace
from tracing.api import current_span_id, current_trace_id, trace
from tracing.exporters.formats import write_jsonl
from tracing.exporters.log import LogExporter
from tracing.exporters.log_file import log_files
from tracing.instrumentation import context
from tracing.instrumentation.patching import instrument
from tracing.log import TraceIds, add_trace_ids
from tracing.spans.codec import LineError, Reader
from tracing.spans.records import span_id


def write(path, traces, **options):
    """Write *traces* and return the records."""
    exporter = LogExporter(path, **options)
    exporter.export(traces)
    exporter.shutdown()
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def read(lines):
    """Return the traces in *lines*."""
    reader = Reader()
    traces = [trace for line in lines if (trace := reader.feed(line))]
    return traces + list(reader.rest())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "tracing.jsonl"


def test_lines_of_a_trace_are_its_dispatches_failures_hazards_and_itself(path):
    records = write(path, [full_trace()])

    assert [(record["level"], record["event"]) for record in records] == [
        ("info", "dispatch_finished"),
        ("error", "receiver_failed"),
        ("info", "dispatch_finished"),
        ("info", "dispatch_finished"),
        ("warning", "hazard_found"),
        ("error", "trace_finished"),
    ]
    assert {record["schema"] for record in records} == {3}
    assert {record["trace_id"] for record in records} == {full_trace().trace_id}
    assert list(records[0])[:4] == ["timestamp", "level", "event", "schema"]


def test_times_of_lines_are_when_it_happened(path):
    dispatch, trace = write(path, [plain_trace(0)])

    assert dispatch["timestamp"] == "2027-01-15T08:00:00.000000Z"
    assert trace["timestamp"] == "2027-01-15T08:00:00.005000Z"


def test_context_of_the_application_is_on_every_line_and_hides_no_field(path):
    records = write(path, [full_trace()])

    assert {record["request_id"] for record in records} == {"r-1"}
    assert records[-1]["attributes"] == {"request_id": "r-1", "signal": "SIGTERM"}
    assert records[0]["signal"] == "django.db.models.signals.post_save"
    assert "signal" not in records[-1]


def test_spans_of_lines_form_a_tree(path):
    trace = full_trace()
    records = write(path, [trace])
    dispatches = [record for record in records if record["event"] == "dispatch_finished"]

    assert [record["span_id"] for record in dispatches] == [
        span_id(trace.root_span_id, number) for number in (1, 4, 6)
    ]
    assert [record["parent_span_id"] for record in dispatches] == [
        span_id(trace.root_span_id, number) for number in (0, 2, 0)
    ]
    assert records[-1]["span_id"] == span_id(trace.root_span_id, 0)


def test_lines_are_read_back_as_they_were(path):
    traces = [full_trace(), *Filler(3, newest_ns=1_800_000_000_000_000_000).traces(300)]

    write(path, traces)

    assert read(path.read_bytes().splitlines()) == traces


def test_receivers_of_a_trace_that_is_read_are_shared_by_their_calls(path):
    write(path, [plain_trace(1, dispatches=3)])

    (trace,) = read(path.read_bytes().splitlines())

    calls = [call for dispatch in trace.dispatches for call in dispatch.receiver_calls]
    labels = {call.receiver for call in calls}
    assert len({id(call.receiver) for call in calls}) == len(labels) < len(calls)


def test_what_is_mine_is_on_the_lines_and_read_back(path):
    trace = full_trace()

    records = write(path, [trace])

    calls = [call for record in records for call in record.get("receiver_calls", ())]
    assert [call["receiver"].get("mine") for call in calls] == [True, None, None, True]
    (read_back,) = read(path.read_bytes().splitlines())
    assert decided(read_back) == decided(trace)


def test_exported_lines_are_the_lines_of_the_log(path):
    traces = [full_trace(), plain_trace(1)]
    write(path, traces)
    exported = io.StringIO()

    write_jsonl(traces, exported)

    assert [json.loads(line) for line in exported.getvalue().splitlines()] == [
        json.loads(line) for line in path.read_bytes().splitlines()
    ]


def test_segments_are_read_back_as_one_trace(path):
    whole = plain_trace(1, dispatches=3)
    first = replace(whole, dispatches=whole.dispatches[:2], final=False, orphans=[("a", "b", 1)])
    last = replace(whole, dispatches=whole.dispatches[1:], segment=1, orphans=[("a", "b", 2)])

    records = write(path, [first, plain_trace(2), last])
    lines = path.read_bytes().splitlines()

    assert [r["event"] for r in records if "kind" in r] == [
        "trace_running",
        "trace_finished",
        "trace_finished",
    ]
    assert read(lines) == [plain_trace(2), replace(last, dispatches=whole.dispatches)]
    assert read(lines[:3]) == [first]


def test_text_that_is_no_unicode_costs_itself_alone(path):
    trace = plain_trace(1, user_id="\ud800", error="\x1b[2J")

    write(path, [trace, plain_trace(2)])

    (found, other) = read(path.read_bytes().splitlines())
    assert (found.user_id, found.error, found.dispatches) == ("?", "\x1b[2J", trace.dispatches)
    assert found.unreadable == [("a value", "UnicodeEncodeError", 1)]
    assert other == plain_trace(2)
    assert b"\x1b" not in path.read_bytes()


@pytest.mark.parametrize("count", [2**31, 2**80])
def test_number_that_no_column_holds_is_written_and_not_read(path, count):
    records = write(path, [plain_trace(1, query_count=count)])

    assert records[-1]["query_count"] == count
    with pytest.raises(LineError, match="query_count"):
        read(path.read_bytes().splitlines())


def test_level_leaves_out_lines_below_it(path):
    records = write(path, [full_trace(), plain_trace(1)], level="error")

    assert [record["event"] for record in records] == ["receiver_failed", "trace_finished"]


def test_nothing_to_write_makes_no_file(path):
    write_nothing = LogExporter(path, level="critical")

    write_nothing.export([plain_trace(1)])
    write_nothing.shutdown()

    assert log_files(path) == []


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b'{"schema": 1}',
        b'{"schema": 99}',
        b'{"schema": 3, "event": "dispatch_finished"}',
        b"\xff",
    ],
)
def test_line_that_is_none_is_an_error(line):
    with pytest.raises(LineError):
        Reader().feed(line)


def test_other_lines_are_skipped_and_counted():
    reader = Reader()

    assert reader.feed(b'{"event": "my own", "level": "info"}') is None
    assert reader.feed(b"  \n") is None
    assert reader.skipped == 1


def test_project_configuration_of_structlog_stays_as_it_is(path):
    before = structlog.get_config()
    seen = []
    structlog.configure(processors=[lambda *args: seen.append(args) or ""])
    try:
        write(path, [plain_trace(1)])
        during = structlog.get_config()["processors"]
    finally:
        structlog.reset_defaults()
        structlog.configure(**before)

    assert seen == []
    assert len(during) == 1


def test_logger_of_the_project_gets_the_lines(caplog):
    caplog.set_level(logging.INFO, "shop.signals")

    LogExporter(logger="shop.signals").export([full_trace()])

    records = [json.loads(record.getMessage()) for record in caplog.records]
    assert [(record.levelname.lower()) for record in caplog.records] == [
        record["level"] for record in records
    ]
    assert read(record.getMessage() for record in caplog.records) == [full_trace()]


@pytest.mark.parametrize(
    "arguments", [{}, {"path": "a", "logger": "b"}, {"path": "a", "level": "loud"}]
)
def test_exporter_with_contradicting_settings_is_refused(arguments):
    with pytest.raises(ValueError, match="LogExporter"):
        LogExporter(**arguments)


@pytest.fixture
def unrecorded():
    """Let traces end without a queue to put them into."""
    before = context.set_processor(None)
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()
    context.set_processor(before)


def test_own_lines_of_the_application_get_the_ids_of_the_running_trace(unrecorded):
    with trace("work"):
        line = add_trace_ids(None, "info", {"event": "paid"})
        ids = {"trace_id": current_trace_id(), "span_id": current_span_id()}

    assert line == {"event": "paid", **ids}
    assert all(ids.values())


def test_own_lines_outside_a_trace_get_no_ids():
    assert add_trace_ids(None, "info", {"event": "paid"}) == {"event": "paid"}


def test_filter_adds_the_ids_of_the_running_trace_to_records(unrecorded):
    def ids_of(**given):
        record = logging.LogRecord("shop", logging.INFO, "", 1, "paid", None, None)
        vars(record).update(given)
        assert TraceIds().filter(record)
        return record.trace_id, record.span_id

    with trace("work"):
        ids = current_trace_id(), current_span_id()
        inside, given = ids_of(), ids_of(trace_id="0af7", span_id="b7ad")

    assert all(ids)
    assert inside == ids
    assert given == ("0af7", "b7ad")
    assert ids_of() == ("", "")


def test_ids_that_a_line_has_already_stay(unrecorded):
    with trace("work"):
        of_another = add_trace_ids(None, "info", {"trace_id": "0af7"})
        own_span = add_trace_ids(None, "info", {"span_id": "b7ad"})
        ids = current_trace_id()

    assert of_another == {"trace_id": "0af7"}
    assert own_span == {"trace_id": ids, "span_id": "b7ad"}


DAMAGE = {
    "trace_finished": [
        {"started_ns": "abc"}, {"duration_ns": None}, {"name": 5},
        {"name": ["x"]}, {"attributes": {"a": 1}}, {"bypasses": [1]}, {"side_effects": [{"a": 1}]},
        {"lost_receivers": [1]}, {"connection_changes": ["x"]}, {"orphans": [["a", "b", "c"]]},
        {"orphans": [["a", "b"]]}, {"trace_id": 5}, {"trace_id": "zz"}, {"http_status": "x"},
        {"final": 1}, {"dispatch_count": True},
    ],
    "dispatch_finished": [
        {"receiver_calls": [5]}, {"number": None}, {"signal": None}, {"callsite": {"line": "x"}},
        {"start_ns": 1.5}, {"values": {"a": [1]}}, {"named": [1]}, {"event": ["x"]},
    ],
    "hazard_found": [{"numbers": "abc"}, {"line": "x"}, {"evidence": 5}, {"hazard": None}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "damage"), [(event, damage) for event in DAMAGE for damage in DAMAGE[event]]
)
def test_line_with_a_value_of_the_wrong_type_is_a_bad_line(path, event, damage):
    record = next(record for record in write(path, [full_trace()]) if record["event"] == event)

    with pytest.raises(LineError):
        Reader().feed(json.dumps(record | damage))


def test_line_that_is_nested_without_end_is_a_bad_line():
    for line in ("{", '{"schema": 3, "a": ' + "[" * 200_000):
        with pytest.raises(LineError, match="no JSON"):
            Reader().feed(line)


def test_traces_of_one_id_and_one_moment_are_read_back_apart(path):
    first, second = full_trace(), replace(full_trace(), root_span_id="f" * 16, name="second")
    for hazard in second.hazards:
        hazard.root_span_id = second.root_span_id

    write(path, [first, second])
    lines = path.read_text().splitlines()

    assert read(lines) == [first, second]
    # Also where the lines of one come between those of the other, as those of two processes do.
    mixed = sorted(lines, key=lambda line: json.loads(line)["event"] == "trace_finished")
    assert read(mixed) == [first, second]


@pytest.mark.parametrize("root", ["", "x" * 16, "A" * 16, "1" * 15, 7, None, ["1" * 16]])
def test_root_span_id_that_is_none_is_a_bad_line(path, root):
    records = write(path, [full_trace()])

    with pytest.raises(LineError):
        read([json.dumps(records[-1] | {"root_span_id": root})])


def test_line_of_the_first_schema_is_named_as_such():
    line = json.dumps({"schema": 1, "event": "trace_finished", "trace_id": "0" * 32})

    with pytest.raises(LineError, match="schema 1 is not known here; this is 3"):
        Reader().feed(line)
