"""The buyer behind a user, and the notices that buyers receive."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models, transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class BuyerQuerySet(models.QuerySet["Buyer"]):
    """Questions about buyers."""

    def of(self, user: User) -> Buyer:
        """Return the buyer of a logged-in *user*.

        The receiver on the user model makes it. A user who came in past the signal, by
        `bulk_create()` for one, gets a buyer here; `created_by_signal` tells the two apart.
        """
        return self.select_related("user").get_or_create(user=user)[0]


class Buyer(models.Model):
    """Somebody who buys cars, one to one with a user."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="buyer"
    )
    city = models.CharField(max_length=80, blank=True)
    phone = models.CharField(max_length=40, blank=True)
    created_by_signal = models.BooleanField(
        default=False, editable=False, help_text="Made by the receiver on the user model."
    )
    cars_bought = models.PositiveIntegerField(default=0, editable=False)
    spent = models.DecimalField(
        max_digits=12, decimal_places=2, default=Decimal(0), editable=False, help_text="US dollars."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = BuyerQuerySet.as_manager()

    class Meta:
        """Newest first."""

        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Return the full name, or the user name where none was given."""
        return self.user.get_full_name() or self.user.get_username()

    def count_purchases(self) -> None:
        """Bring `cars_bought` and `spent` in line with the cars this buyer has."""
        with transaction.atomic():
            # Two purchases at once would each count without the other.
            Buyer.objects.select_for_update().get(pk=self.pk)
            bought = self.cars.aggregate(count=models.Count("pk"), spent=models.Sum("price"))
            self.cars_bought = bought["count"]
            self.spent = bought["spent"] or Decimal(0)
            self.save(update_fields=["cars_bought", "spent"])

    def notify(self, text: str) -> Notice:
        """Leave a notice on the buyer's profile page and return it."""
        return Notice.objects.create(buyer=self, text=text)

    async def anotify(self, text: str) -> Notice:
        """Leave a notice on the buyer's profile page and return it."""
        return await Notice.objects.acreate(buyer=self, text=text)


class Notice(models.Model):
    """A line of news for one buyer."""

    buyer = models.ForeignKey(Buyer, on_delete=models.CASCADE, related_name="notices")
    text = models.CharField(max_length=300)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """Newest first."""

        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.text
