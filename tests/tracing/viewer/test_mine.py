"""Tests of the switch between mine and everything, and of what each page makes of it."""

from __future__ import annotations

import re

import pytest
from django.db import close_old_connections
from django.dispatch import Signal

from tests.tracing.analysis.building import TraceBuilder, label
from tests.tracing.command_line import run
from tests.tracing.viewer.traces import (
    MAKE_SALE,
    SITE,
    command,
    identify,
    mixed,
    order,
    store,
    visit,
)
from tracing.models import Hazard
from tracing.spans.records import MissedReceiver
from tracing.store.index_scan import HIDDEN_COUNTED

pytestmark = pytest.mark.django_db(databases="__all__")

COOKIE = "tracing_show"
CHOICES = ("mine", "everything")
connected = Signal()


def text(response):
    return response.content.decode().replace("<wbr>", "")


def pressed(page):
    """Return which side of the switch is pressed."""
    buttons = re.findall(r'<button[^>]*name="show" value="(\w+)" aria-pressed="(\w+)"', page)
    assert [value for value, _ in buttons] == ["mine", "everything"]
    return [value for value, state in buttons if state == "true"]


def rows(page):
    return re.findall(r'<tr class="[^"]*" data-trace="0*(\d+)/', page)


# -- The switch


def test_mine_is_shown_until_everything_is_chosen_and_that_is_remembered(developer):
    store(order(1), visit(2))

    first = developer.get("/tracing/")
    chosen = developer.get("/tracing/?show=everything")
    later = developer.get("/tracing/")
    back = developer.get("/tracing/?show=mine")
    again = developer.get("/tracing/")

    assert [pressed(text(page)) for page in (first, chosen, later, back, again)] == [
        ["mine"],
        ["everything"],
        ["everything"],
        ["mine"],
        ["mine"],
    ]
    assert [rows(text(page)) for page in (first, chosen, later, back, again)] == [
        ["1"],
        ["2", "1"],
        ["2", "1"],
        ["1"],
        ["1"],
    ]
    assert COOKIE not in first.cookies
    cookie = chosen.cookies[COOKIE]
    assert (cookie.value, cookie["path"], cookie["samesite"]) == ("everything", "/", "Lax")


@pytest.mark.parametrize("given", ["nonsense", "", "MINE"])
def test_what_is_no_choice_is_neither_taken_nor_remembered(developer, given):
    store(order(1), visit(2))
    developer.cookies[COOKIE] = given

    page = developer.get(f"/tracing/?show={given}")

    assert rows(text(page)) == ["1"]
    assert COOKIE not in page.cookies


def test_switch_keeps_the_search_and_leaves_the_place_in_the_pages(developer):
    store(order(1), visit(2))

    page = text(developer.get("/tracing/?q=kind:request&kind=request&before=9&show=mine"))

    kept = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    assert ("q", "kind:request") in kept
    assert ("kind", "request") in kept
    assert not {"before", "show"} & {name for name, _ in kept}


def test_parts_of_a_page_bring_the_switch_along_and_remember_nothing(developer):
    store(order(1), visit(2))

    part = developer.get("/tracing/?q=kind:request&show=everything", HTTP_HX_REQUEST="true")

    assert 'id="mine" class="mine" method="get" action="/tracing/" hx-swap-oob="true"' in text(part)
    assert '<input type="hidden" name="q" value="kind:request">' in text(part)
    assert COOKIE not in part.cookies


def test_pages_that_hold_everything_have_no_switch(developer):
    store(order(1))

    for address in ("/tracing/hazards/", "/tracing/recorder/"):
        page = developer.get(f"{address}?show=everything")
        assert 'id="mine"' not in text(page)
        assert COOKIE not in page.cookies


# -- The list


@pytest.mark.thorough
def test_list_says_how_many_traces_it_hides(developer):
    store(order(1), visit(2), visit(3), command(4))

    page = text(developer.get("/tracing/?q=kind:request"))

    assert rows(page) == ["1"]
    assert (
        "2 traces that are not yours are hidden."
        ' <a href="?q=kind%3Arequest&amp;show=everything">Show everything</a>' in page
    )


