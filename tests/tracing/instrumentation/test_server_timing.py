"""The header Server-Timing: what it says, where it stays away, and what the application set itself."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.dispatch import Signal
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import include, path

from tests.tracing.instrumentation.conftest import keeper, no_failures, stock  # noqa: F401
from tracing import middleware
from tracing.instrumentation import failures, sampling
from tracing.instrumentation.assembly import assembler
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.sampling import Sampler
from tracing.middleware import SERVER_TIMING, TracingMiddleware, sends_timing

signal = Signal()


def receiver(*, query=False, **_named):
    signal.send("inner") if query == "twice" else None
    if query:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")


def page(request):
    signal.send("page", query="twice")
    signal.send("page", query=True)
    return HttpResponse("page", headers={"Vary": "Cookie"})


def given(request):
    return HttpResponse("page", headers={SERVER_TIMING: request.GET["given"]})


def streaming(request):
    def parts():
        signal.send("later")
        yield b"1"

    signal.send("at once")
    return StreamingHttpResponse(parts())


async def asynchronous(request):
    await signal.asend("page")
    return HttpResponse("page")


urlpatterns = [
    path("page/", page),
    path("given/", given),
    path("streaming/", streaming),
    path("async/", asynchronous),
    path("", include(([path("own/", page)], "tracing"))),
]

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.usefixtures("traced"),
    pytest.mark.django_db,
]


@pytest.fixture
def traced(stock, keeper, no_failures, settings, monkeypatch):  # noqa: F811
    settings.MIDDLEWARE = ["tracing.middleware.TracingMiddleware"]
    settings.TRACING = {"SERVER_TIMING": True}
    signal.connect(receiver)
    undo = instrument(side_effects=False)
    yield
    undo()
    signal.disconnect(receiver)


def timing(url, **query):
    """Return what the header says: (name, description, milliseconds)."""
    header = Client().get(url, query).headers.get(SERVER_TIMING, "")
    found = re.findall(r'([\w-]+)(?:;dur=([\d.]+))?(?:;desc="([^"]*)")?(?:, |$)', header)
    return [(name, text, float(number or 0)) for name, number, text in found]


def test_header_tells_total_receivers_and_queries():
    # One of the calls is Django's own, at request_started.
    total, receivers, sql = timing("/page/")

    assert (total[:2], receivers[:2], sql[:2]) == (
        ("total", ""),
        ("receivers", "4 calls"),
        ("sql", "2 queries"),
    )
    assert total[2] >= receivers[2] >= sql[2] > 0


def test_header_says_what_the_trace_says(keeper):  # noqa: F811
    _total, receivers, sql = timing("/page/")
    [trace] = [trace for trace in keeper.traces() if trace.kind == "request"]

    before = [each for each in trace.dispatches if not each.signal.endswith("request_finished")]
    roots = [each for each in before if each.parent_number is None]
    assert receivers == (
        "receivers",
        f"{sum(len(each.receiver_calls) for each in before)} calls",
        float(f"{sum(each.duration_ns for each in roots) / 1e6:.2f}"),
    )
    assert sql == ("sql", f"{trace.query_count} queries", float(f"{trace.query_ns / 1e6:.2f}"))


async def test_header_of_an_asynchronous_view():
    response = await AsyncClient().get("/async/")

    assert 'desc="2 calls"' in response.headers[SERVER_TIMING]


def test_streamed_response_tells_what_is_known_at_its_start():
    response = Client().get("/streaming/")

    assert 'desc="2 calls"' in response.headers[SERVER_TIMING]
    assert response.getvalue() == b"1"
    response.close()


@pytest.mark.parametrize("header", ["cache;dur=2", 'db;desc="total, sql;dur=1";dur=3', "totals"])
def test_header_of_the_application_is_kept_in_front(header):
    response = Client().get("/given/", {"given": header})

    assert response.headers[SERVER_TIMING].startswith(f"{header}, total;dur=")


@pytest.mark.parametrize("header", ["total;dur=5", "cache, sql;dur=1", 'a;desc="x", receivers'])
def test_header_with_a_name_of_ours_stays_as_it_is(header):
    response = Client().get("/given/", {"given": header})

    assert response.headers[SERVER_TIMING] == header


def test_no_other_header_changes(settings):
    told = Client().get("/page/")
    settings.TRACING = {"SERVER_TIMING": False}
    untold = Client().get("/page/")

    assert {*told.headers} - {*untold.headers} == {SERVER_TIMING}
    assert told.headers["Vary"] == untold.headers["Vary"] == "Cookie"


def test_default_is_debug_and_never_in_tests(settings, monkeypatch):
    settings.TRACING = {}
    answers = {}
    for debug in (True, False):
        for tests in (True, False):
            settings.DEBUG = debug
            monkeypatch.setattr(middleware, "is_test_run", lambda tests=tests: tests)
            answers[debug, tests] = sends_timing()

    assert answers == {
        (True, False): True,
        (True, True): False,
        (False, False): False,
        (False, True): False,
    }


def test_switched_off_with_debug(settings, monkeypatch):
    settings.DEBUG, settings.TRACING = True, {"SERVER_TIMING": False}
    monkeypatch.setattr(middleware, "is_test_run", lambda: False)

    assert timing("/page/") == []


def test_request_that_is_not_recorded_or_of_the_viewer_has_no_header(monkeypatch):
    assert timing("/own/") == []
    monkeypatch.setattr(sampling.switch, "sampler", Sampler(ratio=0.0))

    assert timing("/page/") == []


def test_queries_are_left_out_where_they_are_not_recorded(settings):
    settings.TRACING = {"SERVER_TIMING": True, "CAPTURE_SQL": False}

    assert [name for name, *_ in timing("/page/")] == ["total", "receivers"]


def test_long_trace_tells_its_total_alone(monkeypatch):
    monkeypatch.setattr(assembler, "SEGMENT_VALUES", 10)

    assert [name for name, *_ in timing("/page/")] == ["total"]


def test_reader_at_work_is_not_waited_for():
    with assembler.reading_lock:
        assert [name for name, *_ in timing("/page/")] == ["total"]


def test_what_the_worker_has_read_already_counts(keeper, monkeypatch):  # noqa: F811
    def half(request):
        signal.send("page", query=True)
        assembler.keep_numbers(middleware.request_trace())
        signal.send("page", query=True)
        return HttpResponse("page")

    monkeypatch.setattr(urlpatterns[0], "callback", half)
    _total, receivers, sql = timing("/page/")
    [trace] = [trace for trace in keeper.traces() if trace.kind == "request"]

    assert (receivers[1], sql[1]) == ("3 calls", "2 queries")
    assert trace.query_count == 2


def test_own_failure_leaves_the_response_alone(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(failures, "counts", failures.Counter())
        patch.setattr(assembler, "sums_so_far", lambda active: 1 / 0)
        response = Client().get("/page/")

        assert (response.content, SERVER_TIMING in response.headers) == (b"page", False)
        assert failures.counts


def test_response_outside_a_trace_has_no_header():
    response = TracingMiddleware(lambda request: HttpResponse())(RequestFactory().get("/"))

    assert SERVER_TIMING not in response.headers
