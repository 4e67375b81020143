"""Tests of the index that leads from an object to its dispatches."""

from __future__ import annotations

import time

import pytest

from benchmarks.synthetic import Filler
from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.store.test_queries import all_pages, is_like
from tests.tracing.viewer.traces import identify, store_in_batches
from tracing.conf import store_alias
from tracing.conf.parts import Retention
from tracing.models import Dispatch, ObjectIndex, Sequence, Trace
from tracing.store import index_scan, objects, retention
from tracing.store.backends import beside_the_application
from tracing.store.pages import TraceSearch

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

NEWEST_NS = 1_800_000_000_000_000_000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make blocks that a few traces fill, and that are asked for one at a time."""
    monkeypatch.setattr(objects, "WIDTH", 256)
    monkeypatch.setattr(objects, "_BLOCKS_AT_ONCE", 3)


def make():
    """Store traces of a few objects, again and again; return them, newest first."""
    traces = list(Filler(3, newest_ns=NEWEST_NS, apps=2).traces(900))
    for number, trace in enumerate(traces):
        for place, dispatch in enumerate(trace.dispatches):
            model, colon, _ = dispatch.instance.partition(":")
            # Some of another model than the sender's, as m2m_changed has them.
            model = "shop0.Tag" if colon and place % 5 == 4 else model
            dispatch.instance = colon and f"{model}:{(number * place) % 7}"
    store_in_batches(traces)
    return traces[::-1]


@pytest.fixture
def stored(fill):
    return fill(make)


def index(last=None, *, is_late=lambda: False):
    """Index up to the id *last*, or all full blocks."""
    last = ids() if last is None else last
    with beside_the_application(store_alias()) as database:
        return objects.index_until(database, last, is_late)


def ids(part=1):
    """Return the id at some part of all that are given away: where a test begins, they are above 0."""
    first, last = Dispatch.objects.first().pk, Sequence.objects.get(name="dispatch").value
    return first + int((last - first) * part)


def blocks():
    return sorted({row // objects.ROWS for row in ObjectIndex.objects.values_list("pk", flat=True)})


def asked(traces):
    names = {dispatch.instance for trace in traces for dispatch in trace.dispatches}
    return [TraceSearch(instance=name) for name in sorted(names - {""})] + [
        TraceSearch(instance="shop0.Order:3", signal="post_save"),
        TraceSearch(instance="shop0.Order:3", sender="shop0.Order", kind="task"),
        TraceSearch(instance="shop0.Tag:3", sender="shop1.Customer"),
        TraceSearch(instance="shop0.Order:3", receiver="index_0"),
        TraceSearch(instance="shop0.Order:30"),
    ]


@pytest.mark.parametrize("part", [0, 0.5, 1], ids=["not", "half", "wholly"])
def test_search_finds_the_same_however_far_the_index_is(stored, monkeypatch, part):
    monkeypatch.setattr(objects, "_KEYS_AT_ONCE", 4)
    index(ids(part))
    assert bool(blocks()) is (part > 0)

    searches = asked(stored)
    assert len(searches) > 30
    for wanted in searches:
        expected = [trace.trace_id for trace in stored if is_like(trace, wanted)]
        pages, _ = all_pages(wanted, 5, seconds=60)
        assert [each for page in pages for each in page] == expected, wanted


@pytest.mark.parametrize("part", [0, 0.5, 1], ids=["not", "half", "wholly"])
def test_pages_lead_back_to_the_first(stored, part):
    index(ids(part))
    wanted = TraceSearch(instance="shop0.Order:3")
    forward, last = all_pages(wanted, 5, seconds=60)
    assert len(forward) > 2

    back, page = [], last
    while page.newer:
        page = Trace.objects.search(wanted, after=page.newer, size=5, seconds=60)
        back.append([trace.trace_id for trace in page.traces])

    assert [each for page in back[::-1] for each in page] == [
        each for page in forward[:-1] for each in page
    ]


def test_search_without_time_is_continued_where_it_ended(stored):
    index(ids(0.5))
    wanted = TraceSearch(instance="shop0.Order:3")

    pages, last = all_pages(wanted, 5, seconds=-1)

    assert [each for page in pages for each in page] == [
        trace.trace_id for trace in stored if is_like(trace, wanted)
    ]
    assert (last.older, last.complete) == ("", True)


def test_of_what_is_indexed_only_rows_that_the_index_names_are_read(stored, monkeypatch):
    index(ids(0.5))
    made = (max(blocks()) + 1) * objects.WIDTH
    read = []
    accept = index_scan._DispatchChecks.accept
    monkeypatch.setattr(
        index_scan._DispatchChecks,
        "accept",
        lambda self, *row: read.append(row) or accept(self, *row),
    )

    Trace.objects.search(TraceSearch(instance="shop0.Order:4"), size=1_000, seconds=60)

    indexed = Dispatch.objects.filter(pk__lt=made, sender__name="shop0.Order", instance=":4")
    others = Dispatch.objects.filter(pk__gte=made, instance=":4")
    assert len(read) == indexed.count() + others.count()
    assert indexed.exists()


def test_hash_across_two_others_is_not_found():
    entries = objects._encoded([0x010203 << 24 | 5, 0x040506 << 24 | 6, 0x020304 << 24 | 7])

    assert [*objects._places(entries, [bytes([2, 3, 4])])] == [7]
    assert [*objects._places(entries, [bytes([3, 4, 5]), bytes([1, 2, 3])])] == [5]
    # Nor one among the places.
    assert [*objects._places(entries, [bytes([0, 0, 6])])] == []


def test_what_was_given_away_lately_is_not_indexed_yet(stored, monkeypatch):
    now = time.time()
    monkeypatch.setattr(objects.time, "time", lambda: now)

    def turn():
        with beside_the_application(store_alias()) as database:
            assert objects.index_objects(database, lambda: False)
        return bool(blocks())

    assert not turn()  # It looks how far the ids are,
    now += objects.SETTLED_SECONDS - 1
    assert not turn()
    now += 1
    assert turn()  # and goes so far when that is some time ago.
    filled = blocks()
    (more,) = Filler(4, newest_ns=NEWEST_NS).traces(1)
    store_in_batches([identify(more, 77)])
    now += objects.SETTLED_SECONDS
    assert turn()
    assert blocks() == filled


def test_indexing_that_has_no_time_gets_on_block_by_block(stored):
    assert not index(is_late=lambda: True)
    assert len(blocks()) == 1
    assert not index(is_late=lambda: True)
    assert len(blocks()) == 2
    assert index()
    assert blocks() == [*range(min(blocks()), (ids() + 1) // objects.WIDTH)]


def test_pruning_indexes_and_forgets_what_is_gone(stored, monkeypatch):
    monkeypatch.setattr(objects, "SETTLED_SECONDS", 0)
    retention.prune(Retention())
    retention.prune(Retention())
    before = blocks()
    assert len(before) > 4
    Trace.objects.filter(pk=Dispatch.objects.first().trace_id).update(pinned=True)

    retention.prune(Retention(max_rows=300, keep_pinned=True))

    left = {key // objects.WIDTH for key in Dispatch.objects.values_list("pk", flat=True)}
    assert before[0] in left
    assert before[3] not in left
    assert set(blocks()) == set(before) & left
    retention.prune(Retention(max_rows=0, keep_pinned=False))
    assert blocks() == []


def test_block_without_instances_is_made_once():
    build = TraceBuilder()
    for _ in range(objects.WIDTH):
        build.call(build.dispatch("order_placed", "None"), "shop.receivers.thank")
    store_in_batches([identify(build.build(), 1)])

    assert index()

    assert ObjectIndex.objects.count() == len(blocks()) > 0
    assert index()
    assert ObjectIndex.objects.count() == (ids() + 1) // objects.WIDTH - blocks()[0]
