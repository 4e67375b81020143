"""Cars in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.html import format_html

from .models import Car

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

    CarModelAdmin = admin.ModelAdmin[Car]
else:
    CarModelAdmin = admin.ModelAdmin


@admin.register(Car)
class CarAdmin(CarModelAdmin):
    """The stock. Who bought a car is decided by orders and sales, not here."""

    list_display = ("picture", "make", "model", "year", "trim", "price", "code", "buyer")
    list_display_links = ("picture", "make", "model")
    list_filter = (("buyer", admin.EmptyFieldListFilter), "body_style", "colour", "make")
    list_select_related = ("buyer__user",)
    search_fields = ("make", "model", "trim", "code")
    list_per_page = 40  # each has a picture
    readonly_fields = ("large_picture", "buyer", "sold_at")
    fieldsets = [
        (None, {"fields": ["large_picture", ("make", "model"), ("year", "trim"), "price", "code"]}),
        ("Looks", {"fields": [("body_style", "colour")]}),
        (
            "Engine",
            {"fields": [("horsepower", "drivetrain"), ("mpg_city", "mpg_highway"), "origin"]},
        ),
        ("Sale", {"fields": [("buyer", "sold_at")]}),
    ]

    @admin.display(description="")
    def picture(self, car: Car) -> SafeString:
        """Return the drawing at the size of a thumbnail."""
        return format_html('<img src="{}" alt="" width="72" height="36">', car.picture_url)

    @admin.display(description="picture")
    def large_picture(self, car: Car) -> SafeString:
        """Return the drawing."""
        return format_html('<img src="{}" alt="" width="288" height="144">', car.picture_url)
