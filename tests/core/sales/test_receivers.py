"""Tests of when an order makes a sale."""

from __future__ import annotations

import pytest
from django.core import serializers

from core.orders.models import Order
from core.sales.models import Sale


def test_an_order_saved_as_active_makes_its_sale(order, buyer):
    order.status = Order.Status.ACTIVE
    order.save()

    sale = Sale.objects.get()
    assert (sale.order, sale.buyer, sale.total, order.status) == (
        order,
        buyer,
        order.total,
        "sold",
    )


@pytest.mark.parametrize("status", [Order.Status.OPEN, Order.Status.CANCELLED, Order.Status.SOLD])
def test_an_order_saved_otherwise_makes_none(order, status):
    order.status = status
    order.save()

    assert not Sale.objects.exists()


def test_an_active_order_from_a_fixture_makes_none(order):
    order.status = Order.Status.ACTIVE
    fixture = serializers.serialize("json", [order])

    for each in serializers.deserialize("json", fixture):
        each.save()

    assert (Order.objects.get().status, Sale.objects.count()) == ("active", 0)
