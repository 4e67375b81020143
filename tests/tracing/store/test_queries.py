from __future__ import annotations

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from msgspec import structs
from msgspec.structs import asdict, replace

from benchmarks.synthetic import Filler
from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.samples import plain_trace
from tracing.exporters.database import DatabaseExporter
from tracing.models import Dispatch, FailedCall, Orphan, ReceiverCall, Trace
from tracing.spans.records import Outcome
from tracing.store import index_scan, occurrences, scan, word_scan
from tracing.store.pages import TraceSearch
from tracing.store.queries import follow

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

NEWEST_NS = 1_800_000_000_000_000_000
HOUR_NS = 3_600_000_000_000


def make():
    """Store some hundred traces, every second of them of packages alone; return them, newest first."""
    traces = list(Filler(7, newest_ns=NEWEST_NS, apps=3).traces(4_000))
    for trace in traces[::2]:
        for dispatch in trace.dispatches:
            for call in dispatch.receiver_calls:
                call.receiver = structs.replace(call.receiver, mine=False)
    exporter = DatabaseExporter()
    for start in range(0, len(traces), 100):
        exporter.export(traces[start : start + 100])
    exporter.shutdown()
    return traces[::-1]


@pytest.fixture
def stored(fill):
    """Return what is stored, newest first."""
    return fill(make)


def dispatches_like(trace, wanted):
    for dispatch in trace.dispatches:
        calls = [
            call
            for call in dispatch.receiver_calls
            if (not wanted.receiver or call.receiver.name.endswith(wanted.receiver))
            and (not wanted.outcome or call.outcome == wanted.outcome)
        ]
        if (
            dispatch.signal.endswith(wanted.signal)
            and wanted.sender in {"", dispatch.sender}
            and wanted.instance in {"", dispatch.instance}
            and (calls or not (wanted.receiver or wanted.outcome))
        ):
            yield dispatch


def holds(trace, word):
    """Return whether one of the names in *trace* holds *word*, or its path, if it has a slash."""
    names = {trace.name, trace.http_path if "/" in word else ""}
    for dispatch in trace.dispatches:
        names |= {dispatch.signal, dispatch.sender}
        names |= {dispatch.callsite.function} if dispatch.callsite else set()
        names |= {call.receiver.name for call in dispatch.receiver_calls}
    return any(word in name.lower() for name in names)


def is_like(trace, wanted):
    """Return whether *trace* has what is wanted: the plain meaning of TraceSearch."""
    return (
        (not wanted.kind or trace.kind == wanted.kind)
        and (wanted.failed is None or (trace.error_count > 0) is wanted.failed)
        and wanted.name in {"", trace.name}
        and wanted.text.lower() in f"{trace.name}\n{trace.http_path}"
        and (not wanted.word or holds(trace, wanted.word.lower()))
        and wanted.user_id in {"", trace.user_id}
        and trace.duration_ns >= wanted.slower_than_ns
        and (wanted.since_ns is None or trace.started_ns >= wanted.since_ns)
        and (wanted.until_ns is None or trace.started_ns < wanted.until_ns)
        and (not wanted.mine or trace.is_mine)
        and (not wanted.asks_for_dispatches or any(dispatches_like(trace, wanted)))
    )


def all_pages(wanted, size, **options):
    """Return the trace ids of all pages, walking back and then forward again."""
    older, pages = "", []
    for _ in range(1_000):
        page = Trace.objects.search(wanted, before=older, size=size, **options)
        pages.append([trace.trace_id for trace in page.traces])
        older = page.older
        if not older:
            return pages, page
    pytest.fail("The pages have no end.")


def describe(wanted):
    """Return the conditions of *wanted* as the name of a test."""
    given = asdict(wanted)
    return ",".join(
        f"{name}={value}" for name, value in given.items() if value not in {"", 0, None}
    )


