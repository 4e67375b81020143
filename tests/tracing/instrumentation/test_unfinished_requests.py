"""Requests of which nobody tells the end, and what is sent after them."""

from __future__ import annotations

import asyncio
import gc

import pytest
from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.dispatch import Signal
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from tests.tracing.instrumentation.conftest import keeper, no_failures, stock  # noqa: F401
from tests.tracing.instrumentation.test_requests import scope_of
from tracing import api
from tracing.instrumentation import context
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.scopes import handling, requests

signal = Signal()
orphan = Signal()


def receiver(**named):
    pass


def plain(request):
    signal.send("view")
    orphan.send("view")
    return HttpResponse("plain")


def parts():
    for number in range(3):
        signal.send(f"part {number}")
        yield b"x"


async def asynchronous_parts():
    for number in range(3):
        await signal.asend(f"part {number}")
        yield b"x"


async def endless_parts():
    await signal.asend("part")
    yield b"x"
    await asyncio.Event().wait()


def failing(request):
    signal.send("view")
    raise LookupError("lost")


async def failing_asynchronously(request):
    await signal.asend("view")
    raise LookupError("lost")


begun = []
"""The event that tells a test of the view which waits."""


async def waits(request):
    await signal.asend("view")
    begun[0].set()
    await asyncio.Event().wait()


def inner_unread(request):
    signal.send("before")
    Client().get("/streaming/")
    signal.send("after")
    return HttpResponse("outer")


urlpatterns = [
    path("plain/", plain),
    path("streaming/", lambda request: StreamingHttpResponse(parts())),
    path("mapped/", lambda request: StreamingHttpResponse(map(bytes, parts()))),
    path("listed/", lambda request: StreamingHttpResponse([b"1", b"2"])),
    path("file/", lambda request: FileResponse(open(__file__, "rb"))),  # noqa: PTH123, SIM115
    path("async-streaming/", lambda request: StreamingHttpResponse(asynchronous_parts())),
    path("endless/", lambda request: StreamingHttpResponse(endless_parts())),
    path("failing/", failing),
    path("failing-async/", failing_asynchronously),
    path("waits/", waits),
    path("inner-discard_buffer/", inner_unread),
]

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.usefixtures("traced"),
    # What is left unfinished here is left to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def traced(stock, keeper, no_failures, settings, monkeypatch):  # noqa: F811
    settings.MIDDLEWARE = ["tracing.middleware.TracingMiddleware"]
    monkeypatch.setattr(requests, "_excluded", None)
    # A handler that is called directly connects nothing, a client puts this back each time.
    for ends in (request_started, request_finished):
        ends.disconnect(close_old_connections)
    signal.connect(receiver, weak=False)
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()
    signal.disconnect(receiver)
    for ends in (request_started, request_finished):
        ends.connect(close_old_connections)
    gc.collect()
    handling.end_abandoned()
    context.enter(None)


def senders(trace):
    return [
        dispatch.sender.strip("'")
        for dispatch in trace.dispatches
        if "unnamed" in dispatch.signal or "test_unfinished" in dispatch.signal
    ]


def kept(keeper):  # noqa: F811
    """Return the traces in order of end, without those of what pytest and Django send themselves."""
    return [trace for trace in keeper.traces() if trace.kind != "dispatch" or senders(trace)]


def seen(keeper):  # noqa: F811
    """Return (kind, status, whether its end was told, senders) of each trace, in order of end."""
    return [
        (trace.kind, trace.status, "unfinished" not in trace.attributes, senders(trace))
        for trace in kept(keeper)
    ]


def wsgi(url):
    """Call the WSGI handler as a server does that forgets to close what it gets."""
    return WSGIHandler()(RequestFactory().get(url).environ, lambda status, headers: None)


AFTER = ("dispatch", "ok", True, ["after"])


@pytest.mark.parametrize("url", ["/streaming/", "/mapped/", "/listed/", "/file/"])
def test_unread_response_of_a_client_takes_nothing_that_comes_after(keeper, url):  # noqa: F811
    response = Client().get(url)
    signal.send("after")

    assert response.status_code == 200
    del response
    gc.collect()
    handling.end_abandoned()
    assert seen(keeper) == [AFTER, ("request", "ok", False, [])]


