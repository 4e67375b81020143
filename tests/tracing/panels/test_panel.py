"""Tests of the panel in the toolbar's life: what it records, keeps and gives back."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from debug_toolbar.store import MemoryStore
from debug_toolbar.toolbar import DebugToolbar
from django.dispatch import Signal, receiver
from django.http import HttpResponse, HttpResponseRedirect
from django.test import RequestFactory

import tracing
from tests.tracing.analysis.building import label
from tests.tracing.panels.traces import order_trace
from tracing import pipeline
from tracing.instrumentation import context, sampling
from tracing.instrumentation.assembly.assembler import assemble_ended
from tracing.panels import SignalTracePanel, panel
from tracing.panels.stored import describe
from tracing.spans.codec import unpack
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def toolbar(settings, debug) -> Iterator[Callable[..., SignalTracePanel]]:
    """Return a function that makes the panel of a toolbar for a request."""
    MemoryStore.clear()

    def make(path: str = "/x/") -> SignalTracePanel:
        request = RequestFactory().get(path)
        return DebugToolbar(request, lambda request: HttpResponse()).get_panel_by_id(
            "SignalTracePanel"
        )

    yield make

    MemoryStore.clear()


@pytest.fixture
def instrumented() -> Iterator[None]:
    undo = tracing.instrument()
    yield
    undo()
    # What the tests traced has left the queue before the next one looks.
    assert tracing.flush()


def use(found: SignalTracePanel, work: Callable[[], Any]) -> dict[str, Any]:
    """Take the panel through a request and return what it keeps."""
    found.enable_instrumentation()
    found.enable_instrumentation()
    try:
        work()
    finally:
        found.disable_instrumentation()
        found.disable_instrumentation()
    found.generate_stats(found.toolbar.request, HttpResponse())
    found.generate_server_timing(found.toolbar.request, HttpResponse())
    return found.get_stats()


parcel_sent = Signal()


@receiver(parcel_sent)
def pack(**named: Any) -> None:
    pass


def send() -> None:
    parcel_sent.send(sender=None)


def test_the_panel_shows_the_running_trace_and_leaves_its_id(toolbar, instrumented):
    found = toolbar()
    with tracing.trace("request") as running:
        kept = use(found, send)
        assert running.active is not None
        attributes = dict(running.active.attributes)
        is_held = running.active.held

    assert attributes == {"djdt_request_id": found.toolbar.request_id}
    assert not is_held
    assert (kept["trace_id"], kept["stored"], kept["numbered"]) == (running.trace_id, True, True)
    assert unpack(kept["trace"]).dispatch_count == 1
    assert "note" not in kept


def test_spans_keep_the_numbers_that_the_panel_shows(toolbar, instrumented):
    found = toolbar()
    with tracing.trace("request") as running:
        kept = use(found, send)
        send()
        live = running.active
    finished = assemble_ended(live)

    assert [each.number for each in unpack(kept["trace"]).dispatches] == [
        finished.dispatches[0].number
    ]
    assert finished.dispatch_count == 2


@pytest.mark.parametrize("why", ["paused", "not sampled"])
def test_the_panel_records_for_itself_where_nothing_is_recorded(
    toolbar, instrumented, monkeypatch, why
):
    monkeypatch.setattr(sampling.switch, "paused", why == "paused")
    monkeypatch.setattr(sampling.switch, "sampler", sampling.Sampler(0.0))
    ended = []
    monkeypatch.setattr(pipeline.default, "assemble", ended.append)
    found = toolbar("/shop/")
    with tracing.trace("request"):
        kept = use(found, send)
    after = context.current_trace()

    trace = unpack(kept["trace"])
    assert (trace.name, trace.kind, trace.dispatch_count) == ("/shop/", "request", 1)
    assert (kept["stored"], kept["note"]) == (False, panel.RECORDED_HERE)
    assert (ended, after) == ([], None)


def test_the_tracers_own_pages_are_not_shown(toolbar, instrumented):
    found = toolbar()
    with tracing.trace("viewer") as running:
        running.active.excluded = True
        kept = use(found, send)

    assert kept == {"note": panel.OWN_PAGE}


def test_without_instrumentation_the_panel_says_so(toolbar):
    found = toolbar()

    assert use(found, send) == {"note": panel.NOT_INSTRUMENTED}
    assert unescape(found.nav_subtitle) == panel.NOT_INSTRUMENTED
    assert found.get_server_timing_stats() == {}


@pytest.mark.parametrize("where", ["snapshot", "diagnose"])
def test_a_failure_of_the_panel_does_not_reach_the_request(
    toolbar, instrumented, monkeypatch, where
):
    def fail(*arguments):
        raise RuntimeError("a mistake in the panel")

    monkeypatch.setattr(panel, where, fail)
    found = toolbar()
    with tracing.trace("request") as running:
        kept = use(found, send)
        is_held = running.active.held

    assert kept == {"note": panel.LEFT_OUT}
    assert not is_held


def test_a_failure_at_the_beginning_does_not_reach_the_request(toolbar, instrumented, monkeypatch):
    def fail():
        raise RuntimeError("a mistake in the panel")

    with monkeypatch.context() as patch:
        patch.setattr(panel.context, "current_trace", fail)
        kept = use(toolbar(), lambda: None)

    assert kept == {"note": panel.LEFT_OUT}


def test_server_timing_has_the_time_in_signals(toolbar, instrumented):
    found = toolbar()
    with tracing.trace("request"):
        kept = use(found, send)

    trace = unpack(kept["trace"])
    milliseconds, count = round(trace.signal_ns / 1e6, 3), trace.receiver_call_count
    assert found.get_headers(found.toolbar.request)["Server-Timing"] == (
        f'SignalTracePanel_signals;dur={milliseconds};desc="Signals 1, receivers {count}"'
    )


@pytest.mark.thorough
def test_the_panel_is_drawn_from_the_store(toolbar, instrumented):
    live = toolbar()
    with tracing.trace("request"):
        use(live, send)
    stored = DebugToolbar.fetch(live.toolbar.request_id, "SignalTracePanel").get_panel_by_id(
        "SignalTracePanel"
    )

    assert stored.enabled
    assert stored.nav_title == "Signal trace"
    assert stored.nav_subtitle == live.nav_subtitle
    assert "parcel_sent" in stored.content
    assert [script.rpartition("/")[2] for script in stored.scripts] == ["panel.js"]


@pytest.mark.thorough
def test_what_goes_into_a_page_fits_every_charset(toolbar, monkeypatch):
    found = toolbar()
    trace = order_trace()
    trace.dispatches[1].receiver_calls[0].receiver = label("core.orders.receivers." + "μ" * 40)
    monkeypatch.setattr(found, "get_stats", lambda: describe(trace))
    shown = found.nav_title + found.nav_subtitle + found.content

    assert HttpResponse(shown, charset="ascii").text == shown
    assert "&amp;#" not in shown
    assert "…" in unescape(found.nav_subtitle)


def test_the_panel_can_be_disabled_by_the_path_under_which_it_is_listed(settings, toolbar):
    settings.DEBUG_TOOLBAR_CONFIG = {"DISABLE_PANELS": {"tracing.panels.SignalTracePanel"}}

    assert not toolbar().enabled


def test_the_panel_runs_under_asgi_and_keeps_the_toolbars_signals_panel():
    assert SignalTracePanel.is_async
    assert SignalTracePanel.panel_id == "SignalTracePanel"
    assert Kind.REQUEST == "request"


def visit(toolbar, path, *, answer, session="s1"):
    """Take a panel through a request in a session, which is answered so; return the panel."""
    found = toolbar(path)
    found.toolbar.request.COOKIES["sessionid"] = session
    found.enable_instrumentation()
    send()
    found.disable_instrumentation()
    found.generate_stats(found.toolbar.request, answer)
    return found


@pytest.mark.thorough
def test_the_panel_shows_the_request_whose_redirect_led_here(toolbar, instrumented):
    visit(toolbar, "/check-out/", answer=HttpResponseRedirect("/orders/7/?new"))
    visit(toolbar, "/elsewhere/", answer=HttpResponse())
    shown = unescape(visit(toolbar, "/orders/7/", answer=HttpResponse()).content)

    assert '<details class="source" open>' in shown
    words = " ".join(re.sub("<[^>]*>", "", shown).split())
    assert "Before: GET /check-out/, whose redirect led here: 1 dispatch, 1 receiver call" in words
    assert shown.count('role="treegrid"') == 1
    assert shown.count('role="table"') == 1


@pytest.mark.thorough
@pytest.mark.parametrize("change", ["session", "path", "time", "version"])
def test_the_panel_shows_no_redirect_of_others(toolbar, instrumented, monkeypatch, change):
    source = visit(
        toolbar,
        "/check-out/",
        answer=HttpResponseRedirect("/orders/8/" if change == "path" else "/orders/7/"),
        session="s2" if change == "session" else "s1",
    )
    kept = source.get_stats()
    if change == "time":
        source.record_stats({"started_ns": kept["started_ns"] - 61 * 10**9})
    if change == "version":
        source.record_stats({"version": 1})
    shown = visit(toolbar, "/orders/7/", answer=HttpResponse()).content

    assert 'class="source"' not in shown


@pytest.mark.thorough
def test_the_panel_shows_its_own_request_where_the_toolbar_cannot_be_asked(
    toolbar, instrumented, monkeypatch
):
    def request_ids(cls):
        raise OSError("no cache")

    found = visit(toolbar, "/orders/7/", answer=HttpResponse())
    monkeypatch.setattr(MemoryStore, "request_ids", classmethod(request_ids))

    assert "pack" in found.content
