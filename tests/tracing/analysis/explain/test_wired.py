"""Tests of what is connected beside what was seen."""

from __future__ import annotations

from tests.tracing.analysis.building import SIGNALS, TraceBuilder, label
from tracing.analysis.explain.merging import Merging
from tracing.analysis.explain.question import Question
from tracing.analysis.explain.steps import with_parents
from tracing.analysis.explain.wired import add_connected, wired_pairs
from tracing.analysis.why_not.target import Target
from tracing.analysis.wiring import Route, WiredReceiver

POST_SAVE, PRE_SAVE = SIGNALS["post_save"], SIGNALS["pre_save"]
SAVED = Question(POST_SAVE, "orders.Order")
FIRST, SECOND, THIRD = (label(f"shop.receivers.{name}") for name in ("first", "second", "third"))


def route(signal, sender, *labels):
    return Route(signal, sender, [WiredReceiver(each) for each in labels])


def explained(question, *builders, routes=(), **options):
    merging = Merging(question)
    for build in builders:
        merging.add(build.build())
    found = merging.explanation()
    add_connected(found, routes, **options)
    return found


def saved(*receivers):
    build = TraceBuilder()
    dispatch = build.dispatch()
    for receiver in receivers:
        build.call(dispatch, receiver)
    return build


def labels(found):
    return [
        (len(above), step.label, step.count, step.is_connected)
        for step, above in with_parents(found.roots)
    ]


def test_receivers_that_were_not_seen_stand_in_calling_order():
    gone = label("shop.receivers.gone")

    found = explained(
        SAVED, saved(gone, SECOND), routes=[route(POST_SAVE, "orders.Order", FIRST, SECOND, THIRD)]
    )

    assert labels(found) == [
        (0, "post_save of orders.Order", 1, None),
        (1, "gone", 1, False),
        (1, "first", 0, True),
        (1, "second", 1, True),
        (1, "third", 0, True),
    ]


def test_without_traces_it_is_the_wiring_alone():
    found = explained(SAVED, routes=[route(POST_SAVE, "orders.Order", FIRST, SECOND)])

    assert not found.is_recorded
    assert labels(found) == [
        (0, "post_save of orders.Order", 0, None),
        (1, "first", 0, True),
        (1, "second", 0, True),
    ]


def test_sender_without_a_route_of_its_own_reaches_those_who_hear_any():
    found = explained(SAVED, routes=[route(POST_SAVE, "None", FIRST)])

    assert labels(found)[1:] == [(1, "first", 0, True)]


def test_who_hears_any_sender_is_told_once_for_each_that_sent():
    routes = [route(POST_SAVE, "None", FIRST)]

    assert labels(explained(Question(POST_SAVE), saved(FIRST), routes=routes)) == [
        (0, "post_save of orders.Order", 1, None),
        (1, "first", 1, True),
    ]
    assert labels(explained(Question(POST_SAVE), routes=routes)) == [
        (0, "post_save", 0, None),
        (1, "first", 0, True),
    ]


def test_nothing_connected_is_an_answer():
    assert labels(explained(SAVED)) == [(0, "post_save of orders.Order", 0, None)]
    assert labels(explained(Question(POST_SAVE))) == [(0, "post_save", 0, None)]


def test_signals_of_a_model_come_in_the_order_of_its_life():
    routes = [
        route(SIGNALS["order_placed"], "orders.Order", FIRST),
        route(SIGNALS["post_delete"], "orders.Order", FIRST),
        route(PRE_SAVE, "None", FIRST),
        route("django.db.models.signals.post_migrate", "None", FIRST),
        route(POST_SAVE, "orders.Order", FIRST),
    ]

    question = Question(sender="orders.Order")
    roots = explained(question, routes=routes, models=frozenset({"orders.Order"})).roots
    others = explained(question, routes=routes).roots

    assert [root.label.partition(" ")[0] for root in roots] == [
        "pre_save", "post_save", "post_delete", "order_placed",
    ]  # fmt: skip
    assert "pre_save" not in {root.label.partition(" ")[0] for root in others}


def test_signals_that_were_not_sent_come_behind_those_that_were():
    routes = [route(PRE_SAVE, "orders.Order", FIRST), route(POST_SAVE, "orders.Order", SECOND)]

    found = explained(Question(sender="orders.Order"), saved(SECOND), routes=routes)

    assert [(root.label, root.count) for root in found.roots] == [
        ("post_save of orders.Order", 1),
        ("pre_save of orders.Order", 0),
    ]


def test_receiver_tells_to_what_it_is_connected():
    target = Target(FIRST.name, frozenset({FIRST.name}), "", 0)
    routes = [route(POST_SAVE, "orders.Order", FIRST), route(PRE_SAVE, "cars.Car", FIRST, SECOND)]

    found = explained(Question(receiver=target), routes=routes)

    assert found.connected == [(POST_SAVE, "orders.Order"), (PRE_SAVE, "cars.Car")]
    assert labels(found) == [(0, "first", 0, True)]


def test_statistics_tell_what_older_traces_had():
    routes = [route(POST_SAVE, "orders.Order", FIRST, SECOND)]
    recorded = {(POST_SAVE, "orders.Order", ""): 90, (POST_SAVE, "orders.Order", FIRST.name): 70}

    found = explained(SAVED, saved(SECOND), routes=routes, recorded=recorded)

    assert wired_pairs(found, routes, frozenset()) == {(POST_SAVE, "orders.Order")}
    assert [step.recorded for step, _ in with_parents(found.roots)] == [90, 70, 0]
