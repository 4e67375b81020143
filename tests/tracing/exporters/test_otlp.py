"""The OTLP exporter against real receivers on loopback, for both protocols."""

from __future__ import annotations

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2,
    trace_service_pb2_grpc,
)
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.tracing.samples import full_trace, plain_trace
from tracing.exporters.formats import otlp_json
from tracing.exporters.otlp import OTLPExporter
from tracing.pipeline import Options, Pipeline, TemporaryError
from tracing.spans.records import span_id


class Receiver:
    """What a collector was sent."""

    def __init__(self):
        self.requests = []
        self.headers = []
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

    server = grpc.server(ThreadPoolExecutor(2))
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
            receiver.requests.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            receiver.headers.append({name.lower(): text for name, text in self.headers.items()})
            self.send_response(200)
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
        ids[0]: trace.parent_span_id,
        ids[1]: ids[0],
        ids[2]: ids[1],
        ids[3]: ids[1],
        ids[4]: ids[2],
        ids[5]: ids[4],
        ids[6]: ids[0],
    }
    assert [link.span_id.hex() for link in found[ids[4]].links] == [ids[2]]


def test_traces_that_share_an_incoming_trace_id_share_no_span_id(exporter, receiver):
    first, second = full_trace(), full_trace()
    second.root_span_id = "f" * 16

    exporter.export([first, second])

    ids = [span.span_id.hex() for span in receiver.spans]
    assert len(ids) == len(set(ids)) == 14


def test_span_has_time_attributes_status_and_exception(exporter, receiver):
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
    assert [(event.name, values(event)["exception.type"]) for event in failed.events] == [
        ("exception", "ValueError")
    ]


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


def test_receiver_that_is_down_is_waited_for(protocol, caplog):
    first = STARTERS[protocol]()
    port = int(first.endpoint.split(":")[2].split("/")[0])
    first.stop()
    exporter = OTLPExporter(first.endpoint, protocol=protocol, timeout=3)
    pipeline = Pipeline(Options(batch_seconds=0.01))
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
