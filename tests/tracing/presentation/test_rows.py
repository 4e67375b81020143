"""Tests of the rows of a tree: the same as the folded tree, however few of them are asked for."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.traces import command, order
from tracing.analysis import tree
from tracing.analysis.index import extent_ns
from tracing.presentation.rows import Tree
from tracing.viewer.minimap import minimap


def nested(width=5):
    """Return a trace whose receivers send several kinds of dispatches, some of them repeated."""
    build = TraceBuilder()
    for one in range(width):
        call = build.call(build.dispatch(sender="orders.Order"), "core.orders.receivers.place")
        for other in range(width):
            below = build.dispatch(sender=f"cars.Car{other % (one + 1)}", under=call)
            build.call(below, "core.cars.receivers.give_code")
    return build.build()


TRACES = {"order": order, "command": command, "nested": nested}


def numbers(rows):
    return [(row.number, row.level, row.node.count) for row in rows]


def folded(trace):
    return [
        (node.numbers[0], node.depth + 1, node.count) for node in tree.flatten(tree.fold(trace))
    ]


@pytest.mark.parametrize("name", TRACES)
def test_rows_are_those_of_the_folded_tree(name):
    trace = TRACES[name]()

    assert numbers(Tree(trace).rows()) == folded(trace)


def test_rows_asked_for_in_pages_are_the_same_lines():
    trace = nested()
    pages, start = [], 0
    while start is not None:
        drawn = Tree(trace, start=start, max_rows=3)
        pages += drawn.rows()
        start = drawn.next_start

    assert numbers(pages) == folded(trace)


@pytest.mark.parametrize("name", TRACES)
def test_repeated_finds_the_node_of_each_row(name):
    trace = TRACES[name]()
    drawn = Tree(trace)

    found = [drawn.repeated(row.number).numbers for row in drawn.rows()]

    assert found == [node.numbers for node in tree.flatten(tree.fold(trace))]


def test_repeated_knows_only_the_first_of_those_that_are_folded():
    trace = command(cars=3)
    drawn = Tree(trace)

    assert drawn.repeated(trace.dispatches[1].number) is None
    assert drawn.repeated(10_000) is None


def test_repeated_below_a_root_looks_only_there():
    trace = nested()
    call = trace.dispatches[0].receiver_calls[0]
    drawn = Tree(trace, root=call)

    sent = trace.sent_by()[call.number]

    node = drawn.repeated(sent[0].number)

    assert node.numbers == [dispatch.number for dispatch in sent]


def test_minimap_of_a_tree_that_is_not_drawn_whole_still_reaches_its_end():
    build = TraceBuilder()
    for number in range(40):
        build.call(build.dispatch(sender=f"cars.Car{number}"), "core.cars.receivers.give_code")
    trace = build.build()
    drawn = Tree(trace, max_rows=4)

    bars = minimap(drawn, drawn.rows())

    last = trace.dispatches[-1]
    end = (last.start_ns + last.duration_ns) * 100 / extent_ns(trace)
    assert max(float(bar.x) + float(bar.width) for bar in bars) == pytest.approx(end, abs=0.2)
