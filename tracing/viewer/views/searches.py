"""Saved searches: a name for the parameters of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse

from tracing.presentation.documents import fields_of
from tracing.store import searches as kept_searches
from tracing.viewer.access import NotPermittedError, Permission, username
from tracing.viewer.forms import FilterForm, SavedSearchForm
from tracing.viewer.views.base import Page, whole_number

if TYPE_CHECKING:
    from django.http import HttpRequest

    from tracing.store.searches import Saved

_STATE = ("q", *FilterForm.base_fields)


class Searches(Page):
    """The saved searches: listed, kept and deleted."""

    template_name = "tracing/searches.html"
    section = "traces"

    def get(self, _request: HttpRequest) -> HttpResponse:
        """Return the saved searches: as a page, for the search box, or as JSON."""
        return self._shown(SavedSearchForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Keep or replace a search under a name, or delete one."""
        if "delete" in request.POST:
            return self._delete(request.POST["delete"])
        form = SavedSearchForm(request.POST)
        if not form.is_valid():
            return self._shown(form, status=400)
        name, query = form.cleaned_data["name"], _parameters(form.cleaned_data["query"])
        kept = kept_searches.named(name)
        if kept is not None:
            return self._replace(kept, query, form)
        if not self.may(Permission.ADD_SEARCH):
            raise NotPermittedError(Permission.ADD_SEARCH)
        search, is_new = kept_searches.add(name, query, username(request))
        return self._done() if is_new else self._replace(search, query, form)

    def _replace(self, kept: Saved, query: str, form: SavedSearchForm) -> HttpResponse:
        if not self._may_change(kept, Permission.CHANGE_SEARCH):
            form.add_error("name", "Somebody else has a search of this name: choose another name.")
            return self._shown(form, status=403)
        kept_searches.replace(kept, query)
        return self._done()

    def _delete(self, key: str) -> HttpResponse:
        number = whole_number(key)
        kept = None if number is None else kept_searches.of_key(number)
        if kept is not None:
            if not self._may_change(kept, Permission.DELETE_SEARCH):
                raise NotPermittedError(Permission.DELETE_SEARCH)
            kept_searches.delete(kept)
        return self._done()

    def _may_change(self, search: Saved, permission: Permission) -> bool:
        """Return whether *search* is the sender's own, or they may change all."""
        own = username(self.request)
        return bool(own and search.created_by == own) or self.may(permission)

    def _done(self) -> HttpResponse:
        if self.wants_part or self.wants_json:
            return self._shown(SavedSearchForm())
        return HttpResponseRedirect(reverse("tracing:searches"))

    def _shown(self, form: SavedSearchForm, status: int = 200) -> HttpResponse:
        searches = kept_searches.saved()
        if self.wants_json:
            document = {
                "searches": [fields_of(each, "name", "query", "created_by") for each in searches],
                "errors": form.errors if form.is_bound else {},
            }
            return self.json(document, status=status)
        template = "tracing/includes/searches.html" if self.wants_part else ""
        lines = [
            (search, self._may_change(search, Permission.DELETE_SEARCH)) for search in searches
        ]
        context = {
            "searches": lines,
            "form": form,
            "may_add": self.may(Permission.ADD_SEARCH),
            "beside_search": self.wants_part,
        }
        return self.page(context, template, status=status)


def _parameters(text: str) -> str:
    """Return only the parameters of a list that *text* holds."""
    given = QueryDict(text.lstrip("?"))
    kept = QueryDict(mutable=True)
    for name in _STATE:
        if given.get(name):
            kept[name] = given[name]
    return kept.urlencode()[:4_000]
