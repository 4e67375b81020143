"""What no exporter can take is repaired, and the trace says so."""

from __future__ import annotations

import enum
import json

from tests.tracing.samples import full_trace, plain_trace
from tracing.exporters.formats import otlp_json
from tracing.exporters.log import LogExporter
from tracing.instrumentation.assembly.repair import LARGEST, LONGEST, repaired
from tracing.pipeline import Pipeline
from tracing.spans.records import Kind


class Loud(str):
    """A string that raises whenever its own code is asked."""

    __slots__ = ()

    def _raise(self, *_args):
        raise RuntimeError("nobody may ask")

    __eq__ = __str__ = __repr__ = __format__ = __len__ = __getitem__ = _raise
    __hash__ = str.__hash__


class Number(enum.IntEnum):
    """A member is an integer and not a plain one."""

    SEVEN = 7


def test_a_sound_trace_stays_equal():
    trace = full_trace()

    assert repaired(trace, "ValueError") == trace
    assert repaired(trace) is not trace


def test_each_odd_value_is_made_one_that_can_be_written():
    trace = plain_trace(
        name=Loud("checkout"),
        error="half \ud800 and \x00",
        user_id="x" * (LONGEST + 1),
        query_ns=10**5_000,
        signal_ns=-(10**5_000),
        http_status=Number.SEVEN,
        attributes={"a": float("nan"), "b": object(), "c": Loud("d")},
    )

    made = repaired(trace, "ValueError")

    assert (type(made.name), made.name) == (str, "checkout")
    assert made.error == "half ? and \ufffd"
    assert len(made.user_id) == LONGEST
    assert (made.query_ns, made.signal_ns) == (LARGEST, -LARGEST)
    assert made.http_status == 7
    assert made.attributes == {"a": 0.0, "b": "<object>", "c": "d"}
    assert made.unreadable == [("a value", "ValueError", 8)]
    assert made.kind is Kind.REQUEST
    assert json.dumps(otlp_json([made]), allow_nan=False)


def test_a_list_that_holds_itself_ends():
    trace = plain_trace()
    trace.attributes["a"] = itself = []
    itself.append(itself)

    assert "…" in str(repaired(trace).attributes)


def test_a_number_that_no_log_line_can_hold_costs_itself_alone(tmp_path):
    exporter = LogExporter(tmp_path / "tracing.jsonl")
    pipeline = Pipeline()
    pipeline.configure([exporter])
    traces = [plain_trace(number) for number in range(1, 4)]
    traces[1].query_ns = 10**5_000

    for trace in traces:
        pipeline.submit(trace)
    assert pipeline.shutdown()

    lines = [json.loads(line) for line in (tmp_path / "tracing.jsonl").read_text().splitlines()]
    ended = {line["trace_id"]: line for line in lines if line["event"] == "trace_finished"}
    assert len(ended) == 3
    assert ended[traces[1].trace_id]["unreadable"] == [["a value", "ValueError", 1]]
    assert pipeline.statistics().exporters["log"].dropped == 0
