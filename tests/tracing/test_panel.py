"""Tests of the panel: what it records, what it keeps, what it shows, what it checks."""

from __future__ import annotations

import json
import re
from html import unescape
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from debug_toolbar.settings import get_config, get_panels
from debug_toolbar.store import MemoryStore
from debug_toolbar.toolbar import DebugToolbar
from django.dispatch import Signal, receiver
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import NoReverseMatch
from django.utils import translation

import tracing
from tests.tracing.analysis.building import MS, US, TraceBuilder, label
from tracing import pipeline
from tracing.analysis.hazards import diagnose
from tracing.analysis.wiring import Connection, Route
from tracing.instrumentation import context, sampling
from tracing.instrumentation.assembly.assembler import assemble_ended
from tracing.panels import SignalTracePanel, checks, facts, page, panel, stats
from tracing.panels.stats import describe
from tracing.presentation.templating import draw
from tracing.spans.records import Hazard, Kind, Outcome, TransactionOutcome, WaitingCallback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracing.spans.records import Trace


def order_trace(**options: Any) -> Trace:
    """Build a request that saves an order: a nested save, a failing receiver, an unheard signal."""
    builder = TraceBuilder(**options)
    saved = builder.dispatch("post_save", "orders.Order", instance="orders.Order:42", created=True)
    make_sale = builder.call(saved, "core.orders.receivers.make_sale", own_ns=2 * MS, query_count=3)
    nested = builder.dispatch("post_save", "cars.Car", make_sale, instance="cars.Car:7")
    builder.call(nested, "core.cars.receivers.update_buyer", own_ns=5 * MS, query_count=2)
    builder.call(
        saved,
        "core.orders.receivers.notify",
        own_ns=1 * MS,
        outcome=Outcome.RAISED,
        exception_type="OSError",
        exception_message="no route",
    )
    builder.call(saved, "core.orders.receivers.audit", own_ns=0, outcome=Outcome.SKIPPED)
    builder.bypass()
    trace = builder.build()
    trace.unheard = [("django.db.models.signals.pre_save", "orders.Order", 3)]
    trace.unheard_count = 3
    return trace


def described(trace: Trace, **options: Any) -> dict[str, Any]:
    """Return what is kept of *trace*, as a store gives it back."""
    return json.loads(json.dumps(describe(trace, diagnose(trace), **options)))


def lines(kept: dict[str, Any]) -> list[tuple[int, str, int]]:
    return [(row["depth"], row.get("label", "(rest)"), row["count"]) for row in kept["rows"]]


# -- What is kept ------------------------------------------------------------------------------


def test_the_stats_tell_what_did_not_run():
    trace = order_trace()
    trace.waiting_callbacks.append(WaitingCallback("default"))

    (note,) = described(trace)["notes"]

    assert (note["kind"], note["count"]) == ("waiting", 1)
    assert note["text"].startswith("1 on_commit callback waits for a commit of 'default'")


def test_the_stats_are_plain_json_that_comes_back_the_same():
    kept = describe(order_trace(), [])

    assert json.loads(json.dumps(kept)) == kept


def test_the_tree_is_kept_in_its_order_with_parents():
    kept = described(order_trace())

    assert [
        (row["depth"], row["parent"], row["label"], row["outcome"]) for row in kept["rows"]
    ] == [
        (0, None, "post_save orders.Order", "returned"),
        (1, 0, "make_sale", "returned"),
        (2, 1, "post_save cars.Car", "returned"),
        (3, 2, "update_buyer", "returned"),
        (1, 0, "notify", "raised"),
        (1, 0, "audit", "skipped"),
    ]
    assert kept["worst"]["label"] == "update_buyer"
    assert kept["receiver_query_count"] == 5
    assert kept["signals"] == [
        "django.db.models.signals.post_save",
        "django.db.models.signals.pre_save",
    ]
    assert kept["bypasses"][0]["operation"] == "update"


