"""Addresses of the viewer. Each page has its JSON form at the same address with ``.json``."""

from __future__ import annotations

from django.urls import path, register_converter

from tracing.viewer.views import (
    charts,
    comparison,
    hazards,
    recorder,
    searches,
    span,
    statistics,
    trace,
    traces,
    wiring,
)


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
    """The address of a trace, ``<trace id>/<root span id>``; or one of the two alone."""

    regex = "[0-9a-fA-F]{32}(?:/[0-9a-fA-F]{16})?|[0-9a-fA-F]{16}"


register_converter(AddressConverter, "address")
register_converter(FingerprintConverter, "fingerprint")

app_name = "tracing"
JSON = {"output": "json"}

urlpatterns = [
    path("", traces.TraceList.as_view(), name="traces"),
    path("traces.json", traces.TraceList.as_view(), JSON, name="traces-json"),
    path("live/", traces.Live.as_view(), name="live"),
    path("live.json", traces.Live.as_view(), JSON, name="live-json"),
    path("charts/", charts.Charts.as_view(), name="charts"),
    path("charts.json", charts.Charts.as_view(), JSON, name="charts-json"),
    path("searches/", searches.Searches.as_view(), name="searches"),
    path("searches.json", searches.Searches.as_view(), JSON, name="searches-json"),
    path("map/", wiring.Map.as_view(), name="map"),
    path("map.json", wiring.Map.as_view(), JSON, name="map-json"),
    path("statistics/", statistics.StatisticsPage.as_view(), name="statistics"),
    path("statistics.json", statistics.StatisticsPage.as_view(), JSON, name="statistics-json"),
    path("statistics/heat/", statistics.HeatMapPage.as_view(), name="heat"),
    path("statistics/heat.json", statistics.HeatMapPage.as_view(), JSON, name="heat-json"),
    path("compare/", comparison.Compare.as_view(), name="compare"),
    path("compare.json", comparison.Compare.as_view(), JSON, name="compare-json"),
    path("compare/periods/", comparison.ComparePeriods.as_view(), name="periods"),
    path("compare/periods.json", comparison.ComparePeriods.as_view(), JSON, name="periods-json"),
    path("hazards/", hazards.HazardList.as_view(), name="hazards"),
    path("hazards.json", hazards.HazardList.as_view(), JSON, name="hazards-json"),
    path("hazards/<fingerprint:fingerprint>/", hazards.HazardDetail.as_view(), name="hazard"),
    path(
        "hazards/<fingerprint:fingerprint>.json",
        hazards.HazardDetail.as_view(),
        JSON,
        name="hazard-json",
    ),
    path("recorder/", recorder.Recorder.as_view(), name="recorder"),
    path("recorder.json", recorder.Recorder.as_view(), JSON, name="recorder-json"),
    path("recorder/switch/", recorder.Switch.as_view(), name="switch"),
    path("recorder/prune/", recorder.Prune.as_view(), name="prune"),
    path("recorder/prune.json", recorder.Prune.as_view(), JSON, name="prune-json"),
    path("complete.json", traces.Complete.as_view(), JSON, name="complete"),
    path("traces/<address:address>/", trace.TraceDetail.as_view(), name="trace"),
    path("traces/<address:address>.json", trace.TraceDetail.as_view(), JSON, name="trace-json"),
    path("traces/<address:address>/note/", trace.Annotate.as_view(), name="annotate"),
    path("traces/<address:address>/spans/<int:number>/", span.SpanDetail.as_view(), name="span"),
    path(
        "traces/<address:address>/spans/<int:number>.json",
        span.SpanDetail.as_view(),
        JSON,
        name="span-json",
    ),
    path(
        "traces/<address:address>/lines/<int:number>/",
        span.Repetitions.as_view(),
        name="repetitions",
    ),
    path(
        "traces/<address:address>/lines/<int:number>.json",
        span.Repetitions.as_view(),
        JSON,
        name="repetitions-json",
    ),
    path("traces/<address:address>/<slug:tab>/", trace.TraceDetail.as_view(), name="trace-tab"),
    path(
        "traces/<address:address>/<slug:tab>.json",
        trace.TraceDetail.as_view(),
        JSON,
        name="trace-tab-json",
    ),
]
