"""Tests of lists of traces in the order of one of their numbers."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from msgspec import structs
from msgspec.structs import replace

from benchmarks.synthetic import Filler
from tests.tracing.samples import plain_trace
from tracing.exporters.database import DatabaseExporter
from tracing.models import Trace
from tracing.store import ranking
from tracing.store.pages import TraceSearch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

NEWEST_NS = 1_800_000_000_000_000_000
HOUR_NS = 3_600_000_000_000
ORDERS = [f"{sign}{name}" for name in ranking.ORDERS for sign in ("-", "")]
SEARCHES = {
    "all": TraceSearch(),
    "mine": TraceSearch(mine=True),
    "failed": TraceSearch(failed=True),
    "kind of mine": TraceSearch(mine=True, kind="task"),
    "text": TraceSearch(text="shop1/"),
    "slow": TraceSearch(slower_than_ns=10_000_000),
    "none": TraceSearch(kind="no such kind"),
    "time": TraceSearch(since_ns=NEWEST_NS - 72 * HOUR_NS, until_ns=NEWEST_NS - HOUR_NS, mine=True),
}


def make():
    """Store some hundred traces, every second of them of packages alone."""
    traces = list(Filler(7, newest_ns=NEWEST_NS, apps=3).traces(3_000))
    for trace in traces[::2]:
        for dispatch in trace.dispatches:
            for call in dispatch.receiver_calls:
                call.receiver = structs.replace(call.receiver, mine=False)
    exporter = DatabaseExporter()
    exporter.export(traces)
    exporter.shutdown()


@pytest.fixture
def stored(fill):
    fill(make)


def expected(wanted, order):
    """Return the rows that fit, in the order that one statement gives them."""
    sign = order[: -len(order.lstrip("-"))]
    column = ranking.ORDERS[order.lstrip("-")]
    whole = Trace.objects.search(wanted, size=10_000, seconds=60).traces
    keys = [trace.pk for trace in whole]
    return list(
        Trace.objects.filter(pk__in=keys)
        .order_by(f"{sign}{column}", f"{sign}pk")
        .values_list("pk", flat=True)
    )


def pages(wanted, order, size=40, seconds=60.0, before=""):
    """Return all pages from a cursor on."""
    found = []
    while True:
        page = Trace.objects.search(wanted, before=before, size=size, seconds=seconds, order=order)
        found.append(page)
        before = page.older
        if not before:
            return found


def keys(found):
    return [trace.pk for page in found for trace in page.traces]


@pytest.mark.parametrize(
    ("name", "order"),
    [*[("mine", order) for order in ORDERS], *[(name, "-duration") for name in SEARCHES]],
)
def test_pages_are_what_sorting_everything_gives(stored, name, order):
    wanted = SEARCHES[name]
    found = pages(wanted, order)

    assert keys(found) == expected(wanted, order)
    assert all(len(page.traces) == 40 for page in found[:-1])
    assert all(page.complete for page in found)


@pytest.mark.parametrize("order", ["-duration", "errors"])
@pytest.mark.parametrize("name", ["all", "kind of mine", "time"])
def test_pages_come_back_the_way_they_went(stored, name, order):
    wanted = SEARCHES[name]
    there = pages(wanted, order, size=25)
    back, page = [], there[-1]
    while page.newer:
        page = Trace.objects.search(wanted, after=page.newer, size=25, seconds=60, order=order)
        back.append(page)

    # The first page has nothing before it, as coming back to its beginning shows.
    assert keys(back[::-1]) == keys(there[:-1])


@pytest.mark.parametrize("order", ["-hazards", "dispatches"])
@pytest.mark.parametrize("name", ["failed", "text", "none"])
def test_search_without_time_finds_the_same_piece_by_piece(stored, monkeypatch, name, order):
    monkeypatch.setattr(ranking, "_FIRST_STEP", 10)
    found = pages(SEARCHES[name], order, seconds=-1)

    assert keys(found) == expected(SEARCHES[name], order)
    assert found[-1].complete
    assert any(not page.complete for page in found) is (name != "none")


@pytest.mark.parametrize("most", [0, 20_000])
def test_traces_of_a_time_are_sorted_if_they_are_few_and_looked_for_if_not(
    stored, monkeypatch, most
):
    monkeypatch.setattr(ranking, "_SORTED_AT_ONCE", most)

    with CaptureQueriesContext(connections["tracing"]) as asked:
        found = pages(SEARCHES["time"], "-dispatches", size=10)

    assert keys(found) == expected(SEARCHES["time"], "-dispatches")
    walking = [each for each in asked if "ORDER BY 1" in each["sql"]]
    assert bool(walking) is (most == 0)


@pytest.mark.parametrize("order", ["-duration", "hazards"])
@pytest.mark.parametrize("name", ["mine", "kind of mine", "time"])
def test_pages_count_each_trace_that_is_not_mine_once(stored, name, order):
    wanted = SEARCHES[name]
    others = Trace.objects.search(replace(wanted, mine=False), size=10_000, seconds=60).traces

    found = pages(wanted, order, size=10)

    assert sum(page.hidden for page in found) == sum(not trace.mine for trace in others) > 0


@pytest.mark.thorough
def test_traces_that_come_meanwhile_move_none_to_another_page(stored):
    first, second, third = pages(TraceSearch(), "-duration", size=20)[:3]
    exporter = DatabaseExporter()
    slow = [structs.replace(plain_trace(number), duration_ns=10**12) for number in range(30)]
    exporter.export(slow)
    exporter.shutdown()

    again = Trace.objects.search(
        TraceSearch(), before=first.older, size=20, seconds=60, order="-duration"
    )
    later = Trace.objects.search(
        TraceSearch(), before=again.older, size=20, seconds=60, order="-duration"
    )

    assert keys([again, later]) == keys([second, third])


@pytest.mark.parametrize("cursor", ["nonsense", "5", "-", "5-x", "1-2-3"])
def test_unreadable_cursor_is_the_first_page(stored, cursor):
    first = Trace.objects.search(TraceSearch(), size=5, seconds=60, order="-errors")
    page = Trace.objects.search(TraceSearch(), before=cursor, size=5, seconds=60, order="-errors")

    assert keys([page]) == keys([first])


@pytest.mark.parametrize("order", ORDERS)
def test_page_far_down_walks_the_index_of_its_column(stored, order):
    connection = connections["tracing"]
    if connection.vendor != "sqlite":
        pytest.skip("A server has statistics and decides otherwise for so few rows.")
    far = pages(TraceSearch(), order, size=20)[2].older
    with CaptureQueriesContext(connection) as asked:
        Trace.objects.search(TraceSearch(), before=far, size=10, seconds=60, order=order)
    statements = [each["sql"] for each in asked if "ORDER BY 1" in each["sql"]]
    plans = []
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
            plans.append(" ".join(row[3] for row in cursor.fetchall()))

    assert len(plans) == 2
    assert all(f"INDEX tracing_trace_{order.lstrip('-')}" in plan for plan in plans)
    assert not any("TEMP B-TREE" in plan for plan in plans)
