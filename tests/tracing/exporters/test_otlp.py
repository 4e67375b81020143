"""The OTLP exporter against real receivers on loopback, for both protocols."""

from __future__ import annotations

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2,
    trace_service_pb2_grpc,
)
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.tracing.samples import full_trace, plain_trace
from tracing.conf.parts import PipelineOptions
from tracing.exporters.formats import otlp_json
from tracing.exporters.otlp import OTLPExporter, log_endpoint
from tracing.pipeline import Pipeline, TemporaryError
from tracing.spans.records import Outcome, span_id


class Receiver:
    """What a collector was sent."""

    def __init__(self):
        self.requests = []
        self.headers = []
        self.log_requests = []
        self.metric_requests = []
        self.takes_logs = True
        self.endpoint = ""
        self.stop = None

    @property
    def spans(self):
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def logs(self):
        return [
            record
            for request in self.log_requests
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def metrics(self):
        return {
            metric.name: metric
            for request in self.metric_requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @property
    def resource(self):
        return values(self.requests[0].resource_spans[0].resource)


def values(thing):
    """Return the attributes of a span or a resource."""
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in thing.attributes
    }


def start_grpc(port=0):
    receiver = Receiver()

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802 - as the protocol has it.
            receiver.requests.append(request)
            receiver.headers.append(dict(context.invocation_metadata()))
            return trace_service_pb2.ExportTraceServiceResponse()

    class LogService(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request, context):  # noqa: N802 - as the protocol has it.
            if not receiver.takes_logs:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "no logs here")
            receiver.log_requests.append(request)
            return logs_service_pb2.ExportLogsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(LogService(), server)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    receiver.endpoint = f"http://127.0.0.1:{bound}"
    receiver.stop = lambda: server.stop(None).wait()
    return receiver


def start_http(port=0):
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
                receiver.requests.append(request)
                receiver.headers.append({name.lower(): text for name, text in self.headers.items()})
            elif self.path == "/v1/metrics":
                request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
                receiver.metric_requests.append(request)
            elif receiver.takes_logs:
                request = logs_service_pb2.ExportLogsServiceRequest.FromString(body)
                receiver.log_requests.append(request)
            is_known = self.path != "/v1/logs" or receiver.takes_logs
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop():
        server.shutdown()
        server.server_close()
        thread.join()

    receiver.endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
    receiver.stop = stop
    return receiver


STARTERS = {"grpc": start_grpc, "http": start_http}


@pytest.fixture(params=["grpc", "http"])
def protocol(request):
    return request.param


@pytest.fixture
def receiver(protocol):
    receiver = STARTERS[protocol]()
    yield receiver
    receiver.stop()


@pytest.fixture
def exporter(protocol, receiver):
    exporter = OTLPExporter(
        receiver.endpoint, protocol=protocol, service="shop", headers={"X-Key": "secret"}
    )
    yield exporter
    exporter.shutdown()


def test_spans_arrive_as_a_tree(exporter, receiver):
    trace = full_trace()

    exporter.export([trace])

    found = {span.span_id.hex(): span for span in receiver.spans}
    ids = {number: span_id(trace.root_span_id, number) for number in range(8)}
    assert {span.trace_id.hex() for span in receiver.spans} == {trace.trace_id}
    # Number 7 was skipped: it never ran.
    assert set(found) == {ids[number] for number in (0, 1, 2, 3, 4, 5, 6)}
    assert {span_id_: span.parent_span_id.hex() for span_id_, span in found.items()} == {
        # Of another trace: it is linked.
        ids[0]: "",
        ids[1]: ids[0],
        ids[2]: ids[1],
        ids[3]: ids[1],
        ids[4]: ids[2],
        ids[5]: ids[4],
        ids[6]: ids[0],
    }
    assert [link.span_id.hex() for link in found[ids[4]].links] == [ids[2]]
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in found[ids[0]].links] == [
        (trace.parent_trace_id, trace.parent_span_id)
    ]


