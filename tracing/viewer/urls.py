"""Addresses of the viewer, each with its JSON form at ``.json``."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth.decorators import login_not_required
from django.db import connections
from django.urls import path, register_converter

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern

    View = Callable[..., HttpResponseBase]


class FingerprintConverter:
    """Hex digits of a hazard's fingerprint."""

    regex = "[0-9a-fA-F]{32}"

    def to_python(self, value: str) -> str:
        """Return the digits as they are stored."""
        return value.lower()

    def to_url(self, value: str) -> str:
        """Return the digits."""
        return value


class AddressConverter(FingerprintConverter):
    """A trace's address, or its trace id or root span id alone."""

    regex = "[0-9a-fA-F]{32}(?:/[0-9a-fA-F]{16})?|[0-9a-fA-F]{16}"


register_converter(AddressConverter, "address")
register_converter(FingerprintConverter, "fingerprint")

app_name = "tracing"
JSON = {"output": "json"}


@cache
def _imported(view: str) -> View:
    module, _, name = view.partition(".")
    page = getattr(import_module(f"tracing.viewer.views.{module}"), name)
    return cast("View", page.as_view())


def _view(view: str) -> View:
    """Return a view that is imported when it is first asked.

    Each process that serves or checks has these addresses, and few open a page. It needs none of the
    transactions of ATOMIC_REQUESTS, and decides by itself who may see it.
    """

    def shown(request: HttpRequest, **arguments: Any) -> HttpResponseBase:
        return _imported(view)(request, **arguments)

    shown._non_atomic_requests = set(connections)  # type: ignore[attr-defined]  # noqa: SLF001 - what non_atomic_requests() sets.
    return login_not_required(shown)


def _both(route: str, view: str, name: str) -> list[URLPattern]:
    """Return the routes of a page and of its JSON."""
    shown = _view(view)
    as_json = f"{route.removesuffix('/') or name}.json"
    return [path(route, shown, name=name), path(as_json, shown, JSON, name=f"{name}-json")]


_TRACE = "traces/<address:address>/"

urlpatterns = [
    *_both("", "traces.TraceList", "traces"),
    *_both("live/", "traces.Live", "live"),
    *_both("charts/", "charts.Charts", "charts"),
    *_both("searches/", "searches.Searches", "searches"),
    *_both("map/", "wiring.Map", "map"),
    *_both("explain/", "explain.Explain", "explain"),
    *_both("story/", "story.StoryPage", "story"),
    *_both("why-not/", "why_not.WhyNot", "why-not"),
    *_both("statistics/", "statistics.StatisticsPage", "statistics"),
    *_both("statistics/heat/", "statistics.HeatMapPage", "heat"),
    *_both("compare/", "comparison.Compare", "compare"),
    *_both("compare/periods/", "comparison.ComparePeriods", "periods"),
    *_both("hazards/", "hazards.HazardList", "hazards"),
    *_both("hazards/<fingerprint:fingerprint>/", "hazards.HazardDetail", "hazard"),
    *_both("recorder/", "recorder.Recorder", "recorder"),
    *_both("wiring/processes/", "processes.Processes", "processes"),
    path("recorder/switch/", _view("recorder.Switch"), name="switch"),
    *_both("recorder/prune/", "recorder.Prune", "prune"),
    path("complete.json", _view("traces.Complete"), JSON, name="complete"),
    *_both(_TRACE, "trace.TraceDetail", "trace"),
    path(f"{_TRACE}note/", _view("trace.Annotate"), name="annotate"),
    *_both(f"{_TRACE}spans/<int:number>/", "span.SpanDetail", "span"),
    *_both(f"{_TRACE}lines/<int:number>/", "span.Repetitions", "repetitions"),
    *_both(f"{_TRACE}<slug:tab>/", "trace.TraceDetail", "trace-tab"),
]
