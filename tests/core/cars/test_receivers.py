"""Tests of what happens when a car is saved."""

from __future__ import annotations

from decimal import Decimal

from django.core import serializers

from core.cars.models import Car


def test_a_new_car_gets_a_code_with_its_first_row(make_car):
    car = make_car(make="Ford", model="GT", year=2017)

    assert car.code == Car.objects.get().code
    assert car.code.startswith("ford-gt-2017-")


def test_a_code_that_is_given_stays(make_car):
    assert make_car(code="mine").code == "mine"


def test_a_code_stays_when_the_car_is_saved_again(car):
    code = car.code

    car.model = "GT40"
    car.save()

    assert car.code == code


def test_a_bought_car_updates_its_buyer(car, buyer):
    car.buyer = buyer
    car.save()

    buyer.refresh_from_db()
    assert (buyer.cars_bought, buyer.spent) == (1, Decimal(447000))


def test_a_new_price_of_a_bought_car_updates_its_buyer(car, buyer):
    car.sell_to(buyer)

    car.price = Decimal(5)
    car.save()

    buyer.refresh_from_db()
    assert buyer.spent == Decimal(5)


def test_a_bought_car_from_a_fixture_leaves_the_buyer_alone(buyer):
    car = Car(pk=1, make="Ford", model="GT", year=2017, price=Decimal(5), buyer=buyer)
    fixture = serializers.serialize("json", [car])

    for each in serializers.deserialize("json", fixture):
        each.save()

    buyer.refresh_from_db()
    assert (buyer.cars_bought, Car.objects.get().buyer) == (0, buyer)
