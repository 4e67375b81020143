"""Tests of the tree: walking, self time, critical path, folding, totals, flame graph."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.tracing.analysis.building import MS, US, TraceBuilder
from tracing.analysis import tree
from tracing.analysis.critical_path import CriticalPath, self_ns
from tracing.analysis.index import Index, extent_ns, roots, status_word, walk
from tracing.analysis.totals import totals
from tracing.spans.records import Dispatch, Kind, Method, Outcome, Status


@pytest.fixture
def order():
    """An order whose receiver makes a sale, whose receiver writes mail for later."""
    build = TraceBuilder()
    placed = build.dispatch("post_save", "orders.Order", instance="orders.Order:1", created=True)
    make = build.call(placed, "core.orders.receivers.make_sale", own_ns=2 * MS, query_count=2)
    build.call(placed, "core.search.Indexer.on_save", own_ns=1 * MS)
    sold = build.dispatch(
        "post_save", "sales.Sale", under=make, at="core.orders.receivers.make_sale:20"
    )
    build.call(sold, "core.sales.receivers.count", own_ns=5 * MS, query_count=1)
    return build.build()


def test_walk_visits_parents_before_children_in_order(order):
    visits = [(tree.label(visit.span), visit.depth) for visit in walk(order)]

    assert visits == [
        ("post_save orders.Order", 0),
        ("make_sale", 1),
        ("post_save sales.Sale", 2),
        ("count", 3),
        ("Indexer.on_save", 1),
    ]


def test_roots_include_a_dispatch_whose_parent_is_in_another_segment(order):
    order.dispatches = order.dispatches[1:]

    assert [root.sender for root in roots(order)] == ["sales.Sale"]


def test_roots_are_in_order_of_start_whatever_thread_sent_them():
    build = TraceBuilder()
    build.dispatch("order_placed")
    build.dispatch("post_save")
    trace = build.build()
    # The view awaited a save, which a thread did, before it sent its own signal.
    sent, saved = trace.dispatches
    sent.start_ns = saved.start_ns + 1

    assert [root.number for root in roots(trace)] == [saved.number, sent.number]
    assert [visit.span.number for visit in walk(trace)] == [saved.number, sent.number]


@pytest.mark.thorough
def test_walk_survives_a_thousand_levels():
    build = TraceBuilder()
    call, trace = None, TraceBuilder().trace
    for _ in range(1200):
        trace.dispatches.append(build.dispatch(under=call))
        call = build.call(trace.dispatches[-1])
    trace.duration_ns = 10

    assert sum(1 for _ in walk(trace)) == 2400
    assert len(list(tree.flatten(tree.fold(trace)))) == 2400
    assert len(tree.flame(trace, merged=True)) == 2400


def test_self_time_leaves_out_what_was_sent_from_inside(order):
    make = order.dispatches[0].receiver_calls[0]

    assert self_ns(make) == 2 * MS
    assert make.duration_ns == 7 * MS + US
    assert self_ns(order.dispatches[0]) == US


def test_self_time_counts_concurrent_children_once():
    build = TraceBuilder()
    dispatch = build.dispatch()
    build.call(dispatch, "a.first", own_ns=10 * MS)
    build.call(dispatch, "a.second", own_ns=10 * MS)
    build.build()
    dispatch.receiver_calls[1].start_ns = dispatch.receiver_calls[0].start_ns
    dispatch.duration_ns = 11 * MS

    assert self_ns(dispatch) == MS


def test_self_time_ignores_work_left_for_later():
    build = TraceBuilder()
    call = build.call(build.dispatch(), own_ns=MS)
    later = build.dispatch("order_placed", under=call, is_detached=True)
    build.call(later, own_ns=50 * MS)
    build.build()
    later.start_ns, call.duration_ns = 100 * MS, MS

    assert self_ns(call) == MS


def stretches_of(trace, visits):
    """Return where the critical path goes through each span alone, asked for in that order."""
    path = CriticalPath(Index(trace))
    return {
        visit.span.number: sorted(stretches)
        for visit in visits
        if (stretches := path.of(visit.span))
    }


def test_critical_path_is_at_one_place_at_a_time(order):
    found = stretches_of(order, walk(order))

    path = sorted(stretch for stretches in found.values() for stretch in stretches)
    assert all(first[1] <= second[0] for first, second in pairwise(path))
    assert path[0][0] == order.dispatches[0].start_ns
    assert path[-1][1] <= order.duration_ns


def test_critical_path_goes_through_the_last_to_finish():
    build = TraceBuilder()
    dispatch = build.dispatch()
    quick = build.call(dispatch, "a.quick", own_ns=3 * MS, outcome=Outcome.RETURNED)
    slow = build.call(dispatch, "a.slow", own_ns=10 * MS)
    trace = build.build()
    quick.start_ns = slow.start_ns = 2 * US
    dispatch.duration_ns = 10 * MS + 2 * US
    trace.duration_ns = 10 * MS + 4 * US

    path = CriticalPath(Index(trace))
    assert path.goes_through(dispatch)
    assert path.goes_through(slow)
    assert not path.goes_through(quick)


def test_flame_places_boxes_inside_the_whole(order):
    boxes = tree.flame(order)

    assert [box.depth for box in boxes] == [0, 1, 2, 3, 1]
    assert all(box.left >= 0 and box.left + box.width <= 100.0001 for box in boxes)
    assert all(box.width >= tree.MIN_WIDTH for box in boxes)
    assert boxes[0].title.startswith("django.db.models.signals.post_save · orders.Order:1 · ")


def test_flame_leaves_room_for_work_that_ended_after_the_trace():
    build = TraceBuilder()
    call = build.call(build.dispatch(), own_ns=MS)
    later = build.dispatch("order_placed", under=call, is_detached=True)
    trace = build.build()
    later.start_ns, later.duration_ns = 20 * MS, 10 * MS

    assert extent_ns(trace) == 30 * MS
    assert max(box.left + box.width for box in tree.flame(trace)) == pytest.approx(100)


def test_flame_of_an_empty_trace_is_empty():
    assert tree.flame(TraceBuilder().build()) == []


def test_fold_gathers_repetitions_that_alternate():
    build = TraceBuilder()
    for number in range(214):
        for signal in ("pre_save", "post_save"):
            dispatch = build.dispatch(signal, "cars.Car", instance=f"cars.Car:{number}")
            build.call(dispatch, f"core.cars.receivers.on_{signal}", query_count=1)
    nodes = tree.fold(build.build())

    assert [(node.label, node.count) for node in nodes] == [
        ("pre_save cars.Car", 214),
        ("post_save cars.Car", 214),
    ]
    assert len(nodes[0].instances) == 214
    child = nodes[1].children[0]
    assert (child.label, child.count, child.query_count) == ("on_post_save", 214, 214)


def test_fold_keeps_failed_calls_apart():
    build = TraceBuilder()
    for number in range(5):
        dispatch = build.dispatch()
        outcome = Outcome.RAISED if number == 3 else Outcome.RETURNED
        build.call(dispatch, outcome=outcome, exception_type="ValueError" if number == 3 else "")
    (node,) = tree.fold(build.build())

    assert [(child.count, child.error_count) for child in node.children] == [(4, 0), (1, 1)]


def test_fold_keeps_skipped_calls_apart_and_out_of_every_mean():
    build = TraceBuilder()
    for outcome in (Outcome.RAISED, Outcome.SKIPPED, Outcome.SKIPPED):
        own_ns = 0 if outcome is Outcome.SKIPPED else 6 * MS
        build.call(build.dispatch(), "shop.check", outcome=outcome, own_ns=own_ns)
    trace = build.build()

    apart = tree.fold(trace)[0].children
    (together,) = tree.fold(trace, split_failed=False)[0].children

    assert [(node.count, node.mean_ns, node.span.outcome) for node in apart] == [
        (1, 6 * MS, Outcome.RAISED),
        (2, 0, Outcome.SKIPPED),
    ]
    assert (together.count, together.mean_ns) == (3, 6 * MS)


def test_totals_add_up_per_receiver(order):
    by_name = {total.name: total for total in totals(order)}

    assert list(by_name) == [
        "core.sales.receivers.count",
        "core.orders.receivers.make_sale",
        "core.search.Indexer.on_save",
    ]
    count = by_name["core.sales.receivers.count"]
    assert (count.calls, count.self_ns, count.query_count) == (1, 5 * MS, 1)
    assert count.senders == ["sales.Sale"]
    assert count.share == pytest.approx(5 / 8)


def test_totals_count_a_receiver_inside_itself_once():
    build = TraceBuilder()
    under = None
    for _ in range(12):
        saved = build.dispatch("post_save", "shop.Folder", under)
        under = build.call(saved, "shop.touch_parent", own_ns=3 * MS, query_count=1)
    trace = build.build()

    (total,) = totals(trace)

    outer = trace.dispatches[0].receiver_calls[0]
    assert (total.calls, total.query_count) == (12, 12)
    assert total.total_ns == total.max_ns == outer.duration_ns < trace.duration_ns
    assert total.self_ns == 36 * MS


def test_totals_share_out_the_time_in_which_async_receivers_wait_together():
    build = TraceBuilder()
    fetched = build.dispatch("order_placed", method=Method.ASEND)
    calls = [build.call(fetched, f"shop.fetch_{name}", own_ns=60 * MS) for name in "abc"]
    trace = build.build()
    for call in calls:
        call.start_ns = calls[0].start_ns

    found = totals(trace)

    assert [total.self_ns for total in found] == [20 * MS] * 3
    assert [total.total_ns for total in found] == [60 * MS] * 3
    assert [call.self_ns for call in calls] == [60 * MS] * 3


def test_folded_calls_that_ran_together_take_their_time_once():
    build = TraceBuilder()
    for _ in range(10):
        build.call(build.dispatch("order_placed", method=Method.ASEND), "shop.fetch", own_ns=6 * MS)
    trace = build.build()
    for dispatch in trace.dispatches:
        dispatch.start_ns = dispatch.receiver_calls[0].start_ns = 0

    sent, fetched = tree.flatten(tree.fold(trace))

    assert (sent.count, sent.total_ns) == (10, trace.dispatches[0].duration_ns)
    assert (fetched.total_ns, fetched.self_ns) == (6 * MS, 6 * MS)


def test_totals_do_not_count_skipped_calls_as_calls():
    build = TraceBuilder()
    dispatch = build.dispatch()
    build.call(dispatch, "a.first", outcome=Outcome.RAISED)
    build.call(dispatch, "a.second", outcome=Outcome.SKIPPED, own_ns=0)
    by_name = {total.name: total for total in totals(build.build())}

    assert (by_name["a.second"].calls, by_name["a.second"].skipped_count) == (0, 1)
    assert by_name["a.first"].error_count == 1


def test_flame_boxes_stay_inside_their_parents(order):
    boxes = {box.number: box for box in tree.flame(order, merged=True)}

    parents = {2: 1, 4: 2, 5: 4, 3: 1}
    for number, parent in parents.items():
        child, above = boxes[number], boxes[parent]
        assert child.depth == above.depth + 1
        assert child.left >= above.left - 0.001
        assert child.left + child.width <= above.left + above.width + 0.001


def test_flame_in_time_order_has_one_box_per_span(order):
    assert [box.label for box in tree.flame(order)] == [
        tree.label(visit.span) for visit in walk(order)
    ]


def test_index_names_what_is_above(order):
    index = Index(order)
    last = index.call(5)

    assert [span.number for span in index.above(last)] == [4, 2, 1]
    assert index.span(99) is None
    assert index.call(1) is None
    assert index.dispatch_of(last).sender == "sales.Sale"


def test_title_of_a_failed_call_says_what_it_raised():
    build = TraceBuilder()
    call = build.call(
        build.dispatch(),
        "a.b.broken",
        outcome=Outcome.RAISED,
        exception_type="ValueError",
        exception_message="no",
        query_count=1,
    )

    assert tree.title(call) == (
        "a.b.broken · /app/a/b.py:242 · 10.0 µs · raised · ValueError: no · 1 query"
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "ok"),
        ({"http_status": 302}, "302"),
        ({"status": Status.ERROR, "http_status": 500}, "error"),
        ({"kind": Kind.COMMAND, "status": Status.RUNNING}, "running"),
    ],
)
def test_status_word(options, word):
    assert status_word(TraceBuilder(**options).build()) == word


@pytest.mark.thorough
def test_twenty_thousand_dispatches_are_walked_without_recursion():
    build = TraceBuilder(Kind.COMMAND, "load_cars")
    for number in range(5_000):
        dispatch = build.dispatch("post_save", "cars.Car", instance=f"cars.Car:{number}")
        call = build.call(dispatch)
        for inner in range(3):
            build.call(build.dispatch("post_save", f"a.B{inner}", under=call))
    trace = build.build()

    assert len(trace.dispatches) == 20_000
    assert sum(isinstance(visit.span, Dispatch) for visit in walk(trace)) == 20_000
    assert tree.fold(trace)[0].count == 5_000


def test_critical_path_asked_for_from_below_is_the_same(order):
    visits = list(walk(order))

    assert stretches_of(order, reversed(visits)) == stretches_of(order, visits)


def test_repr_of_a_span_leaves_out_what_is_nested(order):
    texts = [repr(order), *(repr(visit.span) for visit in walk(order))]

    assert max(map(len, texts)) < 2_000
    assert not any("receiver_calls=" in text or "dispatches=[" in text for text in texts)