SEARCHES = [
    TraceSearch(),
    TraceSearch(kind="task"),
    TraceSearch(kind="nonsense"),
    TraceSearch(failed=True),
    TraceSearch(failed=False),
    TraceSearch(name="shop1:list"),
    TraceSearch(text="SHOP1/d"),
    TraceSearch(text="nowhere"),
    TraceSearch(slower_than_ns=100_000_000),
    TraceSearch(slower_than_ns=10_000_000, kind="request"),
    TraceSearch(since_ns=NEWEST_NS - 48 * HOUR_NS, until_ns=NEWEST_NS - 12 * HOUR_NS),
    TraceSearch(until_ns=NEWEST_NS - 9_000 * HOUR_NS),
    TraceSearch(signal="post_save"),
    TraceSearch(signal="django.db.models.signals.post_save", sender="shop1.Order"),
    TraceSearch(signal="order_placed", kind="task"),
    TraceSearch(sender="shop2.services.Checkout"),
    TraceSearch(sender="shop9.Unknown"),
    TraceSearch(receiver="notify_7"),
    TraceSearch(receiver="shop0.receivers.index_2", signal="post_delete"),
    TraceSearch(receiver="index_2", signal="pre_save"),
    TraceSearch(outcome="raised"),
    TraceSearch(outcome="raised", receiver="index_1"),
    TraceSearch(outcome="skipped"),
    TraceSearch(outcome="nonsense"),
    TraceSearch(signal="pre_save", since_ns=NEWEST_NS - 24 * HOUR_NS),
    *(
        TraceSearch(word=word)
        for word in (
            *("shop", "SHOP1", "shop1:list", "shop1/detail", "index_2", "notify_7", "order_placed"),
            *("Checkout", "services", "nowhere", "edit_view"),
        )
    ),
    TraceSearch(word="index_2", kind="task"),
    TraceSearch(word="index_2", signal="post_delete"),
    TraceSearch(word="shop1", since_ns=NEWEST_NS - 48 * HOUR_NS),
    TraceSearch(mine=True),
    TraceSearch(mine=True, word="index_2"),
    TraceSearch(mine=True, kind="task"),
    TraceSearch(mine=True, failed=True),
    TraceSearch(mine=True, text="SHOP1/d"),
    TraceSearch(mine=True, slower_than_ns=10_000_000),
    TraceSearch(mine=True, signal="post_save"),
    TraceSearch(mine=True, receiver="index_2"),
    TraceSearch(mine=True, outcome="raised"),
]
OF_MINE = [wanted for wanted in SEARCHES if wanted.mine]
IN_PIECES = [wanted for wanted in SEARCHES if wanted.word not in {"shop", "SHOP1"}]
"""Those two take thousands of pieces, and what they find lies where that of shop1 does."""


@pytest.mark.parametrize("wanted", SEARCHES, ids=describe)
def test_search_finds_what_a_plain_loop_finds(stored, wanted):
    expected = [trace.trace_id for trace in stored if is_like(trace, wanted)]

    pages, _ = all_pages(wanted, 40, seconds=60)

    assert [trace_id for page in pages for trace_id in page] == expected
    assert all(len(page) == 40 for page in pages[:-1])


@pytest.mark.parametrize(
    "wanted",
    [
        *(SEARCHES[0], SEARCHES[7], SEARCHES[8], SEARCHES[12], SEARCHES[17]),
        *(TraceSearch(word=word) for word in ("shop1", "index_2", "services", "shop1:list")),
    ],
    ids=describe,
)
def test_search_comes_back_the_way_it_went(stored, wanted):
    first = Trace.objects.search(wanted, size=25, seconds=60)
    if not first.older:
        assert first.newer == ""
        return
    second = Trace.objects.search(wanted, before=first.older, size=25, seconds=60)

    back = Trace.objects.search(wanted, after=second.newer, size=25, seconds=60)

    assert [trace.pk for trace in back.traces] == [trace.pk for trace in first.traces]


@pytest.mark.thorough
@pytest.mark.parametrize("word", ["shop1", "index_2", "services", "edit_view", "shop1:list"])
def test_word_of_very_many_names_is_looked_for_along_the_rows(stored, monkeypatch, word):
    monkeypatch.setattr(occurrences, "LISTED", 1)
    monkeypatch.setattr(word_scan, "_MOST_RUNS", 0)
    monkeypatch.setattr(scan, "_FIRST_STEP", 500)
    wanted = TraceSearch(word=word)
    expected = [trace.trace_id for trace in stored if is_like(trace, wanted)]

    pages, _ = all_pages(wanted, 40, seconds=60)
    pieces, last = all_pages(wanted, 40, seconds=-1)

    assert [trace_id for page in pages for trace_id in page] == expected
    assert [trace_id for page in pieces for trace_id in page] == expected
    assert last.complete


def test_word_that_begins_an_id_finds_the_trace(stored):
    first, second = stored[3], stored[70]
    for word in (first.trace_id[:12], second.root_span_id.upper()):
        found = Trace.objects.search(TraceSearch(word=word), seconds=60).traces
        assert [trace.trace_id for trace in found] == [
            (first if word in first.trace_id else second).trace_id
        ]


def test_function_of_a_receiver_is_found_by_its_calls(db):
    build = TraceBuilder()
    billed = build.call(build.dispatch(), "shop.receivers.bill")
    build.dispatch(under=billed, at="shop/receivers.py:bill:7")
    trace = build.build()
    for dispatch in trace.dispatches[1:]:
        file = trace.dispatches[0].receiver_calls[0].receiver.file
        dispatch.callsite = structs.replace(dispatch.callsite, function="bill", file=file)
    exporter = DatabaseExporter()
    exporter.export([trace])
    exporter.shutdown()

    found = occurrences.occurrences("bill", "tracing")

    assert (len(found.receivers.keys), found.callsites.keys) == (1, [])
    assert len(Trace.objects.search(TraceSearch(word="bill")).traces) == 1


