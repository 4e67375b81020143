"""Tests of making, announcing and cancelling sales."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from core.orders.exceptions import CarsAlreadySoldError
from core.orders.models import Order
from core.sales.exceptions import RegistryUnavailableError, SaleCancelledError
from core.sales.models import Sale, SaleItem
from core.sales.signals import sale_completed


@pytest.fixture
def sale(order) -> Sale:
    order.place()
    return order.sale


def test_a_sale_keeps_the_prices_of_the_day(sale, car):
    car.price = Decimal(1)
    car.save()

    assert str(sale.items.get()) == "Ford GT 2017 at 447000.00"
    assert sale.total == Decimal(447000)


def test_a_car_is_refused_in_a_second_sale_even_by_the_database(sale, car, make_order, make_buyer):
    order = make_order(make_buyer(), car)
    second = Sale.objects.create(order=order, buyer=order.buyer, total=0)

    with pytest.raises(CarsAlreadySoldError) as caught:
        second.add_items([car])

    assert caught.value.cars == [car]
    with pytest.raises(IntegrityError), transaction.atomic():
        SaleItem.objects.create(sale=second, car=car, price=1)


def test_a_sold_car_and_a_sold_order_cannot_be_deleted(sale, car, order):
    with pytest.raises(ProtectedError):
        car.delete()
    with pytest.raises(ProtectedError):
        order.delete()


def test_cancel_frees_the_cars_and_reopens_the_order(sale, car, order, buyer):
    sale.cancel()

    for each in (car, order, buyer):
        each.refresh_from_db()
    assert (Sale.objects.count(), SaleItem.objects.count()) == (0, 0)
    assert (car.is_sold, order.status, order.placed_at, buyer.cars_bought) == (
        False,
        "open",
        None,
        0,
    )


def test_a_reopened_order_can_be_placed_again(sale, order):
    sale.cancel()
    order.refresh_from_db()

    order.place()

    assert (order.status, Sale.objects.count()) == ("sold", 1)


def test_cancel_a_second_time_does_not_reopen_an_order_placed_again(sale, order):
    stale = Sale.objects.get()
    sale.cancel()
    order.refresh_from_db()
    order.place()

    with pytest.raises(SaleCancelledError):
        stale.cancel()

    assert Order.objects.get().status == "sold"


def test_delete_of_a_queryset_frees_the_cars_as_well(sale, car):
    Sale.objects.all().delete()

    car.refresh_from_db()
    assert not car.is_sold


def test_announce_calls_every_receiver_though_one_fails(sale, buyer):
    responses = {receiver.__name__: answer for receiver, answer in sale.announce()}

    error = responses.pop("report_to_registry")
    assert responses == {"issue_receipt": None, "congratulate": None}
    assert isinstance(error, RegistryUnavailableError)
    assert sale.receipt == f"{sale.created_at:%Y}-{sale.pk:06}"
    assert buyer.notices.filter(text__contains=f"{sale} is complete").exists()


def test_sale_completed_is_sent_after_the_commit_only(order, django_capture_on_commit_callbacks):
    heard = []

    def note(sale, **named):
        heard.append(sale)

    sale_completed.connect(note)
    try:
        with django_capture_on_commit_callbacks() as callbacks:
            order.place()
        before = list(heard)
        for callback in callbacks:
            callback()
    finally:
        sale_completed.disconnect(note)

    assert (before, heard) == ([], [order.sale])


def test_visible_to_its_buyer_and_to_staff(sale, buyer, make_buyer, db):
    staff = User.objects.create_user("boss", is_staff=True)

    seen = [list(Sale.objects.visible_to(user)) for user in (buyer.user, make_buyer().user, staff)]

    assert seen == [[sale], [], [sale]]
    assert str(sale) == f"Sale {sale.pk}"
