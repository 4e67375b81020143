"""Tests of the list of traces in the order of a column."""

from __future__ import annotations

import re

import pytest

from tests.tracing.viewer.traces import command, order, store, visit

pytestmark = pytest.mark.django_db(databases="__all__")


def text(response):
    return response.content.decode().replace("<wbr>", "")


def rows(page):
    return re.findall(r'<tr class="[^"]*" data-trace="0*(\d+)/', page)


def sorted_by(page):
    """Return each column that can be sorted by, how it is sorted and where its heading leads."""
    headings = re.findall(
        r'<th scope="col" class="col-(\w+)[^"]*" aria-sort="(\w+)">(?:<a href="[^"?]*\?([^"]*)")?',
        page,
    )
    return {name: (state, leads) for name, state, leads in headings}


@pytest.fixture
def traces():
    """Store traces of which each is first in another order: 4 the slowest, 2 the longest, 3 failed."""
    return store(order(1), command(2, cars=30), order(3, fails=True), order(4, slow=5_000))


@pytest.mark.parametrize(
    ("column", "first"), [("duration", "4"), ("dispatches", "2"), ("errors", "3"), ("time", "4")]
)
def test_list_sorts_by_a_column_both_ways(developer, traces, column, first):
    down = rows(text(developer.get(f"/tracing/?order=-{column}")))
    up = rows(text(developer.get(f"/tracing/?order={column}")))

    assert down[0] == up[-1] == first
    assert down == up[::-1]
    assert sorted(down) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("column", ["hazards", "queries"])
def test_list_sorts_by_numbers_that_many_share(developer, traces, column):
    page = developer.get(f"/tracing/traces.json?order=-{column}").json()
    numbers = [trace[f"{column[:-1].replace('querie', 'query')}_count"] for trace in page["traces"]]

    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1]


def test_headings_lead_to_the_other_order_and_to_the_first_page(developer, traces):
    newest = sorted_by(text(developer.get("/tracing/?kind=request&before=9")))
    slowest = sorted_by(text(developer.get("/tracing/?order=-duration")))
    quickest = sorted_by(text(developer.get("/tracing/?order=duration")))

    assert newest["time"] == ("descending", "kind=request&amp;order=time")
    assert newest["duration"] == ("none", "kind=request&amp;order=-duration")
    assert slowest["duration"] == ("descending", "order=duration")
    assert slowest["time"] == ("none", "order=-time")
    assert quickest["duration"] == ("ascending", "order=-duration")
    assert set(newest) == {"time", "dispatches", "queries", "errors", "hazards", "duration"}


@pytest.mark.parametrize("order_by", ["-duration", "errors", "time"])
def test_pages_lead_on_and_back(developer, traces, order_by):
    first = text(developer.get(f"/tracing/?size=3&order={order_by}"))
    second = text(developer.get("/tracing/" + linked(first, "next")))
    back = text(developer.get("/tracing/" + linked(second, "prev")))

    there = rows(first) + rows(second)
    assert there == rows(text(developer.get(f"/tracing/?order={order_by}")))
    assert rows(back) == rows(first)
    assert ">After →</a>" in first
    assert 'rel="prev"' not in first
    assert 'rel="next"' not in second
    assert ">First page</a>" in second


def linked(page, rel):
    return re.search(rf'rel="{rel}" href="[^"?]*([^"]*)"', page)[1].replace("&amp;", "&")


def test_oldest_first_goes_back_to_where_it_began(developer, traces):
    first = developer.get("/tracing/traces.json?size=3&order=time").json()
    second = developer.get(f"/tracing/traces.json?size=3&order=time&before={first['older']}").json()
    back = developer.get(f"/tracing/traces.json?size=3&order=time&after={second['newer']}").json()

    assert [int(t["trace_id"], 16) for t in first["traces"] + second["traces"]] == [1, 2, 3, 4]
    assert back["traces"] == first["traces"]
    assert (first["newer"], second["older"]) == ("", "")


@pytest.mark.parametrize("given", ["nonsense", "", "-", "--duration", "-time"])
def test_what_is_no_order_is_newest_first(developer, traces, given):
    page = text(developer.get(f"/tracing/?order={given}"))

    assert rows(page) == ["4", "3", "2", "1"]
    assert sorted_by(page)["time"][0] == "descending"
    assert 'data-action="live"' in page
    form = page.partition('id="search-form"')[2].partition("</form>")[0]
    assert 'name="order"' not in form


def test_order_stays_with_the_search_and_new_traces_do_not_come_into_it(developer, traces):
    page = text(developer.get("/tracing/?order=-duration"))

    assert page.count('<input type="hidden" name="order" value="-duration">') == 2
    assert 'data-action="live"' not in page


def test_search_in_spans_is_not_sorted_and_says_so(developer, traces):
    for query in ("receiver:*give_code*", "outcome:returned took<1h"):
        page = text(developer.get("/tracing/", {"q": query, "order": "-duration"}))
        found = rows(page)
        assert found == sorted(found, reverse=True)
        assert "they are not sorted by duration." in page
        assert sorted_by(page)["duration"] == ("none", "")
        assert sorted_by(page)["time"][0] == "descending"


def test_search_in_spans_can_be_oldest_first(developer, traces):
    page = text(developer.get("/tracing/?q=outcome:returned took<1h&order=time"))

    assert rows(page) == ["1", "2", "3", "4"]
    assert sorted_by(page)["time"][0] == "ascending"
    assert "not sorted" not in page


def test_sorted_list_hides_what_is_not_mine_and_counts_it(developer):
    store(order(1), visit(2), visit(3), order(4, slow=5_000))

    page = text(developer.get("/tracing/?order=-duration"))
    whole = text(developer.get("/tracing/?order=-duration&show=everything"))

    assert rows(page) == ["4", "1"]
    assert "2 traces that are not yours are hidden" in page
    assert '<a href="?order=-duration&amp;show=everything">Show everything</a>' in page
    assert sorted(rows(whole)) == ["1", "2", "3", "4"]
    assert rows(whole)[0] == "4"


@pytest.mark.thorough
def test_sorted_list_in_which_nothing_is_mine_is_shown_under_a_heading(developer):
    store(visit(2), visit(3))

    page = text(developer.get("/tracing/?order=-duration"))

    assert sorted(rows(page)) == ["2", "3"]
    assert "No receiver of yours ran" in page


def test_path_that_the_name_says_already_is_not_repeated(developer):
    store(order(1), order(2, name="POST /orders/2/check-out/"))

    page = text(developer.get("/tracing/"))

    assert re.findall(r"<small>(?:POST )?<bdi class=\"name\">([^<]*)</bdi></small>", page) == [
        "/orders/1/check-out/"
    ]
