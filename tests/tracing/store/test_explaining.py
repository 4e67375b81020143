"""Tests of explanations from the stored traces, the statistics and this process."""

from __future__ import annotations

import time

import pytest
from django.db.models import Max, Min

from tests.tracing.viewer.traces import MAKE_SALE, order, store
from tracing.analysis.explain.steps import with_parents
from tracing.analysis.histogram import HOUR_NS
from tracing.analysis.why_not.target import UnknownNameError
from tracing.store import explaining, path_rollups
from tracing.store.explaining import Wanted, explain
from tracing.store.models import PathRollup, Trace

POST_SAVE = "django.db.models.signals.post_save"

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])


def label_counts(found):
    return {step.label: step.count for step, _ in with_parents(found.roots)}


def test_signal_and_sender_are_explained_from_the_traces_that_hold_them():
    store(order(1), order(2, fails=True))

    found = explain(Wanted("orders.Order", "post_save"))

    assert (found.trace_count, found.has_more, found.asked_count) == (2, False, 2)
    assert label_counts(found) == {
        "post_save of orders.Order": 2, "make_sale": 2, "count_cars": 2,
        "sale_made of sales.Sale": 2, "print_receipt": 2, "fail_to_print": 2,
    }  # fmt: skip


@pytest.mark.thorough
def test_receiver_trace_and_signal_are_explained_too():
    store(order(1))

    assert explain(Wanted("sales.receivers.make_sale")).roots[0].name == MAKE_SALE.name
    assert explain(Wanted("orders:check_out")).roots[0].kind == "trace"
    assert explain(Wanted("orders:check_out")).roots[0].recorded == 1
    assert explain(Wanted("sale_made")).roots[0].sender == "sales.Sale"


def test_all_traces_are_in_the_sums_of_several_writers():
    store(*(order(number) for number in range(1, 4)))
    store(order(4, fails=True))

    found = explain(Wanted("orders.Order", "post_save"))

    assert (found.source, found.trace_count, found.has_more) == ("sums", 4, False)
    assert label_counts(found)["print_receipt"] == 4
    assert (found.oldest_ns, found.newest_ns) == tuple(
        Trace.objects.aggregate(Min("started_ns"), Max("started_ns")).values()
    )


def test_sums_outlive_the_traces():
    store(order(1))
    Trace.objects.all().delete()

    found = explain(Wanted("make_sale"))

    (root,) = found.roots
    assert (root.count, root.heard) == (1, {(POST_SAVE, "orders.Order"): 1})
    assert [(step.label, step.asked_count) for step in root.children] == [
        ("sale_made of sales.Sale", 1)
    ]


@pytest.mark.thorough
def test_a_few_hours_and_what_is_over_are_read_from_the_traces():
    store(order(1, ago=50 * 3600), order(2))

    newest = explain(Wanted("orders.Order", since_ns=time.time_ns() - 24 * HOUR_NS))
    hours = explain(Wanted("orders.Order", since_ns=time.time_ns() - HOUR_NS))
    until = explain(Wanted("orders.Order", until_ns=time.time_ns() - HOUR_NS))

    assert [(found.source, found.asked_count) for found in (newest, hours, until)] == [
        ("sums", 1), ("traces", 1), ("traces", 1),
    ]  # fmt: skip


def test_sums_that_are_read_are_bounded(monkeypatch):
    monkeypatch.setattr(path_rollups, "MOST_TREES", 1)
    store(order(1, ago=50 * 3600), order(2))

    found = explain(Wanted("orders.Order", "post_save"))

    assert (found.asked_count, found.has_more) == (1, True)


def test_store_without_sums_is_answered_from_its_traces():
    store(order(1))
    PathRollup.objects.all().delete()

    assert explain(Wanted("orders.Order", "post_save")).source == "traces"


def test_newest_traces_are_read_and_older_ones_told():
    store(*(order(number) for number in range(1, 6)))

    found = explain(Wanted("orders.Order", "post_save", limit=2))

    assert (found.trace_count, found.has_more) == (2, True)
    assert found.roots[0].recorded == 5


@pytest.mark.thorough
def test_period_leaves_others_out():
    old, new = store(order(1, ago=7200), order(2, ago=60))

    newer = explain(Wanted("orders.Order", since_ns=new.started_ns))
    older = explain(Wanted("orders.Order", until_ns=new.started_ns))

    assert (newer.oldest_ns, older.newest_ns) == (new.started_ns, old.started_ns)


@pytest.mark.thorough
def test_spans_that_are_read_are_bounded(monkeypatch):
    monkeypatch.setattr(explaining, "_MOST_SPANS", 20)
    monkeypatch.setattr(explaining, "explain_by_sums", lambda *_asked: None)
    store(*(order(number) for number in range(1, 6)))
    # Each has two dispatches and four calls; one is too large to be read beside others.
    Trace.objects.filter(trace_id=f"{4:032x}").update(dispatch_count=50)

    found = explain(Wanted("orders.Order", "post_save"))
    whole = explain(Wanted("orders.Order", "post_save", limit=10))

    assert (found.trace_count, found.has_more, found.passed_over) == (3, True, 1)
    assert (whole.trace_count, whole.has_more, whole.passed_over) == (5, False, 0)


def test_one_large_trace_is_read_where_there_are_no_others(monkeypatch):
    monkeypatch.setattr(explaining, "_MOST_SPANS", 1)
    monkeypatch.setattr(explaining, "explain_by_sums", lambda *_asked: None)
    store(order(1), order(2))

    found = explain(Wanted("orders.Order", "post_save"))

    assert (found.trace_count, found.has_more, found.passed_over) == (1, True, 0)


def test_empty_store_is_answered_from_the_wiring():
    found = explain(Wanted("orders.Order", "post_save"))

    assert not found.is_recorded
    assert [step.name for step, _ in with_parents(found.roots)][1:] == [MAKE_SALE.name]


def test_connected_receivers_of_this_process_are_told_from_those_that_were():
    store(order(1))

    found = explain(Wanted("cars.Car"))

    assert {root.label for root in found.roots} >= {"pre_save of cars.Car", "post_save of cars.Car"}
    connected = {
        step.label: step.is_connected
        for step, _ in with_parents(explain(Wanted("orders.Order", "post_save")).roots)
        if step.receiver
    }
    assert (connected["make_sale"], connected["count_cars"]) == (True, False)


def test_unknown_name_raises_with_near_ones():
    with pytest.raises(UnknownNameError, match=r"sender:orders\.Order"):
        explain(Wanted("orders.Ordre"))
