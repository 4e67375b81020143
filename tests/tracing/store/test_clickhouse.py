"""ClickHouse as the store: the whole language, spans of other writers, pages, and what goes wrong."""

from __future__ import annotations

import time

import pytest
from django.core.management.base import CommandError
from django.test import override_settings

from tests import clickhouse
from tests.tracing.command_line import run
from tests.tracing.exporters.clickhouse.fake import FakeClickHouse
from tests.tracing.samples import full_trace, plain_trace
from tests.tracing.viewer.traces import command, mixed, order, store, visit
from tracing.models import Trace
from tracing.search.parser import parse
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


def test_note_copies_the_trace_to_the_database(read):
    (one,) = traces.called(read[0].trace_id)

    loaded = traces.load(one)

    traces.annotate(one, pinned=True, note="look")

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


# -- Spans of other writers ------------------------------------------------------------------


COLUMNS = (
    "Timestamp, TraceId, SpanId, ParentSpanId, SpanName, ServiceName, Duration, SpanAttributes"
)


def write(*rows):
    """Write rows as another would: a moment in seconds, ids, a name, a duration and attributes."""
    values = ", ".join(
        f"(fromUnixTimestamp64Nano({1_800_000_000_000_000_000 + at}), '{'a' * 32}', '{span:016x}', "
        f"'{parent:016x}', '{name}', 'shop', {took}, {attributes})"
        for at, span, parent, name, took, attributes in rows
    )
    clickhouse.run_sql(f"INSERT INTO {{spans}} ({COLUMNS}) VALUES {values}")


def test_spans_that_came_through_a_collector_are_shown(developer, engine):
    with clickhouse.empty_store(engine):
        write(
            (0, 1, 0, "GET /x", 9_000, "map('django.tracing.kind', 'request', 'url.path', '/x')"),
            (10, 7, 1, "SELECT", 50, "map('db.system', 'postgresql')"),
            (20, 2, 7, "saved shop.Order", 5_000, "map('django.signal', 'shop.saved')"),
            (30, 3, 2, "shop.count", 900, "map('django.signal.receiver', 'shop.count')"),
            (
                40,
                4,
                3,
                "sent None",
                100,
                "map('django.signal', 'shop.sent', 'django.signal.sender', 'None')",
            ),
        )
        (one,) = traces.newest(5)
        trace = traces.load(one)

        found = finding.find(parse("receiver:shop.count", now_ns=0)).traces
        page = developer.get(f"/tracing/traces/{one.trace_id}/")

    assert (one.name, one.kind, one.http_path) == ("GET /x", "request", "/x")
    assert [(d.number, d.signal, d.parent_number, d.depth) for d in trace.dispatches] == [
        (1, "shop.saved", None, 0),
        (3, "shop.sent", 2, 1),
    ]
    assert [(call.number, call.receiver.name) for call in trace.dispatches[0].receiver_calls] == [
        (2, "shop.count")
    ]
    assert found == [one]
    assert page.status_code == 200


def test_nonsense_of_another_is_shown_as_far_as_it_can_be(engine):
    odd = "map('django.tracing.kind', 'x', 'django.tracing.rest', '{', 'django.tracing.error_count', '-1')"
    wrong = "'code.line.number', '9e9', 'django.signal.method', '?', 'django.tracing.rest', '[]'"
    with clickhouse.empty_store(engine):
        write(
            (0, 1, 1, "round", 9, odd),
            (0, 2, 1, "saved", 9, f"map('django.signal', 'a.b', {wrong})"),
        )
        (one,) = traces.newest(5)

        assert traces.load(one).kind == "block"


def test_traces_that_share_an_id_are_told_apart(engine):
    first, second = order(1), visit(1, ago=30)
    with clickhouse.empty_store(engine):
        clickhouse.export(first, second)

        (found,) = finding.find(parse("receiver:make_sale", now_ns=0)).traces

        assert len(traces.load(found).dispatches) == len(first.dispatches)
        assert found.root_span_id == first.root_span_id


# -- What goes wrong -------------------------------------------------------------------------


@pytest.fixture
def fake():
    made = FakeClickHouse()
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"refuses": (497, "DB::Exception: Not enough privileges. (ACCESS_DENIED)")},
            "does not let",
        ),
        (
            {"refuses": (60, "DB::Exception: no. (UNKNOWN_TABLE)")},
            "clickhouse-schema --apply makes it",
        ),
        (
            {"refuses": (47, "DB::Exception: no. (UNKNOWN_IDENTIFIER)")},
            "is no table of the collector",
        ),
        (
            {"refuses": (241, "DB::Exception: full. (MEMORY_LIMIT_EXCEEDED)")},
            "MEMORY_LIMIT_EXCEEDED",
        ),
        ({"version": "21.3.1.1"}, "22.8 or later is needed"),
        ({"loses_answers": True}, "ClickHouse at"),
        ({"answers": b"[1, 2"}, "answers what is none"),
        ({"answers": b'{"a": 1}'}, "answers what is none"),
    ],
)
def test_bad_answers_are_said_on_the_page_and_by_the_command(developer, fake, wrong, told):
    for name, value in wrong.items():
        setattr(fake, name, value)
    with clickhouse.read_from(fake.url, timeout=2):
        page = developer.get("/tracing/")
        document = developer.get("/tracing/statistics.json")
        with pytest.raises(CommandError, match="The store cannot be asked") as raised:
            run("list")

    assert (page.status_code, document.status_code) == (503, 503)
    assert told in page.content.decode()
    assert told in document.json()["error"]
    assert told in str(raised.value)


def test_statement_that_was_stopped_is_too_late(developer, fake):
    fake.refuses = (159, "DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)")

    with clickhouse.read_from(fake.url):
        response = developer.get("/tracing/")

    assert response.status_code == 503
    assert "This took longer than" in response.content.decode()


def test_server_that_stands_still_is_given_up(developer, fake):
    fake.stands_still.clear()

    with clickhouse.read_from(fake.url, timeout=1):
        response = developer.get("/tracing/traces.json")

    assert response.status_code == 503


def test_server_that_is_down_is_said_and_found_again(developer, engine):
    with clickhouse.read_from("http://127.0.0.1:9"):
        down = developer.get("/tracing/")
    with clickhouse.empty_store(engine):
        clickhouse.export(visit(1))
        up = developer.get("/tracing/")

    assert (down.status_code, up.status_code) == (503, 200)
    assert "ClickHouse at http://127.0.0.1:9" in down.content.decode()


# -- The choice ------------------------------------------------------------------------------


def test_other_settings_are_another_place(engine):
    with clickhouse.empty_store(engine):
        assert table() == "`read`.`otel_traces`"
        assert choice.asks_clickhouse()
        assert hazards.find(5, known=False).hazards == []
    assert not choice.asks_clickhouse()
