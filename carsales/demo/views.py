"""The way from a question to its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import Http404
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from .questions import QUESTIONS

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@require_safe
def question(request: HttpRequest, number: int) -> HttpResponse:
    """Lead to the page of the viewer that answers a question, or say what has to happen first."""
    if not 1 <= number <= len(QUESTIONS):
        raise Http404
    chosen = QUESTIONS[number - 1]
    answer = chosen.answer()
    if answer is not None:
        return redirect(answer.page)
    return render(request, "demo/unanswered.html", {"number": number, "question": chosen})
