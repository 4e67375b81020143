"""Tests of what each page says, as HTML and as JSON."""

from __future__ import annotations

import gc
import json
import re
import time
from html import unescape
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import tracing
from tests.tracing.analysis.building import MS, TraceBuilder, label
from tests.tracing.viewer.traces import (
    COUNT_CARS,
    MAKE_SALE,
    command,
    identify,
    mixed,
    order,
    store,
    visit,
)
from tracing.analysis.mine import NONE_OF_MINE
from tracing.analysis.wiring import read_wiring
from tracing.models import Hazard, RecorderState, SavedSearch, Trace
from tracing.spans.intervals import time_once
from tracing.spans.records import (
    Callsite,
    ConnectionChange,
    Kind,
    LostReceiver,
    MissedReceiver,
    Outcome,
    ReceiverLabel,
    WaitingCallback,
)
from tracing.spool.folder import COLLECTOR, Folder
from tracing.store import finding
from tracing.store.retention import compact_rollups
from tracing.units import format_ns
from tracing.viewer.views import wiring
from tracing.viewer.views.statistics import LEAST_HOURS
from tracing.viewer.views.traces import MOST_PARTS, PARTS_HEADER

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])


def address(number, rest=""):
    return f"/tracing/traces/{number:032x}{rest}"


def text(response):
    return unescape(response.content.decode()).replace("<wbr>", "")


# -- The list ----------------------------------------------------------------------------------


def test_what_could_not_be_read_is_told(developer):
    trace = order(1)
    trace.unreadable = [("the details of a dispatch", "ValueError", 2), ("a value", "TypeError", 1)]
    store(trace)

    page = developer.get(f"/tracing/traces/{trace.trace_id}/").content.decode()

    assert "3 things unreadable (a value: TypeError, the details of a dispatch: ValueError)" in page


def test_empty_store_tells_what_to_do(developer):
    page = text(developer.get("/tracing/"))

    assert "No trace is stored yet" in page
    assert reverse("tracing:recorder") in page


def test_list_shows_the_facts_of_each_trace(developer):
    store(order(1, fails=True, user="31"), command(2))

    page = text(developer.get("/tracing/"))

    for fact in (
        "orders:check_out",
        "/orders/1/check-out/",
        "✕ 500",
        "31",
        "✕ 1",
        "load_cars",
    ):
        assert fact in page


def test_request_that_was_refused_has_no_tick(developer):
    refused = order(1)
    refused.http_status = 404
    store(refused, order(2))

    page = text(developer.get("/tracing/"))

    assert "✓ 404" not in page
    assert ">404<" in page
    assert "✓ 302" in page


def test_list_as_json_by_suffix_and_by_accept(developer):
    store(order(1))

    by_suffix = developer.get("/tracing/traces.json").json()
    by_header = developer.get("/tracing/", headers={"Accept": "application/json"}).json()

    assert by_suffix == by_header
    assert [trace["name"] for trace in by_suffix["traces"]] == ["orders:check_out"]
    assert by_suffix["complete"] is True


@pytest.mark.parametrize("suffix", ["", "traces.json"])
def test_list_does_not_depend_on_the_charset_of_the_project(developer, settings, suffix):
    settings.DEFAULT_CHARSET = "ascii"
    store(order(1, fails=True, name="\N{GREEK SMALL LETTER MU}"))

    assert "\N{GREEK SMALL LETTER MU}" in text(developer.get(f"/tracing/{suffix}"))


@pytest.mark.parametrize("accept", ["*/*", "", "text/html,application/xhtml+xml,*/*;q=0.8"])
def test_list_is_a_page_for_whoever_does_not_ask_for_json(developer, accept):
    response = developer.get("/tracing/", headers={"Accept": accept})

    assert response["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"kind": "command"}, ["load_cars"]),
        ({"signal": "sale_made"}, ["orders:check_out"]),
        ({"sender": "cars.Car"}, ["load_cars"]),
        ({"receiver": "make_sale"}, ["orders:check_out"]),
        ({"outcome": "raised"}, ["orders:check_out"]),
        ({"status": "error"}, ["orders:check_out"]),
        ({"duration": "10"}, ["orders:check_out"]),
        ({"duration": "10s"}, []),
        ({"text": "load"}, ["load_cars"]),
        ({"text": "load", "q": "kind:request"}, []),
        ({"kind": "nonsense"}, ["load_cars", "orders:check_out"]),
        ({"duration": "soon"}, ["load_cars", "orders:check_out"]),
    ],
)
def test_filters_are_the_search_as_controls(developer, parameters, names):
    store(order(1, fails=True, slow=20), command(2, cars=3))

    found = developer.get("/tracing/traces.json", parameters).json()["traces"]

    assert sorted(trace["name"] for trace in found) == names


def test_mistake_is_pointed_at_and_the_last_good_result_stays(developer):
    store(order(1), command(2))

    page = text(developer.get("/tracing/", {"q": "outcom:raised", "last": "kind:command"}))

    assert "<mark>outcom</mark>:raised" in page
    assert 'href="/tracing/?q=outcome%3Araised"' in page
    assert "load_cars" in page
    assert "/orders/1/check-out/" not in page


def test_mistake_through_htmx_replaces_only_the_words_about_it(developer):
    response = developer.get("/tracing/", {"q": "outcom:raised"}, headers={"HX-Request": "true"})

    assert response["HX-Retarget"] == "#search-problem"
    assert "<mark>outcom</mark>" in text(response)
    assert "<table" not in text(response)


def test_mistake_as_json_says_where_it_is(developer):
    response = developer.get("/tracing/traces.json", {"q": "a kind:reqest"})

    assert (response.status_code, response.json()) == (
        400,
        {
            "error": "“reqest” is no kind: request, command, task, test, block, dispatch.",
            "at": 7,
            "wrong": "reqest",
            "suggestion": "request",
        },
    )


def test_name_that_nothing_ever_had_comes_with_the_nearest(developer):
    store(order(1))

    page = text(developer.get("/tracing/", {"q": "signal:post_sav"}))

    assert "No signal called “post_sav” was recorded." in page
    assert 'href="/tracing/?q=signal%3Apost_save"' in page


def test_pages_lead_to_older_and_back(developer):
    store(*(order(number, ago=200 - number) for number in range(1, 8)))

    first = developer.get("/tracing/traces.json?size=3").json()
    second = developer.get(f"/tracing/traces.json?size=3&before={first['older']}").json()
    back = developer.get(f"/tracing/traces.json?size=3&after={second['newer']}").json()

    assert [int(trace["trace_id"], 16) for trace in second["traces"]] == [4, 3, 2]
    assert back["traces"] == first["traces"]


def test_live_gives_what_came_since(developer):
    store(order(1))
    row = Trace.objects.last_row_id()
    store(order(2), command(3, cars=1))

    everything = developer.get(f"/tracing/live.json?row={row}").json()
    some = text(developer.get(f"/tracing/live/?row={row}&q=kind:command"))

    assert [int(trace["trace_id"], 16) for trace in everything["traces"]] == [3, 2]
    assert "load_cars" in some
    assert f'data-row="{everything["row"]}"' in some
    assert "orders:check_out" not in some