def test_bars_stand_where_the_spans_were_on_the_time_axis():
    trace = order_trace()
    kept = described(trace)
    first = kept["rows"][0]["bars"][0]

    left = trace.dispatches[0].start_ns / kept["extent_ns"] * 100
    width = trace.dispatches[0].duration_ns / kept["extent_ns"] * 100
    assert first == [round(left, 2), round(width, 2)]
    assert all(
        0 <= bar[0] <= 100 and bar[0] + bar[1] <= 100.01
        for row in kept["rows"]
        for bar in row["bars"]
    )


def test_repetitions_are_folded_with_their_count_and_slowest():
    builder = TraceBuilder()
    builder.gap_ns = 1 * MS
    for number in range(30):
        saved = builder.dispatch(instance=f"orders.Order:{number}")
        builder.call(saved, own_ns=(number + 1) * US)
    kept = described(builder.build())

    assert lines(kept) == [(0, "post_save orders.Order", 30), (1, "make_sale", 30)]
    row = kept["rows"][0]
    assert row["instance"] == "30 instances"
    assert len(row["bars"]) == 30
    assert len(row["occurrences"]) == facts.MAX_OCCURRENCES
    assert row["occurrences"][0]["text"] == "orders.Order:29"


def test_bars_that_lie_close_together_become_few():
    builder = TraceBuilder()
    builder.gap_ns = 3 * US
    for _ in range(500):
        builder.call(builder.dispatch(), own_ns=1 * US)
    trace = builder.build()
    trace.duration_ns *= 100

    assert len(described(trace)["rows"][0]["bars"]) == 1
    builder = TraceBuilder()
    builder.gap_ns = 1 * MS
    for _ in range(200):
        builder.call(builder.dispatch(), own_ns=10 * US)
    assert 1 < len(described(builder.build())["rows"][0]["bars"]) <= stats.MAX_BARS


def distinct(count: int) -> Trace:
    builder = TraceBuilder()
    for number in range(count):
        saved = builder.dispatch(
            sender=f"shop.Model{number}", at=f"shop.views.view_{number}:{number}"
        )
        builder.call(saved, f"shop.receivers.receiver_{number}", own_ns=(number + 1) * US)
    return builder.build()


def test_of_too_many_rows_the_slowest_stay_and_the_rest_is_counted():
    kept = described(distinct(1_000))

    rest = [row["count"] for row in kept["rows"] if row["is"] == "rest"]
    assert len(kept["rows"]) == stats.MAX_ROWS + len(rest)
    assert kept["rows"][-1]["is"] == "rest"
    assert sum(rest) == kept["rows_left_out"] == 2_000 - stats.MAX_ROWS
    assert "post_save shop.Model999" in [row.get("label") for row in kept["rows"]]
    assert "post_save shop.Model0" not in [row.get("label") for row in kept["rows"]]


def test_what_failed_stays_however_quick_it_was():
    trace = distinct(1_000)
    call = trace.dispatches[0].receiver_calls[0]
    call.outcome, call.exception_type = Outcome.RAISED, "OSError"

    assert (1, "receiver_0", 1) in lines(described(trace))


def test_the_size_is_limited_by_leaving_rows_out():
    trace = distinct(600)

    kept = described(trace, max_bytes=100_000)

    assert len(json.dumps(kept)) <= 100_000
    assert kept["rows_left_out"] > 0
    assert kept["dispatch_count"] == 600


def test_a_chain_deeper_than_the_limit_keeps_its_upper_part():
    builder = TraceBuilder()
    under = None
    for _ in range(1_500):
        saved = builder.dispatch(under=under)
        under = builder.call(saved)
    trace = Trace_without_recursion(builder)

    kept = described(trace)

    assert len(kept["rows"]) == stats.MAX_ROWS + 1
    assert [row["depth"] for row in kept["rows"]][:3] == [0, 1, 2]


def Trace_without_recursion(builder: TraceBuilder) -> Trace:  # noqa: N802 - reads as the class.
    """Lay out a chain as ``TraceBuilder.build`` does, which recurses."""
    trace = builder.trace
    sent = [below for (below,) in builder.sent.values()]
    for depth, dispatch in enumerate([builder.roots[0], *sent]):
        trace.dispatches.append(dispatch)
        dispatch.depth, dispatch.start_ns, dispatch.duration_ns = depth, depth, 10_000 - depth
        call = dispatch.receiver_calls[0]
        call.start_ns, call.duration_ns = depth, 10_000 - depth
    trace.duration_ns = 10_000
    trace.dispatch_count = len(trace.dispatches)
    return trace


