"""Saved searches: a name for the parameters of a list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse

from tracing.models import SavedSearch
from tracing.viewer.forms import FilterForm, SavedSearchForm
from tracing.viewer.views.base import Page
from tracing.viewer.views.traces import LONGEST_ID

if TYPE_CHECKING:
    from django.http import HttpRequest

_STATE = ("q", *FilterForm.base_fields)


class Searches(Page):
    """The saved searches: listed, kept and deleted."""

    template_name = "tracing/searches.html"
    section = "traces"

    def get(self, _request: HttpRequest) -> HttpResponse:
        """Return the saved searches: as a page, for the search box, or as JSON."""
        return self._shown(SavedSearchForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Keep a search under a name, which replaces one of that name; or delete one."""
        if "delete" in request.POST:
            key = request.POST["delete"]
            is_key = key.isascii() and key.isdecimal() and len(key) <= LONGEST_ID
            SavedSearch.objects.filter(pk=key if is_key else 0).delete()
            return self._done()
        form = SavedSearchForm(request.POST)
        if not form.is_valid():
            return self._shown(form, status=400)
        user = getattr(request, "user", None)
        SavedSearch.objects.update_or_create(
            name=form.cleaned_data["name"],
            defaults={
                "query": _parameters(form.cleaned_data["query"]),
                "created_ns": time.time_ns(),
                "created_by": user.get_username()[:150] if user is not None else "",
            },
        )
        return self._done()

    def _done(self) -> HttpResponse:
        if self.wants_part or self.wants_json:
            return self._shown(SavedSearchForm())
        return HttpResponseRedirect(reverse("tracing:searches"))

    def _shown(self, form: SavedSearchForm, status: int = 200) -> HttpResponse:
        searches = list(SavedSearch.objects.all()[:200])
        if self.wants_json:
            document = {
                "searches": [
                    {"name": search.name, "query": search.query, "created_by": search.created_by}
                    for search in searches
                ],
                "errors": form.errors if form.is_bound else {},
            }
            return self.json(document, status=status)
        template = "tracing/includes/searches.html" if self.wants_part else ""
        return self.page({"searches": searches, "form": form}, template, status=status)


def _parameters(text: str) -> str:
    """Return the parameters of a list in *text*, and nothing else that may stand in an address."""
    given = QueryDict(text.lstrip("?"))
    kept = QueryDict(mutable=True)
    for name in _STATE:
        if given.get(name):
            kept[name] = given[name]
    return kept.urlencode()[:4_000]