def test_list_does_not_count_without_end(developer, monkeypatch):
    monkeypatch.setattr("tracing.store.index_scan.HIDDEN_COUNTED", 2)
    store(order(1), *[visit(number) for number in range(2, 6)])

    page = text(developer.get("/tracing/"))

    assert HIDDEN_COUNTED > 2
    assert "more than 2 traces that are not yours are hidden" in page


def test_list_in_which_nothing_is_mine_is_shown_under_a_heading(developer):
    store(visit(1), visit(2))

    page = text(developer.get("/tracing/"))

    assert rows(page) == ["2", "1"]
    assert "No receiver of yours ran" in page
    assert "hidden." not in page
    # What comes while it is live, and the charts above it, are as the list is.
    assert "/tracing/live/?&amp;show=everything" in page
    assert "/tracing/charts/?&amp;show=everything" in page


def test_search_that_nothing_fits_says_so(developer):
    store(visit(1))

    page = text(developer.get("/tracing/?q=kind:task"))

    assert "No trace fits" in page
    assert "No receiver of yours ran" not in page


def test_search_in_spans_looks_into_what_is_mine_alone_and_says_so(developer):
    store(order(1), visit(2))

    page = text(developer.get("/tracing/?q=outcome:returned took<1h"))

    assert rows(page) == ["1"]
    assert "Traces that are not yours were not looked into" in page


def test_live_gives_what_the_list_shows(developer):
    store(order(1), visit(2))

    assert rows(text(developer.get("/tracing/live/?row=0"))) == ["1"]
    assert rows(text(developer.get("/tracing/live/?row=0&show=everything"))) == ["2", "1"]


def test_charts_are_of_what_the_list_shows(developer):
    store(order(1, ago=60), visit(2, ago=90), visit(3, ago=120))

    assert "1 trace" in text(developer.get("/tracing/charts/"))
    assert "3 traces" in text(developer.get("/tracing/charts/?show=everything"))


@pytest.mark.parametrize("address", ["/tracing/traces.json", "/tracing/live.json?row=0"])
def test_json_of_traces_holds_everything_and_says_what_is_mine(developer, address):
    store(order(1), visit(2))
    developer.cookies[COOKIE] = "mine"

    traces = developer.get(address).json()["traces"]

    assert [trace["mine"] for trace in traces] == [False, True]


# -- One trace


def number_of(trace, receiver):
    """Return the number of the first call of *receiver*."""
    return next(
        call.number
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
        if call.receiver.name.endswith(receiver)
    )


def of_trace(rest=""):
    return f"/tracing/traces/{1:032x}/{rest}"


@pytest.mark.parametrize("tab", ["", "flame/", "table/", "receivers/", "sql/"])
def test_tabs_show_what_is_mine_and_remember_everything(developer, tab):
    store(mixed())
    address = of_trace(tab)

    mine = text(developer.get(address))
    everything = text(developer.get(f"{address}?show=everything"))
    later = text(developer.get(address))

    assert pressed(mine) == ["mine"]
    assert pressed(everything) == pressed(later) == ["everything"]
    assert "make_sale" in mine
    assert "reversion" not in mine
    assert "reversion" in everything
    assert "hidden." not in everything


@pytest.mark.parametrize(
    ("tab", "line"),
    [
        ("", "3 spans that are not yours are hidden, 1 failure among them."),
        ("flame/", "3 spans that are not yours are hidden, 1 failure among them."),
        ("table/?start=400", "3 spans that are not yours are hidden, 1 failure among them."),
        ("receivers/", "2 receivers that are not yours are hidden."),
        ("sql/", "1 receiver that is not yours is hidden."),
    ],
)
def test_tabs_say_how_much_they_hide(developer, tab, line):
    store(mixed())

    page = text(developer.get(of_trace(tab)))

    assert f'{line} <a href="?show=everything">Show everything</a>' in page


