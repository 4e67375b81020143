"""The requests that are measured.

Five saves in a transaction, with signals that send signals; and five ``asend()`` of a custom signal.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import Signal
from django.http import HttpRequest, JsonResponse
from django.urls import path

from benchmarks.models import Item

item_changed = Signal()
"""Sent by a receiver of post_save, with ``item``."""
stock_changed = Signal()
"""Sent by a receiver of item_changed, with ``item`` and ``stock``."""

changes: list[int] = []


def announce(sender: Any, instance: Item, **_named: Any) -> None:
    item_changed.send(sender=sender, item=instance)


def count(sender: Any, item: Item, **_named: Any) -> None:
    changes.append(item.stock)


def tell_stock(sender: Any, item: Item, **_named: Any) -> None:
    stock_changed.send(sender=sender, item=item, stock=item.stock)


def note_stock(sender: Any, stock: int, **_named: Any) -> None:
    changes.append(stock)


post_save.connect(announce, sender=Item, dispatch_uid="benchmarks.announce")
item_changed.connect(count, dispatch_uid="benchmarks.count")
item_changed.connect(tell_stock, dispatch_uid="benchmarks.tell_stock")
stock_changed.connect(note_stock, dispatch_uid="benchmarks.note_stock")


def restock(request: HttpRequest) -> JsonResponse:
    changes.clear()
    with transaction.atomic():
        items = list(Item.objects.order_by("pk")[:5])
        for item in items:
            item.stock += 1
            item.save()
    return JsonResponse({"stock": {item.name: item.stock for item in items}})


def _async_receivers(number: int) -> list[Any]:
    def make() -> Any:
        async def receiver(sender: Any, **_named: Any) -> None:
            pass

        return receiver

    return [make() for _ in range(number)]


announced = Signal()
"""Sent five times by each announcement, with ``stock``."""
_listening = _async_receivers(3)
for _receiver in _listening:
    announced.connect(_receiver)


async def announce_all(request: HttpRequest) -> JsonResponse:
    for stock in range(5):
        await announced.asend(sender=Item, stock=stock)
    return JsonResponse({"announced": 5})


urlpatterns = [path("restock/", restock), path("announce/", announce_all)]
