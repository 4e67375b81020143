"""What every store must do, asked as pages, command and exporters ask: no row, no model, no queryset."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from tests import clickhouse
from tests.tracing.analysis.building import MS
from tests.tracing.samples import full_trace
from tests.tracing.viewer.traces import command, mixed, order, visit
from tests.tracing.viewer.traces import store as store_in_django
from tracing.conf.parts import Retention
from tracing.exporters.database import DatabaseExporter
from tracing.search.parser import parse
from tracing.search.query import EVERYTHING
from tracing.spans.summary import COLUMNS, TraceSummary, summary_document, summary_of
from tracing.store import (
    finding,
    hazards,
    nesting,
    recorder,
    retention,
    searches,
    statistics,
    traces,
)
from tracing.store.choice import asks_clickhouse
from tracing.store.pages import TraceSearch

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])

SECOND = 1_000_000_000
ENGINE = pytest.param("clickhouse", marks=[pytest.mark.process, pytest.mark.services])


@pytest.fixture(params=["database", ENGINE], autouse=True)
def chosen(request):
    """Choose a store, in which there is nothing."""
    if request.param == "database":
        yield request.param
        return
    with clickhouse.empty_store(request.getfixturevalue("engine")):
        yield request.param


def store(*given):
    """Store traces where they are looked for."""
    if asks_clickhouse():
        return clickhouse.export(*given)
    return store_in_django(*given)


@pytest.fixture
def four():
    """Store two orders of one name, of which the second failed, a command and a visit."""
    return store(
        order(1, ago=600, release="1.0"),
        order(2, ago=300, release="1.1", fails=True, slow=80),
        command(3, cars=5, ago=200),
        visit(4, ago=100),
    )


def query(text):
    return parse(text, now_ns=time.time_ns())


def numbers(found):
    return [int(each.trace_id, 16) for each in found]


def summaries_in(found):
    return all(type(each) is TraceSummary for each in found)


# -- Find ------------------------------------------------------------------------------------


def test_what_is_found_is_summaries_newest_first(four):
    found = finding.find(EVERYTHING)

    assert summaries_in(found.traces)
    assert numbers(found.traces) == [4, 3, 2, 1]
    assert found.complete
    assert not found.older


def test_summary_says_of_a_trace_what_the_trace_says(four):
    (found,) = finding.find(query(f"trace:{four[1].trace_id}")).traces

    assert replace(found, row=0) == summary_of(four[1])
    assert found.address == f"{four[1].trace_id}/{four[1].root_span_id}"
    assert set(summary_document(found)) == set(COLUMNS) - {"segment"}
    assert (found.failed, found.mine, found.pinned) == (True, True, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("failed:yes", [2]),
        ("failed:no", [4, 3, 1]),
        ("failed:yes failed:no", []),
        ("name=orders:check_out", [2, 1]),
        ("name=orders:check", []),
        ("name=load_cars name=cars:list", []),
        ("kind:command", [3]),
        ("receiver:fail_to_print outcome:raised", [2]),
        ("receiver:make_sale took>50ms", [2]),
        ("orphans>0", [2, 1]),
        ("release:1.0 OR kind:command", [3, 1]),
        ("receiver:make_sale >> receiver:print_receipt", [2, 1]),
    ],
)
def test_queries_are_answered_by_rows_and_by_spans(four, text, expected):
    assert numbers(finding.find(query(text)).traces) == expected


@pytest.mark.parametrize("text", ["", "receiver:core.*"])
def test_pages_lead_to_one_another(four, text):
    first = finding.find(query(text), size=2)
    second = finding.find(query(text), size=2, before=first.older)
    back = finding.find(query(text), size=2, after=second.newer)

    assert numbers(back.traces) == numbers(first.traces)
    assert not set(numbers(first.traces)) & set(numbers(second.traces))


def test_found_traces_are_sorted(four):
    assert numbers(finding.find(EVERYTHING, order="time").traces) == [1, 2, 3, 4]
    assert numbers(finding.find(EVERYTHING, order="-dispatches").traces)[0] == 3
    assert not finding.find(query("receiver:core.*"), order="-dispatches").is_sortable


def test_what_is_not_mine_is_hidden_and_counted(four):
    found = finding.find(EVERYTHING, wanted=TraceSearch(mine=True))

    assert numbers(found.traces) == [3, 2, 1]
    assert found.hidden == 1


def test_sample_of_a_chart_counts_nothing_else(four):
    found = finding.sample(EVERYTHING, 10, 1.0, mine=True)

    assert summaries_in(found.traces)
    assert numbers(found.traces) == [3, 2, 1]
    assert not found.hidden


def test_newer_traces_are_found_from_a_row_on(four):
    first = finding.find(EVERYTHING, order="time").traces[0].row

    found, last = finding.fitting_newer(query("kind:command"), first)

    assert summaries_in(found)
    assert numbers(found) == [3]
    assert last == traces.last_row()
    assert finding.fitting_newer(EVERYTHING, last) == ([], last)


# -- By name and newest ----------------------------------------------------------------------


def test_traces_are_called_by_either_id_and_by_both(four):
    trace = four[0]
    address = f"{trace.trace_id}/{trace.root_span_id}"

    for name in (trace.trace_id, trace.trace_id.upper(), trace.root_span_id, address):
        assert numbers(traces.called(name)) == [1]
    assert numbers(traces.beginning_with(trace.root_span_id[:8])) == [1]
    assert traces.called("f" * 32) == []


def test_traces_of_one_id_know_of_one_another():
    first, second = order(1), order(1, ago=30)
    store(first, second)
    older, newer = reversed(traces.called(first.trace_id))

    assert traces.sharing_id(newer, 5) == [older]
    assert traces.called(first.trace_id, 1) == [newer]


def test_trace_before_is_of_the_same_name(four):
    one, two, load, _visit = reversed(traces.newest(4))

    assert traces.before(two) == one
    assert traces.before(one) is None
    assert traces.before(load) is None


def test_newest_are_chosen(four):
    now_ns = time.time_ns()

    assert numbers(traces.newest(2)) == [4, 3]
    assert numbers(traces.newest(9, failed=True)) == [2]
    assert numbers(traces.newest(9, since_ns=now_ns - 250 * SECOND)) == [4, 3]
    assert numbers(traces.newest(9, until_ns=now_ns - 250 * SECOND)) == [2, 1]
    assert numbers(traces.newest(9, kind="request", name="cars:list")) == [4]
    assert numbers(traces.newest(9, release="1.1")) == [2]
    assert numbers(traces.started_within(now_ns - 400 * SECOND, None, 2, seconds=1)) == [4, 3]


def test_traces_are_followed_as_they_come(four):
    looks = iter([True, False])

    def wait(_seconds):
        store(visit(9))

    followed = traces.follow(poll_seconds=0, keep_on=lambda: next(looks), wait=wait)

    assert numbers(followed) == [9]
    assert numbers(traces.follow(after=0, keep_on=lambda: False)) == [1, 2, 3, 4, 9]
    assert numbers(traces.follow(after=0, failed=True, keep_on=lambda: False)) == [2]


def test_releases_are_told_in_their_order(four):
    assert traces.releases() == traces.releases(recent=True) == ["1.0", "1.1"]
    assert traces.is_release("1.0")
    assert not traces.is_release("2.0")
    assert numbers(traces.of_release("1.1", 5)) == [2]


# -- Load ------------------------------------------------------------------------------------


def test_trace_is_loaded_as_it_was_written():
    store(full_trace())
    (found,) = traces.newest(4)

    assert traces.load(found) == full_trace()
    assert traces.load(found) is traces.load(found)


def test_many_traces_are_loaded_in_the_order_asked_for(four):
    found = traces.newest(4)

    assert numbers(traces.load_all(found)) == [4, 3, 2, 1]
    assert numbers(traces.load_all(reversed(found))) == [1, 2, 3, 4]


def test_trace_that_was_deleted_is_told():
    (kept,) = store(order(1))
    (found,) = traces.newest(1)

    with pytest.raises(traces.NotStoredError, match=kept.trace_id):
        traces.load(replace(found, row=found.row + 1))
    assert list(traces.load_all([replace(found, row=found.row + 1)])) == []


# -- Charts and numbers ----------------------------------------------------------------------


def test_empty_store_has_an_answer_to_everything():
    assert traces.is_empty()
    assert traces.last_row() == 0
    assert traces.newest(5) == traces.releases() == traces.failed_starts() == []
    assert traces.counts() == (0, 0, None)
    assert traces.overhead(10) == (0, 0, 0, 0)
    assert traces.started_between([0, SECOND, 2 * SECOND]) == [0, 0]
    assert statistics.by("receiver", everything=False).rows == []
    assert statistics.totals("receiver")["count"] == 0
    assert nesting.sent_on() == {}
    assert hazards.find(5, known=False).hazards == []


def test_traces_are_counted(four):
    marks = [0, four[1].started_ns, time.time_ns()]

    assert traces.counts() == (4, 0, four[0].started_ns)
    assert (traces.failed_count(), traces.dispatch_count()) == (1, 10)
    assert traces.started_between(marks) == [1, 3]
    assert traces.failed_starts() == [four[1].started_ns]
    assert traces.overhead(3).sample == 3


# -- Statistics and map ----------------------------------------------------------------------


def test_statistics_are_by_what_was_asked(four):
    receivers = {row.receiver: row for row in statistics.by("receiver").rows}

    assert receivers["core.sales.receivers.make_sale"].count == 2
    assert receivers["core.sales.receivers.fail_to_print"].error_count == 1
    assert receivers["core.sales.receivers.make_sale"].total_ns > 80 * MS
    assert receivers["core.sales.receivers.make_sale"].p50_ns >= MS
    assert {row.signal for row in statistics.by("signal").rows} >= {"core.sales.signals.sale_made"}
    assert statistics.by("receiver", until_ns=SECOND).rows == []
    assert len(statistics.by("receiver", limit=2).rows) == 2


def test_statistics_of_what_is_mine_say_what_is_hidden(four):
    shown = statistics.by("receiver", everything=False)

    assert "django.db.close_old_connections" not in {row.receiver for row in shown.rows}
    assert shown.note == "1 receiver that is not yours is hidden"
    assert not shown.heading


def test_statistics_without_anything_of_mine_are_whole():
    store(visit(1))

    shown = statistics.by("receiver", everything=False)

    assert [row.receiver for row in shown.rows] == ["django.db.close_old_connections"]
    assert shown.heading


def test_statistics_are_told_by_hour(four):
    rows = statistics.by("receiver", limit=1).rows
    counts = statistics.counts_by_hour("receiver", rows, 24)
    hours, heading = statistics.durations_by_hour("receiver", 24)
    named, _ = statistics.durations_by_hour("receiver", 24, name=rows[0].receiver)

    assert {names: sum(by_hour.values()) for names, by_hour in counts.items()} == {
        statistics.names_of("receiver", rows[0]): rows[0].count
    }
    assert sum(found.count for _, found in hours) == statistics.totals("receiver")["count"]
    assert sum(found.count for _, found in named) == rows[0].count
    assert not heading


def test_busiest_calls_know_whose_they_are(four):
    rows, is_cut = statistics.busiest_calls(100)

    found = {row.receiver: (row.app, row.mine) for row in rows}
    assert found["core.sales.receivers.make_sale"] == ("sales", True)
    assert found["django.db.close_old_connections"] == ("", False)
    assert not is_cut
    assert statistics.busiest_calls(1)[1]
    assert statistics.calls_of_receivers()["core.cars.receivers.give_code"] == 5


def test_map_knows_what_receivers_send(four):
    found = {(each.receiver, each.sent_signal): count for each, count in nesting.sent_on().items()}

    assert found == {("core.sales.receivers.make_sale", "core.sales.signals.sale_made"): 2}


# -- Hazards ---------------------------------------------------------------------------------


def test_hazards_are_told_with_their_traces_and_accepted(four):
    found = hazards.find(50, known=False)
    one = found.hazards[0]

    assert found.open_count == len(found.hazards)
    assert hazards.of_fingerprint(one.fingerprint.upper()) == one
    assert hazards.of_fingerprint("nonsense") is None
    assert summaries_in(hazards.showing(one, 5))
    assert {each.hazard for each in hazards.find(50, known=False, rule=one.hazard).hazards} == {
        one.hazard
    }

    hazards.accept(one, known=True, reason="so it is")

    after = hazards.find(50, known=True)
    (known,) = [each for each in after.hazards if each.fingerprint == one.fingerprint]
    assert (known.reason, known.is_by_project) == ("so it is", False)
    assert after.known_count == found.known_count + 1
    hazards.accept(known, known=False)
    assert hazards.find(50, known=False).open_count == found.open_count


# -- Notes, searches, recorder ---------------------------------------------------------------


def test_notes_are_kept(four):
    (found,) = traces.called(four[0].trace_id)

    traces.annotate(found, pinned=True, note="look here")

    (noted,) = traces.called(four[0].trace_id)
    assert (noted.pinned, noted.note) == (True, "look here")
    assert traces.counts().pinned == 1
    assert numbers(finding.find(query("pinned:yes")).traces) == [1]


def test_searches_are_kept_under_one_name_each():
    mine, is_new = searches.add("slow", "q=duration>1s", "ann")
    same, is_new_again = searches.add("slow", "q=duration>2s", "bob")

    assert (is_new, is_new_again, same) == (True, False, mine)
    searches.replace(mine, "q=duration>3s")
    assert searches.named("slow").query == searches.of_key(mine.key).query == "q=duration>3s"
    searches.delete(mine)
    assert searches.saved() == []


def test_recorder_is_told_to_pause():
    assert recorder.control() == (False, 0, "")

    recorder.set_paused(paused=True, by="ann")

    control = recorder.control()
    assert (control.paused, control.changed_by) == (True, "ann")
    assert recorder.recorders(fresh=True) == []


# -- Write and prune -------------------------------------------------------------------------


def test_later_segments_and_repeats_are_one_trace():
    whole = mixed(1)
    first = replace(whole, dispatches=whole.dispatches[:1], final=False)
    last = replace(whole, dispatches=whole.dispatches[1:], segment=1)
    clicks = asks_clickhouse()
    exporter = clickhouse.exporter() if clicks else DatabaseExporter(shared_connection=True)

    exporter.export([first])
    exporter.export([last])
    exporter.export([last])

    (found,) = traces.newest(5)
    assert found.final
    assert traces.load(found).dispatches == whole.dispatches
    exporter.shutdown()


@pytest.mark.parametrize("chosen", ["database"], indirect=True)
def test_pruning_leaves_the_newest_and_the_statistics(four):
    before = statistics.totals("receiver")

    told = retention.prune(Retention(max_rows=4), dry_run=True)
    assert traces.counts().traces == 4
    pruned = retention.prune(Retention(max_rows=4))

    assert SimpleNamespace(traces=told.traces).traces == pruned.traces > 0
    assert numbers(traces.newest(9))[0] == 4
    assert traces.counts().traces == 4 - pruned.traces
    assert statistics.totals("receiver") == before
