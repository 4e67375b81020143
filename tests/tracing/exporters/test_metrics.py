"""Tests of the metrics: in the SDK's memory, over OTLP, and scraped as Prometheus does."""

from __future__ import annotations

from threading import Thread
from urllib.request import urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.parser import text_string_to_metric_families

from tests.tracing.exporters.test_otlp import start_http
from tests.tracing.samples import full_trace, plain_trace
from tracing.exporters.metrics import BUCKETS, MetricsExporter
from tracing.pipeline import ExporterStatistics, PipelineStatistics
from tracing.spans.records import Hazard


class Measured:
    """The metrics in the SDK's memory."""

    def __init__(self):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader])

    def points(self, name):
        """Return the points of a metric by their attributes, less the common beginning of those."""
        data = self.reader.get_metrics_data()
        return {
            tuple(
                sorted((key.rpartition(".")[2], value) for key, value in point.attributes.items())
            ): point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def values(self, name):
        return {attributes: point.value for attributes, point in self.points(name).items()}


@pytest.fixture
def measured():
    found = Measured()
    yield found
    found.provider.shutdown()


SAVE = "django.db.models.signals.post_save"


def test_receivers_are_timed_by_signal_receiver_and_outcome(measured):
    trace = full_trace()
    exporter = MetricsExporter(measured.provider)

    exporter.export([trace, full_trace()])

    points = measured.points("django.signal.receiver.duration")
    calls = [
        (dispatch.signal, call)
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
        if call.is_timed
    ]
    assert sum(point.count for point in points.values()) == 2 * len(calls)
    signal, call = calls[0]
    key = ("outcome", call.outcome.value), ("receiver", call.receiver.name), ("signal", signal)
    assert points[key].sum == pytest.approx(2 * call.duration_ns / 1e9)
    assert tuple(points[key].explicit_bounds) == BUCKETS


def test_dispatches_errors_and_hazards_are_counted(measured):
    trace = full_trace()
    trace.hazards = [
        Hazard("n-plus-one", "warning", "Many."),
        Hazard("n-plus-one", "warning", "More."),
    ]
    exporter = MetricsExporter(measured.provider)

    exporter.export([trace])
    exporter.export([plain_trace(1, dispatches=3)])

    dispatches = measured.values("django.signal.dispatches")
    errors = measured.values("django.signal.receiver.errors")
    raised = [
        call for each in trace.dispatches for call in each.receiver_calls if call.exception_type
    ]
    assert sum(dispatches.values()) == len(trace.dispatches) + 3
    assert sum(errors.values()) == len(raised)
    assert measured.values("django.tracing.hazards") == {
        (("hazard", "n-plus-one"), ("severity", "warning")): 2
    }


def test_names_beyond_the_limit_share_a_series(measured):
    exporter = MetricsExporter(measured.provider, most_names=2)
    traces = [plain_trace(number, dispatches=1) for number in range(20)]
    for number, trace in enumerate(traces):
        trace.dispatches[0].signal = f"shop.signal_{number}"

    exporter.export(traces)

    dispatches = measured.values("django.signal.dispatches")
    durations = measured.points("django.signal.receiver.duration")
    assert sum(dispatches.values()) == sum(point.count for point in durations.values()) == 20
    assert len(dispatches) + len(durations) <= 2 + 2
    assert dispatches[(("overflow", True),)] >= 18


def test_what_is_lost_and_how_far_behind_the_export_is(measured):
    exporter = MetricsExporter(measured.provider)

    exporter.tick(PipelineStatistics(dropped=2, failed=1, queued=4, behind_seconds=1.5))
    state = {"process": 7, "started_ns": 1, "dropped": 5}
    exporter.tell_of([state, state | {"process": 8, "dropped": 1}])
    exporter.tell_of([state | {"dropped": 6}])
    exporter.tick(
        PipelineStatistics(
            dropped=2,
            failed=1,
            behind_seconds=2.5,
            exporters={"otlp": ExporterStatistics(dropped=10, waiting=3)},
        )
    )

    assert measured.values("django.tracing.traces.dropped") == {(): 3 + 5 + 1 + 1 + 10}
    assert measured.values("django.tracing.traces.waiting") == {(): 3}
    assert measured.values("django.tracing.collector.lag") == {(): 2.5}


def test_without_a_provider_of_the_project_nothing_is_kept():
    exporter = MetricsExporter()

    exporter.export([full_trace()])
    exporter.tick(PipelineStatistics(dropped=1))


@pytest.mark.thorough
def test_metrics_reach_a_collector():
    receiver = start_http()
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(receiver.endpoint.replace("traces", "metrics")),
        export_interval_millis=float("inf"),
    )
    provider = MeterProvider(metric_readers=[reader])
    try:
        MetricsExporter(provider).export([full_trace()])
        provider.force_flush()
    finally:
        provider.shutdown()
        receiver.stop()

    duration = receiver.metrics["django.signal.receiver.duration"]
    assert duration.unit == "s"
    assert sum(point.count for point in duration.histogram.data_points) > 0
    assert receiver.metrics["django.signal.dispatches"].sum.is_monotonic


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def test_prometheus_scrapes_them():
    registry = CollectorRegistry()
    provider = MeterProvider(metric_readers=[PrometheusMetricReader(registry=registry)])
    server = make_server("127.0.0.1", 0, make_wsgi_app(registry), handler_class=Quiet)
    thread = Thread(target=server.handle_request)
    thread.start()
    try:
        exporter = MetricsExporter(provider)
        exporter.export([full_trace()])
        exporter.tick(PipelineStatistics(queued=3))
        with urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    finally:
        thread.join()
        server.server_close()
        provider.shutdown()

    families = {family.name: family for family in text_string_to_metric_families(text)}
    duration = families["django_signal_receiver_duration_seconds"]
    buckets = {
        sample.labels["le"]
        for sample in duration.samples
        if sample.name.endswith("_bucket") and sample.labels["django_signal_outcome"] == "returned"
    }
    assert duration.type == "histogram"
    assert len(buckets) == len(BUCKETS) + 1
    assert {sample.labels["django_signal"] for sample in duration.samples} >= {SAVE}
    assert families["django_signal_dispatches"].type == "counter"
    assert [sample.value for sample in families["django_tracing_traces_waiting"].samples] == [3]
