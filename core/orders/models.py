"""An order: a basket of cars that becomes a purchase."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone

from core.buyers.models import Buyer
from core.cars.models import Car

from .exceptions import CarsAlreadySoldError, OrderEmptyError, OrderNotOpenError
from .signals import order_placed

if TYPE_CHECKING:
    from collections.abc import Iterable


class OrderQuerySet(models.QuerySet["Order"]):
    """Questions about orders."""

    def open(self) -> OrderQuerySet:
        """Return the orders that can still be changed: the baskets."""
        return self.filter(status=Order.Status.OPEN)

    def holding(self, cars: Iterable[Car]) -> OrderQuerySet:
        """Return the orders that hold any of *cars*."""
        return self.filter(cars__in=list(cars)).distinct()

    def current_basket(self, buyer: Buyer) -> Order | None:
        """Return the open order that *buyer* began last; None without one."""
        return self.open().filter(buyer=buyer).first()

    def basket_of(self, buyer: Buyer) -> Order:
        """Return the open order that *buyer* began last, or begin one."""
        return self.current_basket(buyer) or self.create(buyer=buyer)


class Order(models.Model):
    """Cars that a buyer wants; `car_count` and `total` follow the cars by signal."""

    class Status(models.TextChoices):
        """The states of an order."""

        OPEN = "open", "Open"
        ACTIVE = "active", "Placed"
        SOLD = "sold", "Sold"
        CANCELLED = "cancelled", "Cancelled"

    buyer = models.ForeignKey(Buyer, on_delete=models.PROTECT, related_name="orders")
    cars = models.ManyToManyField(Car, related_name="orders", blank=True)
    status = models.CharField(
        max_length=9, choices=Status.choices, default=Status.OPEN, db_index=True, editable=False
    )
    car_count = models.PositiveIntegerField(default=0, editable=False)
    total = models.DecimalField(
        max_digits=12, decimal_places=2, default=Decimal(0), editable=False, help_text="US dollars."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    placed_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = OrderQuerySet.as_manager()

    class Meta:
        """Newest first."""

        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"Order {self.pk}"

    def get_absolute_url(self) -> str:
        """Return the order's own page."""
        return reverse("orders:detail", args=[self.pk])

    @property
    def is_open(self) -> bool:
        """Say whether the order can still be changed."""
        return self.status == self.Status.OPEN

    def add(self, car: Car) -> None:
        """Put *car* into the order.

        Raises:
            OrderNotOpenError: The order was placed or cancelled.
            CarsAlreadySoldError: The car is sold.
        """
        with transaction.atomic():
            self._lock_open()
            if Car.objects.available().filter(pk=car.pk).exists():
                self.cars.add(car)
            else:
                raise CarsAlreadySoldError([car])

    def remove(self, car: Car) -> None:
        """Take *car* out of the order; does nothing if it is not in it.

        Raises:
            OrderNotOpenError: The order was placed or cancelled.
        """
        with transaction.atomic():
            self._lock_open()
            self.cars.remove(car)

    def count_cars(self, *, without: Car | None = None) -> None:
        """Bring `car_count` and `total` in line with the cars in the order.

        Args:
            without: A car that is about to leave the order and no longer counts.
        """
        with transaction.atomic():
            # Two changes at once would each count without the other.
            Order.objects.select_for_update().get(pk=self.pk)
            cars = self.cars.exclude(pk=without.pk) if without else self.cars
            counted = cars.aggregate(count=models.Count("pk"), total=models.Sum("price"))
            self.car_count = counted["count"]
            self.total = counted["total"] or Decimal(0)
            self.save(update_fields=["car_count", "total"])

    def place(self) -> None:
        """Place the order: from here on the cars are sold or the order is as it was.

        Saving the order with the status "active" makes the sale, by signal. Sends
        `order_placed` when that has gone well.

        Raises:
            OrderNotOpenError: The order was placed or cancelled already.
            OrderEmptyError: There is no car in it.
            CarsAlreadySoldError: Somebody else bought a car of it first.
        """
        try:
            with transaction.atomic():
                self._lock_open()
                self._lock_cars()
                self.status = self.Status.ACTIVE
                self.placed_at = timezone.now()
                self.save(update_fields=["status", "placed_at"])
                order_placed.send(sender=Order, order=self)
        except Exception:
            # The row was rolled back; the object in memory follows it.
            self.refresh_from_db()
            raise

    def mark_sold(self) -> None:
        """Note that a sale came of this order."""
        self.status = self.Status.SOLD
        self.save(update_fields=["status"])

    def reopen(self) -> None:
        """Make the order a basket again."""
        self.status = self.Status.OPEN
        self.placed_at = None
        self.save(update_fields=["status", "placed_at"])

    def cancel(self) -> None:
        """Give up an open order; it keeps its cars as a record.

        Raises:
            OrderNotOpenError: The order was placed or cancelled already.
        """
        with transaction.atomic():
            self._lock_open()
            self.status = self.Status.CANCELLED
            self.save(update_fields=["status"])

    def _lock_cars(self) -> None:
        """Lock the rows of the cars until the transaction ends, and make sure they are for sale."""
        cars = list(self.cars.select_for_update())
        if not cars:
            raise OrderEmptyError
        if taken := [car for car in cars if car.is_sold]:
            raise CarsAlreadySoldError(taken)

    def _lock_open(self) -> None:
        """Lock the row until the transaction ends, and make sure that it is still open."""
        locked = Order.objects.select_for_update().get(pk=self.pk)
        if not locked.is_open:
            raise OrderNotOpenError
