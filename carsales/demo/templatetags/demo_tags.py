"""The seven questions, for the front page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import template
from django.conf import settings

from carsales.demo.questions import QUESTIONS

if TYPE_CHECKING:
    from carsales.demo.questions import Question

register = template.Library()


@register.simple_tag
def questions() -> tuple[Question, ...]:
    """Return the seven questions; none where visitors may not see traces."""
    return QUESTIONS if settings.DEBUG else ()
