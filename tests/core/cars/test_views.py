"""Tests of the front page, the list of cars, a car and its picture."""

from __future__ import annotations

from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest
from django.urls import reverse

from core.cars.models import Car


@pytest.fixture
def cars(make_car):
    return {
        "gt": make_car(
            make="Ford", model="GT", price=Decimal(447000), horsepower=647, body_style="coupe"
        ),
        "festiva": make_car(
            make="Ford", model="Festiva", year=1993, price=Decimal(7400), body_style="hatchback"
        ),
        "i8": make_car(make="BMW", model="i8", year=2016, price=Decimal(140700), horsepower=357),
    }


def listed(response) -> list[str]:
    return [car.model for car in response.context["page"]]


@pytest.mark.django_db
def test_front_page_without_cars_says_how_to_load_them(client):
    assert "load_cars" in client.get("/").content.decode()


def test_front_page_shows_the_dearest_cars_for_sale(client, cars, buyer):
    cars["i8"].sell_to(buyer)

    response = client.get("/")

    assert [car.model for car in response.context["cars"]] == ["GT", "Festiva"]
    assert (response.context["available"], response.context["makes"]) == (2, 1)


@pytest.mark.parametrize(
    ("query", "models"),
    [
        ("", ["i8", "Festiva", "GT"]),
        ("q=ford", ["Festiva", "GT"]),
        ("q=ford+gt", ["GT"]),
        ("q=ford-gt-2017", ["GT"]),
        ("q=nothing", []),
        ("make=BMW", ["i8"]),
        ("body_style=hatchback", ["Festiva"]),
        ("min_price=8000&max_price=200000", ["i8"]),
        ("sort=price", ["Festiva", "i8", "GT"]),
        ("sort=-price", ["GT", "i8", "Festiva"]),
        ("sort=-year", ["GT", "i8", "Festiva"]),
        ("stock=available", ["Festiva", "GT"]),
        ("stock=sold", ["i8"]),
        ("page=99", ["i8", "Festiva", "GT"]),
    ],
)
def test_list_of_cars_answers(client, cars, buyer, query, models):
    cars["i8"].sell_to(buyer)

    assert listed(client.get(f"{reverse('cars:list')}?{query}")) == models


def test_list_of_cars_with_a_wrong_filter_says_so(client, cars):
    response = client.get(reverse("cars:list"), {"min_price": "much"})

    assert response.context["filter"].form.errors == {"min_price": ["Enter a number."]}


def test_list_of_cars_is_paged_and_keeps_the_query(client, make_car):
    for _ in range(13):
        make_car()

    first = client.get(reverse("cars:list"), {"make": "Ford"})
    second = client.get(reverse("cars:list"), {"make": "Ford", "page": 2})

    assert (len(first.context["page"]), len(second.context["page"])) == (12, 1)
    assert "/cars/?make=Ford&amp;page=2" in first.content.decode()


def test_list_of_cars_gives_htmx_the_results_alone(client, cars):
    partial = client.get(reverse("cars:list"), headers={"HX-Request": "true"})
    restored = client.get(
        reverse("cars:list"),
        headers={"HX-Request": "true", "HX-History-Restore-Request": "true"},
    )

    assert "<html" not in partial.content.decode()
    assert "<html" in restored.content.decode()


def test_a_car_for_sale_can_be_bought_after_a_log_in(client, cars):
    page = client.get(cars["gt"].get_absolute_url()).content.decode()

    assert "Log in to buy" in page


def test_a_car_for_sale_can_be_put_into_the_basket(shopper, cars):
    page = shopper.get(cars["gt"].get_absolute_url()).content.decode()

    assert "Put into the basket" in page


def test_a_sold_car_cannot_be_put_into_the_basket(shopper, cars, buyer):
    cars["gt"].sell_to(buyer)

    page = shopper.get(cars["gt"].get_absolute_url()).content.decode()

    assert "Put into the basket" not in page
    assert "This car was sold on" in page


@pytest.mark.django_db
def test_a_car_that_is_not_there_is_not_found(client):
    response = client.get(reverse("cars:detail", args=["nothing"]))

    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


@pytest.mark.parametrize("body_style", Car.BodyStyle.values)
@pytest.mark.parametrize("colour", Car.Colour.values)
def test_every_picture_is_svg_without_styles(client, body_style, colour):
    response = client.get(reverse("cars:picture", args=[body_style, colour]))

    drawing = ET.fromstring(response.content)
    assert response["Content-Type"] == "image/svg+xml"
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [each for each in drawing.iter() if "style" in each.attrib or "style" in each.tag]


def test_a_picture_of_an_unknown_colour_is_not_found(client, db):
    assert client.get("/cars/pictures/coupe-beige.svg").status_code == 404
