"""ClickHouse as the store: the whole language, spans of other writers, pages, and what goes wrong."""

from __future__ import annotations

import time

import pytest
from django.core.management.base import CommandError
from django.test import override_settings

from tests import clickhouse
from tests.tracing.command_line import run
from tests.tracing.samples import full_trace, plain_trace
from tests.tracing.viewer.traces import command, mixed, order, store, visit
from tracing.models import Trace
from tracing.search.parser import parse
from tracing.search.query import EVERYTHING
from tracing.store import choice, finding, hazards, statistics, task_links, traces
from tracing.store.clickhouse.asking import table
from tracing.store.redirects import redirected_from, redirected_to

pytestmark = [
    pytest.mark.django_db(databases=["default", "tracing"]),
    pytest.mark.process,
    pytest.mark.services,
]


def some_traces():
    return [
        order(1, ago=600, release="1.0"),
        order(2, ago=300, release="1.1", fails=True, slow=80),
        command(3, cars=5, ago=200),
        visit(4, ago=100),
        mixed(5, ago=50),
    ]


QUERIES = """
kind:command
kind:comm*
name:ORDERS
name:o*r*check_out
path:check-out
path="/orders/1/check-out/"
http:POST
status:error
status:5xx
status:2xx
user:3
user:*
trace:{id}
trace:000000
host:web1
release:1.*
error:paper
hazard:swallowed-error
failed:yes
pinned:yes
pinned:no
duration>10ms
duration<=10ms
since:250s
until:250s
dispatches>=2
receivers:1
queries<5
errors=1
hazards>0
dropped=0
orphans>40
signal:post_save
signal:django.db.models.signals.post_save
signal:*_made
signal:save
sender:orders.Order
receiver:make_sale
receiver:core.*
app:sales
app:orders
uid:sales.make_sale
outcome:raised
outcome:returned
exception:PRINTER
exception:paper
exception=PrinterError
exception="out of paper"
exception:*paper
took>50ms
sql>2
instance:orders.Order:2
instance:*Order:1
action:post_add
created:yes
created:no
using:default
method:send_robust
transaction:rolled_back
file:sales
file:reversion.py
core.sales
make_sale
/orders/
place
nothing_of_this_name
NOT kind:request
-receiver:make_sale
NOT (receiver:make_sale OR kind:command)
(signal:post_save -receiver:make_sale)
(signal:post_save NOT receiver:count_cars took>0ms)
receiver:make_sale took>50ms
receiver:count_cars took>50ms
receiver:make_sale signal:sale_made
receiver:make_sale OR signal:request_started
receiver:fail_to_print outcome:raised failed:yes
failed:no (kind:command OR name:cars)
receiver:make_sale >> receiver:print_receipt
receiver:make_sale >> outcome:raised
receiver:print_receipt >> receiver:make_sale
receiver:make_sale >> receiver:print_receipt failed:no
""".strip().splitlines()


def test_every_query_finds_what_the_database_finds(engine):
    given = some_traces()
    now = time.time_ns()
    queries = [parse(text.format(id=given[0].trace_id), now_ns=now) for text in QUERIES]
    store(*given)
    expected = [[each.trace_id for each in finding.find(query).traces] for query in queries]

    with clickhouse.empty_store(engine):
        clickhouse.export(*given)
        found = [[each.trace_id for each in finding.find(query).traces] for query in queries]

    assert dict(zip(QUERIES, found, strict=True)) == dict(zip(QUERIES, expected, strict=True))


def test_pages_in_any_order_are_all_of_the_list(engine):
    given = [command(number, cars=number % 3 + 1, ago=9 * number) for number in range(1, 24)]
    by_receiver = parse("receiver:give_code", now_ns=0)
    by_nesting = parse("failed:no receiver:give_code >> receiver:none", now_ns=0)
    with clickhouse.empty_store(engine):
        clickhouse.export(*given)
        for query in (EVERYTHING, by_receiver):
            for order in ("", "time", "-dispatches", "duration"):
                pages, place = [], ""
                while True:
                    found = finding.find(query, size=5, before=place, order=order)
                    pages.append([each.root_span_id for each in found.traces])
                    if not (place := found.older):
                        break
                    back = finding.find(query, size=5, after=finding.find(
                        query, size=5, before=place, order=order).newer, order=order)  # fmt: skip
                    assert [each.root_span_id for each in back.traces] == pages[-1], order

                assert sorted(root for page in pages for root in page) == sorted(
                    each.root_span_id for each in given
                )
        assert finding.find(by_nesting, size=5).traces == []


@pytest.mark.parametrize("subject", ["receiver", "signal", "sender", "dispatch", "call"])
def test_statistics_are_those_of_the_database(engine, subject):
    given = some_traces()
    names = (
        "signal",
        "sender",
        "receiver",
        "count",
        "query_count",
        "p50_ns",
        "p99_ns",
        "app",
        "mine",
    )

    def told():
        rows = statistics.by(subject, order_by="-count", everything=False).rows
        return sorted(tuple(getattr(row, name) for name in names) for row in rows)

    store(*given)
    expected = told()
    with clickhouse.empty_store(engine):
        clickhouse.export(*given)

        assert told() == expected


# -- Pages and the command -------------------------------------------------------------------


PAGES = [
    "",
    "live/?after=0",
    "charts/",
    "searches/",
    "map/?show=everything",
    "explain/?what=orders.Order",
    "story/?object=orders.Order:1",
    "statistics/?by=signal",
    "statistics/heat/",
    "hazards/",
    "recorder/",
    "wiring/processes/",
    "?q=receiver:make_sale",
    "?order=-duration",
    "complete/?q=receiver:m&at=10",
]


