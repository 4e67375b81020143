"""A sale: the cars of one order, paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, models, transaction
from django.urls import reverse

from core.buyers.models import Buyer
from core.cars.models import Car
from core.orders.exceptions import CarsAlreadySoldError
from core.orders.models import Order

from .exceptions import SaleCancelledError
from .signals import sale_completed

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class SaleQuerySet(models.QuerySet["Sale"]):
    """Questions about sales."""

    def visible_to(self, user: User) -> SaleQuerySet:
        """Return the sales that *user* may see: one's own, or all of them for staff."""
        return self.all() if user.is_staff else self.filter(buyer__user=user)

    def make_for(self, order: Order) -> Sale:
        """Make the sale of a placed *order* and hand its cars over to the buyer.

        `sale_completed` is sent when the surrounding transaction has committed.

        Raises:
            CarsAlreadySoldError: A car of the order is part of another sale.
        """
        cars = list(order.cars.all())
        with transaction.atomic():
            sale = self.create(order=order, buyer=order.buyer, total=order.total)
            sale.add_items(cars)
            for car in cars:
                car.sell_to(order.buyer)
            order.mark_sold()
            transaction.on_commit(sale.announce)
        return sale


class Sale(models.Model):
    """The sale of a placed order; to cancel it deletes it."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT, related_name="sale")
    buyer = models.ForeignKey(Buyer, on_delete=models.PROTECT, related_name="sales")
    total = models.DecimalField(max_digits=12, decimal_places=2, help_text="US dollars.")
    receipt = models.CharField(max_length=20, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SaleQuerySet.as_manager()

    class Meta:
        """Newest first."""

        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"Sale {self.pk}"

    def get_absolute_url(self) -> str:
        """Return the sale's own page."""
        return reverse("sales:detail", args=[self.pk])

    def add_items(self, cars: list[Car]) -> None:
        """Enter *cars* at today's prices.

        Raises:
            CarsAlreadySoldError: A car is part of another sale.
        """
        try:
            with transaction.atomic():
                SaleItem.objects.bulk_create(
                    SaleItem(sale=self, car=car, price=car.price) for car in cars
                )
        except IntegrityError:
            taken = Car.objects.filter(sale_item__isnull=False, pk__in=[car.pk for car in cars])
            raise CarsAlreadySoldError(list(taken) or cars) from None

    def announce(self) -> list[tuple[Any, Any]]:
        """Send `sale_completed` robustly; return what each receiver answered or raised."""
        return sale_completed.send_robust(sender=Sale, sale=self)

    def issue_receipt(self) -> None:
        """Give the sale a receipt number, such as `2026-000042`."""
        self.receipt = f"{self.created_at:%Y}-{self.pk:06}"
        self.save(update_fields=["receipt"])

    def undo(self) -> None:
        """Put the cars up for sale again and reopen the order."""
        for item in self.items.select_related("car__buyer__user"):
            item.car.release()
        self.order.reopen()

    def cancel(self) -> None:
        """Delete the sale; by signal its cars are for sale and its order is open again.

        Raises:
            SaleCancelledError: Somebody has cancelled it before.
        """
        with transaction.atomic():
            # A second cancellation would reopen an order that may have been placed again.
            if Sale.objects.select_for_update().filter(pk=self.pk).first() is None:
                raise SaleCancelledError
            self.delete()


class SaleItem(models.Model):
    """A sold car and its price on that day."""

    sale = models.ForeignKey(Sale, on_delete=models.CASCADE, related_name="items")
    # One to one: the database itself refuses to sell a car a second time.
    car = models.OneToOneField(Car, on_delete=models.PROTECT, related_name="sale_item")
    price = models.DecimalField(max_digits=10, decimal_places=2, help_text="US dollars.")

    class Meta:
        """As they were entered."""

        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.car} at {self.price}"
