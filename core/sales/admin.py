"""Sales in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from .models import Sale, SaleItem

if TYPE_CHECKING:
    from django.http import HttpRequest

    SaleModelAdmin = admin.ModelAdmin[Sale]
    SaleItemTabularInline = admin.TabularInline[SaleItem, Sale]
else:
    SaleModelAdmin = admin.ModelAdmin
    SaleItemTabularInline = admin.TabularInline


class SaleItemInline(SaleItemTabularInline):
    """The cars of a sale; what was sold is not rewritten."""

    model = SaleItem
    extra = 0
    can_delete = False
    fields = readonly_fields = ("car", "price")

    def has_add_permission(self, request: HttpRequest, obj: Sale | None = None) -> bool:  # noqa: ARG002
        """Say no: cars come into a sale with its order."""
        return False


@admin.register(Sale)
class SaleAdmin(SaleModelAdmin):
    """Sales, which orders make. Deleting one reopens its order."""

    list_display = ("__str__", "buyer", "order", "total", "receipt", "created_at")
    list_select_related = ("buyer__user", "order")
    date_hierarchy = "created_at"
    search_fields = ("receipt", "buyer__user__username", "items__car__make", "items__car__model")
    readonly_fields = ("order", "buyer", "total", "receipt", "created_at")
    inlines = [SaleItemInline]

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Say no: placing an order makes the sale."""
        return False
