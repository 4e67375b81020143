"""Tests of the list of sales, a sale and its cancellation."""

from __future__ import annotations

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from core.orders.models import Order
from core.sales.models import Sale


@pytest.fixture
def sale(order) -> Sale:
    order.place()
    return order.sale


@pytest.fixture
def foreign_sale(make_order, make_buyer, make_car) -> Sale:
    order = make_order(make_buyer(), make_car())
    order.place()
    return order.sale


def told(response) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_the_list_shows_ones_own_sales(shopper, sale, foreign_sale):
    assert list(shopper.get(reverse("sales:list")).context["page"]) == [sale]


def test_the_list_shows_everything_to_staff(staff, sale, foreign_sale):
    assert set(staff.get(reverse("sales:list")).context["page"]) == {sale, foreign_sale}


def test_the_list_without_sales_says_so(shopper):
    assert "No sales yet" in shopper.get(reverse("sales:list")).content.decode()


def test_a_sale_shows_its_cars(shopper, sale):
    page = shopper.get(sale.get_absolute_url()).content.decode()

    assert "Ford GT 2017" in page
    assert "$447,000" in page


def test_cancelling_asks_first_and_leads_to_the_open_order(shopper, sale, order):
    path = reverse("sales:cancel", args=[sale.pk])

    page = shopper.get(path)
    sales_after_get = Sale.objects.count()
    response = shopper.post(path)

    assert f"Cancel {sale}?" in page.content.decode()
    assert (sales_after_get, Sale.objects.count(), Order.objects.get().status) == (1, 0, "open")
    assert response.url == order.get_absolute_url()
    assert told(response) == [f"{sale} is cancelled and {order} is open again."]


def test_staff_cancels_for_others_and_comes_back_to_the_list(staff, sale):
    response = staff.post(reverse("sales:cancel", args=[sale.pk]))

    assert response.url == reverse("sales:list")
    assert not Sale.objects.exists()


def test_cancelling_what_somebody_cancels_meanwhile_says_so(shopper, sale, monkeypatch):
    first = Sale.cancel

    def cancelled_twice(self):
        first(Sale.objects.get(pk=self.pk))
        first(self)

    monkeypatch.setattr(Sale, "cancel", cancelled_twice)

    response = shopper.post(reverse("sales:cancel", args=[sale.pk]))

    assert told(response) == ["This sale has been cancelled already."]


@pytest.mark.parametrize("name", ["detail", "cancel"])
def test_a_sale_of_somebody_else_is_not_found(shopper, foreign_sale, name):
    path = reverse(f"sales:{name}", args=[foreign_sale.pk])

    assert (shopper.get(path).status_code, shopper.post(path).status_code) in {
        (404, 404),
        (404, 405),
    }
    assert Sale.objects.filter(pk=foreign_sale.pk).exists()


def test_every_page_asks_for_a_log_in(client, sale):
    paths = [
        reverse("sales:list"),
        reverse("sales:detail", args=[sale.pk]),
        reverse("sales:cancel", args=[sale.pk]),
    ]

    answers = [client.get(path) for path in paths] + [client.post(paths[2])]

    assert {answer.url.partition("?")[0] for answer in answers} == {reverse("buyers:log_in")}
    assert Sale.objects.exists()