@pytest.mark.parametrize(
    "text", ["a\x00b", "a\u202eb", "a\u200bb", "a\nb", "<b>", "x" * 10_000, "\U0001f697" * 500]
)
def test_texts_are_short_and_hide_nothing(text):
    clipped = facts.clip(text)

    assert clipped.isprintable()
    assert len(clipped) <= facts.MAX_TEXT


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "none: autocommit"),
        ({"using": "default"}, "none: autocommit on default"),
        (
            {
                "transaction": TransactionOutcome.COMMITTED,
                "transaction_depth": 1,
                "using": "default",
            },
            "atomic on default: committed",
        ),
        (
            {"transaction": TransactionOutcome.SAVEPOINT_ROLLED_BACK, "transaction_depth": 2},
            "atomic, block 2: its savepoint was rolled back",
        ),
    ],
)
def test_the_transaction_of_a_dispatch_is_said_in_words(options, text):
    assert facts.transaction_text(TraceBuilder().dispatch(**options)) == text


def test_everything_known_of_a_span_is_among_its_facts():
    builder = TraceBuilder()
    saved = builder.dispatch(
        "m2m_changed",
        action="pre_add",
        reverse=True,
        pk_count=2,
        raw=True,
        created=False,
        update_fields=("total",),
        values={"note": "'hello'"},
        exception_type="OSError",
        parent_is_link=True,
    )
    builder.call(
        saved,
        label("core.x.f", dispatch_uid="uid", weak=False, is_async=True, app="x", any_sender=True),
        response_type="Sale",
        hop_ns=5 * US,
        same_as=0,
        outcome=Outcome.SKIPPED,
        statements=[("SELECT 1", 3, 2 * MS)],
    )
    builder.call(builder.dispatch(named=("order", "buyer")))
    kept = described(builder.build())
    dispatch, call, plain = (
        [(fact["name"], fact["text"]) for fact in kept["rows"][number]["facts"]]
        for number in (0, 1, 2)
    )

    assert (
        "Details",
        "pre_add, updated, raw (a fixture), from the other side of the relation, 2 primary keys",
    ) in dispatch
    assert ("update_fields", "total") in dispatch
    assert ("note =", "'hello'") in dispatch
    assert ("Left by", "OSError") in dispatch
    assert ("Note", "ran later, in work that its parent had left behind") in dispatch
    assert ("Connected", "strongly, for any sender, dispatch_uid uid, async") in call
    assert ("App", "x") in call
    assert ("Returned", "Sale object") in call
    assert ("Note", "never called: an earlier receiver raised") in call
    assert ("Thread hop", "5.00 µs to another thread and back") in call
    assert ("Note", "the same function as the receiver in place 1") in call
    assert ("SQL \N{MULTIPLICATION SIGN}3, 2.00 ms", "SELECT 1") in call
    assert ("Arguments", "order, buyer") in plain


def mixed_trace() -> Trace:
    """Build a request of which one receiver of the project's own heard, slower ones of packages, too."""
    builder = TraceBuilder()
    begun = builder.dispatch("request_started", "None")
    builder.call(begun, "django.db.close_old_connections", own_ns=9 * MS)
    saved = builder.dispatch("post_save", "orders.Order")
    builder.call(saved, label("core.orders.receivers.make_sale", mine=True), own_ns=2 * MS)
    for _ in range(2):
        builder.call(
            saved, "reversion.save", own_ns=5 * MS, outcome=Outcome.RAISED, exception_type="E"
        )
    return builder.build()


def foreign_trace() -> Trace:
    builder = TraceBuilder()
    builder.call(builder.dispatch("request_started", "None"), "django.db.close_old_connections")
    return builder.build()


