"""Tests of two buyers who want the same car at the same moment, in real transactions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.messages import get_messages
from django.db import connections
from django.test import Client
from django.urls import reverse

from core.cars.models import Car
from core.orders.exceptions import CarsAlreadySoldError, OrderError, OrderNotOpenError
from core.orders.models import Order
from core.sales.models import Sale, SaleItem

pytestmark = pytest.mark.django_db(transaction=True)

RIVALS = 4


def at_once(*calls):
    """Run *calls* in threads that start together; return what each returned or raised."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        try:
            barrier.wait(timeout=120)
            return call()
        except OrderError as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=180) for future in [pool.submit(run, each) for each in calls]]


def test_of_several_buyers_one_gets_the_car(make_car, make_buyer, make_order):
    car = make_car()
    orders = [make_order(make_buyer(), car) for _ in range(RIVALS)]

    outcomes = at_once(*(Order.objects.get(pk=order.pk).place for order in orders))

    winners = [order for order, outcome in zip(orders, outcomes, strict=True) if outcome is None]
    losers = [outcome for outcome in outcomes if outcome is not None]
    assert len(winners) == 1
    assert [type(loser) for loser in losers] == [CarsAlreadySoldError] * (RIVALS - 1)
    assert list(SaleItem.objects.values_list("car", "sale__order")) == [(car.pk, winners[0].pk)]
    assert Car.objects.get().buyer == winners[0].buyer
    assert Order.objects.open().count() == RIVALS - 1


def test_of_two_browsers_one_gets_the_car_and_one_a_clear_message(make_car, make_buyer, make_order):
    car = make_car(model="GT")
    browsers = []
    for order in (make_order(make_buyer(), car), make_order(make_buyer(), car)):
        client = Client()
        client.force_login(order.buyer.user)
        browsers.append((client, reverse("orders:check_out", args=[order.pk])))

    responses = at_once(*(lambda c=client, p=path: c.post(p) for client, path in browsers))

    told = sorted(str(next(iter(get_messages(each.wsgi_request)))) for each in responses)
    assert told[0].endswith("is placed. The cars are yours.")
    assert told[1] == "Somebody else was faster: Ford GT 2017 has just been sold."
    assert Sale.objects.count() == 1


def test_an_order_placed_twice_at_once_makes_one_sale(make_car, make_buyer, make_order):
    order = make_order(make_buyer(), make_car(), make_car())
    twice = [Order.objects.get(pk=order.pk), Order.objects.get(pk=order.pk)]

    outcomes = at_once(*(each.place for each in twice))

    assert sorted(map(type, outcomes), key=str) == sorted([type(None), OrderNotOpenError], key=str)
    assert Sale.objects.count() == 1


def test_cars_in_two_orders_crosswise_are_each_sold_once(make_car, make_buyer, make_order):
    first, second = make_car(), make_car()
    orders = [make_order(make_buyer(), first, second), make_order(make_buyer(), second, first)]

    at_once(*(Order.objects.get(pk=order.pk).place for order in orders))

    assert Sale.objects.count() == 1
    assert set(SaleItem.objects.values_list("car", flat=True)) == {first.pk, second.pk}