@pytest.mark.parametrize("row", ["", "x", "-1", "9" * 40])
def test_live_takes_any_row(developer, row):
    assert developer.get("/tracing/live/", {"row": row}).status_code == 200


def test_completion_says_what_it_replaces(developer):
    store(order(1))

    found = developer.get(
        "/tracing/complete.json", {"q": "kind:request receiver:make", "at": 26}
    ).json()

    assert found == {
        "start": 22,
        "end": 26,
        "completions": [{"text": "core.sales.receivers.make_sale", "hint": ""}],
    }


def test_completion_of_a_control(developer):
    store(order(1))

    found = developer.get("/tracing/complete.json", {"key": "sender", "q": "Ord"}).json()

    assert [completion["text"] for completion in found["completions"]] == ["orders.Order"]


@pytest.mark.parametrize("query", ["", "q=kind:request", "q=since:1h", "q=took>1ms", "q=outcom:x"])
def test_charts_count_every_trace_found(developer, query):
    store(order(1, fails=True), order(2, ago=1_800), order(3, ago=900))

    found = developer.get(f"/tracing/charts.json?{query}").json()

    assert sum(column["count"] for column in found["columns"]) == 3
    assert sum(column["failed"] for column in found["columns"]) == 1
    assert len(found["traces"]) == 3


def test_charts_of_more_than_is_drawn_still_count_all(developer, monkeypatch):
    monkeypatch.setattr("tracing.viewer.views.charts.SAMPLE", 4)
    store(*(order(number, ago=60 * number) for number in range(1, 11)))

    found = developer.get("/tracing/charts.json").json()

    assert sum(column["count"] for column in found["columns"]) == 10
    assert len(found["traces"]) == 4


def test_charts_ask_no_more_of_the_store_for_more_columns(developer, monkeypatch):
    monkeypatch.setattr("tracing.viewer.views.charts.SAMPLE", 4)
    store(*(order(number, ago=60 * number) for number in range(1, 11)))

    with CaptureQueriesContext(connections["tracing"]) as queries:
        developer.get("/tracing/charts/")

    assert len(queries) <= 8