@pytest.mark.parametrize("of_its_own", [True, False])
def test_parent_in_the_same_trace_is_the_parent(exporter, receiver, of_its_own):
    trace = full_trace()
    trace.parent_trace_id = trace.trace_id if of_its_own else ""

    exporter.export([trace])

    [root] = [span for span in receiver.spans if span.span_id.hex() == trace.root_span_id]
    assert (root.parent_span_id.hex(), list(root.links)) == (trace.parent_span_id, [])


def test_traces_that_share_an_incoming_trace_id_share_no_span_id(exporter, receiver):
    first, second = full_trace(), full_trace()
    second.root_span_id = "f" * 16

    exporter.export([first, second])

    ids = [span.span_id.hex() for span in receiver.spans]
    assert len(ids) == len(set(ids)) == 14


def test_span_has_time_attributes_and_status(exporter, receiver):
    trace = full_trace()

    exporter.export([trace])

    found = {span.span_id.hex(): span for span in receiver.spans}
    dispatch = found[span_id(trace.root_span_id, 1)]
    failed = found[span_id(trace.root_span_id, 3)]
    assert dispatch.name == "post_save shop.Order"
    assert dispatch.start_time_unix_nano == trace.started_ns + 1_000
    assert dispatch.end_time_unix_nano == trace.started_ns + 10_000
    assert values(dispatch)["django.signal"] == "django.db.models.signals.post_save"
    assert values(dispatch)["code.line.number"] == 77
    assert failed.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert values(failed)["error.type"] == "ValueError"


def test_exception_is_a_log_record_of_its_span(exporter, receiver):
    trace = full_trace()
    call = trace.dispatches[0].receiver_calls[1]

    exporter.export([trace])

    (record,) = receiver.logs
    assert record.event_name == "django.signal.receiver.exception"
    assert (record.severity_number, record.severity_text) == (17, "ERROR")
    assert record.trace_id.hex() == trace.trace_id
    assert record.span_id.hex() == span_id(trace.root_span_id, call.number)
    assert record.time_unix_nano == trace.started_ns + call.start_ns + call.duration_ns
    assert values(record) == {
        "exception.type": call.exception_type,
        "exception.message": call.exception_message,
        "django.signal.receiver": call.receiver.name,
    }
    assert values(receiver.log_requests[0].resource_logs[0].resource) == receiver.resource
    assert not [event for span in receiver.spans for event in span.events]


def test_exception_that_passes_through_receivers_is_told_once(exporter, receiver):
    trace = full_trace()
    first = trace.dispatches[0]
    inner = plain_trace(1, dispatches=1).dispatches[0]
    inner.number, inner.receiver_calls[0].number = 50, 51
    inner.parent_number = first.receiver_calls[1].number
    inner.exception_type = inner.receiver_calls[0].exception_type = "ValueError"
    inner.receiver_calls[0].outcome = Outcome.RAISED
    trace.dispatches.append(inner)

    exporter.export([trace])

    assert [record.span_id.hex() for record in receiver.logs] == [span_id(trace.root_span_id, 51)]


def test_events_of_spans_are_added_where_the_environment_asks(protocol, receiver, monkeypatch):
    monkeypatch.setenv("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", "logs/dup")
    exporter = OTLPExporter(receiver.endpoint, protocol=protocol)

    exporter.export([full_trace()])
    exporter.shutdown()

    assert len(receiver.logs) == 1
    assert events_of(receiver) == [("exception", "ValueError")]


def test_collector_without_logs_gets_events_of_spans(exporter, receiver, caplog):
    receiver.takes_logs = False

    for _ in range(3):
        exporter.export([full_trace()])

    assert [record.getMessage() for record in caplog.records if record.name == "tracing"] == [
        "The collector took no log records: exceptions are events of spans from now on."
    ]
    assert len(receiver.spans) == 3 * 7
    assert events_of(receiver) == [("exception", "ValueError")] * 2


def events_of(receiver):
    return [
        (event.name, values(event)["exception.type"])
        for span in receiver.spans
        for event in span.events
    ]


@pytest.mark.parametrize(
    ("endpoint", "protocol", "logs"),
    [
        (None, "http", ""),
        ("http://collector:4317", "grpc", "http://collector:4317"),
        ("http://collector:4318/v1/traces", "http", "http://collector:4318/v1/logs"),
        ("https://vendor/ingest", "http", None),
    ],
)
def test_log_records_go_beside_the_spans(endpoint, protocol, logs):
    assert log_endpoint(endpoint, protocol) == logs


