"""Stored panels as pages and as JSON: for requests whose response cannot hold a toolbar.

They are in the toolbar's namespace and shown to whom the toolbar is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from debug_toolbar.decorators import require_show_toolbar
from debug_toolbar.store import get_store
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from tracing.panels import panel
from tracing.presentation.templating import CHOICES, SHOW, remember_choice, respond

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tracing.panels.facts import Json

PANEL_ID = "SignalTracePanel"


@login_not_required
@require_show_toolbar  # type: ignore[untyped-decorator]  # the toolbar's.
@never_cache
@require_safe
def recent(request: HttpRequest) -> HttpResponse:
    """Show the requests that the toolbar remembers, the newest first."""
    entries = []
    for request_id in reversed(list(get_store().request_ids())):
        stored = _stored(request_id)
        if stored:
            entries.append(
                {
                    "request_id": request_id,
                    "trace_id": stored.get("trace_id", ""),
                    "text": panel.summary(stored),
                    "url": reverse("djdt:signal_trace", args=[request_id]),
                }
            )
    if _wants_json(request):
        return JsonResponse({"requests": entries})
    return respond(request, "tracing/panel_recent.html", {"entries": entries})


@login_not_required
@require_show_toolbar  # type: ignore[untyped-decorator]  # the toolbar's.
@never_cache
@require_safe
def one(request: HttpRequest, key: str) -> HttpResponse:
    """Show one stored panel; *key* is the toolbar's request id or the trace id."""
    stored = _stored(key) or _with_trace(key)
    if not stored:
        raise Http404("The toolbar does not remember this request.")
    if _wants_json(request):
        return JsonResponse(stored)
    show = request.GET.get(SHOW, "")
    content = panel.render(stored, show if show in CHOICES else "")
    context = {"content": content, "text": panel.summary(stored)}
    return remember_choice(request, respond(request, "tracing/panel_page.html", context))


def _stored(request_id: str) -> Json:
    found: Json = get_store().panel(request_id, PANEL_ID)
    return found


def _with_trace(trace_id: str) -> Json:
    for request_id in list(get_store().request_ids()):
        stored = _stored(request_id)
        if trace_id in {stored.get("trace_id"), stored.get("root_span_id")}:
            return stored
    return {}


def _wants_json(request: HttpRequest) -> bool:
    """Return whether the answer is for a program: by ``?format=json`` or by its Accept header."""
    if "format" in request.GET:
        return request.GET["format"] == "json"
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"
