"""The visitor's basket, for every page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.functional import SimpleLazyObject

from .models import Order

if TYPE_CHECKING:
    from django.http import HttpRequest


def basket(request: HttpRequest) -> dict[str, Any]:
    """Return the visitor's open order as `basket`; asked of the database only when it is shown."""

    def current() -> Order | None:
        user = getattr(request, "user", None)
        if user is None or not user.is_authenticated:
            return None
        return Order.objects.open().filter(buyer__user_id=user.pk).first()

    return {"basket": SimpleLazyObject(current)}