def test_notes_below_the_tree_are_mine_and_the_rest_is_counted(developer):
    trace = mixed()
    for receiver in (MAKE_SALE, label("reversion.receivers.save")):
        trace.missed_receivers.append(
            MissedReceiver("s", "shop.Child", receiver, "shop.Parent", "its parent model")
        )
    store(trace)

    mine = text(developer.get(of_trace()))
    everything = text(developer.get(of_trace("?show=everything")))

    assert "make_sale" in mine.partition("did not run</h2>")[2].partition("</section>")[0]
    assert "1 note that is not yours is hidden." in mine
    assert "reversion" not in mine
    assert everything.count("its parent model") == 2
    assert "hidden." not in everything


@pytest.mark.parametrize("tab", ["", "flame/"])
def test_legend_names_the_applications_of_what_is_shown(developer, tab):
    build = TraceBuilder()
    dispatch = build.dispatch("post_save", "orders.Order")
    build.call(dispatch, label("core.orders.receivers.count", app="orders", mine=True))
    build.call(dispatch, label("reversion.receivers.save", app="reversion"))
    store(identify(build.build(), 1))

    def legend(rest):
        page = text(developer.get(of_trace(f"{tab}{rest}")))
        found = page.partition('class="legend"')[2].partition("</ul>")[0]
        return re.findall(r'<bdi class="name">(\w+)</bdi>', found)

    assert legend("") == ["orders"]
    assert legend("?show=everything") == ["orders", "reversion"]


@pytest.mark.parametrize("tab", ["hazards/", "log/", "json/"])
def test_tabs_that_hold_everything_have_no_switch(developer, tab):
    store(mixed())

    page = developer.get(of_trace(f"{tab}?show=everything"))

    assert 'id="mine"' not in text(page)
    assert COOKIE not in page.cookies


@pytest.mark.parametrize("tab", ["", "flame/", "table/", "receivers/", "sql/"])
def test_trace_in_which_nothing_is_mine_is_shown_whole_under_a_heading(developer, tab):
    store(visit())

    page = text(developer.get(of_trace(tab)))

    assert "No receiver of yours ran" in page
    assert "close_old_connections" in page or tab == "sql/"
    assert "hidden." not in page


def test_tree_draws_the_same_lines_on_every_page_of_it(developer, monkeypatch):
    monkeypatch.setattr("tracing.viewer.views.trace.MAX_ROWS", 1)
    store(mixed())
    address = of_trace("?start=1")

    part = text(developer.get(address, HTTP_HX_REQUEST="true"))

    assert "make_sale" in part
    assert "reversion" not in part


def test_tree_below_a_span_that_is_not_mine_is_shown_whole(developer):
    store(mixed())
    package = number_of(mixed(), "reversion.receivers.save")

    page = text(developer.get(of_trace(f"?root={package}")))

    assert "No receiver of yours ran" in page
    assert "reversion.receivers.log" in page


def test_tree_below_a_span_counts_what_is_hidden_there(developer):
    trace = store(mixed())[0]

    page = text(developer.get(of_trace(f"?root={trace.dispatches[0].number}")))
    below = text(developer.get(of_trace(f"?root={number_of(trace, 'make_sale')}")))

    assert "3 spans that are not yours are hidden" in page
    assert "hidden." not in below


def test_span_that_is_opened_is_in_the_tree_though_it_is_not_mine(developer):
    trace = store(mixed())[0]
    sent = trace.dispatches[1].number

    page = text(developer.get(of_trace(f"spans/{sent}/")))

    assert f'data-number="{sent}"' in page
    assert "1 span that is not yours is hidden, 1 failure among them" in page


def test_find_says_how_many_matches_are_hidden(developer):
    store(mixed())

    page = text(developer.get(of_trace("?q=receiver:*")))
    everything = text(developer.get(of_trace("?q=receiver:*&show=everything")))

    assert '<span class="matches">3 matches, 2 hidden</span>' in page
    assert '<span class="matches">3 matches</span>' in everything


