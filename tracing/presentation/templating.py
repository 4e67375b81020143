"""The template engine of the tracer's pages, whatever TEMPLATES says.

A project may have no engine, one for other templates, one that does not escape, or processors that
ask a database; none of that is a reason for a page of the viewer or the panel not to be drawn.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.template import Context, Engine, RequestContext, TemplateDoesNotExist
from django.template.loader import get_template
from django.urls import get_script_prefix

from tracing.spans.escapes import in_any_charset

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.utils.safestring import SafeString

_Response = TypeVar("_Response", bound="HttpResponseBase")

SHOW: Final = "show"
"""The parameter of a page's address that says whether it shows *mine* or *everything*."""
SHOW_COOKIE: Final = "tracing_show"
"""The cookie that says it where the address does not."""
EVERYTHING: Final = "everything"
CHOICES: Final = ("mine", EVERYTHING)


def shows_everything(request: HttpRequest) -> bool:
    """Return whether the address, or else the cookie, chose *everything*."""
    for given in (request.GET.get(SHOW), request.COOKIES.get(SHOW_COOKIE)):
        if given in CHOICES:
            return given == EVERYTHING
    return False


_YEAR_SECONDS: Final = 31_536_000


def remember_choice(request: HttpRequest, response: _Response) -> _Response:
    """Keep the choice of this page for the next one; return *response*."""
    chosen = request.GET.get(SHOW)
    if chosen in CHOICES:
        response.set_cookie(
            SHOW_COOKIE, chosen, max_age=_YEAR_SECONDS, path=get_script_prefix(), samesite="Lax"
        )
    return response


@cache
def _engine() -> Engine:
    return Engine(
        dirs=[str(Path(__file__).parents[1] / "templates")],
        context_processors=["django.template.context_processors.request"],
        libraries={
            "l10n": "django.templatetags.l10n",
            "tracing_tags": "tracing.templatetags.tracing_tags",
        },
    )


def draw(name: str, context: dict[str, Any]) -> SafeString:
    """Return the template *name* drawn for a page in any charset."""
    # Numbers are for scripts and attributes unless a filter makes them one for people.
    return in_any_charset(_engine().get_template(name).render(Context(context, use_l10n=False)))


def respond(
    request: HttpRequest, name: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Return a response to *request* with the template *name* of the tracer."""
    bound = RequestContext(request, context, use_l10n=False)
    drawn = _engine().get_template(name).render(bound)
    # DEFAULT_CHARSET, which may lack a character of the page, is for the project's own pages.
    return HttpResponse(drawn, content_type="text/html; charset=utf-8", status=status)


_DJANGO_S: Final = "django.template.backends.django.DjangoTemplates"


def missing_engine() -> str:
    """Return why the project cannot use our templates; empty if it can."""
    if any(
        given.get("BACKEND") == _DJANGO_S and given.get("APP_DIRS") is True
        for given in settings.TEMPLATES
    ):
        return ""  # It is found there, and need not be compiled for that.
    try:
        get_template("tracing/trace_tree.html")
    except (TemplateDoesNotExist, ImproperlyConfigured):
        return "TEMPLATES has no engine of Django's that finds the templates of applications."
    return ""


ENGINE_HINT = (
    "The viewer brings its own, but {% trace_tree %} and the admin need one: add a DjangoTemplates"
    " backend with 'APP_DIRS': True to TEMPLATES."
)