@pytest.mark.parametrize("wanted", OF_MINE, ids=describe)
def test_pages_count_each_trace_that_is_not_mine_once(stored, wanted):
    others = [
        trace
        for trace in stored
        if is_like(trace, replace(wanted, mine=False)) and not trace.is_mine
    ]
    older, hidden, back = "", [], []
    while older is not None:
        page = Trace.objects.search(wanted, before=older, size=10, seconds=60)
        hidden.append(page.hidden)
        older = page.older or None
    newer = page.newer
    while newer:
        page = Trace.objects.search(wanted, after=newer, size=10, seconds=60)
        back.append(page.hidden)
        newer = page.newer

    assert len(others) > 0
    assert sum(hidden) == len(others)
    assert not page.hidden_more
    # The way back begins above the last page.
    assert sum(back) + hidden[-1] >= len(others) - hidden[-1]


def test_of_very_many_hidden_traces_is_said_that_there_are_more(stored, monkeypatch):
    monkeypatch.setattr(index_scan, "HIDDEN_COUNTED", 3)

    page = Trace.objects.search(TraceSearch(mine=True), size=1_000, seconds=60)

    assert (page.hidden, page.hidden_more) == (3, True)


def test_search_that_has_no_time_says_that_more_may_be_hidden(stored, monkeypatch):
    monkeypatch.setattr(index_scan, "_HIDDEN_SECONDS", -1)
    monkeypatch.setattr(scan, "_FIRST_STEP", 5)

    page = Trace.objects.search(TraceSearch(mine=True), size=1_000, seconds=60)

    assert page.hidden < 5
    assert page.hidden_more


