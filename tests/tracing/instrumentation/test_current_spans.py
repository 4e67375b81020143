"""Tests of receivers' spans that are current for OpenTelemetry; without them nobody pays."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from contextvars import copy_context
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.dispatch import Signal
from django.http import HttpResponse
from django.test import RequestFactory
from opentelemetry import baggage
from opentelemetry.context import attach, detach, get_current
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import get_current_span, set_span_in_context

import tracing.celery
from tracing.exporters.otlp import OTLPExporter
from tracing.instrumentation import context, patching
from tracing.instrumentation.assembly.assembler import assemble, snapshot
from tracing.instrumentation.buffer import ActiveTrace
from tracing.instrumentation.dispatch import coroutines, current_spans
from tracing.instrumentation.dispatch.asynchronous import async_sender
from tracing.instrumentation.dispatch.current_spans import ReceiverSpan, SpanTraces
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.dispatch.synchronous import sync_sender
from tracing.log import add_trace_ids
from tracing.middleware import TracingMiddleware
from tracing.spans.records import Kind, Method, span_id

pytestmark = pytest.mark.usefixtures("stock", "no_failures")


class Collected:
    """The spans of the application's tracer and of ours, in the SDK's memory."""

    def __init__(self, monkeypatch):
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.tracer = self.provider.get_tracer("client")
        self.exporter = OTLPExporter()
        monkeypatch.setattr(self.exporter, "_connected", lambda: self.memory)

    def paths(self):
        """Return the names from the root to each span, innermost last, of all that have arrived."""
        spans = {span.context.span_id: span for span in self.memory.get_finished_spans()}
        traces = {span.context.trace_id for span in spans.values()}
        assert len(spans) == len(self.memory.get_finished_spans()), "an id was given twice"
        found = []
        for span in spans.values():
            path = [short(span.name)]
            while span.parent is not None and span.parent.span_id in spans:
                span = spans[span.parent.span_id]
                path.insert(0, short(span.name))
            assert span.parent is None, f"{path} has a parent that never arrived"
            found.append(" > ".join(path))
        return sorted(found), len(traces)


def short(name):
    return name.partition(" ")[0].rpartition(".")[2]


@pytest.fixture
def collected(monkeypatch):
    found = Collected(monkeypatch)
    yield found
    found.exporter.shutdown()
    found.provider.shutdown()


@pytest.fixture
def current(keeper):
    """Record with spans that are current, and lose no context variable over it."""
    before = dict(copy_context())
    outer = context.set_processor(SpanTraces(keeper))
    patching.instrument(options=Options(spans=True))
    yield keeper
    patching.uninstrument()
    context.set_processor(outer)
    after = dict(copy_context())
    assert [var.name for var in after if var not in before and var.name == "current_context"] == []
    assert not coroutines.current.__module__ or not current_spans._is_on


@contextmanager
def unit(kind=Kind.BLOCK, name="unit"):
    trace = ActiveTrace(kind, name, outer=context.current())
    context.begin(trace)
    try:
        yield trace
    finally:
        context.finish(trace)


def export(collected, keeper):
    collected.exporter.export(keeper.traces())


def client(collected, name="query"):
    with collected.tracer.start_as_current_span(name):
        pass


saved, placed = Signal(), Signal()


@pytest.fixture(autouse=True)
def nobody_connected():
    yield
    for signal in (saved, placed):
        signal.receivers.clear()
        signal.sender_receivers_cache.clear()


def test_line_of_a_receiver_has_the_id_of_its_span(current):
    lines = []

    def outer(sender, **kwargs):
        lines.append(add_trace_ids(None, "info", {"event": "before"}))
        placed.send(sender)
        lines.append(add_trace_ids(None, "info", {"event": "after"}))

    def inner(sender, **kwargs):
        lines.append(add_trace_ids(None, "info", {"event": "inside"}))

    saved.connect(outer)
    placed.connect(inner)
    with unit():
        saved.send(None)
        lines.append(add_trace_ids(None, "info", {"event": "outside"}))
    [trace] = current.traces()

    ids = {
        call.receiver.name.rpartition(".")[2]: span_id(trace.root_span_id, call.number)
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
    }
    ids["trace"] = trace.root_span_id
    assert [(line["event"], line["span_id"]) for line in lines] == [
        ("before", ids["outer"]),
        ("inside", ids["inner"]),
        ("after", ids["outer"]),
        ("outside", ids["trace"]),
    ]


def test_client_spans_hang_under_the_receiver_that_they_ran_in(current, collected):
    def outer(sender, **kwargs):
        client(collected, "first")
        placed.send(sender)
        client(collected, "last")

    def beside(sender, **kwargs):
        client(collected, "beside")
        return "something"

    def inner(sender, **kwargs):
        client(collected, "innermost")

    saved.connect(outer)
    saved.connect(beside)
    placed.connect(inner)
    with unit():
        saved.send(None)
        saved.send_robust(None)
    export(collected, current)

    paths, traces = collected.paths()
    assert traces == 1
    once = [
        "unit > saved",
        "unit > saved > beside",
        "unit > saved > beside > beside",
        "unit > saved > outer",
        "unit > saved > outer > first",
        "unit > saved > outer > last",
        "unit > saved > outer > placed",
        "unit > saved > outer > placed > inner",
        "unit > saved > outer > placed > inner > innermost",
    ]
    assert paths == sorted(["unit", *once, *once])


def test_ids_are_those_of_the_log_and_the_store(current):
    seen = []

    def hears(sender, **kwargs):
        seen.append(get_current_span().get_span_context())

    saved.connect(hears)
    with unit() as live:
        saved.send(None)
    (trace,) = current.traces()

    (call,) = trace.dispatches[0].receiver_calls
    assert f"{seen[0].trace_id:032x}" == trace.trace_id == live.trace_id
    assert f"{seen[0].span_id:016x}" == span_id(trace.root_span_id, call.number)


def test_what_was_current_is_so_again_whatever_a_receiver_raises(current):
    def fails(sender, **kwargs):
        attach(baggage.set_baggage("left", "here"))
        raise kwargs["error"]

    saved.connect(fails)
    before = get_current()
    with unit():
        for error in (ValueError(), KeyboardInterrupt(), SystemExit(), asyncio.CancelledError()):
            with pytest.raises(type(error)):
                saved.send(None, error=error)
            assert get_current() is before
        saved.send_robust(None, error=ValueError())
        assert get_current() is before


def test_a_receiver_sees_what_its_sender_attached(current):
    seen = []
    saved.connect(lambda sender, **kwargs: seen.append(baggage.get_baggage("who")), weak=False)
    token = attach(baggage.set_baggage("who", "me"))
    try:
        with unit():
            saved.send(None)
    finally:
        detach(token)

    assert seen == ["me"]


def test_span_of_the_application_around_a_dispatch_is_its_parent(current, collected):
    def outer(sender, **kwargs):
        with collected.tracer.start_as_current_span("own"):
            placed.send(sender)

    def inner(sender, **kwargs):
        client(collected)

    saved.connect(outer)
    placed.connect(inner)
    with collected.tracer.start_as_current_span("request"), unit():
        with collected.tracer.start_as_current_span("view"):
            saved.send(None)
        saved.send(None)
    export(collected, current)

    paths, traces = collected.paths()
    assert traces == 1
    assert "request > view > saved > outer > own > placed > inner > query" in paths
    assert "request > unit > saved > outer > own > placed > inner > query" in paths


def test_request_follows_the_span_around_its_middleware(current, collected):
    saved.connect(lambda sender, **kwargs: client(collected), weak=False)

    def view(request):
        saved.send(None)
        return HttpResponse()

    with (
        unit(Kind.REQUEST, "GET (no route)") as trace,
        collected.tracer.start_as_current_span("server"),
    ):
        trace.http_method = "GET"
        TracingMiddleware(view)(RequestFactory().get("/"))
    export(collected, current)

    paths, traces = collected.paths()
    assert traces == 1
    assert "server > GET > saved > <lambda> > query" in paths


@pytest.mark.parametrize("is_first", [True, False], ids=["before-ours", "after-ours"])
def test_run_of_a_task_hangs_under_the_span_of_celerys_instrumentation(
    current, collected, is_first
):
    saved.connect(lambda sender, **kwargs: client(collected), weak=False)
    tokens = []

    def begins(**named):
        tokens.append(attach(set_span_in_context(collected.tracer.start_span("run", around))))

    with collected.tracer.start_as_current_span("apply_async") as sender:
        sent = sender.get_span_context()
        around = set_span_in_context(sender)
    request = SimpleNamespace(delivery_info={}, is_eager=False, retries=0, chord=None, chain=None)
    request.traceparent = f"00-{sent.trace_id:032x}-{sent.span_id:016x}-01"
    task = SimpleNamespace(name="shop.tasks.pay", request=request)
    ours = tracing.celery._starting
    receivers = [begins, ours] if is_first else [ours, begins]
    for receiver in tracing.celery._Receivers(receivers, ours):
        receiver(task_id="1", task=task)
    saved.send(None)
    get_current_span().end()
    detach(tokens.pop())
    tracing.celery._ending(task_id="1", state="SUCCESS")
    export(collected, current)

    paths, traces = collected.paths()
    assert traces == 1
    assert "apply_async > run > pay > saved > <lambda> > query" in paths


def test_trace_whose_spans_were_current_keeps_its_id(current, collected):
    saved.connect(lambda sender, **kwargs: client(collected), weak=False)
    with unit(Kind.REQUEST, "GET (no route)") as trace:
        saved.send(None)
        before = trace.trace_id
        with collected.tracer.start_as_current_span("late"):
            TracingMiddleware(lambda request: HttpResponse())(RequestFactory().get("/"))

    assert trace.trace_id == before


def test_spans_of_another_trace_stay_there(current, collected):
    saved.connect(lambda sender, **kwargs: client(collected), weak=False)
    with unit(), collected.tracer.start_as_current_span("elsewhere"):
        saved.send(None)
    export(collected, current)

    paths, traces = collected.paths()
    assert traces == 2
    assert "elsewhere > query" in paths


def test_what_opentelemetry_does_not_sample_stays_unsampled(current, collected):
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("off")
    saved.connect(lambda sender, **kwargs: client(collected), weak=False)
    with unsampled.start_as_current_span("off"), unit():
        saved.send(None)
    export(collected, current)

    paths, _traces = collected.paths()
    assert not [path for path in paths if "query" in path]


@pytest.mark.django_db
def test_receivers_that_begin_and_end_requests_are_left_alone(current):
    seen = []

    def begins(sender, **kwargs):
        seen.append(type(get_current_span()))
        kwargs["scope"]["token"] = attach(baggage.set_baggage("who", "request"))

    def ends(sender, **kwargs):
        seen.append(type(get_current_span()))

    request_started.connect(begins)
    request_finished.connect(ends)
    scope = {"type": "http"}
    try:
        request_started.send(None, scope=scope)
        inside = baggage.get_baggage("who")
        request_finished.send(None)
    finally:
        request_started.disconnect(begins)
        request_finished.disconnect(ends)
        detach(scope["token"])

    assert inside == "request"
    assert ReceiverSpan not in seen


async def test_async_receivers_and_sync_ones_under_asend(current, collected):
    async def waits(sender, **kwargs):
        client(collected, "before")
        with collected.tracer.start_as_current_span("around"):
            await asyncio.sleep(0)
            client(collected, "inside")
        await asyncio.sleep(0)
        client(collected, "after")
        await placed.asend(sender)

    async def waits_too(sender, **kwargs):
        with collected.tracer.start_as_current_span("other"):
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def innermost(sender, **kwargs):
        client(collected)

    def blocks(sender, **kwargs):
        client(collected, "in_thread")

    saved.connect(waits)
    saved.connect(waits_too)
    saved.connect(blocks)
    placed.connect(innermost)
    before = get_current()
    with unit():
        await saved.asend(None)
        await saved.asend_robust(None)
        await sync_to_async(saved.send)(None)
        assert get_current() == before
    export(collected, current)

    paths, traces = collected.paths()
    assert traces == 1
    for path in (
        "unit > saved > waits > before",
        "unit > saved > waits > around > inside",
        "unit > saved > waits > after",
        "unit > saved > waits > placed > innermost > query",
        "unit > saved > waits_too > other",
        "unit > saved > blocks > in_thread",
    ):
        assert paths.count(path) == 3, path


async def test_async_receiver_that_fails_leaves_nothing_current(current):
    async def fails(sender, **kwargs):
        await asyncio.sleep(0)
        raise ValueError

    async def is_cancelled(sender, **kwargs):
        raise asyncio.CancelledError

    before = get_current()
    saved.connect(fails)
    with unit():
        with pytest.raises(ValueError):  # noqa: PT011 - any will do.
            await saved.asend(None)
        assert get_current() == before
        saved.disconnect(fails)
        saved.connect(is_cancelled)
        with suppress(asyncio.CancelledError):  # Django 6.1 does not pass it on.
            await saved.asend(None)
        assert get_current() == before


async def test_receiver_that_waits_while_recording_is_taken_out_goes_on(current):
    going, done = asyncio.Event(), []

    async def waits(sender, **kwargs):
        await going.wait()
        done.append(True)

    saved.connect(waits)
    with unit():
        sending = asyncio.ensure_future(saved.asend(None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        patching.uninstrument()
        going.set()
        await sending

    assert done == [True]
    assert context.current() is None


def test_snapshot_of_a_running_trace_has_the_same_numbers(current):
    def fails(sender, **kwargs):
        raise ValueError

    saved.connect(fails)
    saved.connect(lambda sender, **kwargs: None, weak=False)
    with unit() as live:
        with pytest.raises(ValueError):  # noqa: PT011 - any will do.
            saved.send(None)
        early = snapshot(live)
    late = assemble(live)

    def numbers(trace):
        return [
            (each.number, *(c.number for c in each.receiver_calls)) for each in trace.dispatches
        ]

    assert numbers(early) == numbers(late) == [(1, 2, 3)]


def test_who_holds_djangos_own_function_has_current_spans_as_well(current, collected):
    held = patching.STOCK_SENDS[Method.SEND]
    saved.connect(lambda sender, **kwargs: client(collected), weak=False)
    with unit():
        held(saved, None)
        held(saved, None)
    export(collected, current)

    assert collected.paths()[0].count("unit > saved > <lambda> > query") == 2


# -- without the setting


def test_without_the_setting_the_loops_are_those_of_the_source():
    for method in Method:
        make = async_sender if method in {Method.ASEND, Method.ASEND_ROBUST} else sync_sender
        plain = make(method, None, Options()).__code__

        assert plain in make.__code__.co_consts
        assert not [name for name in plain.co_names if "otel" in name or "spans" in name]


def test_without_the_setting_nothing_is_current(keeper):
    outer = context.set_processor(SpanTraces(keeper))
    batch = coroutines.call_batch.__code__
    patching.instrument()
    seen = []
    saved.connect(lambda sender, **kwargs: seen.append(get_current_span()), weak=False)
    try:
        with unit():
            saved.send(None)
    finally:
        context.set_processor(outer)

    assert not isinstance(seen[0], ReceiverSpan)
    assert coroutines.call_batch.__code__ is batch
