"""Tests of what the toolbar keeps of a trace: plain JSON, small enough, the failed and slow parts of it."""

from __future__ import annotations

import json
from typing import Any

from tests.tracing.analysis.building import US, TraceBuilder, label
from tests.tracing.panels.traces import foreign_trace, mixed_trace, order_trace
from tracing.analysis import tree
from tracing.panels import stored
from tracing.panels.stored import cut, describe, subtitle
from tracing.spans.codec import unpack
from tracing.spans.records import Bypass, Hazard, Outcome, Trace


def described(trace: Trace, **options: Any) -> dict[str, Any]:
    """Return what is kept of *trace*, as a store gives it back."""
    return json.loads(json.dumps(describe(trace, **options)))


def labels(trace: Trace) -> list[str]:
    return [node.label for node in tree.flatten(tree.fold(trace))]


def distinct(count: int) -> Trace:
    builder = TraceBuilder()
    for number in range(count):
        saved = builder.dispatch(
            sender=f"shop.Model{number}", at=f"shop.views.view_{number}:{number}"
        )
        builder.call(saved, f"shop.receivers.receiver_{number}", own_ns=(number + 1) * US)
    return builder.build()


def test_a_trace_comes_back_from_the_store_as_it_was():
    trace = order_trace()
    trace.hazards = [Hazard("recursion", "error", "It recurses.", numbers=[1])]

    kept = described(trace)

    assert unpack(kept["trace"]) == trace
    assert (kept["version"], kept["left_out"], kept["trace_id"]) == (2, 0, trace.trace_id)


def test_known_hazards_are_left_to_the_store():
    trace = order_trace()
    trace.known_hazards = [Hazard("recursion", "error", "It recurses.")]

    assert unpack(described(trace)["trace"]).known_hazards == []
    assert trace.known_hazards != []


def test_thousands_of_repetitions_stay_and_take_little_room():
    builder = TraceBuilder()
    for number in range(5_000):
        builder.call(builder.dispatch(instance=f"orders.Order:{number}"))

    kept = described(builder.build())

    assert len(json.dumps(kept)) < stored.MAX_BYTES
    assert kept["left_out"] == 0
    assert len(unpack(kept["trace"]).dispatches) == 5_000


def test_of_too_many_rows_the_slowest_stay_and_the_rest_is_counted():
    kept = described(distinct(1_000))

    shown = labels(unpack(kept["trace"]))
    assert len(shown) == stored.MAX_ROWS
    assert kept["left_out"] == 2_000 - stored.MAX_ROWS
    assert "post_save shop.Model999" in shown
    assert "post_save shop.Model0" not in shown


def test_what_failed_stays_however_quick_it_was():
    trace = distinct(1_000)
    call = trace.dispatches[0].receiver_calls[0]
    call.outcome, call.exception_type = Outcome.RAISED, "OSError"

    assert "receiver_0" in labels(unpack(described(trace)["trace"]))


def test_the_size_is_limited_by_leaving_dispatches_out():
    trace = distinct(250)

    kept = described(trace, max_bytes=6_000)

    assert len(kept["trace"]) <= 6_000
    assert kept["left_out"] > 0
    assert unpack(kept["trace"]).dispatch_count == 250


def test_lists_beside_the_tree_are_limited_too():
    trace = order_trace()
    trace.bypasses = [
        Bypass("update", f"shop.Model{number}", ("post_save",), (), 1, 0) for number in range(1_000)
    ]

    kept = described(trace)

    assert kept["left_out"] == 400
    assert len(unpack(kept["trace"]).bypasses) == stored.MAX_ROWS


def test_a_chain_deeper_than_the_limit_keeps_its_upper_part():
    builder = TraceBuilder()
    under = None
    for _ in range(20):
        under = builder.call(builder.dispatch(under=under))

    kept, left_out = cut(builder.build(), 10)

    assert [dispatch.depth for dispatch in kept.dispatches] == [0, 1, 2, 3, 4]
    assert left_out == 30


def test_at_least_one_dispatch_is_kept():
    builder = TraceBuilder()
    sent = builder.dispatch()
    for number in range(20):
        builder.call(sent, f"shop.receive_{number}")

    kept, left_out = cut(builder.build(), 10)

    assert (len(kept.dispatches), left_out) == (1, 0)


def test_the_side_bar_says_how_much_and_what_is_worst():
    kept = described(order_trace())

    assert kept["mark"] == "✕"
    assert kept["subtitle"] == (
        "1 raised · 2 dispatches, 4 receivers in 8.00 ms · worst update_buyer 5.00 ms"
    )


def test_the_side_bar_marks_hazards():
    trace = order_trace()
    trace.hazards = [Hazard("recursion", "error", "It recurses.")]
    kept = described(trace)

    assert kept["mark"] == "⚠"
    assert kept["subtitle"].startswith("1 hazard · 1 raised · ")


def test_the_worst_is_mine_where_anything_is():
    assert "worst make_sale" in subtitle(mixed_trace())
    assert "worst close_old_connections" in subtitle(foreign_trace())


def test_a_quiet_request_has_no_mark():
    kept = described(TraceBuilder().build())

    assert (kept["mark"], kept["subtitle"]) == ("", "0 dispatches, 0 receivers in 0 ns")


def test_a_skipped_call_is_never_the_worst():
    builder = TraceBuilder()
    builder.call(builder.dispatch(), label("shop.skip"), own_ns=0, outcome=Outcome.SKIPPED)

    assert "worst" not in subtitle(builder.build())