def test_repetitions_are_those_of_the_line_with_or_without_cookies(developer):
    build = TraceBuilder()
    for number in range(3):
        saved = build.dispatch("post_save", "orders.Order", instance=f"orders.Order:{number}")
        package = build.call(saved, label("reversion.receivers.save"))
        if number:
            build.call(build.dispatch("reversion.saved", "None", package), MAKE_SALE)
    trace = store(identify(build.build(), 1))[0]
    first, second = (dispatch.number for dispatch in trace.dispatches[:2])

    page = text(developer.get(of_trace()))
    mine = text(developer.get(of_trace(f"lines/{second}/")))
    everything = text(developer.get(of_trace(f"lines/{first}/")))

    assert f"/lines/{second}/" in page
    assert mine.count("tree-row repetition") == 2
    assert everything.count("tree-row repetition") == 3


def test_json_of_a_trace_holds_everything(developer):
    store(mixed())

    whole = developer.get(f"/tracing/traces/{1:032x}.json").json()
    flame = developer.get(of_trace("flame.json")).json()
    table = developer.get(of_trace("table.json")).json()

    assert len(whole["dispatches"]) == 2
    assert len(flame["boxes"]) == table["total"] == 5


# -- Statistics


def test_statistics_have_the_cpu_time_that_was_read(developer):
    store(order(1))
    without = text(developer.get("/tracing/statistics/"))
    read = order(2)
    read.dispatches[0].receiver_calls[1].cpu_ns = 2_500_000
    store(read)

    page = text(developer.get("/tracing/statistics/"))
    found = developer.get("/tracing/statistics.json?order=-cpu_ns").json()["statistics"]

    assert "order=-cpu_ns" not in without
    assert page.index("?order=-query_count") < page.index("?order=-cpu_ns")
    assert '<td class="num">2.50 ms</td>' in page
    assert [found[0]["cpu_ns"], found[-1]["cpu_ns"]] == [2_500_000, None]


def statistics(client, rest=""):
    """Return the names in the statistics, and the page."""
    page = text(client.get(f"/tracing/statistics/?{rest}"))
    cells = re.findall(r'<td><a class="open" href="[^"]*">(.*?)</a> <small>', page)
    return {re.sub(r"<[^>]+>", "", cell) for cell in cells}, page


@pytest.mark.parametrize(
    ("by", "hidden", "line"),
    [
        ("receiver", "django.db.close_old_connections", "1 receiver that is not yours is hidden."),
        ("signal", "django.core.signals.request_started", "1 signal that is not yours is hidden."),
        ("dispatch", "django.core.signals.request_started None", "1 row that is not yours"),
    ],
)
def test_statistics_show_what_is_mine_and_count_the_rest(developer, by, hidden, line):
    store(order(1), visit(2))

    mine, page = statistics(developer, f"by={by}")
    everything, whole = statistics(developer, f"by={by}&show=everything")
    later, _ = statistics(developer, f"by={by}")

    assert everything == later == mine | {hidden}
    assert hidden not in mine
    assert f"{line}" in page
    assert f'<a href="?by={by}&amp;show=everything">Show everything</a>' in page
    assert "hidden." not in whole


def test_statistics_of_senders_hide_those_that_nothing_of_mine_heard_of(developer):
    store(order(1), mixed(2))
    other = TraceBuilder()
    other.call(other.dispatch("post_save", "sessions.Session"), label("reversion.receivers.save"))
    store(identify(other.build(), 3))

    mine, page = statistics(developer, "by=sender")

    assert mine == {"orders.Order", "sales.Sale"}
    assert "2 senders that are not yours are hidden" in page


def test_statistics_without_anything_mine_are_shown_under_a_heading(developer):
    store(visit(1))

    names, page = statistics(developer)

    assert names == {"django.db.close_old_connections"}
    assert "No receiver of yours ran" in page
    assert "hidden." not in page
    assert "/tracing/statistics/heat/?show=everything" in page


