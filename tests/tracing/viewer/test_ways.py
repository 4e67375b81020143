"""What a plain word and a redirect lead to, on the pages."""

from __future__ import annotations

import re

import pytest

from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.traces import command, identify, order, store

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def traces(db):
    """Store an order, a command, and the page that the redirect of the order led to."""
    placed = order(1, ago=100)
    placed.redirect_key = "ab12"
    build = TraceBuilder(
        name="orders:detail", http_method="GET", http_path="/orders/1/", http_status=200,
        arrival_key="ab12",
    )  # fmt: skip
    build.call(build.dispatch("request_started", "None"), "core.views.count_visit")
    return store(placed, command(2, ago=99), identify(build.build(), 3, ago=98))


def listed(client, query=""):
    """Return the numbers of the traces in a list, each with whether it says where it led."""
    page = client.get(f"/tracing/?show=everything&{query}").content.decode()
    rows = re.findall(r'<tr class="([^"]*)" data-trace="([0-9a-f]{32})', page)
    return [(int(number, 16), "is-source" in classes) for classes, number in rows]


def test_list_has_a_redirect_below_the_request_it_led_to(developer, traces):
    assert listed(developer) == [(3, False), (1, True), (2, False)]
    assert listed(developer, "order=time") == [(1, False), (2, False), (3, False)]
    assert listed(developer, "q=kind:request") == [(3, False), (1, True)]


def test_pages_of_a_redirect_and_of_where_it_led_link_each_other(developer, traces):
    placed, _, shown = traces
    of_placed = developer.get(f"/tracing/traces/{placed.address}/").content.decode()
    of_shown = developer.get(f"/tracing/traces/{shown.address}/").content.decode()

    assert f'Redirected to <a href="/tracing/traces/{shown.address}/">GET ' in of_placed
    assert f'After the redirect of <a href="/tracing/traces/{placed.address}/">POST ' in of_shown
    assert (
        'class="way"' not in developer.get(f"/tracing/traces/{traces[1].address}/").content.decode()
    )


@pytest.mark.parametrize(
    ("word", "numbers"),
    [("make_sale", [1]), ("count_visit", [3]), ("load_cars", [2]), ("/orders/1/", [3, 1])],
)
def test_word_finds_what_is_called_so_anywhere_in_a_trace(developer, traces, word, numbers):
    assert [number for number, _ in listed(developer, f"q={word}")] == numbers
    assert [number for number, _ in listed(developer, f"text={word}")] == numbers


def test_word_that_nothing_is_called_comes_with_the_nearest_name(developer, traces):
    page = developer.get("/tracing/?q=make_sael&show=everything").content.decode()

    assert "No name that was recorded holds “make_sael”; paths were looked into." in page
    assert 'Did you mean <a href="/tracing/?q=make_sale">make_sale</a>?' in page


def test_word_marks_what_is_called_so_in_a_trace(developer, traces):
    page = developer.get(f"/tracing/traces/{traces[0].address}/?q=make_sale").content.decode()

    assert '<span class="matches">1 match</span>' in page
