"""Tests of the basket, checkout and orders."""

from __future__ import annotations

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from core.orders.models import Order


def told(response) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_the_basket_of_somebody_without_one_is_empty(shopper):
    assert "Your basket is empty" in shopper.get(reverse("orders:basket")).content.decode()


def test_a_car_goes_into_the_basket_and_shows_in_the_header(shopper, car):
    response = shopper.post(reverse("orders:add", args=[car.code]), follow=True)

    page = response.content.decode()
    assert "Ford GT 2017 is in your basket." in page
    assert '<span class="count">1' in page


def test_a_sold_car_does_not_go_into_the_basket(shopper, car, make_buyer):
    car.sell_to(make_buyer())

    response = shopper.post(reverse("orders:add", args=[car.code]))

    assert response.url == car.get_absolute_url()
    assert told(response) == ["Somebody else was faster: Ford GT 2017 has just been sold."]


def test_a_car_comes_out_of_the_basket(shopper, order, car):
    response = shopper.post(reverse("orders:remove", args=[order.pk, car.code]))

    assert told(response) == ["Ford GT 2017 is out of your basket."]
    assert not order.cars.exists()


def test_a_car_does_not_come_out_of_a_placed_order(shopper, order, car):
    order.place()

    response = shopper.post(reverse("orders:remove", args=[order.pk, car.code]))

    assert told(response) == ["This order is not open any more."]


def test_checkout_shows_and_then_buys(shopper, order, car):
    path = reverse("orders:check_out", args=[order.pk])

    page = shopper.get(path)
    status_after_get = Order.objects.get().status
    response = shopper.post(path)

    assert "Buy for $447,000" in page.content.decode()
    assert (status_after_get, Order.objects.get().status) == ("open", "sold")
    assert response.url == order.get_absolute_url()
    assert told(response) == [f"{order} is placed. The cars are yours."]


def test_checkout_of_a_car_that_was_sold_says_so(shopper, order, car, make_buyer):
    car.sell_to(make_buyer())

    response = shopper.post(reverse("orders:check_out", args=[order.pk]))
    page = shopper.get(order.get_absolute_url()).content.decode()

    assert told(response) == ["Somebody else was faster: Ford GT 2017 has just been sold."]
    assert "Somebody else has bought Ford GT 2017. Remove it to buy the rest." in page


@pytest.mark.parametrize("page", ["check_out", "cancel"])
def test_a_placed_order_is_shown_instead_of_asked_about(shopper, order, page):
    order.place()

    assert shopper.get(reverse(f"orders:{page}", args=[order.pk])).url == order.get_absolute_url()


def test_cancelling_asks_first(shopper, order):
    path = reverse("orders:cancel", args=[order.pk])

    page = shopper.get(path)
    status_after_get = Order.objects.get().status
    response = shopper.post(path)

    assert f"Cancel {order}?" in page.content.decode()
    assert (status_after_get, Order.objects.get().status) == ("open", "cancelled")
    assert told(response) == [f"{order} is cancelled."]


def test_cancelling_a_placed_order_is_refused(shopper, order):
    order.place()

    response = shopper.post(reverse("orders:cancel", args=[order.pk]))

    assert told(response) == ["This order is not open any more."]


def test_the_list_shows_ones_own_orders(shopper, order, make_order, make_buyer):
    make_order(make_buyer())

    response = shopper.get(reverse("orders:list"))

    assert list(response.context["orders"]) == [order]


def test_the_list_without_orders_says_so(shopper):
    assert "No orders yet" in shopper.get(reverse("orders:list")).content.decode()


def test_a_sold_order_leads_to_its_sale(shopper, order):
    order.place()

    page = shopper.get(order.get_absolute_url()).content.decode()

    assert order.sale.get_absolute_url() in page


@pytest.mark.parametrize("name", ["detail", "check_out", "cancel"])
def test_an_order_of_somebody_else_is_not_found(shopper, make_order, make_buyer, name):
    order = make_order(make_buyer())

    assert shopper.get(reverse(f"orders:{name}", args=[order.pk])).status_code == 404


def test_every_page_asks_for_a_log_in(client, order, car):
    paths = [
        reverse("orders:list"),
        reverse("orders:basket"),
        reverse("orders:detail", args=[order.pk]),
        reverse("orders:check_out", args=[order.pk]),
        reverse("orders:cancel", args=[order.pk]),
    ]
    posts = [
        reverse("orders:add", args=[car.code]),
        reverse("orders:remove", args=[order.pk, car.code]),
        *paths[3:],
    ]

    answers = [client.get(path) for path in paths] + [client.post(path) for path in posts]

    assert {answer.url.partition("?")[0] for answer in answers} == {reverse("buyers:log_in")}
    assert Order.objects.get().status == "open"


def test_what_changes_something_is_refused_by_get(shopper, order, car):
    answers = [
        shopper.get(reverse("orders:add", args=[car.code])),
        shopper.get(reverse("orders:remove", args=[order.pk, car.code])),
    ]

    assert [answer.status_code for answer in answers] == [405, 405]