def test_figures_and_shares_of_statistics_are_of_everything(developer):
    store(order(1), visit(2))

    _, mine = statistics(developer)
    _, everything = statistics(developer, "show=everything")
    figures = re.compile(r'<dl class="figures">.*?</dl>', re.DOTALL)

    assert figures.findall(mine) == figures.findall(everything)


def test_statistics_page_and_command_agree(developer):
    store(order(1), visit(2), mixed(3))

    for show, option in (("mine", ()), ("everything", ("--everything",))):
        names, page = statistics(developer, f"show={show}")
        shown = run("stats", *option)
        lines = shown.splitlines()[1:]
        assert names == {line.split()[-1] for line in lines if "hidden" not in line}
        assert ("3 receivers that are not yours are hidden" in page) is (show == "mine")
        assert ("3 receivers that are not yours are hidden" in shown) is (show == "mine")


def test_json_of_statistics_holds_everything(developer):
    store(order(1), visit(2))

    found = developer.get("/tracing/statistics.json").json()["statistics"]

    assert "django.db.close_old_connections" in {row["receiver"] for row in found}


def counts(page):
    """Return how many calls the cells of a heat map have together."""
    return sum(int(count) for count in re.findall(r"<title>[^<]+: (\d+) of ", page))


@pytest.mark.parametrize(("by", "mine"), [("receiver", 4), ("signal", 2), ("dispatch", 2)])
def test_heat_map_is_of_what_is_shown(developer, by, mine):
    store(order(1), visit(2))

    assert counts(text(developer.get(f"/tracing/statistics/heat/?by={by}"))) == mine
    whole = text(developer.get(f"/tracing/statistics/heat/?by={by}&show=everything"))
    assert counts(whole) == mine + 1


def test_heat_map_of_one_name_is_of_that_whosever_it_is(developer):
    store(order(1), visit(2))
    address = "/tracing/statistics/heat/?name=django.db.close_old_connections"

    assert counts(text(developer.get(address))) == 1


def test_heat_map_without_anything_mine_is_of_everything(developer):
    store(visit(1))

    page = text(developer.get("/tracing/statistics/heat/"))

    assert "No receiver of yours ran" in page
    assert counts(page) == 1


# -- The map


def receivers(client, rest="connected=no"):
    """Return the receivers on the map, and the page."""
    page = text(client.get(f"/tracing/map/?{rest}"))
    keys = re.findall(r'data-node="r:([^"]*)"', page)
    return set(keys), page


def test_map_shows_what_is_mine_and_counts_the_rest(developer):
    store(order(1), visit(2), visit(3))

    mine, page = receivers(developer)
    everything, whole = receivers(developer, "connected=no&show=everything")
    later, _ = receivers(developer)

    assert everything == later == mine | {"django.db.close_old_connections"}
    assert "django.db.close_old_connections" not in mine
    assert MAKE_SALE.name in mine
    assert (
        "1 connection that is not yours is hidden."
        ' <a href="?connected=no&amp;show=everything">Show everything</a>' in page
    )
    assert "hidden." not in whole


@pytest.mark.thorough
def test_names_on_the_map_leave_room_for_the_counts_beside_them(developer):
    build = TraceBuilder()
    receiver = label(f"shop.receivers.{'a' * 60}", mine=True)
    for _ in range(20):
        build.call(build.dispatch("order_placed"), receiver)
    store(identify(build.build(), 1))

    page = text(developer.get("/tracing/map/"))
    (shown,) = re.findall(r">(a+…a+)</text>", page)

    assert len(shown) + len(" 20") == 38


def test_map_keeps_what_sends_to_a_receiver_of_mine(developer):
    build = TraceBuilder()
    outer = build.call(build.dispatch("post_save"), label("reversion.receivers.save"))
    sent = build.dispatch("reversion.saved", "None", outer)
    inner = build.call(sent, label("auditlog.receivers.log"))
    build.call(sent, label("auditlog.receivers.count"))
    build.call(build.dispatch("auditlog.logged", "None", inner), MAKE_SALE)
    store(identify(build.build(), 1))

    mine, page = receivers(developer)

    assert mine == {"reversion.receivers.save", "auditlog.receivers.log", MAKE_SALE.name}
    assert "1 connection that is not yours is hidden" in page