@pytest.mark.parametrize(
    ("url", "inside"), [("/plain/", ["view"]), ("/listed/", []), ("/file/", [])]
)
def test_unclosed_response_of_a_handler_takes_nothing_that_comes_after(keeper, url, inside):  # noqa: F811
    response = wsgi(url)
    signal.send("after")

    assert response.status_code == 200
    del response
    gc.collect()
    signal.send("after")
    assert seen(keeper) == [AFTER, ("request", "ok", False, inside), AFTER]


def test_half_read_response_keeps_what_its_body_sent(keeper):  # noqa: F811
    response = Client().get("/streaming/")
    body = iter(response.streaming_content)
    first = next(body)
    signal.send("after")
    rest = b"".join(body)

    assert (first, rest) == (b"x", b"xx")
    assert seen(keeper) == [AFTER, ("request", "ok", True, ["part 0", "part 1", "part 2"])]


def test_body_that_a_server_reads_is_part_of_its_request(keeper):  # noqa: F811
    response = wsgi("/streaming/")
    body = b"".join(response)
    response.close()
    signal.send("after")

    assert body == b"xxx"
    assert seen(keeper) == [("request", "ok", True, ["part 0", "part 1", "part 2"]), AFTER]


def test_untold_end_is_where_the_response_left(keeper):  # noqa: F811
    wsgi("/plain/")
    [active] = [each for each in context.running.values() if each.kind == "request"]
    left = active.root.handling.left
    signal.send("after")

    assert active.end == left


def test_orphans_after_an_unread_response_are_not_counted_in_it(keeper):  # noqa: F811
    wsgi("/plain/")
    for _ in range(5):
        orphan.send("after")
    signal.send("after")

    request, _after = keeper.traces()
    counted = [count for _signal, sender, count in request.orphans if "view" in sender]
    assert counted == [1]
    assert not [sender for _signal, sender, _count in request.orphans if "after" in sender]


@pytest.mark.parametrize("url", ["/streaming/", "/plain/"])
def test_requests_in_a_row_do_not_nest(keeper, url):  # noqa: F811
    ask = wsgi if url == "/plain/" else Client().get
    for _ in range(3):
        ask(url)
    gc.collect()
    signal.send("after")

    traces = kept(keeper)
    assert [trace.kind for trace in traces] == ["request"] * 3 + ["dispatch"]
    # What is sent afterwards may still name the last one, if a worker was quicker to end it.
    assert {trace.parent_trace_id for trace in traces[:3]} == {""}


def test_unread_request_within_a_request_gives_the_rest_back_to_it(keeper):  # noqa: F811
    Client().get("/inner-discard_buffer/")
    signal.send("after")

    assert seen(keeper) == [
        ("request", "ok", False, []),
        ("request", "ok", True, ["before", "after"]),
        AFTER,
    ]


def test_unread_request_within_a_block_gives_the_rest_back_to_it(keeper):  # noqa: F811
    with api.trace("a test", kind="test"):
        signal.send("before")
        response = Client().get("/streaming/")
        signal.send("after")

    assert response.status_code == 200
    assert seen(keeper) == [("test", "ok", True, ["before", "after"])]


@pytest.mark.parametrize("around", ["a block", "nothing"])
def test_unrecorded_request_that_is_unread_takes_nothing_either(keeper, around):  # noqa: F811
    requests.exclude_paths(["/streaming/"])
    if around == "a block":
        with api.trace("a test", kind="test"):
            response = Client().get("/streaming/")
            signal.send("after")
            signal.send("again")
    else:
        response = Client().get("/streaming/")
        signal.send("after")
        signal.send("again")

    assert response.status_code == 200
    if around == "a block":
        assert seen(keeper) == [("test", "ok", True, ["after", "again"])]
    else:
        assert seen(keeper) == [AFTER, ("dispatch", "ok", True, ["again"])]


