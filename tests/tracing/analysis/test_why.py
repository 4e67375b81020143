"""Tests of the chain that explains why a receiver ran."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import MS, TraceBuilder
from tracing.analysis.why import opening, why
from tracing.spans.records import Kind, Outcome


def sentences(trace, number):
    return [step.sentence for step in why(trace, number)]


def test_why_leads_from_the_request_down_to_the_receiver():
    build = TraceBuilder(http_method="POST", http_path="/checkout/")
    placed = build.dispatch(instance="orders.Order:7", created=True, at="orders.models.place:88")
    build.call(placed, "core.search.index")
    make = build.call(placed, "core.orders.receivers.make_sale", own_ns=2 * MS)
    sold = build.dispatch("order_placed", "None", make, at="core.orders.receivers.make_sale:41")
    count = build.call(sold, "core.sales.receivers.count", own_ns=MS)
    trace = build.build()

    assert sentences(trace, count.number) == [
        "A POST request for /checkout/ (orders:checkout) came in.",
        (
            "place sent post_save of orders.Order for orders.Order:7, created "
            "at /app/orders/models.py:88."
        ),
        (
            "make_sale (/app/core/orders/receivers.py:131), the 2nd of 2 receivers, was called "
            "and took 3.00 ms."
        ),
        "make_sale sent order_placed at /app/core/orders/receivers.py:41.",
        "count (/app/core/sales/receivers.py:154), the only receiver, was called and took 1.00 ms.",
    ]
    assert [step.number for step in why(trace, count.number)] == [
        None,
        placed.number,
        make.number,
        sold.number,
        count.number,
    ]


def test_why_says_what_was_left_for_later():
    build = TraceBuilder()
    call = build.call(build.dispatch(), "a.remind")
    later = build.dispatch("order_placed", under=call, is_detached=True, callsite=None)

    assert sentences(build.build(), later.number)[-1] == (
        "remind sent order_placed of orders.Order, in work detached from remind."
    )


@pytest.mark.parametrize(
    ("outcome", "ending"),
    [
        (Outcome.RAISED, "the only receiver, was called and raised ValueError."),
        (Outcome.SKIPPED, "the only receiver, was skipped, because an earlier one raised."),
    ],
)
def test_why_says_how_the_call_ended(outcome, ending):
    build = TraceBuilder()
    call = build.call(build.dispatch(), outcome=outcome, exception_type="ValueError")

    assert sentences(build.build(), call.number)[-1].endswith(ending)


def test_why_of_an_unknown_span_is_empty():
    assert why(TraceBuilder().build(), 99) == []


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Kind.COMMAND, "The command load_cars was run."),
        (Kind.TASK, "The task load_cars was run."),
        (Kind.TEST, "The test load_cars was run."),
        (Kind.BLOCK, "The block load_cars was entered."),
        (Kind.DISPATCH, "The signal was sent outside any unit of work."),
        (Kind.REQUEST, "A request for load_cars came in."),
    ],
)
def test_opening_names_the_unit_of_work(kind, sentence):
    assert opening(TraceBuilder(kind, "load_cars").trace) == sentence