def test_what_is_mine_is_kept_as_such_and_the_rest_is_counted():
    kept = described(mixed_trace())

    assert [(row["label"], row["mine"]) for row in kept["rows"]] == [
        ("request_started", False),
        ("close_old_connections", False),
        ("post_save orders.Order", True),
        ("make_sale", True),
        ("save", False),
    ]
    assert (kept["hidden"], kept["hidden_failures"]) == (4, 2)
    assert {total["name"] for total in kept["receivers"] if total["mine"]} == {
        "core.orders.receivers.make_sale"
    }


def test_rows_that_are_left_out_are_mine_if_any_of_them_is():
    builder = TraceBuilder()
    for number in range(8):
        saved = builder.dispatch("post_save", f"orders.Order{number}")
        builder.call(saved, label("core.a", mine=number == 5), own_ns=(10 - number) * MS)
    trace = builder.build()

    few, fewer = (described(trace, max_bytes=size) for size in (7_000, 6_000))

    for kept in (few, fewer):
        (rest,) = [row for row in kept["rows"] if row["is"] == "rest"]
        shown = [row for row in kept["rows"] if row["is"] != "rest" and not row["mine"]]
        assert rest["mine"]
        assert kept["hidden"] == len(shown)


def test_the_slowest_calls_are_kept_of_all_and_of_mine(monkeypatch):
    monkeypatch.setattr(stats, "SLOWEST", 1)

    kept = described(mixed_trace())

    assert [(call["label"], call["mine"]) for call in kept["slowest"]] == [
        ("close_old_connections", False),
        ("make_sale", True),
    ]
    # The side bar has no switch.
    assert kept["worst"]["label"] == "make_sale"
    assert described(foreign_trace())["worst"]["label"] == "close_old_connections"


# -- What is shown -----------------------------------------------------------------------------


def others(content: str) -> list[str]:
    """Return what the rows say that are shown with everything alone."""
    rows = re.findall(r"<tr[^>]* data-other[^>]*>.*?</tr>", content, re.DOTALL)
    return [
        re.sub(r"\s+", " ", re.sub(r"<template>.*?</template>|<[^>]+>", " ", row, flags=re.DOTALL))
        for row in rows
    ]


def test_rows_that_are_not_mine_are_marked_and_counted():
    wiring = [
        Route("x.sent", "None", [Connection(label("django.x.idle"))]),
        Route("x.sent", "None", [Connection(label("core.x.idle", mine=True))]),
    ]
    found = page.context(described(mixed_trace()), wiring)
    content = draw("tracing/panel.html", found)

    assert found["hidden"] == {
        "rows": "4 spans that are not yours are hidden, 2 failures among them",
        "receivers": "2 receivers that are not yours are hidden",
        "idle": "1 receiver that is not yours is hidden",
        "slowest": "3 calls that are not yours are hidden",
    }
    assert (found["called_of_mine"], found["called_count"], found["idle_of_mine"]) == (1, 3, 1)
    assert all(line in content for line in found["hidden"].values())
    marked = others(content)
    assert len(marked) == 3 + 2 + 1 + 3
    assert not any("make_sale" in row or "core" in row for row in marked)
    assert 'data-cookie="tracing_show" data-cookie-path="/"' in content


def test_a_panel_in_which_nothing_is_mine_is_shown_whole_under_a_heading():
    wiring = [Route("x.sent", "None", [Connection(label("django.x.idle"))])]
    content = draw("tracing/panel.html", page.context(described(foreign_trace()), wiring))

    assert content.count("No receiver of yours ran") == 3
    # What is connected and did not run was not looked for: it stays folded away.
    (marked,) = others(content)
    assert "idle" in marked


def test_a_panel_of_an_earlier_release_shows_all_it_has():
    kept = described(mixed_trace())
    del kept["hidden"], kept["hidden_failures"]
    for entry in (*kept["rows"], *kept["receivers"], *kept["slowest"]):
        del entry["mine"]

    content = draw("tracing/panel.html", page.context(kept))

    assert others(content) == []
    assert "hidden." not in content
    assert "No receiver of yours ran" not in content


def test_the_side_bar_says_how_much_and_what_is_worst():
    trace = order_trace()
    kept = describe(trace, [])

    assert page.mark(kept) == "✕"
    assert page.subtitle(kept) == (
        "1 raised · 2 dispatches, 4 receivers in 8.00 ms · worst update_buyer 5.00 ms"
    )


