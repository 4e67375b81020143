"""The pages of the lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import Http404
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from .hazards.exhibits import EXHIBITS
from .lessons import LESSONS
from .recording import provoke, run

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from core.http import HtmxRequest


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """List the lessons."""
    return render(request, "lab/index.html", {"lessons": LESSONS, "exhibits": EXHIBITS})


@require_http_methods(["GET", "HEAD", "POST"])
def lesson(request: HtmxRequest, slug: str) -> HttpResponse:
    """Show a lesson; on POST run its experiment and show what came of it.

    When htmx asks, the answer is the outcome alone.
    """
    numbers = {known.slug: number for number, known in enumerate(LESSONS)}
    if slug not in numbers:
        raise Http404
    number = numbers[slug]
    chosen = LESSONS[number]
    context: dict[str, object] = {"lesson": chosen}
    if request.method == "POST":
        context["outcome"] = run(chosen)
        if request.htmx:
            return render(request, "lab/outcome.html", context)
    context |= {
        "sources": chosen.sources(),
        "previous": LESSONS[number - 1] if number else None,
        "next": LESSONS[number + 1] if number + 1 < len(LESSONS) else None,
    }
    return render(request, "lab/lesson.html", context)


@require_safe
def hall(request: HttpRequest) -> HttpResponse:
    """List the hazards."""
    return render(request, "lab/hall.html", {"exhibits": EXHIBITS})


@require_http_methods(["GET", "HEAD", "POST"])
def exhibit(request: HtmxRequest, slug: str) -> HttpResponse:
    """Explain a hazard; on POST provoke it and show what the rules found.

    When htmx asks, the answer is the diagnosis alone.
    """
    numbers = {known.slug: number for number, known in enumerate(EXHIBITS)}
    if slug not in numbers:
        raise Http404
    number = numbers[slug]
    chosen = EXHIBITS[number]
    context: dict[str, object] = {"exhibit": chosen}
    if request.method == "POST":
        context["diagnosis"] = provoke(chosen)
        if request.htmx:
            return render(request, "lab/diagnosis.html", context)
    context |= {
        "sources": chosen.sources(),
        "previous": EXHIBITS[number - 1] if number else None,
        "next": EXHIBITS[number + 1] if number + 1 < len(EXHIBITS) else None,
    }
    return render(request, "lab/exhibit.html", context)
