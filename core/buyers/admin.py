"""Buyers in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from .models import Buyer, Notice

if TYPE_CHECKING:
    BuyerModelAdmin = admin.ModelAdmin[Buyer]
    NoticeModelAdmin = admin.ModelAdmin[Notice]
else:
    BuyerModelAdmin = admin.ModelAdmin
    NoticeModelAdmin = admin.ModelAdmin


@admin.register(Buyer)
class BuyerAdmin(BuyerModelAdmin):
    """Buyers, and the counts that signals keep of them."""

    list_display = ("name", "user", "city", "cars_bought", "spent", "created_by_signal")
    list_filter = ("created_by_signal", "city")
    list_select_related = ("user",)
    search_fields = ("user__username", "user__first_name", "user__last_name", "city")
    autocomplete_fields = ("user",)
    readonly_fields = ("created_by_signal", "cars_bought", "spent", "created_at")


@admin.register(Notice)
class NoticeAdmin(NoticeModelAdmin):
    """The notices that buyers got."""

    list_display = ("text", "buyer", "created_at")
    list_select_related = ("buyer__user",)
    date_hierarchy = "created_at"
    search_fields = ("text", "buyer__user__username")
    autocomplete_fields = ("buyer",)
