"""Orders in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from core.cars.models import Car

from .models import Order

if TYPE_CHECKING:
    from typing import Any

    from django.db.models import ManyToManyField
    from django.forms import ModelMultipleChoiceField
    from django.http import HttpRequest

    OrderModelAdmin = admin.ModelAdmin[Order]
else:
    OrderModelAdmin = admin.ModelAdmin


@admin.register(Order)
class OrderAdmin(OrderModelAdmin):
    """Orders. The cars of an open one can be changed; the signals count them."""

    list_display = ("__str__", "buyer", "status", "car_count", "total", "created_at", "placed_at")
    list_filter = ("status", "created_at")
    list_select_related = ("buyer__user",)
    date_hierarchy = "created_at"
    search_fields = ("=pk", "buyer__user__username", "cars__make", "cars__model")
    autocomplete_fields = ("buyer",)
    filter_horizontal = ("cars",)
    readonly_fields = ("status", "car_count", "total", "created_at", "placed_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Order | None = None) -> Any:
        """Return the fields that must not be changed by hand; more of them once it is placed."""
        fixed = super().get_readonly_fields(request, obj)
        return fixed if obj is None or obj.is_open else [*fixed, "buyer", "cars"]

    def has_delete_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        """Say whether the order may be deleted: a sold one goes by way of its sale."""
        if obj is not None and obj.status == Order.Status.SOLD:
            return False
        return super().has_delete_permission(request, obj)

    def formfield_for_manytomany(
        self, db_field: ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> ModelMultipleChoiceField[Any] | None:
        """Offer the cars that are for sale."""
        if db_field.name == "cars":
            kwargs["queryset"] = Car.objects.available()
        return super().formfield_for_manytomany(db_field, request, **kwargs)
