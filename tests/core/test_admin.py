"""Tests of the admin of every model of the domain."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from core.cars.models import Car
from core.orders.models import Order
from core.sales.models import Sale

LABELS = ("buyers", "cars", "orders", "sales")
MODELS = [
    model
    for label in LABELS
    for model in apps.get_app_config(label).get_models()
    if model in admin.site._registry
]


@pytest.fixture
def sale(order, make_car) -> Sale:
    order.add(make_car())
    order.place()
    order.buyer.notify("Hello.")
    return order.sale


def path(model, page: str, *args) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_every_model_is_in_the_admin_by_itself_or_within_its_parent():
    names = {model.__name__ for model in MODELS}

    assert names == {"Buyer", "Notice", "Car", "Order", "Sale"}


@pytest.mark.thorough
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_list_search_and_form_are_shown(staff, sale, model):
    instance = model.objects.first()
    paths = [
        path(model, "changelist"),
        f"{path(model, 'changelist')}?q=1",
        path(model, "change", instance.pk),
    ]

    assert [staff.get(each).status_code for each in paths] == [200, 200, 200]


@pytest.mark.thorough
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_list_needs_no_more_queries_for_more_rows(staff, sale, make_car, make_buyer, model):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            staff.get(path(model, "changelist"))
        return len(captured)

    queries()  # what is asked once and then remembered
    before = queries()
    for _ in range(3):
        order = Order.objects.create(buyer=make_buyer())
        order.add(make_car())
        order.place()
        order.buyer.notify("Hello.")

    assert queries() == before


def test_a_car_shows_its_picture(staff, car):
    page = staff.get(path(Car, "change", car.pk)).content.decode()

    assert f'<img src="{car.picture_url}"' in page


def test_cars_of_an_open_order_are_chosen_among_those_for_sale(staff, order, make_car, make_buyer):
    free = make_car()
    make_car(buyer=make_buyer())

    response = staff.get(path(Order, "change", order.pk))

    field = response.context["adminform"].form.fields["cars"]
    assert set(field.queryset) == {free, order.cars.get()}


def test_cars_saved_in_the_admin_count(staff, order, make_car):
    cars = [make_car(), make_car()]

    staff.post(
        path(Order, "change", order.pk),
        {"buyer": order.buyer.pk, "cars": [car.pk for car in cars]},
    )

    order.refresh_from_db()
    assert (order.car_count, order.total) == (2, 2000)


def test_a_placed_order_is_neither_changed_nor_deleted(staff, sale):
    response = staff.get(path(Order, "change", sale.order.pk))
    delete = staff.post(path(Order, "delete", sale.order.pk), {"post": "yes"})

    assert not response.context["adminform"].form.fields
    assert delete.status_code == 403


def test_an_open_order_is_deleted(staff, order):
    staff.post(path(Order, "delete", order.pk), {"post": "yes"})

    assert not Order.objects.exists()


def test_a_sale_is_not_added_by_hand(staff):
    assert staff.get(path(Sale, "add")).status_code == 403


def test_a_deleted_sale_reopens_its_order(staff, sale):
    staff.post(path(Sale, "delete", sale.pk), {"post": "yes"})

    assert (Sale.objects.count(), Order.objects.get().status) == (0, "open")
