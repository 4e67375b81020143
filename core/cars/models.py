"""A car that is for sale or was sold."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.core.validators import MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify

if TYPE_CHECKING:
    from core.buyers.models import Buyer

FIRST_YEAR = 1886
"""The year of the first car with a patent: no car is older."""


class CarQuerySet(models.QuerySet["Car"]):
    """Questions about cars."""

    def available(self) -> CarQuerySet:
        """Return the cars that nobody has bought."""
        return self.filter(buyer=None)

    def makes(self) -> list[str]:
        """Return every make there is, in alphabetical order."""
        return list(self.order_by("make").values_list("make", flat=True).distinct())


class Car(models.Model):
    """One real car; two equal ones are two rows with codes of their own."""

    class BodyStyle(models.TextChoices):
        """The shape of a car, which its picture follows."""

        COUPE = "coupe", "Coupé"
        CONVERTIBLE = "convertible", "Convertible"
        HATCHBACK = "hatchback", "Hatchback"
        SEDAN = "sedan", "Sedan"
        VAN = "van", "Van"

    class Colour(models.TextChoices):
        """The paint of a car."""

        RED = "red", "Red"
        ORANGE = "orange", "Orange"
        YELLOW = "yellow", "Yellow"
        GREEN = "green", "Green"
        TEAL = "teal", "Teal"
        BLUE = "blue", "Blue"
        PURPLE = "purple", "Purple"
        SILVER = "silver", "Silver"
        GRAPHITE = "graphite", "Graphite"

    class Drivetrain(models.TextChoices):
        """The wheels that are driven."""

        FRONT = "fwd", "Front-wheel drive"
        REAR = "rwd", "Rear-wheel drive"
        ALL = "awd", "All-wheel drive"

    code = models.SlugField(
        max_length=40,
        unique=True,
        blank=True,
        help_text="Leave empty: a receiver of pre_save composes it.",
    )
    make = models.CharField(max_length=60, db_index=True)
    model = models.CharField(max_length=80)
    year = models.PositiveSmallIntegerField(validators=[MinValueValidator(FIRST_YEAR)])
    trim = models.CharField(max_length=80, blank=True)
    price = models.DecimalField(
        max_digits=10,
        decimal_places=2,
        validators=[MinValueValidator(Decimal("0.01"))],
        help_text="US dollars.",
    )
    body_style = models.CharField(
        max_length=12, choices=BodyStyle.choices, default=BodyStyle.SEDAN, db_index=True
    )
    colour = models.CharField(max_length=10, choices=Colour.choices, default=Colour.SILVER)
    drivetrain = models.CharField(max_length=3, choices=Drivetrain.choices, blank=True)
    horsepower = models.PositiveSmallIntegerField(null=True, blank=True)
    mpg_city = models.PositiveSmallIntegerField("miles per gallon, city", null=True, blank=True)
    mpg_highway = models.PositiveSmallIntegerField(
        "miles per gallon, highway", null=True, blank=True
    )
    origin = models.CharField("country of origin", max_length=60, blank=True)
    buyer = models.ForeignKey(
        "buyers.Buyer", on_delete=models.PROTECT, null=True, blank=True, related_name="cars"
    )
    sold_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = CarQuerySet.as_manager()

    class Meta:
        """By make and model, as on a forecourt list."""

        ordering = ["make", "model", "-year", "pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(price__gt=0), name="car_has_a_price"),
        ]

    def __str__(self) -> str:
        return f"{self.make} {self.model} {self.year}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the car, with the blanks around its names removed."""
        self.make = self.make.strip()
        self.model = self.model.strip()
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        """Return the car's own page."""
        return reverse("cars:detail", args=[self.code])

    @property
    def picture_url(self) -> str:
        """Return the address of the drawing of such a car."""
        return reverse("cars:picture", args=[self.body_style, self.colour])

    @property
    def is_sold(self) -> bool:
        """Say whether somebody has bought this car."""
        return self.buyer_id is not None

    def compose_code(self) -> str:
        """Return a code that no car has, such as `ford-gt-2017-k3vd`.

        The end is a digest of what the car is, so the same inventory gets the same codes on every
        machine; of equal cars each gets the next digest.
        """
        stem = slugify(f"{self.make} {self.model} {self.year}")[:34]
        attempt = 0
        while True:
            identity = f"{self.make}|{self.model}|{self.year}|{self.trim}|{attempt}"
            digest = hashlib.sha256(identity.encode()).digest()
            code = f"{stem}-{base64.b32encode(digest)[:4].decode().lower()}"
            if not Car.objects.filter(code=code).exists():
                return code
            attempt += 1

    def sell_to(self, buyer: Buyer) -> None:
        """Make *buyer* the owner of this car."""
        self.buyer = buyer
        self.sold_at = timezone.now()
        self.save(update_fields=["buyer", "sold_at"])

    def release(self) -> None:
        """Put a sold car up for sale again; does nothing to a car that is not sold."""
        buyer = self.buyer
        if buyer is None:
            return
        self.buyer = None
        self.sold_at = None
        self.save(update_fields=["buyer", "sold_at"])
        # The receiver of post_save sees the car as it is now, without a buyer to update.
        buyer.count_purchases()
