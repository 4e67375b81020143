"""Searching, filtering and sorting the cars on offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django import forms
from django.db.models import Q

from .models import Car

if TYPE_CHECKING:
    from .models import CarQuerySet


class CarFilter(django_filters.FilterSet):  # type: ignore[misc] # it ships no types
    """The questions that the list of cars answers, each a part of its address."""

    q = django_filters.CharFilter(
        label="Search",
        method="search",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Make, model or code"}),
    )
    make = django_filters.ChoiceFilter(
        label="Make",
        choices=lambda: [(make, make) for make in Car.objects.makes()],
        empty_label="All makes",
    )
    body_style = django_filters.ChoiceFilter(
        label="Body", choices=Car.BodyStyle.choices, empty_label="All bodies"
    )
    min_price = django_filters.NumberFilter(
        label="Price from",
        field_name="price",
        lookup_expr="gte",
        min_value=0,
        widget=forms.NumberInput(attrs={"inputmode": "numeric", "placeholder": "any"}),
    )
    max_price = django_filters.NumberFilter(
        label="Price to",
        field_name="price",
        lookup_expr="lte",
        min_value=0,
        widget=forms.NumberInput(attrs={"inputmode": "numeric", "placeholder": "any"}),
    )
    stock = django_filters.ChoiceFilter(
        label="Stock",
        method="in_stock",
        choices=[("available", "For sale"), ("sold", "Sold")],
        empty_label="All cars",
    )
    sort = django_filters.OrderingFilter(
        label="Sort by",
        empty_label="Make",
        fields={"price": "price", "year": "year", "horsepower": "horsepower"},
        choices=[
            ("price", "Price, low to high"),
            ("-price", "Price, high to low"),
            ("-year", "Newest"),
            ("year", "Oldest"),
            ("-horsepower", "Power"),
        ],
    )

    class Meta:
        """Every filter is declared above."""

        model = Car
        fields: list[str] = []

    def search(self, queryset: CarQuerySet, _name: str, value: str) -> CarQuerySet:
        """Return the cars in which every word of *value* is found."""
        for word in value.split():
            queryset = queryset.filter(
                Q(make__icontains=word)
                | Q(model__icontains=word)
                | Q(trim__icontains=word)
                | Q(code__icontains=word)
                | Q(origin__icontains=word)
            )
        return queryset

    def in_stock(self, queryset: CarQuerySet, _name: str, value: str) -> CarQuerySet:
        """Return the cars for sale or the sold ones."""
        return queryset.filter(buyer__isnull=value == "available")

    def filter_queryset(self, queryset: Any) -> Any:
        """Return the filtered cars in an order that paging can rely on."""
        found = super().filter_queryset(queryset)
        return found.order_by(*found.query.order_by, "pk") if found.query.order_by else found
