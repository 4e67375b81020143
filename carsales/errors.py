"""The page for a form whose CSRF token is missing or stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.shortcuts import render

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """Return the site's own 403 page and say how to go on; the reason stays in Django's log."""
    return render(request, "403_csrf.html", status=403)