def test_the_side_bar_marks_hazards():
    kept = describe(order_trace(), [Hazard("recursion", "error", "It recurses.")])

    assert page.mark(kept) == "⚠"
    assert page.subtitle(kept).startswith("1 hazard · 1 raised · ")


def test_a_quiet_request_has_no_mark():
    kept = describe(TraceBuilder().build(), [])

    assert (page.mark(kept), page.subtitle(kept)) == ("", "0 dispatches, 0 receivers in 0 ns")


def test_rows_link_to_the_viewer_only_if_the_trace_is_stored(settings):
    kept = described(order_trace())

    stored = page.context({**kept, "stored": True, "numbered": True})
    drained = page.context({**kept, "stored": True, "numbered": False})
    own = page.context(kept)

    address = f"{kept['trace_id']}/{kept['root_span_id']}"
    assert [(found["trace_url"], found["rows"][0]["url"]) for found in (drained, own)] == [
        (stored["trace_url"], ""),
        ("", ""),
    ]
    if stored["trace_url"]:
        assert stored["trace_url"].endswith(f"/{address}/")
        assert stored["rows"][0]["url"].startswith(stored["trace_url"])


def test_without_the_viewers_addresses_there_are_no_links(settings, monkeypatch):
    def refuse(*arguments, **named):
        raise NoReverseMatch

    monkeypatch.setattr(page, "reverse", refuse)
    kept = described(order_trace())

    found = page.context({**kept, "stored": True, "numbered": True})

    assert (found["trace_url"], found["rows"][0]["url"]) == ("", "")


@pytest.mark.parametrize(
    ("tracing", "link"),
    [
        ({"PANEL": {"EDITOR": "mine://{file}?l={line}"}}, "mine:///app/a%20b.py?l=1"),
        ({"PANEL": {"EDITOR": "vscode"}}, "vscode://file/app/a%20b.py:1"),
        ({"VIEWER": {"EDITOR": "zed"}}, "zed://file/app/a%20b.py:1"),
        (
            {"VIEWER": {"EDITOR": "zed"}, "PANEL": {"EDITOR": "nova"}},
            "nova://open?path=/app/a%20b.py&line=1",
        ),
        ({"PANEL": {"EDITOR": "javascript:alert('{file}')"}}, ""),
        ({}, ""),
    ],
)
def test_places_link_to_the_editor_that_the_settings_name(settings, tracing, link):
    settings.TRACING = {**settings.TRACING, **tracing}
    place = {"file": "/app/a b.py", "line": 0, "text": "a b.py"}

    assert page.editor_url(place) == link
    assert page.editor_url(None) == ""


def test_receivers_not_called_are_told_with_the_reason():
    kept = described(order_trace())
    wiring = [
        Route(
            "django.db.models.signals.post_save",
            "None",
            [Connection(label("core.x.hears_all", any_sender=True))],
        ),
        Route(
            "django.db.models.signals.post_save",
            "sales.Sale",
            [
                Connection(label("core.x.hears_all", any_sender=True)),
                Connection(label("core.x.hears_sales")),
                Connection(label("core.orders.receivers.make_sale")),
            ],
        ),
        Route("django.db.models.signals.pre_delete", "x.Y", [Connection(label("core.x.other"))]),
        Route("x.gone", "None", [Connection(label("(dead)", any_sender=True), alive=False)]),
    ]

    idle = page.context(kept, wiring)["idle"]

    assert [(entry["name"], entry["sender"], entry["reason"]) for entry in idle] == [
        ("core.x.hears_all", "any sender", "sent, but by other senders"),
        ("core.x.hears_sales", "sales.Sale", "sent, but by other senders"),
        ("core.x.other", "x.Y", "signal not sent"),
        ("(dead)", "any sender", "dead: connected weakly, and nothing else held it"),
    ]


