"""ClickHouse as the store: spans of other writers, and what goes wrong."""

from __future__ import annotations

import os
import time

import pytest
from django.core.management.base import CommandError

from tests import clickhouse
from tests.tracing.command_line import run
from tests.tracing.exporters.clickhouse.fake import FakeClickHouse
from tests.tracing.viewer.traces import order, visit
from tracing.search.parser import parse
from tracing.store import finding, traces
from tracing.store.clickhouse.asking import address, table

pytestmark = [
    pytest.mark.django_db(databases=["default", "tracing"]),
    pytest.mark.process,
    pytest.mark.services,
]

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


def test_what_was_sent_twice_counts_once_before_parts_are_merged(engine):
    first, second = order(1, ago=300, fails=True), visit(2, ago=100)
    marks = [0, time.time_ns()]
    with clickhouse.empty_store(engine):
        address().run([f"SYSTEM STOP MERGES {table('_django')}"])
        clickhouse.export(first)
        # A collector that was killed before its checkpoint sends it again in another batch.
        clickhouse.export(first, second)
        found = (
            traces.counts().traces,
            traces.failed_count(),
            traces.dispatch_count(),
            traces.started_between(marks),
            traces.count_named(first.name),
            traces.request_count(first.http_method),
            [each.root_span_id for each in traces.newest(9)],
        )
        address().run([f"SYSTEM START MERGES {table('_django')}"])

    assert found == (
        2,
        1,
        first.dispatch_count + second.dispatch_count,
        [2],
        1,
        1,
        [second.root_span_id, first.root_span_id],
    )


def test_call_late_in_a_long_trace_is_found(engine):
    hour = 3_600 * 10**9
    trace = order(1, ago=4 * 3_600)
    trace.duration_ns = 3 * hour
    for dispatch in trace.dispatches:
        dispatch.start_ns += 2 * hour + hour // 2
        for call in dispatch.receiver_calls:
            call.start_ns += 2 * hour + hour // 2
    with clickhouse.empty_store(engine):
        clickhouse.export(trace)

        (found,) = finding.find(parse("receiver:make_sale", now_ns=0)).traces

    assert found.root_span_id == trace.root_span_id


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
        ({"version": "21.3.1.1"}, "23.8 or later is needed"),
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


def test_password_in_the_address_is_shown_to_nobody(developer):
    with clickhouse.read_from("http://ann:hunter2@127.0.0.1:9", timeout=1):
        page = developer.get("/tracing/").content.decode()

    assert "ClickHouse at http://127.0.0.1:9" in page
    assert "hunter2" not in page


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


def test_forked_process_has_a_connection_of_its_own(engine):
    with clickhouse.empty_store(engine):
        clickhouse.export(visit(1))
        before = traces.counts()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(writer, str(traces.last_row()).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader) as told:
            last = int(told.read() or 0)

        assert last == traces.last_row()
        assert traces.counts() == before
