"""The list of sales, a sale and its cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from .exceptions import SaleCancelledError
from .models import Sale

if TYPE_CHECKING:
    from django.http import HttpResponse

    from core.http import UserRequest

SALES_ON_A_PAGE = 20


@login_required
@require_safe
def sale_list(request: UserRequest) -> HttpResponse:
    """Show one's own sales; everybody's to staff."""
    sales = (
        Sale.objects.visible_to(request.user)
        .select_related("buyer__user")
        .prefetch_related("items__car")
    )
    page = Paginator(sales, SALES_ON_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "sales/sale_list.html", {"page": page})


@login_required
@require_safe
def sale_detail(request: UserRequest, pk: int) -> HttpResponse:
    """Show one sale with its cars and their prices."""
    sale = get_object_or_404(
        Sale.objects.visible_to(request.user).select_related("buyer__user", "order"), pk=pk
    )
    context = {"sale": sale, "items": sale.items.select_related("car")}
    return render(request, "sales/sale_detail.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def cancel_sale(request: UserRequest, pk: int) -> HttpResponse:
    """Ask whether to cancel a sale; cancel it on POST."""
    sale = get_object_or_404(
        Sale.objects.visible_to(request.user).select_related("order__buyer__user"), pk=pk
    )
    if request.method == "POST":
        order = sale.order
        name = str(sale)
        try:
            sale.cancel()
        except SaleCancelledError as error:
            messages.error(request, str(error))
            return redirect("sales:list")
        messages.success(request, f"{name} is cancelled and {order} is open again.")
        if order.buyer.user_id == request.user.pk:
            return redirect(order)
        return redirect("sales:list")
    return render(request, "sales/sale_confirm_cancel.html", {"sale": sale})
