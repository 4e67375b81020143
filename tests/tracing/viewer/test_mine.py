"""Tests of the switch between mine and everything, and of what each page makes of it."""

from __future__ import annotations

import re

import pytest

from tests.tracing.viewer.traces import command, order, store, visit
from tracing.store.index_scan import HIDDEN_COUNTED

pytestmark = pytest.mark.django_db(databases="__all__")

COOKIE = "tracing_show"


def text(response):
    return response.content.decode()


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

    for address in ("/tracing/hazards/", "/tracing/recorder/", "/tracing/compare/"):
        page = developer.get(f"{address}?show=everything")
        assert 'id="mine"' not in text(page)
        assert COOKIE not in page.cookies


# -- The list


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
