"""The front page, the list of cars, a car and its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from .filters import CarFilter
from .illustration import draw
from .models import Car

if TYPE_CHECKING:
    from django.http import HttpRequest

    from core.http import HtmxRequest

CARS_ON_A_PAGE = 12
CARS_ON_THE_FRONT_PAGE = 6


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show what the site is and its most valuable cars."""
    cars = Car.objects.available()
    context = {
        "available": cars.count(),
        "makes": len(cars.makes()),
        "cars": cars.order_by("-price", "pk")[:CARS_ON_THE_FRONT_PAGE],
    }
    return render(request, "home.html", context)


@require_safe
@vary_on_headers("HX-Request")
def car_list(request: HtmxRequest) -> HttpResponse:
    """Show the cars that match, page by page; only the results when htmx asks."""
    found = CarFilter(request.GET, queryset=Car.objects.all())
    page = Paginator(found.qs, CARS_ON_A_PAGE).get_page(request.GET.get("page"))
    context = {"filter": found, "page": page}
    # When the browser goes back in its history, htmx asks for the whole page again.
    partial = request.htmx and not request.htmx.history_restore_request
    template = "cars/car_results.html" if partial else "cars/car_list.html"
    return render(request, template, context)


@require_safe
def car_detail(request: HttpRequest, code: str) -> HttpResponse:
    """Show one car and what is like it."""
    car = get_object_or_404(Car, code=code)
    alike = Car.objects.available().filter(body_style=car.body_style).exclude(pk=car.pk)
    return render(request, "cars/car_detail.html", {"car": car, "alike": alike[:3]})


@require_safe
def car_picture(request: HttpRequest, body_style: str, colour: str) -> HttpResponse:  # noqa: ARG001
    """Return the drawing of a car of that body and colour."""
    response = HttpResponse(
        draw(Car.BodyStyle(body_style), Car.Colour(colour)), content_type="image/svg+xml"
    )
    response["Cache-Control"] = "public, max-age=86400"
    return response
