"""Users, cars and orders for the tests of the domain."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from core.cars.models import Car
from core.orders.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from core.buyers.models import Buyer


@pytest.fixture
def make_buyer(db: None) -> Callable[..., Buyer]:
    """Return ``make_buyer(**fields of the user)``: the buyer of a new user."""
    numbers = count(1)

    def make_buyer(**fields) -> Buyer:
        fields.setdefault("username", f"buyer-{next(numbers)}")
        return User.objects.create_user(**fields).buyer

    return make_buyer


@pytest.fixture
def buyer(make_buyer: Callable[..., Buyer]) -> Buyer:
    """Return a buyer called Ada Byron."""
    return make_buyer(username="ada", first_name="Ada", last_name="Byron")


@pytest.fixture
def make_car(db: None) -> Callable[..., Car]:
    """Return ``make_car(**fields)``: a saved car."""
    numbers = count(1)

    def make_car(**fields) -> Car:
        defaults = {
            "make": "Ford",
            "model": f"T{next(numbers)}",
            "year": 2017,
            "price": Decimal(1000),
        }
        return Car.objects.create(**{**defaults, **fields})

    return make_car


@pytest.fixture
def car(make_car: Callable[..., Car]) -> Car:
    """Return a Ford GT for 447,000 dollars."""
    return make_car(model="GT", price=Decimal(447000))


@pytest.fixture
def make_order(db: None) -> Callable[..., Order]:
    """Return ``make_order(buyer, *cars)``: an open order."""

    def make_order(buyer: Buyer, *cars: Car) -> Order:
        order = Order.objects.create(buyer=buyer)
        order.cars.add(*cars)
        return order

    return make_order


@pytest.fixture
def order(make_order: Callable[..., Order], buyer: Buyer, car: Car) -> Order:
    """Return Ada's open order of the Ford GT."""
    return make_order(buyer, car)


@pytest.fixture
def shopper(client: Client, buyer: Buyer) -> Client:
    """Return a client in which Ada is logged in."""
    client.force_login(buyer.user)
    return client


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    """Return a client in which a superuser is logged in."""
    client.force_login(User.objects.create_superuser("boss"))
    return client