def test_charts_are_drawn_where_thousands_are_told_apart(developer, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    store(order(1), order(2, ago=900))

    page = text(developer.get("/tracing/charts/"))

    assert 'data-first="' in page
    assert not re.search(r' (data-(first|last|since|until|at|took)|x|y|cx|cy)="[^"]*,', page)


def test_saved_search_is_kept_found_replaced_and_deleted(developer):
    save = {"name": "slow ones", "query": "?q=duration>1s&kind=request&before=7&evil=1"}
    developer.post("/tracing/searches/", save)

    assert [(s.name, s.query) for s in SavedSearch.objects.all()] == [
        ("slow ones", "q=duration%3E1s&kind=request")
    ]
    assert 'href="/tracing/?q=duration%3E1s&kind=request"' in text(
        developer.get("/tracing/searches/")
    )

    developer.post("/tracing/searches/", {"name": "slow ones", "query": "q=duration>2s"})
    kept = SavedSearch.objects.get()
    assert kept.query == "q=duration%3E2s"

    developer.post("/tracing/searches/", {"delete": str(kept.pk)})
    assert not SavedSearch.objects.exists()


def test_a_search_is_saved_beside_it_and_not_where_there_is_none(developer):
    part = text(developer.get("/tracing/searches/", headers={"HX-Request": "true"}))

    assert "Keep this search as" in part
    assert "Keep this search as" not in text(developer.get("/tracing/searches/"))


def test_saved_search_needs_a_name(developer):
    assert developer.post("/tracing/searches/", {"query": "q=x"}).status_code == 400
    assert not SavedSearch.objects.exists()


# -- One trace ---------------------------------------------------------------------------------


def test_trace_shows_the_tree_with_its_facts(developer):
    store(order(1, fails=True))

    page = text(developer.get(address(1, "/")))

    for fact in (
        "post_save orders.Order",
        "orders.Order:1",
        "make_sale",
        "core/sales/receivers.py:19",
        "raised: ",
        "PrinterError",
        "rolled back",
        'aria-level="4"',
        "critical path",
        "request_id",
        "r-1",
    ):
        assert fact in page


def test_trace_as_json_has_every_dispatch_flat(developer):
    trace = order(1)
    store(trace)

    found = developer.get(address(1, ".json")).json()

    assert [dispatch["number"] for dispatch in found["dispatches"]] == [1, 4]
    assert found["dispatches"][1]["parent_number"] == 3
    assert [call["receiver"]["name"] for call in found["dispatches"][0]["receiver_calls"]] == [
        COUNT_CARS.name,
        MAKE_SALE.name,
    ]
    assert found["orphans"] == [
        {"signal": "django.db.models.signals.pre_init", "sender": "cars.Car", "count": 47}
    ]


@pytest.mark.parametrize("rest", ["/", ".json", "/flame/", "/spans/1/", "/lines/1/"])
def test_trace_that_is_not_stored_is_404(developer, rest):
    assert developer.get(address(77, rest)).status_code == 404


def test_trace_that_is_not_stored_is_told_in_the_frame_and_as_json(developer):
    page = text(developer.get(address(77, "/")))
    document = developer.get(address(77, ".json")).json()

    assert document == {"error": f"No trace {77:032x} is stored."}
    assert document["error"] in page
    assert reverse("tracing:recorder") in page
    assert "URLconf" not in page


@pytest.mark.parametrize("rest", ["/nonsense/", "/spans/999/", "/lines/999/"])
def test_part_that_a_trace_does_not_have_is_404(developer, rest):
    store(order(1))

    assert developer.get(address(1, rest)).status_code == 404


def test_repetitions_are_one_line_that_opens(developer):
    store(command(1, cars=214))

    page = text(developer.get(address(1, "/")))
    lines = developer.get(address(1, "/lines/1.json")).json()
    rest = text(developer.get(address(1, "/lines/1/?start=200"), headers={"HX-Request": "true"}))

    assert "214 \N{MULTIPLICATION SIGN}" in page
    assert page.count('role="row"') == 3
    assert (lines["count"], len(lines["spans"])) == (214, 200)
    assert rest.count('role="row"') == 14


@pytest.mark.thorough
def test_trace_of_20_000_dispatches_is_a_small_page(developer):
    store(command(1, cars=20_000))

    response = developer.get(address(1, "/"))

    assert "20,000 \N{MULTIPLICATION SIGN}" in text(response)
    assert len(response.content) < 60_000


def test_map_shows_which_application_calls_receivers_of_which(developer):
    store(order(1, fails=True))

    page = text(developer.get("/tracing/map/?connected=no"))
    narrowed = developer.get("/tracing/map.json?app=orders&into=sales&connected=no").json()

    assert "Coupling of the applications" in page
    assert "orders → sales: 1 call of 1 receiver" in page
    assert {(flow["sender"], flow["app"]) for flow in narrowed["flows"]} == {
        ("orders.Order", "sales")
    }


def many_lines(count):
    build = TraceBuilder()
    for number in range(count):
        build.call(build.dispatch(sender=f"cars.Car{number}"), "core.cars.receivers.give_code")
    return identify(build.build(), 1)


@pytest.mark.thorough
def test_lines_of_a_long_tree_come_a_page_at_a_time(developer):
    store(many_lines(150))
    part = {"HX-Request": "true"}

    page = text(developer.get(address(1, "/")))
    rest = text(developer.get(address(1, "/?start=250"), headers=part))
    whole_rest = text(developer.get(address(1, "/?start=250")))

    assert page.count("data-number=") == 250
    assert "start=250" in page
    assert rest.count("data-number=") == 50
    assert "<html" not in rest
    assert "tree-more" not in rest
    assert "<html" in whole_rest
    assert "Lines before 251" in whole_rest


@pytest.mark.thorough
def test_part_of_a_tree_keeps_the_search_in_the_address_of_the_next_lines(developer):
    store(many_lines(150))

    page = text(developer.get(address(1, "/?q=sender:cars.Car7")))

    assert "?q=sender%3Acars.Car7&start=250" in page


def test_receivers_connected_meanwhile_stand_where_it_happened(developer):
    build = TraceBuilder()
    call = build.call(build.dispatch(), "core.orders.receivers.plug_in")
    late = label("plugins.receivers.late")
    build.trace.connection_changes = [
        ConnectionChange("connected", "django.db.models.signals.post_save", "cars.Car", late, 5_000,
                         call.number, Callsite("/app/plugins.py", 7, "plug_in")),
        ConnectionChange("disconnected", "django.db.models.signals.post_save", "None", late, 9_000),
    ]  # fmt: skip
    store(identify(build.build(), 1))

    tree = text(developer.get(address(1, "/")))
    receivers = text(developer.get(address(1, "/receivers/")))
    span = text(developer.get(address(1, f"/spans/{call.number}/"), headers={"HX-Request": "true"}))
    document = developer.get(address(1, "/receivers.json")).json()

    row = tree[tree.index(f'data-number="{call.number}"') :]
    assert "connected late" in row.partition('role="row"')[0]
    assert "Connected and disconnected outside receivers" in tree
    assert receivers.count("plugins.receivers.late") == 2
    assert "/app/plugins.py:7" in receivers
    assert "Receivers it connected or disconnected" in span
    assert [change["change"] for change in document["changes"]] == ["connected", "disconnected"]


def test_computing_and_waiting_are_shown_and_stored_where_the_cpu_clock_was_read(developer):
    build = TraceBuilder()
    sent = build.dispatch()
    call = build.call(sent, MAKE_SALE, own_ns=9 * MS, query_count=1, query_ns=2 * MS, cpu_ns=3 * MS)
    build.call(sent, COUNT_CARS, own_ns=MS)
    store(identify(build.build(), 1), order(2))

    receivers = text(developer.get(address(1, "/receivers/")))
    (read, unread) = developer.get(address(1, "/receivers.json")).json()["called"]
    span = text(developer.get(address(1, f"/spans/{call.number}/")))
    found = developer.get(address(1, f"/spans/{call.number}.json")).json()

    assert ">Waiting</th>" in receivers
    assert ">Waiting</th>" not in text(developer.get(address(2, "/receivers/")))
    assert (read["cpu_ns"], read["waiting_ns"]) == (3 * MS, 4 * MS)
    assert (unread["cpu_ns"], unread["waiting_ns"]) == (None, None)
    assert "3.00 ms computing, 2.00 ms SQL, 4.00 ms waiting" in span
    assert found["cpu_ns"] == 3 * MS


@pytest.mark.thorough
def test_deep_trace_is_drawn_as_far_as_it_can_be_seen(developer):
    build = TraceBuilder()
    call = None
    for _ in range(400):
        call = build.call(build.dispatch(under=call), "core.orders.receivers.recurse")
    store(identify(build.build(), 1))

    page = text(developer.get(address(1, "/")))

    assert "more below" in page
    assert "?root=" in page
    deeper = text(developer.get(address(1, "/?root=401")))
    assert 'aria-level="1"' in deeper
    assert "Below" in deeper


@pytest.mark.parametrize(
    ("zoom", "view_box"),
    [
        ("20-35", "20 0 15 10"),
        ("0-100", "0 0 100 10"),
        ("35-20", "0 0 100 10"),
        ("x", "0 0 100 10"),
    ],
)
def test_zoom_is_in_the_address(developer, zoom, view_box):
    store(order(1))

    assert f'viewBox="{view_box}"' in text(developer.get(address(1, f"/?zoom={zoom}")))


def test_find_in_a_trace_marks_the_lines(developer):
    store(order(1))

    page = text(developer.get(address(1, "/?q=receiver:make_sale")))

    assert page.count("is-match") == 1
    assert "1 match" in page


@pytest.mark.parametrize(
    ("tab", "facts"),
    [
        ("flame", ["make_sale", "<rect", "Heaviest first"]),
        ("flame/?order=time", ["make_sale", "In order of time"]),
        ("table", ["make_sale", 'aria-sort="descending"', "1 to 6 of 6 spans"]),
        ("table/?order=name", ['aria-sort="ascending"']),
        ("table/?order=nonsense", ["Self time ↓"]),
        ("receivers", ["Called", "make_sale", "Registered but not called", "pre_init", "47"]),
        ("sql", ["SELECT * FROM cars WHERE id = %s", "5 queries ran inside receivers"]),
        ("hazards", ["swallowed-error", "Remedy:"]),
        ("log", ["dispatch_finished", "receiver_failed", "trace_finished"]),
        ("json", ['"trace_id"', "its JSON address"]),
    ],
)
def test_tabs(developer, tab, facts):
    store(order(1, fails=True))

    page = text(developer.get(address(1, f"/{tab}" + ("" if "?" in tab else "/"))))

    assert [fact for fact in facts if fact not in page] == []


@pytest.mark.parametrize("tab", ["flame", "table", "receivers", "sql", "hazards", "log", "json"])
def test_tabs_as_json(developer, tab):
    store(order(1, fails=True))

    found = developer.get(address(1, f"/{tab}.json")).json()

    expected = {
        "flame": "boxes", "table": "spans", "receivers": "called", "sql": "statements",
        "hazards": "hazards", "log": "lines", "json": "dispatches",
    }  # fmt: skip
    assert found[expected[tab]]


def test_registered_but_not_called_receivers_are_told_apart(developer):
    build = TraceBuilder()
    build.bypass(callsite=None)
    build.lost(ReceiverLabel("core.orders.receivers.gone"))
    build.trace.lost_receivers.append(
        LostReceiver("x.sig", "None", ReceiverLabel("core.orders.receivers.was"), was_called=True)
    )
    store(identify(build.build(), 1))

    page = text(developer.get(address(1, "/receivers/")))

    for fact in (
        "bypassed",
        "make_sale",
        "lost",
        "core.orders.receivers.gone",
        "after it had been called",
    ):
        assert fact in page


@pytest.mark.parametrize("tab", ["", "receivers/"])
def test_receivers_and_callbacks_that_did_not_run_are_told_without_any_dispatch(developer, tab):
    build = TraceBuilder()
    build.trace.missed_receivers.append(
        MissedReceiver("x.sent", "shop.Child", MAKE_SALE, "shop.Parent", "its parent model")
    )
    build.trace.waiting_callbacks.append(WaitingCallback("default"))
    store(identify(build.build(), 1))

    page = text(developer.get(address(1, f"/{tab}")))

    assert (
        "did not run for sent shop.Child: it is connected for shop.Parent, its parent model" in page
    )
    assert "1 on_commit callback waits for a commit of" in page


def test_search_through_spans_is_given_in_parts(developer, monkeypatch):
    monkeypatch.setattr(finding, "SPANS_SECONDS", 0.0)
    monkeypatch.setattr(finding, "_FIRST_BATCH", 1)
    for number in range(1, 5):
        store(order(number, ago=60 - number))
    parts, headers, at = [], {"Accept": "text/html"}, "/tracing/?q=took%3E0ns"
    while at:
        page = text(developer.get(at, headers=headers))
        parts.append(re.findall(r'<tr class="[^"]*" data-trace="(\w+)', page))
        goes_on = re.search(r'hx-get="([^"]+)".*?X-Search-Parts": "([^"]+)"', page)
        at, header = goes_on.groups() if goes_on else ("", "")
        headers = {"Accept": "text/html", "HX-Request": "true", PARTS_HEADER: header}

    assert [len(part) for part in parts] == [1, 1, 1, 1]
    assert [part[0] for part in parts] == [f"{number:032x}" for number in (4, 3, 2, 1)]
    assert "hx-swap-oob" in page
    assert '<h1 class="unseen">' not in page


def test_parts_of_a_page_are_no_more_than_a_page_and_end(developer, monkeypatch):
    monkeypatch.setattr(finding, "SPANS_SECONDS", 0.0)
    monkeypatch.setattr(finding, "_FIRST_BATCH", 1)
    for number in range(1, 5):
        store(order(number, ago=60 - number))
    part = {"Accept": "text/html", "HX-Request": "true"}

    full = text(
        developer.get("/tracing/?q=took%3E0ns&size=3", headers=part | {PARTS_HEADER: "1 2"})
    )
    last = text(
        developer.get(
            "/tracing/?q=took%3E0ns", headers=part | {PARTS_HEADER: f"{MOST_PARTS - 1} 1"}
        )
    )
    odd = text(developer.get("/tracing/?q=took%3E0ns", headers=part | {PARTS_HEADER: "x -1 é"}))

    assert full.count("<tr ") == 1
    assert PARTS_HEADER not in full
    assert "Older" in full
    assert PARTS_HEADER not in last
    assert "Go on searching" in last
    assert odd.count("<tr ") >= 1


def test_span_says_everything_and_why_it_ran(developer):
    store(order(1, fails=True))

    panel = text(developer.get(address(1, "/spans/6/"), headers={"HX-Request": "true"}))
    whole = text(developer.get(address(1, "/spans/6/")))
    found = developer.get(address(1, "/spans/6.json")).json()

    for fact in (
        "core.sales.receivers.fail_to_print",
        "out of paper",
        "the 2nd of 2 receivers",
        "A POST request for /orders/1/check-out/",
        "Traces with this receiver",
    ):
        assert fact in panel
        assert fact in whole
    assert "<html" not in panel
    assert found["outcome"] == "raised"
    assert found["why"][0].startswith("A POST request for /orders/1/check-out/")


@pytest.mark.parametrize(
    ("editor", "link"),
    [
        ("vscode", "vscode://file{file}:19"),
        ("pycharm", "pycharm://open?file={file}&line=19"),
        ("mine://{file}?l={line}", "mine://{file}?l=19"),
        ("javascript:alert('{file}')", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_editor_link(developer, settings, editor, link):
    settings.TRACING = {**settings.TRACING, "VIEWER": {"EDITOR": editor}}
    store(order(1))

    page = text(developer.get(address(1, "/spans/3/")))

    if link is None:
        assert "javascript:" not in page
        assert '<a href="nonsense' not in page
    else:
        assert f'href="{link.format(file=MAKE_SALE.file)}"' in page


def stored_pair():
    """Store two traces of one id; return their rows."""
    store(order(1, name="first", fails=True))
    store(order(1, name="second", ago=5))
    return Trace.objects.order_by("pk")


def test_two_traces_of_one_id_lead_to_each_other(developer):
    older, newer = stored_pair()

    page = text(developer.get(f"/tracing/traces/{newer.address}/"))

    assert "<title>second" in page
    assert f'href="/tracing/traces/{older.address}/"' in page
    assert "<title>first" in text(developer.get(f"/tracing/traces/{older.address}/"))


@pytest.mark.thorough
@pytest.mark.parametrize("rest", ["/", "/table/", "/spans/3/", "/lines/1/"])
def test_id_of_two_traces_lets_choose(developer, rest):
    older, newer = stored_pair()

    response = developer.get(address(1, rest))
    page = text(response)

    assert response.status_code == 200
    assert "2 traces have one id" in page
    for row in (older, newer):
        assert f'href="/tracing/traces/{row.address}/"' in page
    assert "q=trace%3A" in page


@pytest.mark.parametrize("rest", [".json", "/table.json", "/spans/3.json"])
def test_id_of_two_traces_is_answered_with_both_in_json(developer, rest):
    rows = stored_pair()

    response = developer.get(address(1, rest))

    assert response.status_code == 300
    assert [row["root_span_id"] for row in response.json()["traces"]] == [
        row.root_span_id for row in reversed(rows)
    ]


@pytest.mark.parametrize("tab", ["", "table/", "flame/", "receivers/", "sql/", "hazards/", "log/"])
def test_links_of_a_page_stay_with_its_trace(developer, tab):
    older, _newer = stored_pair()

    page = text(developer.get(f"/tracing/traces/{older.address}/{tab}"))
    links = set(re.findall(rf'"(/tracing/traces/{older.trace_id}/[^"]*)"', page))

    assert "<title>first" in page
    # But for the one to the traces of that id.
    strangers = {link for link in links if older.root_span_id not in link}
    assert {link.rpartition("/traces/")[2].count("/") for link in strangers} <= {1, 2}
    assert f"/tracing/traces/{older.address}/table/" in links


@pytest.mark.parametrize("by", ["address", "root_span_id"])
def test_note_is_kept_with_the_trace_it_is_about(superuser, by):
    older, newer = stored_pair()

    response = superuser.post(
        f"/tracing/traces/{getattr(older, by)}/note/", {"note": "look here", "pinned": "on"}
    )

    older.refresh_from_db()
    newer.refresh_from_db()
    assert response.url == f"/tracing/traces/{older.address}/"
    assert (older.note, older.pinned, newer.note, newer.pinned) == ("look here", True, "", False)


def test_note_for_two_traces_is_kept_with_neither(superuser):
    rows = stored_pair()

    superuser.post(address(1, "/note/"), {"note": "look here"})

    assert [row.note for row in rows.all()] == ["", ""]


def test_list_search_and_comparison_tell_traces_of_one_id_apart(developer):
    older, newer = stored_pair()

    listed = text(developer.get(f"/tracing/?q=trace:{older.trace_id}"))
    one = developer.get(f"/tracing/traces.json?q=trace:{older.root_span_id}").json()
    compared = developer.get(f"/tracing/compare.json?a={older.address}&b={newer.root_span_id}")
    unclear = developer.get(f"/tracing/compare/?a={older.trace_id}&b={newer.address}")

    for row in (older, newer):
        assert f'href="/tracing/traces/{row.address}/"' in listed
    assert [row["name"] for row in one["traces"]] == ["first"]
    document = compared.json()
    assert (document["before"]["name"], document["after"]["name"]) == ("first", "second")
    assert "Several traces have the id" in text(unclear)


def test_parent_of_which_there_are_several_is_to_be_chosen(developer):
    parents = stored_pair()
    exact, unclear = order(2, name="exact"), order(3, name="unclear")
    exact.parent_trace_id = unclear.parent_trace_id = f"{1:032x}"
    exact.parent_span_id = parents[0].root_span_id
    store(exact, unclear)

    first = text(developer.get(address(2, "/")))
    second = text(developer.get(address(3, "/")))

    assert f'href="/tracing/traces/{parents[0].address}/"' in first
    assert "one of 2 traces" in second


def test_running_trace_says_so(developer):
    trace = order(1)
    trace.final, trace.segment, trace.dropped_count = False, 3, 9
    store(trace)

    page = text(developer.get(address(1, "/")))

    assert "recorded up to segment 3" in page
    assert "9 items: a limit was reached" in page


@pytest.mark.thorough
def test_trace_without_dispatches_tells_where_to_look(developer):
    build = TraceBuilder(Kind.BLOCK, "quiet")
    build.trace.orphan_count = 4
    store(identify(build.build(), 1))

    assert "4 dispatches had no receiver" in text(developer.get(address(1, "/")))
    for tab in ("flame", "table", "receivers", "sql", "hazards", "log", "json"):
        assert developer.get(address(1, f"/{tab}/")).status_code == 200


# -- Map, statistics, compare ------------------------------------------------------------------


def test_table_of_the_map_says_how_much_of_it_is_there(developer, monkeypatch):
    store(order(1))
    monkeypatch.setattr(wiring, "MOST_ROWS", 1)

    first = text(developer.get("/tracing/map/?connected=no"))
    whole = text(developer.get("/tracing/map/?connected=no&rows=all"))

    rows = whole.count('<td class="sends">')
    assert rows > 1
    assert f"The first 1 of {rows}." in first
    assert first.count('<td class="sends">') == 1
    assert 'href="?connected=no&rows=all#table"' in first
    assert "Show all</a>" not in whole


@pytest.mark.thorough
def test_map_has_flows_what_they_send_and_what_never_ran(developer):
    store(order(1, fails=True), command(2, cars=3))

    flows = developer.get("/tracing/map.json").json()["flows"]
    made = next(flow for flow in flows if flow["receiver"] == MAKE_SALE.name)
    page = text(developer.get("/tracing/map/"))

    assert made == {
        "signal": "django.db.models.signals.post_save",
        "sender": "orders.Order",
        "receiver": MAKE_SALE.name,
        "app": "sales",
        "count": 1,
        "error_count": 0,
        "total_ns": made["total_ns"],
        "crosses_apps": True,
        "never_run": False,
        "sends": [{"signal": "core.sales.signals.sale_made", "sender": "sales.Sale", "count": 1}],
    }
    assert any(flow["never_run"] for flow in flows)
    for fact in ("across apps", "never run", "What receivers send on", 'class="edge crosses'):
        assert fact in page


def test_map_narrows_by_focus_application_text_and_time(developer):
    store(order(1), command(2, cars=3))

    def receivers(**parameters):
        flows = developer.get("/tracing/map.json", {"connected": "no", **parameters}).json()[
            "flows"
        ]
        return {flow["receiver"].rpartition(".")[2] for flow in flows}

    everything = {"count_cars", "make_sale", "print_receipt", "fail_to_print", "give_code"}
    assert receivers() == everything
    assert receivers(app="cars") == {"give_code"}
    assert receivers(q="receipt") == {"print_receipt"}
    assert receivers(focus="r:core.sales.receivers.make_sale") == everything - {
        "give_code",
        "count_cars",
    }
    assert receivers(focus="r:core.sales.receivers.print_receipt") == {"make_sale", "print_receipt"}
    assert receivers(since="nonsense") == everything


@pytest.mark.thorough
def test_map_asks_the_collector_for_no_referrers(developer, monkeypatch):
    monkeypatch.setattr("tracing.analysis.wiring._kept_by_debug", lambda *_: 1 / 0)

    assert developer.get("/tracing/map/").status_code == 200
    with pytest.raises(ZeroDivisionError):
        read_wiring()


def test_map_is_drawn_where_thousands_are_told_apart(developer, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    store(order(1), command(2, cars=3))

    page = text(developer.get("/tracing/map/"))

    drawing = page[page.index('<svg class="map"') : page.index("</svg>", page.index('class="map"'))]
    assert 'width="1160"' in drawing
    assert not re.search(r' (x|y|width|height|viewBox)="[^"]*,', drawing)


@pytest.mark.thorough
def test_map_calls_the_sender_of_what_hears_everyone_any_sender(developer):
    page = text(developer.get("/tracing/map/"))

    assert ">any sender<" in page
    assert ">None<" not in page


def test_map_leads_on_with_what_was_chosen(developer):
    store(order(1))

    page = text(developer.get("/tracing/map/?since=24h&focus=s:orders.Order"))

    assert 'href="?since=24h&focus=r%3Acore.sales.receivers.make_sale"' in page


def test_map_of_nothing_says_so(developer):
    assert "Nothing to map" in text(developer.get("/tracing/map/?connected=no"))


@pytest.mark.parametrize(
    ("by", "first"),
    [
        ("receiver", (None, None, "core.sales.receivers.make_sale")),
        ("signal", ("django.db.models.signals.post_save", None, None)),
        ("sender", (None, "orders.Order", None)),
        ("dispatch", ("django.db.models.signals.post_save", "orders.Order", None)),
    ],
)
def test_statistics(developer, by, first):
    store(order(1, slow=50), order(2, fails=True), command(3, cars=3))

    found = developer.get(f"/tracing/statistics.json?by={by}").json()
    page = text(developer.get(f"/tracing/statistics/?by={by}"))

    row = found["statistics"][0]
    assert (row["signal"], row["sender"], row["receiver"]) == first
    assert row["count"] >= 2
    assert 0 < row["p50_ns"] <= row["p95_ns"] <= row["p99_ns"]
    assert "<polyline" in page


@pytest.mark.parametrize("by", ["receiver", "signal", "sender", "dispatch"])
def test_statistics_take_the_time_of_all_once(developer, by):
    trace = order(1, slow=50)
    store(trace)

    page = text(developer.get(f"/tracing/statistics/?by={by}"))

    assert f"<dt>Time</dt><dd>{format_ns(time_once(trace.dispatches))}</dd>" in page


@pytest.mark.parametrize("order_by", ["count", "-error_count", "query_count", "nonsense"])
def test_statistics_sorted(developer, order_by):
    store(order(1), order(2, fails=True), command(3, cars=3))

    rows = developer.get(f"/tracing/statistics.json?order={order_by}").json()["statistics"]

    column = order_by.lstrip("-") if order_by != "nonsense" else "total_ns"
    values = [row[column] for row in rows]
    assert values == sorted(values, reverse=order_by in {"-error_count", "nonsense"})


def test_statistics_of_an_empty_time(developer):
    assert "Nothing was recorded in this time" in text(
        developer.get("/tracing/statistics/?since=1h")
    )


def test_trend_has_the_hours_that_the_store_has_not_added_up(developer):
    store(order(1), command(2, cars=3, ago=4 * 86_400), command(3, cars=9, ago=5 * 86_400))
    compact_rollups("tracing")

    page = text(developer.get("/tracing/statistics/?since=30d&by=dispatch&show=everything"))

    trends = re.findall(r'points="([^"]*)"', page)
    # Of the days before, one hour has what the day had.
    assert {len(trend.split()) for trend in trends} == {LEAST_HOURS}


def test_heat_map_counts_by_hour(developer):
    store(order(1), order(2, ago=7_200))

    hours = developer.get("/tracing/statistics/heat.json").json()["hours"]
    one = developer.get(f"/tracing/statistics/heat.json?name={MAKE_SALE.name}").json()["hours"]

    assert sum(hour["count"] for hour in hours) == 8
    assert sum(hour["count"] for hour in one) == 2
    assert 'class="heat heat-' in text(developer.get("/tracing/statistics/heat/"))


def test_compare_names_what_appeared_vanished_and_slowed(developer):
    before = order(1)
    after = order(2, slow=40)
    after.dispatches[0].receiver_calls.pop(0)
    store(before, after)

    found = developer.get("/tracing/compare.json", {"a": f"{1:032x}", "b": f"{2:032x}"}).json()
    verdicts = {change["what"]: change["verdicts"] for change in found["changes"]}
    page = text(developer.get("/tracing/compare/", {"a": f"{1:032x}", "b": f"{2:032x}"}))

    assert verdicts["count_cars"] == ["vanished"]
    assert verdicts["make_sale"] == ["slower"]
    assert "\N{MINUS SIGN} vanished" in page
    assert "▲ slower" in page


def test_compare_of_changes_only(developer):
    store(order(1), order(2))

    same = text(
        developer.get("/tracing/compare/", {"a": f"{1:032x}", "b": f"{2:032x}", "changed": "1"})
    )

    assert "The two trees are the same" in same


@pytest.mark.parametrize(
    ("a", "status", "says"),
    [
        ("", 200, "Choose two traces"),
        ("x y", 404, "is no trace id"),
        ("ff", 404, "No trace ff is stored"),
    ],
)
def test_compare_without_two_traces(developer, a, status, says):
    store(order(1))

    response = developer.get("/tracing/compare/", {"a": a})

    assert response.status_code == status
    assert says in text(response)


def test_compare_json_without_two_traces(developer):
    assert developer.get("/tracing/compare.json").status_code == 400


def test_periods_tell_what_chance_does_not_explain(developer):
    store(
        *(order(number, ago=7_200 + number) for number in range(1, 21)),
        *(order(number, ago=600 + number, slow=30) for number in range(21, 41)),
    )

    found = developer.get(
        "/tracing/compare/periods.json",
        {"before_since": "3h", "before_until": "1h", "after_since": "1h", "after_until": "now"},
    ).json()
    verdicts = {row["receiver"].rpartition(".")[2]: row["verdicts"] for row in found["receivers"]}

    assert (found["before_traces"], found["after_traces"]) == (20, 20)
    assert verdicts["make_sale"] == ["slower"]
    assert verdicts["count_cars"] == []


def test_periods_by_release(developer):
    store(
        *(order(number, release="1.0") for number in range(1, 12)),
        *(order(number, release="1.1", fails=True) for number in range(12, 24)),
    )

    page = text(developer.get("/tracing/compare/periods/?release_before=1.0&release_after=1.1"))

    assert "more errors" in page
    assert "11 traces before, 12 traces after" in page


def test_periods_offer_the_newest_release_and_the_one_before(developer):
    store(*(order(number, release=name) for number, name in enumerate(("2.0", "0.9", "1.1"), 1)))

    page = text(developer.get("/tracing/compare/periods/"))

    assert re.findall(r"<option selected>([^<]*)<", page) == ["0.9", "1.1"]


@pytest.mark.parametrize(("side", "other"), [("before", "after"), ("after", "before")])
def test_periods_of_which_one_is_empty_say_so(developer, side, other):
    store(order(1, ago=60))

    page = text(
        developer.get(
            "/tracing/compare/periods/",
            {
                f"{side}_since": "3h",
                f"{side}_until": "2h",
                f"{other}_since": "1h",
                f"{other}_until": "now",
            },
        )
    )

    assert f"Nothing is stored of the time {side}" in page


def test_periods_with_a_wrong_time(developer):
    response = developer.get("/tracing/compare/periods/?before_since=soon")

    assert response.status_code == 400
    assert "'soon' is no time" in text(response)


# -- Hazards and recorder ----------------------------------------------------------------------


def test_hazards_are_grouped_explained_and_filtered(developer):
    store(order(1, fails=True))

    page = text(developer.get("/tracing/hazards/"))
    found = developer.get("/tracing/hazards.json?rule=swallowed-error").json()["hazards"]

    assert "swallowed-error" in page
    assert [hazard["hazard"] for hazard in found] == ["swallowed-error"]
    assert developer.get("/tracing/hazards.json?severity=info").json() == {"hazards": []}


def test_hazard_is_marked_as_known_with_a_reason_and_back(developer):
    store(order(1, fails=True))
    hazard = Hazard.objects.get(hazard="swallowed-error")
    page = reverse("tracing:hazard", args=[hazard.fingerprint])

    assert "out of paper" in text(developer.get(page))
    assert developer.post(page, {"reason": ""}).status_code == 400

    developer.post(page, {"reason": "the printer is a demo"})
    assert "the printer is a demo" in text(developer.get(page))
    assert developer.get("/tracing/hazards.json?rule=swallowed-error").json() == {"hazards": []}
    assert "the printer is a demo" in text(developer.get("/tracing/hazards/?known=yes"))

    developer.post(page, {"forget": "yes"})
    hazard.refresh_from_db()
    assert (hazard.known, hazard.reason) == (False, "")


def test_hazard_that_the_project_accepts_counts_as_known(developer, settings):
    settings.TRACING = {
        **settings.TRACING,
        "KNOWN_HAZARDS": [{"hazard": "swallowed-error", "reason": "a toy printer"}],
    }
    traces = [order(1, fails=True), order(2, fails=True)]
    store(*traces)
    hazard = Hazard.objects.get()
    page = text(developer.get("/tracing/hazards/"))
    known = text(developer.get("/tracing/hazards/?known=yes"))
    detail = text(developer.get(reverse("tracing:hazard", args=[hazard.fingerprint])))
    found = developer.get("/tracing/hazards.json?known=yes").json()["hazards"]

    assert [trace.hazard_count for trace in Trace.objects.all()] == [0, 0]
    assert "Open 0" in page
    assert "Known 1" in page
    assert "a toy printer" in known
    assert "The project accepts it: a toy printer" in detail
    assert "Take the mark away" not in detail
    assert all(
        trace.trace_id
        in developer.get(reverse("tracing:hazard", args=[hazard.fingerprint])).content.decode()
        for trace in traces
    )
    assert [(each["known"], each["reason"], each["count"]) for each in found] == [
        (True, "a toy printer", 2)
    ]


def test_hazard_counts_as_known_from_when_the_project_accepts_it(developer, settings):
    store(order(1, fails=True))

    assert "Open 1" in text(developer.get("/tracing/hazards/"))
    settings.TRACING = {**settings.TRACING, "KNOWN_HAZARDS": ["swallowed-error"]}
    assert "Known 1" in text(developer.get("/tracing/hazards/"))
    assert developer.get("/tracing/hazards.json").json() == {"hazards": []}


def test_known_hazards_of_a_trace_are_shown_as_such(developer, settings):
    settings.TRACING = {**settings.TRACING, "KNOWN_HAZARDS": ["swallowed-error"]}
    trace = order(1, fails=True)
    store(trace)
    loaded = Trace.objects.get().load()

    page = text(developer.get(f"/tracing/traces/{trace.address}/hazards/"))

    assert (loaded.hazards, loaded.known_hazards) == ([], trace.known_hazards)
    assert "No hazard was found" not in page
    assert '<span class="badge">known</span> <small>KNOWN_HAZARDS</small>' in page


def test_hazard_that_is_not_stored_is_404(developer):
    assert developer.get(f"/tracing/hazards/{'0' * 32}/").status_code == 404


def test_hazards_of_pruned_traces_remain(developer):
    store(order(1, fails=True))
    Trace.objects.all().delete()
    hazard = Hazard.objects.first()

    assert "They have been pruned" in text(developer.get(f"/tracing/hazards/{hazard.fingerprint}/"))


def test_no_hazard_says_what_is_looked_for(developer):
    assert "No hazard was found" in text(developer.get("/tracing/hazards/"))
    assert "No hazard is marked as known" in text(developer.get("/tracing/hazards/?known=yes"))


def test_recorder_tells_processes_store_and_sampling(developer, settings):
    settings.TRACING = {
        **settings.TRACING,
        "ENABLED": True,
        "SAMPLE_RATIO": 0.25,
        "SAMPLE_BY_KIND": {"command": 1.0},
        "PRUNE": {"OLDER_THAN": "7d"},
        "KEEP": {"errors": True},
    }
    store(order(1))
    RecorderState.objects.create(
        host="web9", process=321, started_ns=1, seen_ns=time.time_ns(), recorded=12, dropped=2,
        exporters=json.dumps({
            "database": {"exported": 12, "dropped": 1, "error": "disk full"},
            "(forgotten)": {"receiver sets": 25_000},
        }),
    )  # fmt: skip

    page = text(developer.get("/tracing/recorder/"))
    found = developer.get("/tracing/recorder.json").json()

    for fact in ("web9", "321", "alive", "disk full", "25 %", "<dd>7d</dd>", "recording"):
        assert fact in page
    assert "receiver sets forgotten: 25,000" in page
    assert "(forgotten)" not in page
    assert found["processes"][0]["forgotten"] == {"receiver sets": 25_000}
    assert found["processes"][0]["dropped"] == 2
    assert found["store"]["traces"] == 1
    assert found["retention"]["older_than"] == "7 days, 0:00:00"


def test_recorder_tells_of_the_collector(developer, settings, tmp_path):
    assert "Collector" not in text(developer.get("/tracing/recorder/"))
    assert developer.get("/tracing/recorder.json").json()["collector"] is None
    spool = {"path": tmp_path / "spool"}
    settings.TRACING = {**settings.TRACING, "COLLECTOR": "service", "SPOOL": spool}
    Folder(tmp_path / "spool").make()
    assert "nobody collects" in text(developer.get("/tracing/recorder/"))

    told = {"host": "web1", "process": 7, "seen_ns": time.time_ns(), "recorded": 3}
    Folder(tmp_path / "spool").write(COLLECTOR, told)

    page = text(developer.get("/tracing/recorder/"))
    assert "web1 · 7" in page
    assert "nothing waits" in page
    assert developer.get("/tracing/recorder.json").json()["collector"]["is_alive"]


def test_recorder_pauses_and_resumes(developer, settings):
    settings.TRACING = {**settings.TRACING, "ENABLED": True}

    developer.post("/tracing/recorder/switch/", {"paused": "yes"})
    assert "Resume recording" in text(developer.get("/tracing/recorder/"))

    developer.post("/tracing/recorder/switch/", {"paused": "no"})
    assert "Pause recording" in text(developer.get("/tracing/recorder/"))


def test_recorder_that_the_settings_switch_off(developer):
    assert "off by the settings" in text(developer.get("/tracing/recorder/"))


def test_recorder_with_a_wrong_retention_says_what_is_wrong(developer, settings):
    settings.TRACING = {**settings.TRACING, "PRUNE": {"OLDER_THAN": "some days"}}

    assert "some days" in text(developer.get("/tracing/recorder/"))


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_prune_asks_first_and_then_deletes(developer, settings):
    settings.TRACING = {**settings.TRACING, "PRUNE": {"OLDER_THAN": "1d"}}
    store(order(1, ago=3 * 86_400), order(2), shared=False)

    asked = text(developer.get("/tracing/recorder/prune/"))
    assert "1 trace with 2 dispatches would go" in asked
    assert Trace.objects.count() == 2

    done = text(developer.post("/tracing/recorder/prune/"))
    assert "1 trace with 2 dispatches went" in done
    assert Trace.objects.count() == 1
    assert "nothing would go" in text(developer.get("/tracing/recorder/prune/"))


def test_prune_without_limits_deletes_nothing(developer, settings):
    settings.TRACING = {**settings.TRACING, "PRUNE": {}}
    store(order(1))

    assert "nothing to prune by" in text(developer.post("/tracing/recorder/prune/"))
    assert Trace.objects.count() == 1


# -- The store is not there --------------------------------------------------------------------


@pytest.fixture
def no_tables(settings, tmp_path):
    """Put an empty database in the place of the store."""
    connection = connections["tracing"].copy()
    connection.settings_dict = {**connection.settings_dict, "NAME": tmp_path / "empty.sqlite3"}
    if connection.vendor != "sqlite":
        pytest.skip("an empty store is a new file")
    real = connections["tracing"]
    connections["tracing"] = connection
    yield
    connection.close()
    connections["tracing"] = real


# Django leaves a connection that it could not set up to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.thorough
def test_store_that_cannot_be_reached_is_told_apart_from_missing_tables(no_tables, developer):
    path = connections["tracing"].settings_dict["NAME"]
    path.write_bytes(b"no database " * 100)

    page = developer.get("/tracing/")
    document = developer.get("/tracing/traces.json")

    assert (page.status_code, document.status_code) == (503, 503)
    assert "The store cannot be reached" in text(page)
    assert "manage.py migrate" not in text(page)
    assert document.json()["error"] == "The store cannot be reached: file is not a database"
    gc.collect()


def test_missing_tables_say_how_to_make_them(no_tables, developer):
    page = developer.get("/tracing/")
    document = developer.get("/tracing/traces.json")

    assert (page.status_code, document.status_code) == (503, 503)
    assert "manage.py migrate --database tracing" in text(page)
    assert "migrate --database tracing" in document.json()["error"]


def test_database_that_is_not_there_is_named(settings, developer):
    settings.TRACING = {**settings.TRACING, "DATABASE": "elsewhere"}

    page = developer.get("/tracing/")
    document = developer.get("/tracing/traces.json")

    assert (page.status_code, document.status_code) == (503, 503)
    assert "database 'elsewhere', which is not in DATABASES" in text(page)
    assert "which is not in DATABASES" in document.json()["error"]


# -- Admin and the tag -------------------------------------------------------------------------


@pytest.fixture
def superuser(client):
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_admin_lists_traces_with_a_link_and_changes_nothing(superuser):
    store(order(1, fails=True))
    row = Trace.objects.get()

    page = text(superuser.get("/admin/tracing/trace/"))
    detail = superuser.get(f"/admin/tracing/trace/{row.pk}/change/")

    assert f'href="/tracing/traces/{row.address}/"' in page
    assert detail.status_code == 200
    assert 'name="_save"' not in text(detail)
    assert superuser.get("/admin/tracing/trace/add/").status_code == 403
    assert superuser.post(f"/admin/tracing/trace/{row.pk}/delete/").status_code == 403


@pytest.mark.parametrize("model", ["hazard", "recorderstate", "recordercontrol", "savedsearch"])
def test_admin_of_the_other_models(superuser, model):
    store(order(1, fails=True))

    assert superuser.get(f"/admin/tracing/{model}/").status_code == 200


def tree(trace):
    template = Template("{% load tracing_tags %}{% trace_tree_styles %}{% trace_tree trace %}")
    return unescape(template.render(Context({"trace": trace}))).replace("<wbr>", "")


def test_trace_tree_shows_lines_with_links_times_and_errors(db):
    trace = order(1, fails=True)
    page = tree(trace)

    for fact in (
        'href="/static/tracing/design.css"',
        "post_save orders.Order",
        "core/sales/receivers.py:19",
        'class="cell-sql">3<',
        "raised: ",
        "PrinterError",
        f'href="{address(1, f"/{trace.root_span_id}/spans/3/")}"',
        f'href="{address(1, f"/{trace.root_span_id}/")}"',
    ):
        assert fact in page


@pytest.mark.thorough
def test_no_page_says_of_a_skipped_call_how_long_it_took(developer):
    build = TraceBuilder()
    for _ in range(2):
        sent = build.dispatch()
        build.call(sent, "shop.check", outcome=Outcome.RAISED, exception_type="ValueError")
        build.call(sent, "shop.charge", own_ns=0, outcome=Outcome.SKIPPED)
    trace, other = identify(build.build(), 1), order(2)
    store(trace, other)
    inside = address(1, f"/{trace.root_span_id}")

    skipped = [c.number for d in trace.dispatches for c in d.receiver_calls if not c.was_called]
    pages = [
        tree(trace),
        text(developer.get(f"{inside}/spans/{skipped[0]}/")),
        text(developer.get(f"{inside}/lines/{skipped[0]}/")),
        text(developer.get(f"/tracing/compare/?a={other.address}&b={trace.address}")),
        text(developer.get("/tracing/recorder/")),
        text(developer.get("/tracing/statistics/")),
    ]

    for page in pages:
        # The beginning of an axis is no time of a call.
        told = page.replace("<span data-tick>0 ns</span>", "")
        assert not re.findall(r".{0,80}(?<!±)\b0 ns", told)
    assert "shop.charge" not in pages[-1]


def test_trace_tree_folds_repetitions_and_says_what_it_leaves_out(db):
    assert "214 \N{MULTIPLICATION SIGN}" in tree(command(1))
    build = TraceBuilder()
    for number in range(200):
        build.call(build.dispatch(sender=f"a.M{number}"), "core.a.receive")
    assert "100 more lines" in tree(identify(build.build(), 1))


def test_trace_tree_hides_what_is_not_mine_until_everything_is_ticked(db, rf):
    template = Template("{% load tracing_tags %}{% trace_tree trace %}")
    asked = rf.get("/", headers={"cookie": "tracing_show=everything"})

    page = template.render(Context({"trace": mixed()}))
    chosen = template.render(Context({"trace": mixed(), "request": asked}))
    whole = tree(order(1))

    others = re.findall(r"<div role=\"row\"[^>]* data-other>.*?</div>", page, re.DOTALL)
    assert others
    assert not any("make_sale" in row for row in others)
    assert "that are not yours are hidden" in page
    assert '<input type="checkbox" class="tree-everything">' in page
    assert '<input type="checkbox" class="tree-everything" checked>' in chosen
    assert "data-other" not in whole
    assert "tree-everything" not in whole


def test_trace_tree_in_which_nothing_is_mine_is_whole_under_a_heading(db):
    page = tree(visit())

    assert NONE_OF_MINE in page
    assert "data-other" not in page


def test_trace_tree_fits_into_a_page_of_any_charset(db):
    build = TraceBuilder()
    build.call(build.dispatch(sender="a.\N{GREEK SMALL LETTER MU}"), "core.a.receive")
    template = Template("{% load tracing_tags %}{% trace_tree trace %}")

    page = template.render(Context({"trace": identify(build.build(), 1)}))

    assert page.isascii()
    assert "a.\N{GREEK SMALL LETTER MU}" in unescape(page)


@pytest.mark.parametrize(
    ("trace", "says"),
    [(None, "Nothing was recorded"), (TraceBuilder().build(), "No signal with a receiver")],
)
def test_trace_tree_of_nothing(db, trace, says):
    assert says in tree(trace)


def test_the_colours_that_charts_read_are_registered():
    """Of a property that is not, a script reads the text: light-dark(…), which a canvas does not know."""
    static = Path(tracing.__file__).parent / "static" / "tracing"
    read = set(re.findall(r'"(--[\w-]+)"', (static / "js" / "charts.js").read_text("utf-8")))

    registered = re.findall(r"@property (--[\w-]+)", (static / "viewer.css").read_text("utf-8"))

    assert read
    assert read <= {*registered}


def test_pages_use_only_characters_that_every_system_has_a_glyph_for():
    """DejaVu, which a bare Linux has, lacks full-width and encircled ones: they show as boxes."""
    common = re.compile(
        r"[\u0000-\u00ff\u2000-\u206f\u2139\u2190-\u22ff\u2300-\u23ff\u25a0-\u25ff\u2700-\u27bf\u293c]"
    )
    package = Path(tracing.__file__).parent
    files = [
        path
        for pattern in ("templates/**/*.html", "static/tracing/**/*.css", "static/tracing/**/*.js")
        for path in package.glob(pattern)
        if "vendor" not in path.parts
    ]

    rare = {path.name: common.sub("", path.read_text(encoding="utf-8")) for path in files}

    assert len(files) > 60
    assert {name: text for name, text in rare.items() if text} == {}
