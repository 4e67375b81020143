"""Tests of traces merged path by path, from what is asked about down."""

from __future__ import annotations

from tests.tracing.analysis.building import MS, SIGNALS, US, TraceBuilder
from tracing.analysis.explain.merging import MOST_LEVELS, MOST_STEPS, Merging
from tracing.analysis.explain.question import Question
from tracing.analysis.explain.steps import as_dict, only_mine, with_parents
from tracing.analysis.why_not.target import Target
from tracing.spans.records import Outcome, Status, TransactionOutcome

MAKE, INDEX, MAIL = "core.sales.make_sale", "core.search.index", "core.mail.thank"
SAVED = Question(SIGNALS["post_save"], "orders.Order")


def sale(*, is_sold=True, own_ns=10 * US, transaction=TransactionOutcome.COMMITTED):
    """Return an order: make_sale, which sends a signal if it is sold, and index."""
    build = TraceBuilder()
    saved = build.dispatch(transaction=transaction)
    make = build.call(saved, MAKE, own_ns=own_ns, query_count=2)
    build.call(saved, INDEX)
    if is_sold:
        build.call(build.dispatch("order_placed", "None", make), MAIL)
    return build


def merged(question, *traces):
    merging = Merging(question)
    for trace in traces:
        merging.add(trace.build() if isinstance(trace, TraceBuilder) else trace)
    return merging.explanation()


def shape(found):
    """Return each step with its level, how often it happened, and in how many that were asked about."""
    return [
        (len(above), step.label, step.count, step.asked_count)
        for step, above in with_parents(found.roots)
    ]


def step(found, label):
    return next(step for step, _ in with_parents(found.roots) if step.label == label)


def test_paths_of_all_traces_are_one_tree():
    found = merged(SAVED, sale(), sale(is_sold=False), sale())

    assert shape(found) == [
        (0, "post_save of orders.Order", 3, 3),
        (1, "make_sale", 3, 3),
        (2, "order_placed", 2, 2),
        (3, "thank", 2, 2),
        (1, "index", 3, 3),
    ]
    assert (found.trace_count, found.asked_count, found.is_recorded) == (3, 3, True)


def test_share_counts_those_in_which_it_happened_however_often_it_did():
    build = TraceBuilder()
    make = build.call(build.dispatch(), MAKE)
    for _ in range(5):
        build.call(build.dispatch("order_placed", "None", make), MAIL)

    found = merged(SAVED, build, sale(is_sold=False))

    placed, thank = step(found, "order_placed"), step(found, "thank")
    assert (placed.count, placed.asked_count, placed.parent_count) == (5, 1, 1)
    assert (thank.count, thank.asked_count, thank.parent_count) == (5, 1, 5)


def test_several_that_are_asked_about_in_one_trace_are_counted_each():
    build = TraceBuilder()
    for _ in range(3):
        build.call(build.dispatch(), INDEX)

    assert shape(merged(SAVED, build)) == [
        (0, "post_save of orders.Order", 3, 3),
        (1, "index", 3, 3),
    ]


def test_one_inside_another_is_shown_there_and_is_no_root():
    build = TraceBuilder()
    make = build.call(build.dispatch(), MAKE)
    build.call(build.dispatch(under=make), MAKE)

    found = merged(SAVED, build)

    assert shape(found) == [
        (0, "post_save of orders.Order", 1, 1),
        (1, "make_sale", 1, 1),
        (2, "post_save of orders.Order", 1, 1),
        (3, "make_sale", 1, 1),
    ]
    assert found.nested_count == 1


def test_sender_alone_asks_for_each_of_its_signals_in_order_of_appearance():
    build = TraceBuilder()
    build.call(build.dispatch("pre_save"), MAKE)
    build.call(build.dispatch("post_save"), INDEX)
    build.call(build.dispatch("post_save", "cars.Car"), INDEX)

    roots = merged(Question(sender="orders.Order"), build).roots

    assert [root.label for root in roots] == [
        "pre_save of orders.Order",
        "post_save of orders.Order",
    ]


def test_signal_alone_asks_for_each_of_its_senders():
    build = TraceBuilder()
    build.call(build.dispatch("post_save"), INDEX)
    build.call(build.dispatch("post_save", "cars.Car"), INDEX)

    roots = merged(Question(SIGNALS["post_save"]), build).roots

    assert [root.sender for root in roots] == ["orders.Order", "cars.Car"]


def test_receiver_is_asked_about_over_all_that_it_hears():
    build = TraceBuilder()
    build.call(build.dispatch("pre_save"), MAKE)
    sold = build.call(build.dispatch("post_save"), MAKE)
    build.call(build.dispatch("order_placed", "None", sold), MAIL)

    found = merged(Question(receiver=Target(MAKE, frozenset({MAKE}), "", 0)), build)

    assert shape(found) == [(0, "make_sale", 2, 2), (1, "order_placed", 1, 1), (2, "thank", 1, 1)]
    assert found.roots[0].heard == {
        (SIGNALS["pre_save"], "orders.Order"): 1,
        (SIGNALS["post_save"], "orders.Order"): 1,
    }


def test_name_asks_for_whole_traces():
    build = sale()
    build.trace.status, build.trace.error = Status.ERROR, "ValueError: no"
    build.bypass()

    found = merged(Question(name="orders:checkout"), build, sale())

    root = found.roots[0]
    assert (root.kind, root.name, root.count, root.error_count) == (
        "trace", "orders:checkout", 2, 1,
    )  # fmt: skip
    assert root.errors == {"ValueError": 1}
    assert [each.operation for each in root.bypasses] == ["update"]
    assert root.children[0].label == "post_save of orders.Order"