@pytest.fixture
def read(engine):
    """Read ClickHouse, in which some traces are."""
    with clickhouse.empty_store(engine):
        yield clickhouse.export(*some_traces())


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_answered(developer, read, page):
    path, _question, query = page.partition("?")
    document = f"{path.strip('/') or 'traces'}.json?{query}"

    told = developer.get(f"/tracing/{document}")
    shown = developer.get(f"/tracing/{page}") if "complete" not in page else told

    assert (shown.status_code, told.status_code) == (200, 200), told.content


def test_releases_and_periods_are_compared(developer, read):
    for page in ("compare/?before=1.0&after=1.1", "compare/periods/"):
        assert developer.get(f"/tracing/{page}").status_code == 200


def test_pages_of_a_trace_are_answered(developer, read):
    base = f"/tracing/traces/{read[1].trace_id}"

    for rest in ("/", "/flame/", "/sql/", "/spans/1/", "/spans/2/"):
        assert developer.get(f"{base}{rest}").status_code in {200, 404}, rest
    page = developer.get(f"{base}/").content.decode()
    assert "make_sale" in page
    assert "PrinterError" in page


@pytest.mark.parametrize(
    "query",
    [
        "before=x",
        "before=12-3",
        "before=-9999999999999999999-9999999999999999999-f",
        "after=9999999999999999999-9999999999999999999-f&q=receiver:make_sale",
        "before=-1-0-&order=-duration",
        "q=since:0001-01-01",
        "q=until:9999-12-31",
        "q=receiver:make_sale until:9999-12-31&before=0-1-",
        "q=dispatches>99999999999999999999",
        'q=name:"\' OR 1=1 -- {p0:String} \\\\ "',
        "q=receiver:%25_\\*",
        "q=signal:%C3%A9%F0%9F%9A%97",
    ],
)
def test_odd_places_and_values_are_answered(developer, read, query):
    response = developer.get(f"/tracing/traces.json?{query}")

    assert response.status_code in {200, 400}, response.content
    assert b"ClickHouse" not in response.content


def test_live_list_goes_on_from_the_last_trace(developer, read):
    last = traces.last_row()
    clickhouse.export(visit(9, ago=0))

    assert str(9) in developer.get(f"/tracing/live/?after={last}").content.decode()


def test_what_is_not_answered_is_said_in_one_line(developer, read):
    asked = developer.get("/tracing/why-not/?receiver=core.sales.receivers.make_sale")
    nested = developer.get("/tracing/traces.json?q=failed:no OR (signal:a >> signal:b)")
    skipped = developer.get("/tracing/?q=outcome:skipped")

    assert [each.status_code for each in (asked, nested, skipped)] == [501] * 3
    assert "ClickHouse does not answer this (why not called)" in asked.content.decode()
    assert "&gt;&gt;" not in nested.json()["error"]
    assert "inside of OR or NOT" in nested.json()["error"]
    assert "a receiver that was not called has no span" in skipped.content.decode()


def test_command_reads_it(read):
    assert "orders:check_out" in run("list")
    assert "make_sale" in run("show", read[0].trace_id)
    assert "make_sale" in run("stats")
    assert "swallowed-error" in run("hazards")
    with pytest.raises(CommandError, match="does not answer outcome:skipped"):
        run("list", "outcome:skipped")


def test_place_and_size_told_are_clickhouses_own(developer, engine, read):
    said = run("status")
    assert "read.otel_traces (clickhouse), " in said
    assert "as ClickHouse's tables say" in said
    assert traces.place().size > 0

    page = developer.get("/tracing/recorder/").content.decode()
    assert "ClickHouse deletes traces as its tables say." in page
    assert "<dt>ClickHouse</dt><dd>unknown" not in page
    with clickhouse.read_from(engine, keep="30d"):
        assert "ClickHouse deletes traces after 30 days." in (
            developer.get("/tracing/recorder/").content.decode()
        )
        assert "for 30 days" in run("status")


def test_note_copies_the_trace_to_the_database(developer, read):
    (one,) = traces.called(read[0].trace_id)

    loaded = traces.load(one)

    response = developer.post(
        f"/tracing/traces/{one.address}/note/", {"pinned": "on", "note": "look"}
    )

    assert response.status_code == 302

    kept = Trace.objects.get(root_span_id=one.root_span_id)
    assert (kept.pinned, kept.note) == (True, "look")
    with override_settings(TRACING={"STORE": "database"}):
        assert traces.load(traces.called(one.trace_id)[0]) == loaded


# -- Joined traces ---------------------------------------------------------------------------


def test_tasks_and_redirects_are_joined(read):
    whole = full_trace()
    task_id = "t-1"
    whole.side_effects[0].task_id = task_id
    later = whole.started_ns + 10**9
    ran = plain_trace(8, kind="task", attributes={"task_id": task_id, "attempt": "2"})
    ran.started_ns, ran.arrival_key = later, whole.redirect_key
    clickhouse.export(whole, ran)
    (one,), (other,) = traces.called(whole.trace_id), traces.called(ran.trace_id)

    links = task_links.task_links(whole)

    assert [(each.summary, each.attempt) for each in links.enqueued[0].runs] == [(other, 2)]
    by = task_links.task_links(traces.load(other)).enqueued_by
    assert [(each.summary, each.attempt) for each in by] == [(one, 0)]
    assert redirected_to(one) == other
    assert redirected_from(other) == one


# -- The choice ------------------------------------------------------------------------------


def test_other_settings_are_another_place(engine):
    with clickhouse.empty_store(engine):
        assert table() == "`read`.`otel_traces`"
        assert choice.asks_clickhouse()
        assert hazards.find(5, known=False).hazards == []
    assert not choice.asks_clickhouse()
