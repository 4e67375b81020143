"""The one way in which the pages write amounts of money."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from django import template

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def money(amount: Decimal | SafeString | None) -> str:
    """Return US dollars as `$12,500`, with cents only where there are any; "" for None."""
    if amount is None or amount == "":
        return ""
    value = Decimal(amount)
    return f"${value:,.0f}" if value == value.to_integral_value() else f"${value:,.2f}"
