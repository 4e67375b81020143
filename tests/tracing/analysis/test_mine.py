from __future__ import annotations

import pytest

from tests.tracing.analysis.building import TraceBuilder, label
from tracing.analysis import tree
from tracing.analysis.mine import NONE_OF_MINE, MineView, hidden_text, spans_of_mine, view_of
from tracing.spans.records import Outcome

OWN = label("shop.receivers.count", mine=True)
OTHER = label("reversion.receivers.save")


@pytest.fixture
def build():
    return TraceBuilder()


def test_dispatch_is_mine_if_a_receiver_is(build):
    both, other = build.dispatch("post_save"), build.dispatch("pre_save")
    build.call(both, OTHER)
    own = build.call(both, OWN)
    build.call(other, OTHER)

    assert spans_of_mine(build.build()) == {both.number, own.number}


def test_dispatch_is_mine_if_anything_below_it_is(build):
    outer = build.dispatch("post_save")
    package = build.call(outer, OTHER)
    inner = build.dispatch("post_delete", under=package)
    deeper = build.call(inner, OTHER)
    build.call(inner, OTHER)
    later = build.dispatch("order_placed", under=deeper, parent_is_link=True)
    own = build.call(later, OWN)

    mine = spans_of_mine(build.build())

    assert mine == {span.number for span in (outer, package, inner, deeper, later, own)}


def test_what_a_receiver_of_mine_sends_to_others_is_not_mine(build):
    own = build.call(build.dispatch("post_save"), OWN)
    inner = build.dispatch("post_delete", under=own)
    build.call(inner, OTHER)

    assert inner.number not in spans_of_mine(build.build())


def test_receiver_that_was_skipped_counts(build):
    dispatch = build.dispatch("post_save")
    build.call(dispatch, OTHER, outcome=Outcome.RAISED)
    skipped = build.call(dispatch, OWN, outcome=Outcome.SKIPPED)

    trace = build.build()

    assert trace.is_mine
    assert spans_of_mine(trace) == {dispatch.number, skipped.number}


def test_dispatch_whose_parent_is_in_another_segment_is_told_all_the_same(build):
    outer = build.call(build.dispatch("post_save"), OTHER)
    inner = build.dispatch("post_delete", under=outer)
    own = build.call(inner, OWN)
    trace = build.build()
    trace.dispatches = trace.dispatches[1:]

    assert {inner.number, own.number} <= spans_of_mine(trace)


def test_view_says_how_many_spans_it_hides_and_how_many_of_them_failed(build):
    dispatch, other = build.dispatch("post_save"), build.dispatch("pre_save")
    own = build.call(dispatch, OWN)
    build.call(dispatch, OTHER)
    build.call(other, OTHER, outcome=Outcome.RAISED)

    view = view_of(build.build())

    assert view == MineView(frozenset({dispatch.number, own.number}), "", 3, 1)
    assert view.note == "3 spans that are not yours are hidden, 1 failure among them"


def test_view_of_everything_hides_nothing(build):
    dispatch = build.dispatch("post_save")
    build.call(dispatch, OWN)
    build.call(dispatch, OTHER)

    assert view_of(build.build(), everything=True) == MineView(None)


def test_where_all_is_mine_nothing_is_said(build):
    build.call(build.dispatch("post_save"), OWN)

    view = view_of(build.build())

    assert (view.shown, view.heading, view.note) == (None, "", "")


def test_where_nothing_is_mine_it_is_shown_whole_under_a_heading(build):
    build.call(build.dispatch("post_save"), OTHER)

    assert view_of(build.build()) == MineView(None, NONE_OF_MINE)
    assert view_of(TraceBuilder().build()) == MineView(None)


def test_trees_leave_out_what_is_not_shown_and_keep_its_time_apart(build):
    dispatch, other = build.dispatch("post_save"), build.dispatch("pre_save")
    own = build.call(dispatch, OWN)
    build.call(dispatch, OTHER, own_ns=1_000_000)
    build.call(other, OTHER)
    trace = build.build()
    shown = spans_of_mine(trace)
    expected = [dispatch.number, own.number]

    (node,) = tree.fold(trace, shown)

    assert [visit.span.number for visit in tree.walk(trace, shown)] == expected
    assert [box.number for box in tree.flame(trace, shown=shown)] == expected
    assert [box.number for box in tree.flame(trace, merged=True, shown=shown)] == expected
    assert [each.numbers for each in tree.flatten(tree.unfolded(trace, shown))] == [
        [number] for number in expected
    ]
    assert [child.numbers for child in node.children] == [[own.number]]
    # What ran in the hidden receiver was not the dispatch's own time.
    assert node.self_ns == tree.self_ns(dispatch)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"count": 1}, "1 trace that is not yours is hidden"),
        ({"count": 2}, "2 traces that are not yours are hidden"),
        ({"count": 1, "more": True}, "more than 1 trace that are not yours are hidden"),
        ({"count": 1_000, "more": True}, "more than 1,000 traces that are not yours are hidden"),
    ],
)
def test_what_is_hidden_is_one_line(arguments, text):
    assert hidden_text(one="trace", **arguments) == text
