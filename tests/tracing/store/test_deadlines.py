"""Tests of how pages read: on a connection of their own, and no longer than they may."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, OperationalError, connections, transaction
from django.test import AsyncClient

from tests.tracing.viewer.traces import order, store
from tracing.models import SavedSearch, Trace
from tracing.search.parser import parse
from tracing.store import deadlines, finding
from tracing.store.finding import find
from tracing.store.index_scan import Walk
from tracing.store.pages import TraceSearch
from tracing.viewer.views import charts

ALIAS = "tracing"
ENDLESS = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c",
    "postgresql": "SELECT pg_sleep(600)",
    "mysql": "SELECT SLEEP(600)",
}
in_a_test_case = pytest.mark.django_db(databases=["default", ALIAS])
outside = pytest.mark.django_db(transaction=True, databases=["default", ALIAS])


def ask(statement):
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


# -- The connection ----------------------------------------------------------------------------


@outside
def test_connection_is_another_one_and_closed_at_the_end():
    given = connections[ALIAS]

    with deadlines.reading(ALIAS, 60):
        own = connections[ALIAS]
        ask("SELECT 1")
        assert own is not given
        assert own.connection is not None
        assert own.execute_wrappers
    assert (connections[ALIAS], own.connection) == (given, None)
    assert not given.execute_wrappers


@pytest.mark.thorough
@in_a_test_case
def test_rows_of_a_test_are_seen():
    given = connections[ALIAS]
    store(order(1))

    with deadlines.reading(ALIAS, 60):
        assert connections[ALIAS] is given
        assert Trace.objects.count() == 1
    assert not given.execute_wrappers


@pytest.mark.django_db(databases=["default"])
def test_database_that_a_test_may_not_use_is_not_used():
    with deadlines.reading(ALIAS, 60), pytest.raises(AssertionError, match="not allowed"):
        ask("SELECT 1")


@outside
def test_application_gets_its_connection_back_when_reading_fails():
    given = connections[ALIAS]

    with pytest.raises(ZeroDivisionError), deadlines.reading(ALIAS, 60):
        raise ZeroDivisionError
    assert connections[ALIAS] is given
    assert not deadlines.is_over()


@outside
def test_pool_of_the_application_is_left_alone(monkeypatch):
    options = {**connections[ALIAS].settings_dict["OPTIONS"], "pool": {"max_size": 1}}
    monkeypatch.setitem(connections[ALIAS].settings_dict, "OPTIONS", options)

    with deadlines.reading(ALIAS, 60):
        assert "pool" not in connections[ALIAS].settings_dict["OPTIONS"]


@outside
def test_broken_transaction_of_the_application_breaks_no_page(developer):
    store(order(1), shared=False)

    with transaction.atomic(using=ALIAS):
        transaction.set_rollback(True, using=ALIAS)
        response = developer.get("/tracing/traces.json")
        assert transaction.get_rollback(using=ALIAS)
    assert (response.status_code, len(response.json()["traces"])) == (200, 1)


@outside
def test_change_is_part_of_an_open_transaction(developer):
    with transaction.atomic(using=ALIAS):
        developer.post("/tracing/searches/", {"name": "x", "query": "q=a"})
        assert SavedSearch.objects.exists()
        transaction.set_rollback(True, using=ALIAS)
    assert not SavedSearch.objects.exists()


@outside
def test_pages_are_outside_of_atomic_requests(developer, monkeypatch):
    blocks = []
    monkeypatch.setitem(connections.databases[ALIAS], "ATOMIC_REQUESTS", True)
    monkeypatch.setitem(connections.databases["default"], "ATOMIC_REQUESTS", True)
    monkeypatch.setattr(
        "tracing.viewer.views.traces.read_search",
        lambda given: blocks.append([c.in_atomic_block for c in connections.all()]) or 1 / 0,
    )

    with pytest.raises(ZeroDivisionError):
        developer.get("/tracing/traces.json")
    assert blocks == [[False, False]]


@outside
def test_page_of_an_asynchronous_server_reads_on_its_own_connection(developer):
    store(order(1), shared=False)
    given = connections[ALIAS]

    listed = async_to_sync(AsyncClient().get)("/tracing/traces.json").json()
    assert len(listed["traces"]) == 1
    assert connections[ALIAS] is given


@in_a_test_case
def test_charts_that_had_no_time_to_find_one_say_so(developer, monkeypatch):
    store(order(1), order(2))
    monkeypatch.setattr(charts, "SECONDS", -1)
    monkeypatch.setattr(finding, "_FIRST_BATCH", 1)

    assert "The time for charts was up" in developer.get("/tracing/charts/?q=took>9m").text
    drawn = developer.get("/tracing/charts.json?q=took>9m").json()
    assert drawn == {"columns": [], "traces": [], "complete": False}


# -- The deadline ------------------------------------------------------------------------------


@outside
def test_endless_statement_is_stopped_and_the_next_one_refused():
    with deadlines.reading(ALIAS, 0.2) as deadline:
        with pytest.raises(DatabaseError):
            ask(ENDLESS[connections[ALIAS].vendor])
        assert deadline.is_over()
        with pytest.raises(deadlines.TimeUpError):
            ask("SELECT 1")
    assert ask("SELECT 1") == [(1,)]


@outside
def test_share_is_given_back():
    with deadlines.reading(ALIAS, 60) as deadline:
        whole = deadline.at
        with deadlines.share(0.5):
            assert 0 < deadline.left() < 31
        assert deadline.at == whole
        with deadlines.share(0), pytest.raises(deadlines.TimeUpError):
            ask("SELECT 1")
        assert ask("SELECT 1") == [(1,)]


@in_a_test_case
def test_handler_does_not_stay_on_a_connection_that_is_the_tests():
    with pytest.raises(deadlines.TimeUpError), deadlines.reading(ALIAS, -1):
        ask("SELECT 1")

    assert ask("SELECT 1") == [(1,)]


@in_a_test_case
@pytest.mark.parametrize("address", ["", "charts/", "live/", "map/", "statistics/", "recorder/"])
def test_page_that_takes_too_long_says_so(developer, settings, address):
    settings.TRACING = {**settings.TRACING, "VIEWER": {"MAX_SECONDS": 1e-9}}

    page = developer.get(f"/tracing/{address}")
    part = developer.get(f"/tracing/{address}", headers={"HX-Request": "true"})
    json = developer.get(f"/tracing/{address}", headers={"Accept": "application/json"})

    assert [page.status_code, part.status_code, json.status_code] == [503, 503, 503]
    assert "took longer than 1e-09 s" in page.content.decode()
    assert part["Content-Type"] == "text/plain; charset=utf-8"
    assert "Narrow it by" in json.json()["error"]


@in_a_test_case
def test_search_that_is_stopped_gives_what_it_has(monkeypatch):
    store(*(order(number) for number in range(1, 41)))
    batches = Walk._by_trace

    def stopped(walk, size):
        yield next(batches(walk, 2))
        raise OperationalError("interrupted")

    monkeypatch.setattr(Walk, "_by_trace", stopped)
    with pytest.raises(OperationalError):
        Trace.objects.search(TraceSearch(kind="request"))
    monkeypatch.setattr(deadlines, "is_over", lambda: True)
    page = Trace.objects.search(TraceSearch(kind="request"))

    assert ([int(row.trace_id, 16) for row in page.traces], page.complete) == ([40, 39], False)
    assert page.older


@in_a_test_case
def test_spans_are_read_in_batches_of_a_bounded_size(monkeypatch):
    store(*(order(number) for number in range(1, 41)))
    Trace.objects.update(dispatch_count=3_000)
    read = []
    load = type(Trace.objects.all()).load_rows
    monkeypatch.setattr(
        type(Trace.objects.all()),
        "load_rows",
        lambda traces, rows: read.append(len(rows)) or load(traces, rows),
    )

    found = find(parse("took<9m", now_ns=0), size=5, seconds=600)
    assert len(found.traces) >= 5
    assert set(read) == {1}


@in_a_test_case
def test_trace_that_takes_all_the_time_is_named_and_passed(developer, monkeypatch):
    store(*(order(number) for number in range(1, 4)))
    Trace.objects.filter(trace_id__endswith="3").update(dispatch_count=5_000)
    last = Trace.objects.last_row_id()

    def check():
        raise deadlines.TimeUpError

    with monkeypatch.context() as patch:
        patch.setattr(deadlines, "check", check)
        patch.setattr(deadlines, "is_over", lambda: True)
        stuck = developer.get("/tracing/traces.json?q=took<9m").json()
        page = developer.get("/tracing/?q=took<9m").text
        live = developer.get(f"/tracing/live.json?q=took<9m&row={last - 1}").json()
    behind = developer.get(f"/tracing/traces.json?q=took<9m&before={stuck['older']}").json()

    assert (stuck["traces"], stuck["complete"]) == ([], False)
    assert live == {"traces": [], "row": last}
    assert [int(key, 16) for key in stuck["left_out"]] == [3]
    assert "of 5,000 dispatches." in page
    assert [int(row["trace_id"], 16) for row in behind["traces"]] == [2, 1]


@in_a_test_case
def test_statement_that_is_stopped_within_a_share_is_out_of_time():
    with deadlines.reading(ALIAS, 60), pytest.raises(deadlines.TimeUpError), deadlines.share(1e-9):
        raise OperationalError("interrupted")


@in_a_test_case
def test_reading_of_a_large_trace_minds_the_clock(monkeypatch):
    store(order(1))
    monkeypatch.setattr(deadlines, "is_over", lambda: True)

    with pytest.raises(deadlines.TimeUpError):
        Trace.objects.get().load()


# -- Stores that can only be read ---------------------------------------------------------------


@outside
def test_pages_read_a_store_that_is_read_only_and_a_change_says_why(developer, monkeypatch):
    if connections[ALIAS].vendor != "sqlite":
        pytest.skip("SQLite's own way to open a file for reading")
    store(order(1), shared=False)
    connections[ALIAS].close()
    settings_dict = connections[ALIAS].settings_dict
    monkeypatch.setitem(settings_dict, "NAME", f"file:{settings_dict['NAME']}?mode=ro")
    monkeypatch.setitem(settings_dict, "OPTIONS", {**settings_dict["OPTIONS"], "uri": True})

    listed = developer.get("/tracing/traces.json")
    refused = developer.post("/tracing/searches/", {"name": "x", "query": ""})
    connections[ALIAS].close()

    assert (listed.status_code, len(listed.json()["traces"])) == (200, 1)
    assert refused.status_code == 503
    assert "readonly database" in refused.content.decode()
