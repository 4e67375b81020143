"""Redirects and the requests they led to, found among stored traces."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.traces import identify, store
from tracing.store import traces
from tracing.store.redirects import grouped, pairs_among, redirected_from, redirected_to

pytestmark = pytest.mark.django_db(databases="__all__")


def request(number, method="GET", *, ago, arrival="", redirect="", path=""):
    build = TraceBuilder(
        name=f"{method} {path or number}",
        http_method=method,
        http_path=path or f"/{number}/",
        http_status=302 if redirect else 200,
        arrival_key=arrival,
        redirect_key=redirect,
    )
    build.call(build.dispatch(), "shop.index")
    return identify(build.build(), number, ago=ago)


@pytest.fixture
def rows():
    """Return by number: 1 redirects to 3 and that on to 4; 2 comes between; 5 is 3 loaded again, 6 late."""
    store(
        request(1, "POST", ago=500, redirect="aaa"),
        request(2, ago=499),
        request(3, ago=498, arrival="aaa", redirect="bbb"),
        request(4, ago=497, arrival="bbb"),
        request(5, ago=496, arrival="aaa"),
        request(6, ago=300, arrival="bbb"),
    )
    return {int(row.trace_id, 16): row for row in traces.newest(9)}


@pytest.mark.parametrize(
    ("number", "source", "target"),
    [(1, None, 3), (2, None, None), (3, 1, 4), (4, 3, None), (6, None, None)],
)
def test_redirect_is_found_from_either_end(rows, number, source, target):
    found = redirected_from(rows[number]), redirected_to(rows[number])

    assert [row and int(row.trace_id, 16) for row in found] == [source, target]


def test_page_that_is_loaded_again_follows_no_redirect_of_its_own(rows):
    assert pairs_among(rows.values()) == {
        rows[3].row: rows[1].row,
        rows[4].row: rows[3].row,
    }


def test_list_has_each_redirect_below_where_it_led(rows):
    newest_first = sorted(rows.values(), key=lambda row: -row.row)

    assert [(int(row.trace_id, 16), led) for row, led in grouped(newest_first)] == [
        (6, False),
        (5, False),
        (4, False),
        (3, True),
        (1, True),
        (2, False),
    ]
    assert [led for _, led in grouped([rows[3], rows[2]])] == [False, False]
