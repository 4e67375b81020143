"""Tests of names as people write them, and of what they mean."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import SIGNALS, label
from tracing.analysis.explain.question import Known, Question, resolve
from tracing.analysis.why_not.target import UnknownNameError

INDEX = label("shop.receivers.index")
KNOWN = Known(
    senders=["orders.Order", "shop.Order", "cars.Car", "cars.Car"],
    signals=[SIGNALS["post_save"], SIGNALS["order_placed"], SIGNALS["pre_save"]],
    receivers=[INDEX, INDEX, label("cars.receivers.index"), label("functools.partial(shop.tell)"),
               label("shop.Indexer.on_save"), label("orders.make_sale")],
    names=["POST /orders/<int:pk>/check-out/", "GET /orders/", "make_sales", "shop.tasks.tell_all"],
)  # fmt: skip


def error(what, signal=""):
    with pytest.raises(UnknownNameError) as raised:
        resolve(what, signal, KNOWN)
    return str(raised.value)


@pytest.mark.parametrize(
    ("what", "signal", "question"),
    [
        ("orders.Order", "post_save", Question(SIGNALS["post_save"], "orders.Order")),
        ("orders.order", "signals.post_save", Question(SIGNALS["post_save"], "orders.Order")),
        ("Car", "", Question(sender="cars.Car")),
        ("car", "", Question(sender="cars.Car")),
        ("order_placed", "", Question(SIGNALS["order_placed"])),
        ("POST /orders/<int:pk>/check-out/", "", Question(name="POST /orders/<int:pk>/check-out/")),
        ("check-out", "", Question(name="POST /orders/<int:pk>/check-out/")),
        ("tasks.tell_all", "", Question(name="shop.tasks.tell_all")),
    ],
)
def test_name_or_its_end_means_what_is_called_so(what, signal, question):
    assert resolve(what, signal, KNOWN) == question


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("shop.receivers.index", "shop.receivers.index"),
        ("on_save", "shop.Indexer.on_save"),
        ("tell", "functools.partial(shop.tell)"),
        # What ends so comes before what holds it somewhere.
        ("make_sale", "orders.make_sale"),
    ],
)
def test_receiver_is_found_as_why_not_finds_it(what, name):
    target = resolve(what, "", KNOWN).receiver

    assert target.name == name
    assert target.is_of(label(name))


def test_lines_of_a_receiver_may_have_moved():
    target = resolve("orders.make_sale", "", KNOWN).receiver

    assert target.is_of(label("orders.make_sale", line=999))


def test_several_of_a_name_are_listed_as_they_can_be_asked():
    assert error("Order").splitlines() == [
        "Several things are called Order:",
        "  sender:orders.Order",
        "  sender:shop.Order",
        "Write one of these.",
    ]
    assert "receiver:cars.receivers.index" in error("index")
    assert resolve("sender:shop.Order", "", KNOWN) == Question(sender="shop.Order")


def test_unknown_name_is_told_with_near_ones():
    told = error("receivers.indx")

    assert told.startswith("No sender, signal, receiver or trace is called receivers.indx,")
    assert "receiver:shop.receivers.index" in told
    assert "signal:django.db.models.signals.post_save" in error("orders.Order", "post_saved")
    assert "sender:cars.Car" in error("cars.Cars", "post_save")
    assert "Do you mean" not in error("zzzzzzzzz")