def test_the_content_of_a_trace_escapes_names():
    builder = TraceBuilder()
    builder.call(builder.dispatch(sender='<script>alert("x")</script>'))
    html = panel.render(described(builder.build()))

    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("instance", "shown"),
    [("orders.Order:42", ":42"), ("orders.OrderProxy:7", "orders.OrderProxy:7")],
)
def test_an_instance_repeats_no_sender_that_stands_before_it(instance, shown):
    builder = TraceBuilder()
    builder.call(builder.dispatch("post_save", "orders.Order", instance=instance))

    html = panel.render(described(builder.build()))

    assert f'<span class="quiet" title="{instance}">{shown}</span>' in html


def test_numbers_that_scripts_and_drawings_read_are_in_no_language(settings):
    settings.USE_THOUSAND_SEPARATOR = True
    kept = described(order_trace())
    with translation.override("de"):
        html = panel.render(kept)

    assert re.findall(r'data-total="([^"]*)"', html)[:2] == [
        str(row["total_ns"]) for row in kept["rows"][:2]
    ]
    left, width = kept["rows"][3]["bars"][0]
    assert f'<rect x="{left}%" width="{width}%"' in html


@pytest.mark.parametrize("stored", [{}, {"version": 0}, {"note": "Nothing here."}])
def test_stats_of_another_version_or_none_are_said_to_be_missing(stored):
    html = panel.render(stored)

    assert stored.get("note", "Nothing was recorded for this request.") in html


# -- Recording, in the toolbar's life ----------------------------------------------------------


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
        assert running.live is not None
        attributes = dict(running.live.attributes)
        is_held = running.live.held

    assert attributes == {"djdt_request_id": found.toolbar.request_id}
    assert not is_held
    assert (kept["trace_id"], kept["stored"], kept["numbered"]) == (running.trace_id, True, True)
    assert kept["dispatch_count"] == 1
    assert "note" not in kept


