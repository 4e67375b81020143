"""Tests of what an order can do."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.orders.exceptions import CarsAlreadySoldError, OrderEmptyError, OrderNotOpenError
from core.orders.models import Order
from core.sales.models import Sale


def stored(order: Order) -> tuple[str, int, Decimal]:
    order = Order.objects.get(pk=order.pk)
    return order.status, order.car_count, order.total


def test_basket_of_a_buyer_begins_an_order_once(buyer):
    first = Order.objects.basket_of(buyer)
    second = Order.objects.basket_of(buyer)

    assert (first, first.status, str(first)) == (second, "open", f"Order {first.pk}")


def test_basket_of_a_buyer_is_the_open_order_begun_last(buyer, make_order):
    make_order(buyer)
    latest = make_order(buyer)
    Order.objects.create(buyer=buyer, status=Order.Status.CANCELLED)

    assert Order.objects.basket_of(buyer) == latest


def test_current_basket_of_somebody_without_one_is_none(buyer, make_buyer, order):
    assert Order.objects.current_basket(make_buyer()) is None


def test_holding_finds_each_order_once(buyer, make_order, make_car):
    cars = [make_car(), make_car()]
    order = make_order(buyer, *cars)
    make_order(buyer, make_car())

    assert list(Order.objects.holding(cars)) == [order]


def test_add_and_remove_change_count_and_total(order, make_car):
    car = make_car(price=Decimal(1000))

    order.add(car)
    after_add = stored(order)
    order.remove(car)

    assert (after_add, stored(order)) == (
        ("open", 2, Decimal(448000)),
        ("open", 1, Decimal(447000)),
    )


def test_add_of_a_sold_car_is_refused(order, make_car, make_buyer):
    car = make_car(buyer=make_buyer())

    with pytest.raises(CarsAlreadySoldError) as caught:
        order.add(car)

    assert caught.value.cars == [car]
    assert stored(order) == ("open", 1, Decimal(447000))


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_a_placed_order_cannot_be_changed(order, car, verb):
    order.place()

    with pytest.raises(OrderNotOpenError):
        getattr(order, verb)(car)


def test_place_sells_the_cars(order, car, buyer):
    order.place()

    car.refresh_from_db()
    buyer.refresh_from_db()
    assert (order.status, car.buyer, buyer.cars_bought, buyer.spent) == (
        "sold",
        buyer,
        1,
        Decimal(447000),
    )
    assert order.placed_at is not None
    assert stored(order) == ("sold", 1, Decimal(447000))


def test_place_without_a_car_is_refused(buyer, make_order):
    order = make_order(buyer)

    with pytest.raises(OrderEmptyError):
        order.place()

    assert stored(order) == ("open", 0, Decimal(0))


def test_place_a_second_time_is_refused(order):
    again = Order.objects.get(pk=order.pk)
    order.place()

    with pytest.raises(OrderNotOpenError):
        again.place()

    assert (again.status, Sale.objects.count()) == ("sold", 1)


def test_place_with_a_car_that_was_sold_is_refused_and_changes_nothing(
    order, car, make_car, make_buyer, make_order
):
    order.add(make_car())
    make_order(make_buyer(), car).place()

    with pytest.raises(CarsAlreadySoldError) as caught:
        order.place()

    assert str(caught.value) == "Somebody else was faster: Ford GT 2017 has just been sold."
    assert (order.status, order.placed_at) == ("open", None)
    assert stored(order)[0] == "open"
    assert Sale.objects.count() == 1


def test_cancel_gives_up_an_open_order(order):
    order.cancel()

    assert stored(order) == ("cancelled", 1, Decimal(447000))


def test_cancel_of_a_placed_order_is_refused(order):
    order.place()

    with pytest.raises(OrderNotOpenError):
        order.cancel()
