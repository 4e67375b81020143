"""Reactions of orders to changed cars and to a placed order."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import m2m_changed, post_save, pre_delete
from django.dispatch import receiver

from core.cars.models import Car

from .models import Order
from .signals import order_placed


@receiver(m2m_changed, sender=Order.cars.through, dispatch_uid="orders.count_cars")
def count_cars(
    sender: type[Any],
    instance: Order | Car,
    action: str,
    pk_set: set[int] | None,
    **named: Any,
) -> None:
    """Keep count and total of every order right whose cars change, from whichever side."""
    if isinstance(instance, Order):
        if action in {"post_add", "post_remove", "post_clear"}:
            instance.count_cars()
    elif action in {"post_add", "post_remove"}:
        for order in Order.objects.filter(pk__in=pk_set or ()):
            order.count_cars()
    elif action == "pre_clear":
        # After `car.orders.clear()` nobody can tell which orders had the car: count before.
        for order in instance.orders.all():
            order.count_cars(without=instance)


@receiver(post_save, sender=Car, dispatch_uid="orders.follow_price")
def follow_price(sender: type[Car], instance: Car, **named: Any) -> None:
    """Bring the baskets that hold a car in line with its price."""
    fields = named["update_fields"]
    # A car that changes hands keeps its price. To lock the baskets of others then would invite a
    # deadlock: they hold their basket and wait for the car.
    if not named["created"] and not named["raw"] and (fields is None or "price" in fields):
        for order in Order.objects.open().holding([instance]):
            order.count_cars()


@receiver(pre_delete, sender=Car, dispatch_uid="orders.count_without_car")
def count_without_car(sender: type[Car], instance: Car, **named: Any) -> None:
    """Count the orders of a car that is about to be deleted as if it were gone."""
    # The rows that tie cars to orders are deleted along with the car, without m2m_changed.
    for order in instance.orders.all():
        order.count_cars(without=instance)


@receiver(order_placed, sender=Order, dispatch_uid="orders.thank_buyer")
def thank_buyer(sender: type[Order], order: Order, **named: Any) -> None:
    """Tell the buyer that the order arrived."""
    cars = "one car" if order.car_count == 1 else f"{order.car_count} cars"
    order.buyer.notify(f"Thank you: {order} with {cars} has been placed.")


@receiver(order_placed, sender=Order, dispatch_uid="orders.warn_rivals")
def warn_rivals(sender: type[Order], order: Order, **named: Any) -> None:
    """Tell everybody who has a car of this order in a basket that it is gone."""
    cars = list(order.cars.all())
    rivals = Order.objects.open().holding(cars).exclude(buyer=order.buyer)
    for rival in rivals.select_related("buyer"):
        gone = ", ".join(str(car) for car in cars if car in rival.cars.all())
        rival.buyer.notify(f"Sold to somebody else, still in your basket: {gone}."[:300])
