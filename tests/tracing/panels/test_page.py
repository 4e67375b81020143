"""Tests of what the panel shows of the trace that the toolbar kept."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.urls import NoReverseMatch
from django.utils import translation

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tests.tracing.panels.traces import foreign_trace, mixed_trace, order_trace
from tracing.analysis.hazards import diagnose
from tracing.analysis.wiring import Route, WiredReceiver
from tracing.panels import page, panel
from tracing.panels.stored import describe
from tracing.presentation import links
from tracing.presentation.templating import draw
from tracing.spans.records import Bypass, Callsite, Trace, WaitingCallback

STORED = {"stored": True, "numbered": True}


def context(trace: Trace, wiring: Any = (), **added: Any) -> dict[str, Any]:
    diagnose(trace)
    return page.context({**describe(trace), **added}, wiring)


def content(trace: Trace, wiring: Any = (), **added: Any) -> str:
    return draw("tracing/panel.html", context(trace, wiring, **added))


def text(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html.replace("<wbr>", ""))))


def others(html: str) -> list[str]:
    """Return what the rows say that are shown with everything alone."""
    html = re.sub(r"<template>.*?</template>", "", html, flags=re.DOTALL)
    rows = re.findall(
        r"<tr[^>]* data-other[^>]*>.*?</tr>|<div role=\"row\"[^>]* data-other.*?</div>",
        html,
        re.DOTALL,
    )
    return [text(row) for row in rows]


def test_the_tree_is_that_of_the_viewer_with_the_details_of_each_row():
    html = content(order_trace(), **STORED)

    assert html.count('class="tree-row') == 1 + 6
    assert html.count("<template>") == 6
    assert "core.orders.receivers.notify" in html
    assert "raised: OSError: no route" in text(html)
    # What can be opened again is not fetched page by page.
    assert "hx-get" not in html


def test_rows_and_receivers_lead_to_what_follows_in_a_tab_of_its_own():
    html = content(order_trace(), **STORED)

    found = re.findall(r'<a class="explain" href="([^"]+)"([^>]*)>', html)
    asked = {unescape(address) for address, _ in found}
    receiver = "/tracing/explain/?what=receiver%3Acore.orders.receivers.notify"
    assert receiver in asked
    assert any(address.startswith("/tracing/explain/?what=sender%3A") for address in asked)
    assert {rest for _, rest in found} == {' target="_blank" rel="noopener"'}


def test_rows_that_are_not_mine_are_marked_and_counted():
    wiring = [
        Route("x.sent", "None", [WiredReceiver(label("django.x.idle"))]),
        Route("x.sent", "None", [WiredReceiver(label("core.x.idle", mine=True))]),
    ]
    found = context(mixed_trace(), wiring)
    html = draw("tracing/panel.html", found)

    assert found["hidden"] == {
        "rows": "4 spans that are not yours are hidden, 2 failures among them",
        "receivers": "2 receivers that are not yours are hidden",
        "idle": "1 receiver that is not yours is hidden",
        "slowest": "3 calls that are not yours are hidden",
        "bypasses": "",
    }
    assert (found["called_mine"], len(found["receivers"].called), found["idle_mine"]) == (1, 3, 1)
    assert all(line in html for line in found["hidden"].values())
    marked = others(html)
    assert len(marked) == 3 + 2 + 1 + 3
    assert not any("make_sale" in row or "core.x" in row for row in marked)
    assert 'data-cookie="tracing_show" data-cookie-path="/"' in html


def test_a_panel_in_which_nothing_is_mine_is_shown_whole_under_a_heading():
    wiring = [Route("x.sent", "None", [WiredReceiver(label("django.x.idle"))])]
    html = content(foreign_trace(), wiring)

    assert html.count("No receiver of yours ran") == 3
    # What is connected and did not run was not looked for: it stays folded away.
    (marked,) = others(html)
    assert "idle" in marked


def test_the_slowest_calls_are_of_all_and_of_mine(monkeypatch):
    monkeypatch.setattr(page, "SLOWEST", 1)

    assert [(row.node.label, row.is_mine) for row in context(mixed_trace())["slowest"]] == [
        ("close_old_connections", False),
        ("make_sale", True),
    ]


def test_each_of_the_slowest_calls_can_be_opened_in_the_editor(settings):
    settings.TRACING = {**settings.TRACING, "PANEL": {"EDITOR": "vscode"}}
    html = content(order_trace())
    slowest = html[html.index('id="view-slowest"') : html.index('id="view-hazards"')]

    assert slowest.count('href="vscode://file/app/core/') == 3


def test_repetitions_name_the_slowest_of_them():
    builder = TraceBuilder()
    for number in range(30):
        builder.call(builder.dispatch(instance=f"orders.Order:{number}"), own_ns=(number + 1) * MS)
    dispatch, call = context(builder.build())["rows"]

    assert len(dispatch.slowest) == page.MAX_REPETITIONS
    assert [span.instance for span in dispatch.slowest][:2] == [
        "orders.Order:29",
        "orders.Order:28",
    ]
    assert call.slowest[0].duration_ns == 30 * MS


def test_what_did_not_run_is_told():
    trace = order_trace()
    trace.waiting_callbacks.append(WaitingCallback("default"))

    said = text(content(trace))

    assert "1 on_commit callback waits for a commit of 'default'" in said
    assert "bypassed" in said
    assert "Writes that sent no signal" in said


def test_writes_past_the_receivers_of_others_are_counted_and_hidden_until_everything_is_shown():
    trace = mixed_trace()
    site = "/srv/lib/python3.12/site-packages/search.py"
    for number, mine in enumerate((True, False)):
        trace.bypasses.append(
            Bypass(
                operation="update",
                model="orders.Order",
                signals=("post_save",),
                receivers=(label(f"shop.index_{number}", mine=mine),),
                rows=1,
                start_ns=0,
                callsite=Callsite(site, 3, "rebuild"),
            )
        )

    page = content(trace)
    tab = page.partition('id="view-bypassed"')[2]
    receivers = page.partition('id="view-receivers"')[2].partition('id="view-slowest"')[0]

    assert 'data-mine="1" data-everything="2"' in page.partition("Bypassed")[2][:80]
    assert "1 write that is not yours is hidden." in text(tab)
    assert re.findall(r"<li( data-other)?><strong>", tab) == ["", " data-other"]
    assert "1 note that is not yours is hidden." in text(receivers)
    assert re.findall(r'<li( data-other)?><span class="badge">bypassed', receivers) == [
        "",
        " data-other",
    ]


def test_nothing_is_hidden_where_nothing_is_mine():
    trace = foreign_trace()
    trace.bypasses.append(
        Bypass("update", "a.B", ("post_save",), (label("shop.index"),), rows=1, start_ns=0)
    )

    page = content(trace)

    assert "data-other" not in page.partition('id="view-bypassed"')[2]
    assert "note that is not yours" not in page


@pytest.mark.parametrize(
    ("added", "trace_links", "span_links"),
    [
        (STORED, True, True),
        ({"stored": True, "numbered": False}, True, False),
        ({"stored": False, "numbered": True}, False, False),
    ],
)
def test_rows_link_to_the_viewer_only_if_it_has_them(added, trace_links, span_links):
    trace = order_trace()
    html = content(trace, **added)

    assert (f'href="/tracing/traces/{trace.address}/"' in html) is trace_links
    assert (f'href="/tracing/traces/{trace.address}/spans/1/"' in html) is span_links


def test_without_the_viewers_addresses_all_is_shown_and_nothing_linked(settings, monkeypatch):
    def refuse(*arguments, **named):
        raise NoReverseMatch

    monkeypatch.setattr(links, "reverse", refuse)
    settings.TRACING = {**settings.TRACING, "PANEL": {"EDITOR": "vscode"}}
    builder = TraceBuilder()
    outer = builder.dispatch()
    for _ in range(3):
        builder.call(outer, "shop.again", own_ns=200 * MS, query_count=3)
    trace = builder.build()
    html = content(trace, **STORED)

    assert trace.hazards
    assert trace.hazards[0].message[:20] in html
    assert "/tracing/traces/" not in html
    assert "/tracing/hazards/" not in html
    assert 'href="vscode://file/app/shop.py:' in html


@pytest.mark.parametrize("depth", [39, 45])
def test_a_deep_tree_ends_where_the_viewers_does(depth):
    builder = TraceBuilder()
    under = None
    for _ in range(depth // 2 + 1):
        under = builder.call(builder.dispatch(under=under))

    html = content(builder.build(), **STORED)

    assert ("more below" in html) is (depth > 40)


def test_receivers_not_called_are_told_with_the_reason():
    wiring = [
        Route(
            "django.db.models.signals.post_save",
            "None",
            [WiredReceiver(label("core.x.hears_all", any_sender=True))],
        ),
        Route(
            "django.db.models.signals.post_save",
            "sales.Sale",
            [
                WiredReceiver(label("core.x.hears_all", any_sender=True)),
                WiredReceiver(label("core.x.hears_sales")),
                WiredReceiver(label("core.orders.receivers.make_sale")),
            ],
        ),
        Route("django.db.models.signals.pre_delete", "x.Y", [WiredReceiver(label("core.x.other"))]),
        Route("x.gone", "None", [WiredReceiver(label("(dead)", any_sender=True), alive=False)]),
    ]

    idle = context(order_trace(), wiring)["idle"]

    assert [(entry.receiver.name, entry.sender, entry.reason) for entry in idle] == [
        ("core.x.hears_all", "any sender", "sent, but by other senders"),
        ("core.x.hears_sales", "sales.Sale", "sent, but by other senders"),
        ("core.x.other", "x.Y", "signal not sent"),
        ("(dead)", "any sender", "dead: connected weakly, and nothing else held it"),
    ]


def test_what_is_left_out_is_said():
    assert "7 items of this trace not shown here" in text(content(order_trace(), left_out=7))


def test_the_content_of_a_trace_escapes_names():
    builder = TraceBuilder()
    builder.call(builder.dispatch(sender='<script>alert("x")</script>'))
    html = content(builder.build())

    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("hidden", ["a\x00b", "a\u202eb"])
def test_texts_hide_nothing(hidden):
    builder = TraceBuilder()
    saved = builder.dispatch(sender=hidden, instance=hidden, values={hidden: hidden})
    builder.call(saved, hidden, statements=[(hidden, 1, 1)])

    assert hidden[1] not in content(builder.build())


def test_numbers_that_scripts_and_drawings_read_are_in_no_language(settings):
    settings.USE_THOUSAND_SEPARATOR = True
    trace = order_trace()
    with translation.override("de"):
        html = content(trace)

    assert re.findall(r'data-total="([^"]*)"', html)[:2] == ["8002000", "7001000"]
    assert not re.findall(r'(?:x|width)="[^"]*,', html)


@pytest.mark.parametrize("found", [{}, {"version": 1}, {"note": "Nothing here."}])
def test_what_another_version_stored_is_said_to_be_missing(found):
    html = panel.render(found)

    assert found.get("note", "Nothing was recorded for this request.") in html
    assert "<signal-trace-panel>" in html