@pytest.mark.thorough
def test_map_on_which_nothing_of_mine_ran_is_shown_whole_under_a_heading(developer):
    store(visit(1))

    for rest in ("connected=no", "connected=yes"):
        shown, page = receivers(developer, rest)
        assert "django.db.close_old_connections" in shown
        assert "No receiver of yours ran" in page
        assert "hidden." not in page


def test_map_around_what_is_not_mine_is_shown_whole(developer):
    store(order(1), visit(2))

    shown, page = receivers(developer, "connected=no&focus=r:django.db.close_old_connections")

    assert shown == {"django.db.close_old_connections"}
    assert "No receiver of yours ran" in page


def hear(**kwargs):
    raise AssertionError("nothing is sent here")


@pytest.mark.thorough
def test_map_hides_connected_receivers_that_are_not_mine(developer):
    store(order(1))
    connected.connect(hear)
    connected.connect(close_old_connections)
    try:
        mine, _ = receivers(developer, "")
        everything, _ = receivers(developer, "show=everything")
    finally:
        connected.disconnect(hear)
        connected.disconnect(close_old_connections)

    name = f"{__name__}.hear"
    assert [name in shown for shown in (mine, everything)] == [True, True]
    closing = "django.db.close_old_connections"
    assert [closing in shown for shown in (mine, everything)] == [False, True]


def test_map_of_many_flows_has_those_that_are_mine(developer, monkeypatch):
    monkeypatch.setattr("tracing.viewer.views.wiring.MOST_FLOWS", 1)
    store(order(1), *[visit(number) for number in range(2, 9)])

    mine, page = receivers(developer)
    everything, _ = receivers(developer, "connected=no&show=everything")

    assert len(mine) == 1
    assert "more than 1 connection that are not yours are hidden" in page
    assert "django.db.close_old_connections" in everything


def test_json_of_the_map_holds_everything(developer):
    store(order(1), visit(2))

    flows = developer.get("/tracing/map.json?connected=no").json()["flows"]

    assert "django.db.close_old_connections" in {flow["receiver"] for flow in flows}


# -- Choosing


def test_traces_to_compare_are_of_mine_where_there_are_any(developer):
    store(visit(2))
    alone = text(developer.get("/tracing/compare/"))
    store(order(1))
    both = text(developer.get("/tracing/compare/"))

    assert "cars:list" in alone
    assert "orders:check_out" in both
    assert "cars:list" not in both


def test_hazards_in_code_of_mine_come_first(developer):
    rows = [("a", f"{SITE}/reversion.py"), ("b", "/app/shop/receivers.py"), ("c", f"{SITE}/a.py")]
    for number, (name, file) in enumerate(rows):
        Hazard.objects.create(
            fingerprint=f"{number:032x}",
            hazard="slow-receiver",
            severity="warning",
            message=f"Hazard {name} of all.",
            file=file,
            first_seen_ns=number,
            last_seen_ns=number,
        )

    page = text(developer.get("/tracing/hazards/"))

    assert re.findall(r"Hazard (\w) of all", page) == ["b", "c", "a"]


# -- Two periods

PERIODS = "/tracing/compare/periods/?before_since=1d&before_until=2h&after_since=2h"


def receivers_in(page):
    table = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return re.findall(r"<tr[^>]*>\s*<td>(?:<[^>]*>)*([\w.]+)", table)


def test_periods_show_the_receivers_of_mine_and_count_the_others(developer):
    store(order(1), visit(2))

    page, everything = (text(developer.get(f"{PERIODS}&show={show}")) for show in CHOICES)

    assert pressed(page) == ["mine"]
    assert "core.sales.receivers.make_sale" in receivers_in(page)
    assert "django.db.close_old_connections" not in receivers_in(page)
    assert "1 receiver that is not yours is hidden" in page
    assert {*receivers_in(everything)} - {*receivers_in(page)} == {
        "django.db.close_old_connections"
    }
    assert "hidden-line" not in everything