@pytest.mark.parametrize(
    ("method", "name", "told"),
    [
        ("GET", "GET /orders/<int:pk>/", ("GET /orders/<int:pk>/", "/orders/<int:pk>/")),
        ("POST", "POST (no route)", ("POST", None)),
        ("BREW", "OTHER /pot/", ("HTTP /pot/", "/pot/")),
    ],
)
def test_name_and_route_of_a_request(exporter, receiver, method, name, told):
    exporter.export([plain_trace(1, http_method=method, name=name)])

    root = receiver.spans[0]
    assert (root.name, values(root).get("http.route")) == told


def test_resource_and_headers_are_sent(exporter, receiver):
    exporter.export([full_trace()])

    assert receiver.resource["service.name"] == "shop"
    assert receiver.resource["service.version"] == "1.2.3"
    assert receiver.resource["host.name"] == "web1"
    assert receiver.headers[0]["x-key"] == "secret"


def test_requests_kind_is_server(exporter, receiver):
    exporter.export([plain_trace(1, http_method="GET")])

    root = receiver.spans[0]
    assert (root.name, root.kind) == ("GET shop:list", trace_pb2.Span.SPAN_KIND_SERVER)


def test_large_batch_is_sent_in_parts(exporter, receiver):
    exporter.export([plain_trace(number, dispatches=50) for number in range(12)])

    assert len(receiver.requests) > 1
    assert len(receiver.spans) == 12 * 101


@pytest.mark.thorough
def test_receiver_that_is_down_is_waited_for(protocol, caplog):
    first = STARTERS[protocol]()
    port = int(first.endpoint.split(":")[2].split("/")[0])
    first.stop()
    exporter = OTLPExporter(first.endpoint, protocol=protocol, timeout=3)
    pipeline = Pipeline(PipelineOptions(batch_seconds=0.01))
    pipeline.add_exporter(exporter)
    pipeline.submit(plain_trace(1))

    flushed_while_down = pipeline.force_flush(60)
    messages = [record.getMessage() for record in caplog.records if record.name == "tracing"]
    receiver = STARTERS[protocol](port)
    try:
        # A connection that was refused is left alone for a while.
        flushed = any(pipeline.force_flush(60) for _ in range(20))
        pipeline.shutdown()
    finally:
        receiver.stop()

    assert not flushed_while_down
    assert len(messages) == 1, messages
    assert "otlp exporter cannot write" in messages[0]
    assert flushed
    assert len(receiver.spans) == 3


def test_receiver_that_is_down_is_a_temporary_error(protocol):
    first = STARTERS[protocol]()
    first.stop()
    exporter = OTLPExporter(first.endpoint, protocol=protocol, timeout=0.2)

    with pytest.raises(TemporaryError, match="collector"):
        exporter.export([plain_trace(1)])
    exporter.shutdown()


def test_other_protocols_are_refused():
    with pytest.raises(ValueError, match="carrier pigeon"):
        OTLPExporter(protocol="carrier pigeon")


def test_json_is_what_protobuf_reads(exporter, receiver):
    trace = full_trace()
    exporter.export([trace])
    document = otlp_json([trace], service="shop")
    for resource in document["resourceSpans"]:
        for span in resource["scopeSpans"][0]["spans"]:
            # OTLP writes ids in hex, where protobuf's own JSON has base64.
            for name in ("traceId", "spanId", "parentSpanId"):
                if name in span:
                    span[name] = to_base64(span[name])
            for link in span.get("links", ()):
                link["traceId"] = to_base64(link["traceId"])
                link["spanId"] = to_base64(link["spanId"])

    parsed = ParseDict(document, trace_service_pb2.ExportTraceServiceRequest())

    def comparable(spans):
        return [
            (s.span_id, s.parent_span_id, s.name, s.kind, s.start_time_unix_nano, values(s))
            for s in spans
        ]

    assert comparable(parsed.resource_spans[0].scope_spans[0].spans) == comparable(receiver.spans)


def to_base64(text):
    from base64 import b64encode

    return b64encode(bytes.fromhex(text)).decode()