@pytest.mark.parametrize("wanted", [TraceSearch(mine=True), TraceSearch(failed=True)], ids=describe)
def test_list_of_what_is_mine_or_failed_walks_its_own_index(stored, wanted):
    connection = connections["tracing"]
    if connection.vendor != "sqlite":
        pytest.skip("A server has statistics and decides otherwise for so few rows.")
    with CaptureQueriesContext(connection) as asked:
        Trace.objects.search(wanted, size=10, seconds=60)
    statement = next(each["sql"] for each in asked if "ORDER BY" in each["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        plan = " ".join(row[3] for row in cursor.fetchall())

    name = "mine" if wanted.mine else "failed"
    assert f"USING INDEX tracing_trace_{name}" in plan


@pytest.mark.parametrize("given", [["since_ns"], ["until_ns"], ["since_ns", "until_ns"]])
def test_rows_of_a_time_are_found_by_its_index(stored, given):
    connection = connections["tracing"]
    if connection.vendor != "sqlite":
        pytest.skip("A server has statistics and decides otherwise for so few rows.")
    wanted = TraceSearch(**dict.fromkeys(given, NEWEST_NS - 24 * HOUR_NS))
    with CaptureQueriesContext(connection) as asked:
        Trace.objects.search(wanted, size=10, seconds=60)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {asked[0]['sql']}")
        plan = " ".join(row[3] for row in cursor.fetchall())

    assert "COVERING INDEX tracing_trace_started (started_ns" in plan


def test_search_of_an_instance_finds_its_dispatches(stored):
    instance = next(
        dispatch.instance
        for trace in stored[50:]
        for dispatch in trace.dispatches
        if dispatch.instance
    )
    wanted = TraceSearch(instance=instance)

    found = Trace.objects.search(wanted, seconds=60)

    assert [trace.trace_id for trace in found.traces] == [
        trace.trace_id for trace in stored if is_like(trace, wanted)
    ]


@pytest.mark.parametrize(
    "wanted", [TraceSearch(text="nowhere"), TraceSearch(instance="shop0.Order:none")]
)
def test_search_without_time_gives_up_and_can_be_continued(stored, wanted):
    page = Trace.objects.search(wanted, seconds=-1)
    _, last = all_pages(wanted, 40, seconds=-1)

    assert page.traces == []
    assert last.older == ""
    if not page.complete:
        assert page.older


@pytest.mark.thorough
@pytest.mark.parametrize("wanted", IN_PIECES, ids=describe)
def test_search_without_time_finds_the_same_piece_by_piece(stored, wanted):
    pages, last = all_pages(wanted, 40, seconds=-1)

    expected = [trace.trace_id for trace in stored if is_like(trace, wanted)]
    assert [trace_id for page in pages for trace_id in page] == expected
    assert (last.older, last.complete) == ("", True)


@pytest.mark.parametrize(
    "wanted",
    [
        TraceSearch(),
        TraceSearch(text="nowhere"),
        TraceSearch(slower_than_ns=1),
        TraceSearch(signal="post_save"),
        TraceSearch(outcome="raised"),
    ],
    ids=describe,
)
def test_search_that_has_seen_all_is_complete_however_long_it_took(db, wanted):
    exporter = DatabaseExporter()
    exporter.export(list(Filler(7, newest_ns=NEWEST_NS, apps=1).traces(60)))
    exporter.shutdown()

    page = Trace.objects.search(wanted, seconds=-1)

    assert (page.older, page.complete) == ("", True)


@pytest.mark.parametrize(
    "cursor", ["x", "-", "9" * 30, "\u0661", "1-x", f"1-{'9' * 5_000}", "'; DROP TABLE"]
)
def test_search_takes_an_unreadable_cursor_for_the_first_page(stored, cursor):
    first = Trace.objects.search(TraceSearch(), size=5)

    page = Trace.objects.search(TraceSearch(), before=cursor, size=5)

    if cursor.startswith("1-"):
        assert page.traces == []
    else:
        assert [trace.pk for trace in page.traces] == [trace.pk for trace in first.traces]


def test_search_of_a_page_runs_few_queries(stored, django_assert_max_num_queries):
    with django_assert_max_num_queries(4, connection=connections[Trace.objects.db]):
        Trace.objects.search(TraceSearch(kind="request", failed=False))


def test_traces_are_deleted_with_all_that_is_theirs(stored):
    gone = [trace.trace_id for trace in stored[50:150]]

    Trace.objects.filter(trace_id__in=gone).delete()

    left = stored[:50] + stored[150:]
    assert Trace.objects.count() == len(left)
    assert Dispatch.objects.count() == sum(len(trace.dispatches) for trace in left)
    calls = [call for trace in left for d in trace.dispatches for call in d.receiver_calls]
    assert ReceiverCall.objects.count() == len(calls)
    raised = [call for call in calls if call.outcome is Outcome.RAISED]
    assert FailedCall.objects.count() == len(raised)
    assert Orphan.objects.count() == len(left)
    assert Trace.objects.load(left[-1].trace_id) == left[-1]


def test_follow_yields_each_new_trace_once():
    exporter = DatabaseExporter()
    exporter.export([plain_trace(1)])
    rounds = iter([[plain_trace(2), plain_trace(3)], [plain_trace(4)]])

    def wait(_seconds):
        exporter.export(next(rounds, []))

    looks = iter([True, True, False])
    followed = [
        trace.trace_id
        for trace in follow(Trace.objects.all(), keep_on=lambda: next(looks), wait=wait)
    ]
    exporter.shutdown()

    assert followed == [plain_trace(number).trace_id for number in (2, 3, 4)]


def test_follow_notices_a_trace_that_was_committed_late():
    exporter = DatabaseExporter()
    exporter.export([plain_trace(number) for number in (1, 2, 3)])
    exporter.shutdown()
    late = Trace.objects.order_by("pk")[1]
    Trace.objects.filter(pk=late.pk).delete()
    looks = iter([True, False])

    def wait(_seconds):
        late.save(force_insert=True)

    followed = list(follow(Trace.objects.all(), keep_on=lambda: next(looks), wait=wait))

    assert followed == [late]


def test_traces_far_apart_are_read_by_their_keys_alone(stored):
    rows = list(Trace.objects.order_by("-pk"))[::9]
    statements = []

    def watch(execute, sql, params, many, context):
        statements.append((sql, params))
        return execute(sql, params, many, context)

    connection = connections[Trace.objects.db]
    with connection.execute_wrapper(watch):
        loaded = list(Trace.objects.all().load_rows(rows))

    assert [trace.trace_id for trace in loaded] == [row.trace_id for row in rows]
    assert [len(d.receiver_calls) for trace in loaded for d in trace.dispatches] == [
        len(d.receiver_calls) for trace in stored[::9] for d in trace.dispatches
    ]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for sql, params in statements:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
                assert not [plan for *_, plan in cursor.fetchall() if plan.startswith("SCAN")]


@pytest.mark.parametrize("digits", [4, 32])
def test_trace_is_found_by_the_beginning_of_its_id(stored, digits):
    wanted = stored[len(stored) // 2].trace_id
    page = Trace.objects.search(TraceSearch(trace_id=wanted[:digits]))

    assert [trace.trace_id for trace in page.traces] == [
        trace.trace_id for trace in stored if trace.trace_id.startswith(wanted[:digits])
    ]
    assert not page.older
    assert not Trace.objects.search(TraceSearch(trace_id="g")).traces


def test_counts_between_marks_are_those_of_each_pair(stored):
    moments = sorted(trace.started_ns for trace in stored)
    marks = [moments[0], moments[40], moments[40], moments[-1] + 1, moments[-1] + 2]

    assert Trace.objects.counts_between(marks) == [40, 0, len(moments) - 40, 0]
    assert Trace.objects.counts_between(marks[:1]) == []
