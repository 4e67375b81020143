"""Addresses of the viewer, each with its JSON form at ``.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import path, register_converter

from tracing.viewer.views import (
    charts,
    comparison,
    explain,
    hazards,
    processes,
    recorder,
    searches,
    span,
    statistics,
    story,
    trace,
    traces,
    why_not,
    wiring,
)

if TYPE_CHECKING:
    from django.urls import URLPattern

    from tracing.viewer.views.base import Page


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


def _both(route: str, view: type[Page], name: str) -> list[URLPattern]:
    """Return the routes of a page and of its JSON."""
    shown = view.as_view()
    as_json = f"{route.removesuffix('/') or name}.json"
    return [path(route, shown, name=name), path(as_json, shown, JSON, name=f"{name}-json")]


_TRACE = "traces/<address:address>/"

urlpatterns = [
    *_both("", traces.TraceList, "traces"),
    *_both("live/", traces.Live, "live"),
    *_both("charts/", charts.Charts, "charts"),
    *_both("searches/", searches.Searches, "searches"),
    *_both("map/", wiring.Map, "map"),
    *_both("explain/", explain.Explain, "explain"),
    *_both("story/", story.StoryPage, "story"),
    *_both("why-not/", why_not.WhyNot, "why-not"),
    *_both("statistics/", statistics.StatisticsPage, "statistics"),
    *_both("statistics/heat/", statistics.HeatMapPage, "heat"),
    *_both("compare/", comparison.Compare, "compare"),
    *_both("compare/periods/", comparison.ComparePeriods, "periods"),
    *_both("hazards/", hazards.HazardList, "hazards"),
    *_both("hazards/<fingerprint:fingerprint>/", hazards.HazardDetail, "hazard"),
    *_both("recorder/", recorder.Recorder, "recorder"),
    *_both("wiring/processes/", processes.Processes, "processes"),
    path("recorder/switch/", recorder.Switch.as_view(), name="switch"),
    *_both("recorder/prune/", recorder.Prune, "prune"),
    path("complete.json", traces.Complete.as_view(), JSON, name="complete"),
    *_both(_TRACE, trace.TraceDetail, "trace"),
    path(f"{_TRACE}note/", trace.Annotate.as_view(), name="annotate"),
    *_both(f"{_TRACE}spans/<int:number>/", span.SpanDetail, "span"),
    *_both(f"{_TRACE}lines/<int:number>/", span.Repetitions, "repetitions"),
    *_both(f"{_TRACE}<slug:tab>/", trace.TraceDetail, "trace-tab"),
]
