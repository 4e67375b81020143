from __future__ import annotations

import msgspec
import pytest

from tests.tracing.analysis.building import TraceBuilder, label
from tracing.analysis import tree
from tracing.analysis.critical_path import self_ns
from tracing.analysis.index import walk
from tracing.analysis.mine import (
    NONE_OF_MINE,
    MineView,
    beside_tree,
    hidden_text,
    spans_of_mine,
    view_of,
)
from tracing.spans.records import Callsite, MissedReceiver, Outcome

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
    later = build.dispatch("order_placed", under=deeper, is_detached=True)
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

    assert view == MineView(frozenset({dispatch.number, own.number}), "", 3, 1, only_mine=True)
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

    assert [visit.span.number for visit in walk(trace, shown)] == expected
    assert [box.number for box in tree.flame(trace, shown=shown)] == expected
    assert [box.number for box in tree.flame(trace, merged=True, shown=shown)] == expected
    assert [child.numbers for child in node.children] == [[own.number]]
    # What ran in the hidden receiver was not the dispatch's own time.
    assert node.self_ns == self_ns(dispatch)


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


def mixed(build):
    own = build.call(build.dispatch("post_save"), OWN)
    package = build.call(build.dispatch("pre_save"), OTHER)
    for call in (own, package, None):
        build.side_effect(call)
    build.bypass(receivers=(OTHER,), parent_number=package.number)
    build.bypass(receivers=(OTHER, OWN), parent_number=package.number)
    build.bypass(receivers=(OTHER,), parent_number=own.number)
    build.bypass(receivers=(OTHER,), callsite=Callsite("/app/shop/views.py", 3, "buy"))
    build.bypass(receivers=(OTHER,), callsite=Callsite(msgspec.__file__, 3, "delete"))
    trace = build.build()
    for receiver in (OWN, OTHER):
        trace.missed_receivers.append(
            MissedReceiver("s", "shop.A", receiver, "shop.B", "its parent")
        )
    return trace


def test_notes_that_are_not_mine_are_hidden_with_the_spans_that_are_not(build):
    trace = mixed(build)

    noted, hidden = beside_tree(trace, view_of(trace), "side_effects")

    assert noted.bypasses == trace.bypasses[1:4]
    assert noted.missed_receivers == trace.missed_receivers[:1]
    assert noted.side_effects == [trace.side_effects[0], trace.side_effects[2]]
    assert hidden == "4 notes that are not yours are hidden"
    assert noted.dispatches == trace.dispatches


def test_all_notes_are_shown_with_everything(build):
    trace = mixed(build)

    assert beside_tree(trace, view_of(trace, everything=True), "side_effects") == (trace, "")


def test_all_notes_are_shown_where_nothing_is_mine(build):
    build.call(build.dispatch("post_save"), OTHER)
    build.bypass(receivers=(OTHER,), callsite=Callsite(msgspec.__file__, 3, "delete"))
    trace = build.build()

    assert beside_tree(trace, view_of(trace)) == (trace, "")
