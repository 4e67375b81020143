"""Traces of requests: WSGI and ASGI, nested, streamed, left open, and with a traceparent."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.dispatch import Signal
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import include, path

from tests.tracing.instrumentation.conftest import keeper, no_failures, recording, stock  # noqa: F401
from tracing.conf import Settings
from tracing.instrumentation import context, sampling
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.sampling import Sampler
from tracing.instrumentation.scopes import handling, requests
from tracing.instrumentation.scopes.requests import opentelemetry_parent, parse_traceparent
from tracing.instrumentation.scopes.trust import Trust
from tracing.middleware import HEADER, TracingMiddleware, loaded_user, may_see_traces
from tracing.setup import build_trust

signal = Signal()


def receiver(**named):
    pass


def plain(request):
    signal.send("view")
    return HttpResponse("plain")


async def asynchronous(request):
    await signal.asend("view")
    return HttpResponse("asynchronous")


def failing(request):
    raise LookupError("lost")


def missing(request):
    raise Http404("No order matches.")


def streaming(request):
    def parts():
        signal.send("first")
        yield b"1"
        signal.send("second")
        yield b"2"

    return StreamingHttpResponse(parts())


waiting = []
"""The event that tells a test of the view which waits."""


async def waits(request):
    await signal.asend("waiting")
    waiting[0].set()
    await asyncio.Event().wait()


def nesting(request):
    signal.send("before")
    Client().get("/plain/")
    signal.send("after")
    return HttpResponse("nested")


def gathering(request):
    async def both():
        await asyncio.gather(signal.asend("a"), signal.asend("b"))

    asyncio.run(both())
    return HttpResponse("gathered")


own = ([path("own/", plain)], "tracing")
urlpatterns = [
    path("plain/", plain),
    path("waiting/", waits),
    path("numbers/<int:number>/", lambda request, number: plain(request)),
    path("async/", asynchronous),
    path("failing/", failing),
    path("missing/", missing),
    path("streaming/", streaming),
    path("nesting/", nesting),
    path("gathering/", gathering),
    path("", include(own)),
]

pytestmark = [pytest.mark.urls(__name__), pytest.mark.usefixtures("traced")]


@pytest.fixture
def traced(stock, keeper, no_failures, settings, monkeypatch):  # noqa: F811
    settings.MIDDLEWARE = ["tracing.middleware.TracingMiddleware"]
    monkeypatch.setattr(requests, "_excluded", requests._excluded)
    # No database is needed here, and these would ask for one.
    for ends in (request_started, request_finished):
        ends.disconnect(close_old_connections)
    signal.connect(receiver, weak=False)
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()
    signal.disconnect(receiver)
    for ends in (request_started, request_finished):
        ends.connect(close_old_connections)
    assert context.current() is None


def handler404(request, exception):
    return HttpResponse("not here", status=404)


def senders(trace):
    return [
        d.sender.strip("'")
        for d in trace.dispatches
        if "unnamed" in d.signal or "test_req" in d.signal
    ]


def test_request_is_a_trace_with_route_and_status(keeper):  # noqa: F811
    response = Client().get("/numbers/7/")

    [trace] = keeper.traces()
    assert response.content == b"plain"
    assert (trace.kind, trace.name, trace.http_method, trace.http_path, trace.http_status) == (
        "request",
        "GET /numbers/<int:number>/",
        "GET",
        "/numbers/7/",
        200,
    )
    assert (trace.status, trace.error, senders(trace)) == ("ok", "", ["view"])
    assert trace.final


def test_signals_that_begin_and_end_a_request_are_inside_its_trace(keeper):  # noqa: F811
    request_finished.connect(receiver, dispatch_uid="inside")
    request_started.connect(receiver, dispatch_uid="inside")
    try:
        Client().get("/plain/")
    finally:
        request_finished.disconnect(receiver, dispatch_uid="inside")
        request_started.disconnect(receiver, dispatch_uid="inside")

    [trace] = keeper.traces()
    names = [d.signal.rpartition(".")[2] for d in trace.dispatches]
    assert (names[0], names[-1]) == ("request_started", "request_finished")


def test_request_ends_where_only_other_senders_are_listened_to(keeper):  # noqa: F811
    kept = [(ends, ends.receivers) for ends in (request_started, request_finished)]
    try:
        for ends, _receivers in kept:
            ends.receivers = []
            ends.connect(receiver, sender=Signal)
        request_started.send(WSGIHandler, environ=RequestFactory().get("/plain/").environ)
        signal.send("view")
        request_finished.send(WSGIHandler)
    finally:
        for ends, receivers in kept:
            ends.receivers = receivers
            ends.sender_receivers_cache.clear()

    assert [(t.http_path, senders(t)) for t in keeper.traces()] == [("/plain/", ["view"])]


def test_failing_request_keeps_its_error_and_status(keeper):  # noqa: F811
    response = Client(raise_request_exception=False).get("/failing/")

    [trace] = keeper.traces()
    assert response.status_code == 500
    assert (trace.status, trace.error, trace.http_status) == ("error", "LookupError: lost", 500)


def test_exception_that_is_an_answer_is_no_failure(keeper):  # noqa: F811
    Client().get("/missing/")

    [trace] = keeper.traces()
    assert (trace.name, trace.http_status) == ("GET /missing/", 404)
    assert (trace.status, trace.error) == ("ok", "")


def test_middleware_of_the_tracer_is_no_callsite(keeper):  # noqa: F811
    Client(raise_request_exception=False).get("/failing/")

    [trace] = keeper.traces()
    [dispatch] = [each for each in trace.dispatches if "got_request_exception" in each.signal]
    # Django sent it, outside the view: the nearest that is neither Django nor the tracer is this test.
    assert dispatch.callsite.file == __file__


def test_no_visitor_makes_up_names(keeper):  # noqa: F811
    Client().get("/nowhere/")
    Client().get("/else/where/?a=1")
    Client().generic("BREW", "/coffee/")
    Client().generic("BREW", "/numbers/7/")

    assert [(t.name, t.http_method, t.http_path) for t in keeper.traces()] == [
        ("GET (no route)", "GET", "/nowhere/"),
        ("GET (no route)", "GET", "/else/where/"),
        ("OTHER (no route)", "BREW", "/coffee/"),
        ("OTHER /numbers/<int:number>/", "BREW", "/numbers/7/"),
    ]


def test_request_has_no_name_of_a_visitor_while_it_runs(keeper):  # noqa: F811
    response = Client().get("/streaming/")
    [running] = context.running.values()
    name = running.name
    b"".join(response.streaming_content)

    assert name == "GET /streaming/"


def test_request_that_the_middleware_does_not_see_has_no_path_for_a_name(keeper):  # noqa: F811
    with override_settings(MIDDLEWARE=[]):
        Client().get("/plain/")

    requests_only = [trace for trace in keeper.traces() if trace.kind == "request"]
    assert [(t.name, t.http_path) for t in requests_only] == [("GET (no route)", "/plain/")]


def test_streaming_response_is_inside_until_it_is_closed(keeper):  # noqa: F811
    response = Client().get("/streaming/")
    before = len(keeper.ended)
    body = b"".join(response.streaming_content)

    [trace] = keeper.traces()
    assert (before, body, senders(trace)) == (0, b"12", ["first", "second"])


def test_request_that_is_never_closed_ends_when_the_next_one_begins(keeper):  # noqa: F811
    handler = WSGIHandler()
    environ = RequestFactory().get("/plain/").environ

    for _ in range(2):
        handler(dict(environ), lambda status, headers: None)
    first_ended = len(keeper.ended)
    request_finished.send(WSGIHandler)

    first, second = keeper.traces()
    assert first_ended == 1
    assert [senders(first), senders(second)] == [["view"], ["view"]]
    assert (first.parent_trace_id, second.parent_trace_id) == ("", "")


def test_request_inside_a_request_is_a_trace_that_knows_the_outer_one(keeper):  # noqa: F811
    Client().get("/nesting/")

    inner, outer = keeper.traces()
    assert [senders(inner), senders(outer)] == [["view"], ["before", "after"]]
    assert inner.parent_trace_id == outer.trace_id


def test_request_inside_a_block_knows_the_block(keeper):  # noqa: F811
    before = context.set_processor(keeper)
    with recording("a test") as recorded:
        context.set_processor(keeper)
        signal.send("in the block")
        Client().get("/plain/")
        signal.send("in the block again")
    context.set_processor(before)

    request = next(trace for trace in keeper.traces() if trace.kind == "request")
    assert request.parent_trace_id == recorded.trace.trace_id
    assert senders(recorded.trace) == ["in the block", "in the block again"]


def test_two_asends_at_once_in_one_view_stand_beside_each_other(keeper):  # noqa: F811
    Client().get("/gathering/")

    [trace] = keeper.traces()
    assert senders(trace) == ["a", "b"]
    assert {d.parent_number for d in trace.dispatches} == {None}


@pytest.mark.parametrize("url", ["/plain/", "/async/"])
def test_request_of_an_async_client_is_a_trace(keeper, url):  # noqa: F811
    async def main():
        return await AsyncClient().get(url)

    response = asyncio.run(main())

    [trace] = keeper.traces()
    assert response.status_code == 200
    assert (trace.kind, trace.http_path, senders(trace)) == ("request", url, ["view"])


def scope_of(url, headers=()):
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": url,
        "raw_path": url.encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), *headers],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1234),
    }


async def ask(handler, url, headers=(), client=("127.0.0.1", 1234)):
    """Make one request as an ASGI server does, and return the status."""
    sent = []
    over = asyncio.Event()
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        for message in messages:
            return message
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await handler({**scope_of(url, headers), "client": client}, receive, send)
    return sent[0]["status"]


class Noting(TracingMiddleware):
    """The middleware, and the threads in which it learns of a view."""

    threads: ClassVar[list[int]] = []

    def process_view(self, request, *args):
        super().process_view(request, *args)
        self.threads.append(threading.get_ident())


def test_middleware_costs_no_change_of_thread_under_asgi(keeper, settings, monkeypatch):  # noqa: F811
    settings.MIDDLEWARE = [f"{__name__}.Noting"]
    monkeypatch.setattr(Noting, "threads", [])

    status = asyncio.run(ask(ASGIHandler(), "/async/"))

    *_, trace = keeper.traces()
    assert (status, trace.name) == (200, "GET /async/")
    assert Noting.threads == [threading.get_ident()]


def test_requests_at_once_through_asgi_do_not_mix(keeper):  # noqa: F811
    async def main():
        handler = ASGIHandler()
        return await asyncio.gather(
            *(ask(handler, url) for url in ("/plain/", "/async/", "/plain/"))
        )

    statuses = asyncio.run(main())

    traces = keeper.traces()
    assert statuses == [200, 200, 200]
    assert sorted(t.http_path for t in traces) == ["/async/", "/plain/", "/plain/"]
    assert [senders(trace) for trace in traces] == [["view"]] * 3
    assert len({trace.trace_id for trace in traces}) == 3
    assert {trace.parent_trace_id for trace in traces} == {""}


# Django leaves the body's file to the garbage collector where a client goes.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", ["the client goes", "the server cancels"])
def test_asynchronous_request_that_is_cancelled_comes_to_an_end(keeper, way):  # noqa: F811
    running_before = set(context.running)

    async def main():
        waiting[:] = [asyncio.Event()]
        begun = asyncio.Event()
        messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive():
            for message in messages:
                return message
            await waiting[0].wait()
            if way == "the client goes":
                return {"type": "http.disconnect"}
            begun.set()
            return await asyncio.Event().wait()

        async def send(message):
            raise AssertionError(message)

        asking = asyncio.create_task(ASGIHandler()(scope_of("/waiting/"), receive, send))
        if way == "the server cancels":
            await begun.wait()
            asking.cancel()
        await asyncio.wait([asking])

    asyncio.run(main())
    handling.end_abandoned()
    gc.collect()

    [trace] = keeper.traces()
    assert (trace.kind, trace.http_path, senders(trace)) == ("request", "/waiting/", ["waiting"])
    assert set(context.running) <= running_before


# -- Where a trace comes from ----------------------------------------------------------------

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"


def test_traceparent_of_a_request_is_taken_up(keeper):  # noqa: F811
    Client().get("/plain/", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})

    async def main():
        header = f"00-{TRACE_ID}-{SPAN_ID}-01".encode()
        await ask(ASGIHandler(), "/plain/", [(b"traceparent", header)])

    asyncio.run(main())

    traces = keeper.traces()
    assert [(t.trace_id, t.parent_span_id) for t in traces] == [(TRACE_ID, SPAN_ID)] * 2


def trust(monkeypatch, given):
    """Put TRUSTED_PARENTS into force."""
    monkeypatch.setattr(requests, "trusts", build_trust(Settings(trusted_parents=given)))


@pytest.mark.parametrize(
    ("given", "address", "is_followed"),
    [
        ([], "127.0.0.1", False),
        (["127.0.0.0/8"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.1", True),
        (["10.0.0.0/8", "192.0.2.0/24"], "127.0.0.1", False),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["fd00::/8"], "fd00::7", True),
        (["fd00::/8"], "10.1.2.3", False),
        (["fd00::/8"], "no address", False),
        (["0.0.0.0/0", "::/0"], "", False),
        (["unix"], "", True),
        (["unix"], "127.0.0.1", False),
        (lambda request: request.headers["X-Mesh"] == "yes", "127.0.0.1", True),
        (lambda request: request.path == "/other/", "127.0.0.1", False),
        (lambda request: 1 / 1, "127.0.0.1", True),
        ("tests.tracing.instrumentation.test_requests.trusting", "127.0.0.1", True),
    ],
)
@pytest.mark.parametrize("flag", ["00", "01"])
@pytest.mark.parametrize("server", ["WSGI", "ASGI"])
def test_flag_of_a_traceparent_counts_where_its_sender_is_trusted(  # noqa: PLR0917 - a table.
    keeper,  # noqa: F811
    monkeypatch,
    given,
    address,
    is_followed,
    flag,
    server,
):
    trust(monkeypatch, given)
    sampling.switch.sampler = Sampler(1.0 if flag == "00" else 0.0)
    header = f"00-{TRACE_ID}-{SPAN_ID}-{flag}"

    if server == "WSGI":
        headers = {"traceparent": header, "x-mesh": "yes"}
        Client(REMOTE_ADDR=address).get("/plain/", headers=headers)
    else:
        headers = [(b"traceparent", header.encode()), (b"x-mesh", b"yes")]
        client = (address, 1) if address else None
        asyncio.run(ask(ASGIHandler(), "/plain/", headers, client))

    is_recorded = is_followed if flag == "01" else not is_followed
    assert [trace.trace_id for trace in keeper.traces()] == [TRACE_ID] * is_recorded


def trusting(request):
    return True


async def trusting_later(request):
    return True


def test_rule_that_fails_trusts_nobody(keeper, monkeypatch):  # noqa: F811
    from tracing.instrumentation import failures

    with monkeypatch.context() as patch:
        patch.setattr(failures, "counts", failures.Counter())
        trust(patch, lambda request: 1 / 0)
        Client().get("/plain/", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"})
        counted = sum(failures.counts.values())

    assert (len(keeper.ended), counted) == (1, 1)


def test_rule_that_answers_later_trusts_nobody(keeper, monkeypatch):  # noqa: F811
    monkeypatch.setattr(requests, "trusts", Trust(trusting_later))
    Client().get("/plain/", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"})

    assert len(keeper.ended) == 1


@pytest.mark.parametrize(
    "given", [["10.0.0.1/8"], ["example.com"], [7], [None], "no.such.function", trusting_later]
)
def test_rule_that_is_none_is_refused(given):
    with pytest.raises((ValueError, ImportError)):
        build_trust(Settings(trusted_parents=given))


@pytest.mark.parametrize("is_trusted", [True, False])
def test_flag_of_opentelemetry_counts_where_its_sender_is_trusted(keeper, monkeypatch, is_trusted):  # noqa: F811
    monkeypatch.setattr(requests, "opentelemetry_parent", lambda: (TRACE_ID, SPAN_ID, False))
    trust(monkeypatch, ["127.0.0.1"] if is_trusted else [])
    Client().get("/plain/")

    assert len(keeper.ended) == (not is_trusted)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{TRACE_ID}-{SPAN_ID}-01", (TRACE_ID, SPAN_ID, True)),
        (f" 00-{TRACE_ID.upper()}-{SPAN_ID}-00 ", (TRACE_ID, SPAN_ID, False)),
        (f"cc-{TRACE_ID}-{SPAN_ID}-03-future", (TRACE_ID, SPAN_ID, True)),
        (f"00-{TRACE_ID}-{SPAN_ID}-01-more", None),
        (f"ff-{TRACE_ID}-{SPAN_ID}-01", None),
        (f"00-{'0' * 32}-{SPAN_ID}-01", None),
        (f"00-{TRACE_ID}-{'0' * 16}-01", None),
        (f"00-{TRACE_ID}-{SPAN_ID}", None),
        ("", None),
        ("x" * 10_000, None),
    ],
)
def test_traceparent_is_read_as_the_standard_says(header, expected):
    assert parse_traceparent(header) == expected


def test_trace_of_opentelemetry_is_taken_up_where_it_is_active(monkeypatch):
    found = SimpleNamespace(
        is_valid=True,
        trace_id=int(TRACE_ID, 16),
        span_id=int(SPAN_ID, 16),
        trace_flags=SimpleNamespace(sampled=True),
    )
    span = SimpleNamespace(get_span_context=lambda: found)
    module = ModuleType("opentelemetry.trace")
    module.get_current_span = lambda: span
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)

    active = opentelemetry_parent()
    found.is_valid = False
    inactive = opentelemetry_parent()
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")

    assert active == (TRACE_ID, SPAN_ID, True)
    assert inactive is None
    assert opentelemetry_parent() is None


def test_excluded_and_unsampled_requests_are_not_recorded_and_neither_is_what_they_send(keeper):  # noqa: F811
    requests.exclude_paths(["/favicon.ico", "/pla*"])
    Client().get("/plain/")
    requests.exclude_paths([])
    sampling.switch.sampler = Sampler(by_path=[("/num*", 0.0)])
    Client().get("/numbers/1/")
    Client().get("/plain/")

    assert [trace.http_path for trace in keeper.traces()] == ["/plain/"]


def test_requests_of_the_viewer_are_left_out(keeper):  # noqa: F811
    response = Client().get("/own/")

    assert response.status_code == 200
    assert keeper.ended == []


# -- The middleware --------------------------------------------------------------------------


def test_header_is_sent_to_those_who_may_see_traces_only(keeper, settings, django_user_model):  # noqa: F811
    anonymous = Client().get("/plain/")
    settings.DEBUG = True
    settings.INTERNAL_IPS = ["127.0.0.1"]
    developer = Client().get("/plain/")
    elsewhere = Client(REMOTE_ADDR="10.0.0.1").get("/plain/")

    _first, second, _third = (trace for trace in keeper.traces() if trace.kind == "request")
    assert HEADER not in anonymous.headers
    assert developer.headers[HEADER] == second.trace_id
    assert HEADER not in elsewhere.headers


def test_user_who_was_not_asked_for_is_not_loaded(rf, settings):
    from django.contrib.auth import get_user_model
    from django.utils.functional import SimpleLazyObject

    settings.DEBUG = False
    asked = []
    request = rf.get("/")
    request.user = SimpleLazyObject(lambda: asked.append("asked"))
    unasked = may_see_traces(request, loaded_user(request))
    request.user = get_user_model()(pk=5, is_superuser=True, is_active=True)
    superuser = may_see_traces(request, loaded_user(request))
    request.user = get_user_model()(pk=6, is_superuser=True, is_active=False)
    inactive = may_see_traces(request, loaded_user(request))

    assert (asked, unasked, superuser, inactive) == ([], False, True, False)


def test_user_of_a_request_is_kept_by_key(keeper, settings):  # noqa: F811
    settings.MIDDLEWARE = ["tracing.middleware.TracingMiddleware", f"{__name__}.signed_in"]

    Client().get("/plain/")

    assert [t.user_id for t in keeper.traces() if t.kind == "request"] == ["7"]


def signed_in(get_response):
    def middleware(request):
        request.user = SimpleNamespace(
            pk=7, is_active=True, is_superuser=False, has_perm=lambda p: False
        )
        return get_response(request)

    return middleware


def test_middleware_without_a_trace_changes_nothing(rf):
    response = HttpResponse("as it is")
    middleware = TracingMiddleware(lambda request: response)
    request = rf.get("/")
    request.resolver_match = None

    middleware.process_view(request)
    middleware.process_exception(request, ValueError())

    assert middleware(request) is response
    assert HEADER not in response.headers


def test_failure_in_the_middleware_does_not_reach_the_response(keeper, monkeypatch):  # noqa: F811
    from tracing.instrumentation import failures

    with monkeypatch.context() as patch:
        patch.setattr(failures, "counts", failures.Counter())
        patch.setattr("tracing.middleware.may_see_traces", lambda request, user: 1 / 0)
        patch.setattr("tracing.middleware.error_text", lambda error: 1 / 0)
        fine = Client().get("/plain/")
        failed = Client(raise_request_exception=False).get("/failing/")
        counted = sum(failures.counts.values())

    assert (fine.status_code, failed.status_code) == (200, 500)
    assert counted == 3


def test_failure_to_begin_or_end_a_request_does_not_reach_it(keeper, monkeypatch):  # noqa: F811
    from tracing.instrumentation import failures

    with monkeypatch.context() as patch:
        patch.setattr(failures, "counts", failures.Counter())
        patch.setattr(requests, "decide", lambda *args: 1 / 0)
        patch.setattr(requests, "_is_request", lambda buffer: 1 / 0)
        response = Client().get("/plain/")

    assert response.status_code == 200
    context.enter(None)