def test_durations_give_the_percentiles_of_what_ran():
    found = merged(SAVED, *(sale(is_sold=False, own_ns=number * MS) for number in range(1, 101)))

    make = step(found, "make_sale")
    assert (make.quantile(0.5), make.quantile(0.95)) == (50 * MS, 95 * MS)
    assert step(merged(SAVED, sale(own_ns=0)), "index").quantile(0.5) == 10 * US


def test_queries_of_a_receiver_are_its_own_and_of_a_dispatch_all_below():
    found = merged(SAVED, sale(), sale())

    assert step(found, "make_sale").queries_each == 2
    assert found.roots[0].query_count == 4


def test_errors_and_skipped_calls_are_told_apart_from_calls():
    build = TraceBuilder()
    saved = build.dispatch(exception_type="OSError")
    build.call(saved, MAKE, outcome=Outcome.RAISED, exception_type="OSError")
    build.call(saved, INDEX, outcome=Outcome.SKIPPED)

    found = merged(SAVED, build)

    make, index = step(found, "make_sale"), step(found, "index")
    assert (make.count, make.error_count, dict(make.errors)) == (1, 1, {"OSError": 1})
    assert (index.count, index.skipped_count, index.asked_count) == (0, 1, 0)
    assert not index.is_unseen


def test_outcomes_of_transactions_are_counted():
    undone = sale(transaction=TransactionOutcome.ROLLED_BACK)

    found = merged(SAVED, sale(), sale(), undone)

    assert found.roots[0].transactions == {
        TransactionOutcome.COMMITTED: 2,
        TransactionOutcome.ROLLED_BACK: 1,
    }


def test_bypasses_and_side_effects_are_of_the_receiver_that_did_them():
    traces = []
    for _ in range(2):
        build = sale(is_sold=False)
        make = build.roots[0].receiver_calls[0]
        build.bypass(parent_number=make.number)
        build.side_effect(make, "mail")
        traces.append(build)

    make = step(merged(SAVED, *traces), "make_sale")

    assert [(each.operation, each.model, each.count) for each in make.bypasses] == [
        ("update", "orders.Order", 2)
    ]
    assert make.effects == {("mail", "1 recipient"): 2}


def test_detached_dispatches_and_actions_are_told():
    build = TraceBuilder()
    make = build.call(build.dispatch(), MAKE)
    for action in ("pre_add", "post_add"):
        changed = build.dispatch("m2m_changed", "orders.Order_cars", make, action=action)
        changed.is_detached = True
        build.call(changed, INDEX)

    found = merged(SAVED, build)

    assert [(each.action, each.detached_count) for each in found.roots[0].children[0].children] == [
        ("pre_add", 1),
        ("post_add", 1),
    ]


def test_what_is_too_deep_is_cut_and_says_so():
    build = TraceBuilder()
    call = build.call(build.dispatch(), MAKE)
    for _ in range(600):
        call = build.call(build.dispatch("order_placed", "None", call), MAIL)
    # The builder's own layout recurses; the merging must not.
    build.trace.dispatches = [
        *build.roots,
        *(each for some in build.sent.values() for each in some),
    ]

    found = merged(SAVED, build.trace)

    levels = [len(above) for _, above in with_parents(found.roots)]
    assert max(levels) == MOST_LEVELS - 1
    assert [each.is_cut for each, _ in with_parents(found.roots)][-1]
    assert as_dict(found)["steps"][0]["count"] == 1


def test_steps_that_are_too_many_are_left_out_and_counted():
    build = TraceBuilder()
    saved = build.dispatch()
    for number in range(MOST_STEPS + 10):
        build.call(saved, f"shop.receivers.of_{number}")

    found = merged(SAVED, build)

    assert len(list(with_parents(found.roots))) == MOST_STEPS
    assert found.left_out == 11
    assert found.roots[0].is_cut


def test_mine_is_what_leads_to_a_receiver_of_mine():
    build = TraceBuilder()
    saved = build.dispatch()
    make = build.call(saved, MAKE)
    build.call(saved, INDEX)
    thanked = build.call(build.dispatch("order_placed", "None", make), MAIL)
    found = merged(SAVED, build)
    assert only_mine(found) == (found.roots, 0)

    own = step(found, "thank")
    own.receiver = type(thanked.receiver)(MAIL, mine=True)
    steps, hidden = only_mine(found)

    assert [each.label for each, _ in with_parents(steps)] == [
        "post_save of orders.Order", "make_sale", "order_placed", "thank",
    ]  # fmt: skip
    assert hidden == 1


def test_document_nests_as_the_tree_does():
    found = as_dict(merged(SAVED, sale(), sale(is_sold=False)))

    root = found["steps"][0]
    placed = root["steps"][0]["steps"][0]
    assert (found["source"], found["asked_count"]) == ("traces", 2)
    assert (root["name"], root["sender"], root["share_of_parent"]) == (
        SIGNALS["post_save"], "orders.Order", None,
    )  # fmt: skip
    assert (placed["name"], placed["share_of_asked"], placed["share_of_parent"]) == (
        SIGNALS["order_placed"], 0.5, 0.5,
    )  # fmt: skip
    assert root["transactions"] == {"committed": 2}
