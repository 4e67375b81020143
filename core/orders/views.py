"""The basket, checkout and one's own orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.buyers.models import Buyer
from core.cars.models import Car

from .exceptions import OrderError
from .models import Order

if TYPE_CHECKING:
    from django.http import HttpResponse

    from core.http import UserRequest


@login_required
@require_safe
def order_list(request: UserRequest) -> HttpResponse:
    """Show one's own orders."""
    orders = Order.objects.filter(buyer=Buyer.objects.of(request.user)).prefetch_related("cars")
    return render(request, "orders/order_list.html", {"orders": orders})


@login_required
@require_safe
def order_detail(request: UserRequest, pk: int) -> HttpResponse:
    """Show one order with its cars."""
    return render(request, "orders/order_detail.html", _order_context(_own_order(request, pk)))


@login_required
@require_safe
def basket(request: UserRequest) -> HttpResponse:
    """Show the open order that was begun last, or that there is none."""
    order = Order.objects.current_basket(Buyer.objects.of(request.user))
    if order is None:
        return render(request, "orders/basket_empty.html")
    return render(request, "orders/order_detail.html", _order_context(order))


@login_required
@require_POST
def add_to_basket(request: UserRequest, code: str) -> HttpResponse:
    """Put a car into the basket."""
    car = get_object_or_404(Car, code=code)
    try:
        Order.objects.basket_of(Buyer.objects.of(request.user)).add(car)
    except OrderError as error:
        messages.error(request, str(error))
        return redirect(car)
    messages.success(request, f"{car} is in your basket.")
    return redirect("orders:basket")


@login_required
@require_POST
def remove_car(request: UserRequest, pk: int, code: str) -> HttpResponse:
    """Take a car out of an open order."""
    order = _own_order(request, pk)
    car = get_object_or_404(Car, code=code)
    try:
        order.remove(car)
    except OrderError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{car} is out of your basket.")
    return redirect(order)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def check_out(request: UserRequest, pk: int) -> HttpResponse:
    """Show what is about to be bought; buy it on POST."""
    order = _own_order(request, pk)
    if request.method == "POST":
        try:
            order.place()
        except OrderError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{order} is placed. The cars are yours.")
        return redirect(order)
    if not order.is_open or not order.car_count:
        return redirect(order)
    return render(request, "orders/check_out.html", _order_context(order))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def cancel_order(request: UserRequest, pk: int) -> HttpResponse:
    """Ask whether to give up an open order; give it up on POST."""
    order = _own_order(request, pk)
    if request.method == "POST":
        try:
            order.cancel()
        except OrderError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{order} is cancelled.")
        return redirect("orders:list")
    if not order.is_open:
        return redirect(order)
    return render(request, "orders/order_confirm_cancel.html", {"order": order})


def _own_order(request: UserRequest, pk: int) -> Order:
    """Return the visitor's own order; anybody else's does not exist for them."""
    return get_object_or_404(Order, pk=pk, buyer=Buyer.objects.of(request.user))


def _order_context(order: Order) -> dict[str, object]:
    """Return the order and its cars, with those apart that somebody else has bought."""
    cars = list(order.cars.all())
    gone = [car for car in cars if car.is_sold] if order.is_open else []
    return {"order": order, "cars": cars, "gone": gone}