def test_unrecorded_request_stays_so_to_its_end(keeper):  # noqa: F811
    requests.exclude_paths(["/streaming/"])
    body = b"".join(Client().get("/streaming/").streaming_content)
    for ends in (request_started, request_finished):
        ends.disconnect(close_old_connections)
    other = wsgi("/streaming/")
    read = b"".join(other)
    other.close()

    assert (body, read) == (b"xxx", b"xxx")
    assert seen(keeper) == []


def test_exception_that_goes_through_everything_ends_its_request(keeper, settings):  # noqa: F811
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True
    with pytest.raises(LookupError):
        Client().get("/failing/")
    signal.send("after")

    request, after = kept(keeper)
    assert (request.status, request.error, request.http_status) == (
        "error",
        "LookupError: lost",
        None,
    )
    assert senders(request) == ["view"]
    assert senders(after) == ["after"]


@pytest.mark.parametrize("by", ["a client", "the handler"])
def test_asynchronous_exception_ends_its_request(keeper, settings, by):  # noqa: F811
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True

    async def ask():
        if by == "a client":
            return await AsyncClient().get("/failing-async/")
        return await call_asgi("/failing-async/")

    async def main():
        with pytest.raises(LookupError):
            await ask()
        await signal.asend("after")

    asyncio.run(main())

    request, after = kept(keeper)
    assert (request.status, request.error) == ("error", "LookupError: lost")
    assert (senders(request), senders(after)) == (["view"], ["after"])


@pytest.mark.parametrize("url", ["/streaming/", "/async-streaming/"])
def test_unread_response_of_an_async_client_takes_nothing(keeper, url):  # noqa: F811
    async def main():
        response = await AsyncClient().get(url)
        await signal.asend("after")
        return response

    response = asyncio.run(main())

    assert response.status_code == 200
    assert seen(keeper) == [AFTER]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("url", ["/async-streaming/"])
def test_read_response_of_an_async_client_is_inside(keeper, url):  # noqa: F811
    async def main():
        response = await AsyncClient().get(url)
        body = [part async for part in response.streaming_content]
        await signal.asend("after")
        return body

    body = asyncio.run(main())

    assert body == [b"x"] * 3
    assert seen(keeper) == [("request", "ok", True, ["part 0", "part 1", "part 2"]), AFTER]


def test_request_of_an_async_client_in_sync_code_ends_with_its_task(keeper):  # noqa: F811
    response = async_to_sync(AsyncClient().get)("/streaming/")
    signal.send("after")

    assert response.status_code == 200
    assert seen(keeper) == [("request", "ok", False, []), AFTER]


def test_request_whose_response_is_gone_is_ended_by_the_worker(keeper):  # noqa: F811
    wsgi("/plain/")
    gc.collect()
    handling.end_abandoned()

    assert seen(keeper) == [("request", "ok", False, ["view"])]


def test_request_whose_response_may_yet_be_closed_is_left_alone(keeper):  # noqa: F811
    response = wsgi("/plain/")
    handling.end_abandoned()
    before = list(keeper.ended)
    response.close()

    assert (before, seen(keeper)) == ([], [("request", "ok", True, ["view"])])


class Replacing:
    """A middleware outside the tracer's: it works after it, and answers with another response."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        self.get_response(request)
        gc.collect()
        handling.end_abandoned()
        signal.send("outer middleware")
        return HttpResponse("other")


def test_middleware_around_is_part_of_the_request(keeper, settings):  # noqa: F811
    settings.MIDDLEWARE = [f"{__name__}.Replacing", "tracing.middleware.TracingMiddleware"]
    Client().get("/plain/")

    assert seen(keeper) == [("request", "ok", True, ["view", "outer middleware"])]


def test_sync_middleware_around_an_async_view_is_part_of_the_request(keeper, settings):  # noqa: F811
    settings.MIDDLEWARE = [f"{__name__}.Replacing", "tracing.middleware.TracingMiddleware"]

    async def main():
        await AsyncClient().get("/plain/")
        await signal.asend("after")

    asyncio.run(main())

    assert seen(keeper) == [("request", "ok", True, ["view", "outer middleware"]), AFTER]


def test_receivers_of_the_end_are_part_of_the_request(keeper):  # noqa: F811
    def ending(**named):
        signal.send("ending")

    request_finished.connect(ending)
    try:
        Client().get("/plain/")
        response = Client().get("/streaming/")
        b"".join(response.streaming_content)
    finally:
        request_finished.disconnect(ending)

    assert seen(keeper) == [
        ("request", "ok", True, ["view", "ending"]),
        ("request", "ok", True, ["part 0", "part 1", "part 2", "ending"]),
    ]


# -- Cancelled ------------------------------------------------------------------------------------


async def call_asgi(url, *, leaves=None, after_all=False):
    """Make a request as an ASGI server; the client goes as soon as *leaves* is set: while it is sent to."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message):
        is_body = message["type"] == "http.response.body"
        if leaves is not None and is_body and not (after_all and message.get("more_body")):
            leaves.set()

    await ASGIHandler()(scope_of(url), receive, send)


