"""Tests of cars."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from core.cars.models import Car


def test_save_removes_blanks_around_the_names(make_car):
    car = make_car(make="  Ford ", model=" GT  ")

    assert str(car) == "Ford GT 2017"


def test_available_leaves_out_sold_cars(make_car, buyer):
    car = make_car()
    make_car(buyer=buyer)

    assert list(Car.objects.available()) == [car]


def test_makes_are_distinct_and_sorted(make_car):
    for make in ("Volvo", "Audi", "Volvo"):
        make_car(make=make)

    assert Car.objects.makes() == ["Audi", "Volvo"]


def test_sell_to_makes_the_buyer_the_owner(car, buyer):
    car.sell_to(buyer)

    car.refresh_from_db()
    assert (car.is_sold, car.buyer) == (True, buyer)
    assert car.sold_at is not None


def test_release_puts_the_car_up_for_sale_and_tells_its_buyer(car, buyer):
    car.sell_to(buyer)

    car.release()

    car.refresh_from_db()
    buyer.refresh_from_db()
    assert (car.is_sold, car.sold_at, buyer.cars_bought) == (False, None, 0)


def test_release_of_a_car_that_is_not_sold_does_nothing(car, django_assert_num_queries):
    with django_assert_num_queries(0):
        car.release()


def test_equal_cars_get_different_codes(make_car):
    codes = {make_car(model="GT").code for _ in range(3)}

    assert len(codes) == 3
    assert all(code.startswith("ford-gt-2017-") for code in codes)


def test_the_code_of_a_car_with_long_names_fits(make_car):
    car = make_car(make="M" * 60, model="X" * 80)

    car.full_clean()

    assert len(car.code) <= 40


def test_a_car_without_a_price_is_refused_by_the_database(make_car):
    with pytest.raises(IntegrityError), transaction.atomic():
        make_car(price=0)
