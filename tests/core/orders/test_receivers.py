"""Tests of how orders follow their cars, and of what is done when one is placed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.core import serializers

from core.orders.models import Order
from core.orders.signals import order_placed

if TYPE_CHECKING:
    from core.cars.models import Car


def counted(order: Order) -> tuple[int, Decimal]:
    return Order.objects.values_list("car_count", "total").get(pk=order.pk)


@pytest.fixture
def cars(make_car) -> list[Car]:
    return [make_car(price=Decimal(price)) for price in (1000, 2000, 4000)]


@pytest.fixture
def basket(buyer, make_order) -> Order:
    return make_order(buyer)


# Each of these is written from the side of the order ...


def test_add_from_the_order_counts(basket, cars):
    basket.cars.add(cars[0], cars[1])
    basket.cars.add(cars[0])

    assert counted(basket) == (2, Decimal(3000))
    assert (basket.car_count, basket.total) == (2, Decimal(3000))


def test_remove_from_the_order_counts(basket, cars):
    basket.cars.add(*cars)

    basket.cars.remove(cars[0], cars[1])

    assert counted(basket) == (1, Decimal(4000))


def test_set_from_the_order_counts(basket, cars):
    basket.cars.set(cars[:2])

    basket.cars.set(cars[1:])

    assert counted(basket) == (2, Decimal(6000))


def test_set_with_clear_from_the_order_counts(basket, cars):
    basket.cars.set(cars[:2])

    basket.cars.set(cars[1:], clear=True)

    assert counted(basket) == (2, Decimal(6000))


def test_clear_from_the_order_counts(basket, cars):
    basket.cars.add(*cars)

    basket.cars.clear()

    assert counted(basket) == (0, Decimal(0))


# ... and each of these from the side of the car.


def test_add_from_the_car_counts(basket, cars, make_order, buyer):
    other = make_order(buyer, cars[2])

    cars[0].orders.add(basket, other)

    assert (counted(basket), counted(other)) == ((1, Decimal(1000)), (2, Decimal(5000)))


def test_remove_from_the_car_counts(basket, cars):
    basket.cars.add(*cars)

    cars[0].orders.remove(basket)

    assert counted(basket) == (2, Decimal(6000))


def test_set_from_the_car_counts(basket, cars, make_order, buyer):
    basket.cars.add(*cars)
    other = make_order(buyer)

    cars[0].orders.set([other])

    assert (counted(basket), counted(other)) == ((2, Decimal(6000)), (1, Decimal(1000)))


def test_set_with_clear_from_the_car_counts(basket, cars, make_order, buyer):
    basket.cars.add(*cars)
    other = make_order(buyer)

    cars[0].orders.set([other], clear=True)

    assert (counted(basket), counted(other)) == ((2, Decimal(6000)), (1, Decimal(1000)))


def test_clear_from_the_car_counts(basket, cars, make_order, buyer):
    basket.cars.add(*cars)
    other = make_order(buyer, cars[0])

    cars[0].orders.clear()

    assert (counted(basket), counted(other)) == ((2, Decimal(6000)), (0, Decimal(0)))


# What changes the worth of an order besides.


def test_a_new_price_changes_the_total_of_baskets(basket, cars):
    basket.cars.add(*cars)

    cars[0].price = Decimal(500)
    cars[0].save()

    assert counted(basket) == (3, Decimal(6500))


def test_a_new_price_leaves_sold_orders_as_they_were(order, car):
    order.place()
    car.refresh_from_db()

    car.price = Decimal(1)
    car.save()

    assert counted(order) == (1, Decimal(447000))


def test_a_car_that_changes_hands_does_not_touch_the_baskets_of_others(
    basket, cars, make_buyer, django_assert_num_queries
):
    basket.cars.add(cars[0])
    Order.objects.update(total=99)

    cars[0].sell_to(make_buyer())

    assert counted(basket) == (1, Decimal(99))


def test_a_car_from_a_fixture_does_not_touch_baskets(basket, cars):
    basket.cars.add(cars[0])
    cars[0].price = Decimal(5)

    for each in serializers.deserialize("json", serializers.serialize("json", [cars[0]])):
        each.save()

    assert counted(basket) == (1, Decimal(1000))


def test_a_deleted_car_no_longer_counts(basket, cars):
    basket.cars.add(*cars)

    cars[0].delete()

    assert counted(basket) == (2, Decimal(6000))


# The order is placed.


@pytest.fixture
def placed(request):
    """Collect the named arguments with which `order_placed` is sent."""
    seen = []

    def note(**named):
        named.pop("signal")
        seen.append(named)

    order_placed.connect(note)
    yield seen
    order_placed.disconnect(note)


def test_order_placed_is_sent_once_with_the_order(order, placed):
    order.place()

    assert placed == [{"sender": Order, "order": order}]


def test_order_placed_is_not_sent_for_an_order_that_fails(order, car, make_buyer, placed):
    car.sell_to(make_buyer())

    with pytest.raises(Exception, match="Somebody else was faster"):
        order.place()

    assert placed == []


def test_the_buyer_is_thanked(order, buyer, make_car):
    order.add(make_car())

    order.place()

    assert [notice.text for notice in buyer.notices.all()] == [
        f"Thank you: {order} with 2 cars has been placed."
    ]


def test_rivals_are_told_which_cars_are_gone(order, car, make_car, make_buyer, make_order):
    rival, bystander = make_buyer(), make_buyer()
    make_order(rival, car, make_car())
    make_order(bystander, make_car())

    order.place()

    assert [notice.text for notice in rival.notices.all()] == [
        "Sold to somebody else, still in your basket: Ford GT 2017."
    ]
    assert not bystander.notices.exists()