async def give_up(asking):
    """Cancel *asking* as soon as the view that waits has begun."""
    begun[:] = [asyncio.Event()]
    task = asyncio.ensure_future(asking)
    await begun[0].wait()
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("with_middleware", [True, False])
def test_request_whose_client_has_gone_is_cancelled(keeper, settings, with_middleware):  # noqa: F811
    if not with_middleware:
        settings.MIDDLEWARE = []

    async def main():
        begun[:] = [asyncio.Event()]
        await call_asgi("/waits/", leaves=begun[0])
        await call_asgi("/plain/")

    asyncio.run(main())

    assert [(t.http_path, t.status, t.error) for t in kept(keeper)] == [
        ("/waits/", "cancelled", ""),
        ("/plain/", "ok", ""),
    ]


def test_request_whose_client_goes_while_it_is_sent_to_is_cancelled(keeper):  # noqa: F811
    async def main():
        await call_asgi("/endless/", leaves=asyncio.Event())

    asyncio.run(main())

    [trace] = kept(keeper)
    assert (trace.status, trace.http_status, senders(trace)) == ("cancelled", 200, ["part"])


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("url", ["/plain/", "/streaming/", "/async-streaming/"])
def test_request_whose_client_stays_until_all_is_sent_is_not_cancelled(keeper, url):  # noqa: F811
    async def main():
        await call_asgi(url, leaves=asyncio.Event(), after_all=True)

    asyncio.run(main())

    [trace] = kept(keeper)
    assert (trace.status, trace.http_status) == ("ok", 200)


def test_request_that_the_server_cancels_is_cancelled(keeper):  # noqa: F811
    async def main():
        await give_up(call_asgi("/waits/"))

    asyncio.run(main())
    handling.end_abandoned()

    [trace] = keeper.traces()
    assert trace.status == "cancelled"
    assert trace.attributes["unfinished"] == handling.NOT_CLOSED


def test_request_that_the_server_cancels_while_its_response_is_sent_is_cancelled(keeper):  # noqa: F811
    async def main():
        is_sent = asyncio.Event()

        async def receive():
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message):
            if message["type"] == "http.response.body":
                is_sent.set()

        messages = [{"type": "http.request", "body": b"", "more_body": False}]
        asking = asyncio.create_task(ASGIHandler()(scope_of("/endless/"), receive, send))
        await is_sent.wait()
        asking.cancel()
        await asyncio.wait([asking])

    asyncio.run(main())
    handling.end_abandoned()

    [trace] = keeper.traces()
    assert (trace.status, trace.http_status, senders(trace)) == ("cancelled", 200, ["part"])


def test_request_of_an_async_client_that_is_given_up_is_cancelled(keeper):  # noqa: F811
    async def main():
        await give_up(AsyncClient().get("/waits/"))
        handling.end_abandoned()
        await signal.asend("after")

    asyncio.run(main())

    assert seen(keeper) == [("request", "cancelled", False, ["view"]), AFTER]


def test_block_that_is_cancelled_is_cancelled(keeper):  # noqa: F811
    async def main():
        with api.trace("import"):
            await waits(None)

    asyncio.run(give_up(main()))

    assert seen(keeper) == [("block", "cancelled", True, ["view"])]