def test_spans_keep_the_numbers_that_the_panel_shows(toolbar, instrumented):
    found = toolbar()
    with tracing.trace("request") as running:
        kept = use(found, send)
        send()
        live = running.live
    finished = assemble_ended(live)

    assert [row["number"] for row in kept["rows"] if row["is"] == "dispatch"] == [
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

    assert (kept["name"], kept["kind"], kept["dispatch_count"]) == ("/shop/", "request", 1)
    assert (kept["stored"], kept["note"]) == (False, panel.RECORDED_HERE)
    assert (ended, after) == ([], None)


def test_the_tracers_own_pages_are_not_shown(toolbar, instrumented):
    found = toolbar()
    with tracing.trace("viewer") as running:
        running.live.excluded = True
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
        is_held = running.live.held

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

    milliseconds = round(kept["signal_ns"] / 1e6, 3)
    count = kept["receiver_call_count"]
    assert found.get_headers(found.toolbar.request)["Server-Timing"] == (
        f'SignalTracePanel_signals;dur={milliseconds};desc="Signals 1, receivers {count}"'
    )


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


def test_what_goes_into_a_page_fits_every_charset(toolbar, monkeypatch):
    found = toolbar()
    kept = described(order_trace())
    kept["worst"]["label"] = "core.orders.receivers.μ" * 3
    monkeypatch.setattr(found, "get_stats", lambda: kept)
    shown = found.nav_title + found.nav_subtitle + found.content

    assert HttpResponse(shown, charset="ascii").text == shown
    assert "&amp;" not in shown
    assert "…" in unescape(found.nav_subtitle)


def test_the_panel_can_be_disabled_by_the_path_under_which_it_is_listed(settings, toolbar):
    settings.DEBUG_TOOLBAR_CONFIG = {"DISABLE_PANELS": {"tracing.panels.SignalTracePanel"}}

    assert not toolbar().enabled


# -- Its own pages -----------------------------------------------------------------------------


@pytest.fixture
def stored(toolbar, instrumented) -> dict[str, Any]:
    """Return what the panel has kept of one request."""
    with tracing.trace("request"):
        return use(toolbar("/shop/"), send)


@pytest.mark.parametrize("key", ["request_id", "trace_id"])
def test_a_stored_panel_is_found_by_either_id(client, stored, key):
    response = client.get(f"/__debug__/signal-trace/{stored[key]}/")
    data = client.get(f"/__debug__/signal-trace/{stored[key]}/?format=json").json()

    assert response.status_code == 200
    assert b"<signal-trace-panel>" in response.content
    assert data["trace_id"] == stored["trace_id"]
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize(
    ("given", "shown", "kept"),
    [("everything", "everything", "everything"), ("mine", "mine", "mine"), ("x", "", None)],
)
def test_the_address_of_a_panel_says_what_is_shown_and_that_is_remembered(
    client, stored, given, shown, kept
):
    response = client.get(f"/__debug__/signal-trace/{stored['request_id']}/?show={given}")

    assert f'data-show="{shown}"' in response.text
    assert (response.cookies["tracing_show"].value if kept else None) == kept
    assert bool(response.cookies) is bool(kept)


def test_programs_get_json_by_their_accept_header(client, stored):
    response = client.get("/__debug__/signal-trace/", headers={"accept": "application/json"})

    assert [entry["trace_id"] for entry in response.json()["requests"]] == [stored["trace_id"]]


def test_the_list_of_recent_requests_leads_to_each(client, stored):
    response = client.get("/__debug__/signal-trace/", headers={"accept": "text/html"})

    assert f"/__debug__/signal-trace/{stored['request_id']}/" in response.text


def test_an_unknown_request_is_not_found(client, stored):
    assert client.get("/__debug__/signal-trace/nothing/").status_code == 404


@pytest.mark.parametrize("path", ["", "{request_id}/"])
def test_the_pages_are_hidden_from_whom_the_toolbar_is_hidden(client, stored, path):
    address = f"/__debug__/signal-trace/{path.format(**stored)}"

    assert client.get(address, REMOTE_ADDR="192.0.2.1").status_code == 404
    assert client.post(address).status_code == 405


# -- Checks ------------------------------------------------------------------------------------


@pytest.fixture
def config(monkeypatch) -> dict[str, Any]:
    """Return the toolbar's configuration, to be changed."""
    changed = {**get_config()}
    monkeypatch.setattr(checks.toolbar_settings, "get_config", lambda: changed)
    return changed


def ids(found: type = SignalTracePanel) -> list[str]:
    return [message.id for message in found.run_checks()]


def test_a_right_set_up_has_nothing_to_say(instrumented):
    assert ids() == []


def test_the_app_must_be_installed(monkeypatch):
    monkeypatch.setattr(checks.apps, "is_installed", lambda name: name != "tracing")

    assert ids() == ["tracing.E010"]


def test_the_panel_must_be_listed_once(monkeypatch, instrumented):
    listed = [*get_panels(), "shop.panels.SignalTracePanel"]
    monkeypatch.setattr(checks.toolbar_settings, "get_panels", lambda: listed)

    assert ids() == ["tracing.E011"]


def test_the_panel_must_not_take_the_place_of_the_toolbars_own(instrumented, monkeypatch):
    monkeypatch.setattr(checks.toolbar_settings, "get_panels", list)
    impostor = type("SignalsPanel", (SignalTracePanel,), {})

    assert ids(impostor) == ["tracing.E012"]


def test_the_static_files_must_be_found(monkeypatch, instrumented):
    monkeypatch.setattr(checks.finders, "find", lambda path: None)

    assert ids() == ["tracing.W014"]


def test_signals_must_be_instrumented():
    assert ids() == ["tracing.W015"]


@pytest.mark.parametrize(("served", "told"), [("shop.asgi.app", ["tracing.W016"]), (None, [])])
def test_the_toolbars_database_store_does_not_go_with_asgi(
    config, instrumented, monkeypatch, served, told
):
    config["TOOLBAR_STORE_CLASS"] = checks.DATABASE_STORE
    monkeypatch.setattr(checks, "settings", SimpleNamespace(ASGI_APPLICATION=served))

    assert ids() == told


def test_a_test_that_overrides_the_toolbars_settings_hears_nothing(settings):
    settings.DEBUG_TOOLBAR_PANELS = []

    assert ids() == []


def test_the_panel_runs_under_asgi_and_keeps_the_toolbars_signals_panel():
    assert SignalTracePanel.is_async
    assert SignalTracePanel.panel_id == "SignalTracePanel"
    assert Kind.REQUEST == "request"
