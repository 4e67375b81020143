"""The two receivers of release 1.1, each with a mistake to find."""

from __future__ import annotations

import hashlib
from typing import Any

from django.core.mail import EmailMessage
from django.template.defaultfilters import pluralize

from core.cars.models import Car
from core.orders.models import Order
from core.orders.signals import order_placed

ROUNDS = 250_000
"""Rounds of the contract's signature: some 150 ms of work, for which the buyer waits."""
OFFERS = 8


def mail_contract(sender: type[Order], order: Order, **named: Any) -> None:
    """Sign the contract and mail it to the buyer.

    Two mistakes: the signature keeps the buyer waiting, and the mail leaves while the transaction is
    open. An order that is rolled back after that has mailed a contract for nothing.
    """
    text = (
        f"{order}: {order.car_count} car{pluralize(order.car_count)} for {order.total} US dollars"
    )
    seal = hashlib.pbkdf2_hmac("sha256", text.encode(), b"carsales", ROUNDS).hex()
    address = order.buyer.user.email or f"{order.buyer.user.get_username()}@example.com"
    EmailMessage("Your contract", f"{text}\n{seal}", to=[address]).send()


def offer_alike(sender: type[Order], order: Order, **named: Any) -> None:
    """Tell the buyer what else is for sale.

    One mistake: each offer asks for its rivals by a query of its own.
    """
    offers = list(Car.objects.available()[:OFFERS])
    rarest = min(
        offers,
        key=lambda car: Car.objects.available().filter(body_style=car.body_style).count(),
        default=None,
    )
    if rarest is not None:
        order.buyer.notify(f"Nobody else offers one like this: {rarest}."[:300])


def connect() -> None:
    """Connect the receivers of the release."""
    order_placed.connect(mail_contract, sender=Order, dispatch_uid="demo.mail_contract")
    order_placed.connect(offer_alike, sender=Order, dispatch_uid="demo.offer_alike")