def test_periods_in_which_nothing_is_mine_are_shown_whole(developer):
    store(visit(1))

    page = text(developer.get(PERIODS))

    assert "No receiver of yours ran" in page
    assert receivers_in(page) == ["django.db.close_old_connections"]


def test_json_of_periods_holds_everything(developer):
    store(order(1), visit(2))

    found = developer.get(PERIODS.replace("periods/", "periods.json")).json()["receivers"]

    assert "django.db.close_old_connections" in {row["receiver"] for row in found}


def test_receivers_that_did_not_change_are_counted_and_one_click_away(developer):
    store(
        *(order(number, ago=7_300 + number) for number in range(1, 21)),
        *(order(number, ago=600 + number, slow=30) for number in range(21, 41)),
    )

    page, whole = (text(developer.get(PERIODS + more)) for more in ("", "&all=1"))

    assert receivers_in(page) == ["core.sales.receivers.make_sale"]
    assert "3 receivers did not change, or too few calls were recorded to tell." in page
    assert len(receivers_in(whole)) == 4
    assert "did not change" not in whole


# -- Two traces

TWO = f"/tracing/compare/?a={1:032x}&b={2:032x}"


def test_two_traces_show_the_places_of_mine_and_count_the_others(developer):
    store(mixed(1), mixed(2))

    page, everything = (text(developer.get(f"{TWO}&show={show}")) for show in CHOICES)

    assert pressed(page) == ["mine"]
    assert "make_sale" in page
    assert [shown.count('class="cell-name"') for shown in (page, everything)] == [2, 5]
    assert "3 places that are not yours are hidden" in page
    assert "hidden-line" not in everything


def test_changes_of_others_alone_are_not_called_none(developer):
    before, after = mixed(1), mixed(2)
    after.dispatches[1].receiver_calls.pop()
    store(before, after)

    page = text(developer.get(f"{TWO}&changed=1"))
    found = developer.get(TWO.replace("compare/", "compare.json")).json()["changes"]

    assert "Nothing of yours changed" in page
    assert "3 places that are not yours are hidden" in page
    assert [change["verdicts"] for change in found] == [["vanished"]]


def test_two_traces_in_which_nothing_is_mine_are_shown_whole(developer):
    store(visit(1), visit(2))

    page = text(developer.get(TWO))

    assert "No receiver of yours ran" in page
    assert "close_old_connections" in page


def test_traces_to_choose_from_are_mine_and_the_others_counted(developer):
    store(order(1), visit(2), visit(3))

    page, everything = (text(developer.get(f"/tracing/compare/?show={show}")) for show in CHOICES)

    assert [page.count('type="radio" name="a"'), everything.count('type="radio" name="a"')] == [
        1,
        3,
    ]
    assert "2 traces that are not yours are hidden" in page


# -- The receivers of a trace that were not called


def gaps():
    """Return an order past whose receivers was written, of mine and of a package; one of each is gone."""
    build = TraceBuilder()
    build.call(build.dispatch(), MAKE_SALE)
    indexed = label("search.receivers.index", file=f"{SITE}/search.py")
    for receiver in (MAKE_SALE, indexed):
        build.bypass(receivers=(receiver,), model="orders.Order")
        build.lost(receiver)
    return identify(build.build(), 1)


def test_receivers_tab_hides_and_counts_what_others_missed(developer):
    (trace,) = store(gaps())
    address = f"/tracing/traces/{trace.trace_id}/receivers/"

    page, everything = (text(developer.get(f"{address}?show={show}")) for show in CHOICES)

    assert "search.receivers.index" not in page
    assert page.count('<span class="badge">bypassed</span>') == 1
    assert page.count('<span class="badge">lost</span>') == 1
    assert "2 notes that are not yours are hidden" in page
    assert everything.count('<span class="badge">bypassed</span>') == 2
    assert everything.count('<span class="badge">lost</span>') == 2
    assert "not yours" not in everything
