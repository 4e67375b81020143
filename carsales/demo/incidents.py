"""The incidents of release 1.1, done again to be on record."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

import tracing
from core.buyers.models import Buyer
from core.cars.models import Car
from core.orders.models import Order

PHONE_SALE = "sale by telephone"
PRICE_LIST = "new price list"


class PaymentRefusedError(Exception):
    """The bank does not pay for an order that has been placed."""


def sell_by_phone() -> None:
    """Place an order whose payment is refused: it is rolled back, its mail has left.

    Raises:
        PaymentRefusedError: Always; the order is undone.
    """
    car = Car.objects.available().order_by("price").first()
    buyer = Buyer.objects.order_by("pk").first()
    if car is None or buyer is None:
        return
    with tracing.trace(PHONE_SALE, channel="telephone"), transaction.atomic():
        order = Order.objects.create(buyer=buyer)
        order.add(car)
        order.place()
        raise PaymentRefusedError(f"The bank refused to pay for {order}.")


def write_price_list() -> None:
    """Write every price anew with one `update()`, past the receivers that follow prices."""
    with tracing.trace(PRICE_LIST, printed="2026"):
        Car.objects.available().update(price=F("price"))
