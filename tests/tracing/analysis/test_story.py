"""Tests of the story of one object in a trace."""

from __future__ import annotations

from tests.tracing.analysis.building import TraceBuilder
from tracing.analysis.story import dispatches_about, spans_of_story


def test_dispatches_about_it_are_those_of_any_of_its_names():
    build = TraceBuilder()
    for instance in ("orders.Order:1", "orders.Order:2", "orders.Order:#ab", ""):
        build.call(build.dispatch(instance=instance))

    found = dispatches_about(build.build(), ("orders.Order:1", "orders.Order:#ab"))

    assert [each.instance for each in found] == ["orders.Order:1", "orders.Order:#ab"]


def test_story_has_what_is_above_and_two_levels_below_and_of_those_what_is_mine():
    build = TraceBuilder()
    outer = build.dispatch(sender="cars.Car")
    sell = build.call(outer, "shop.sell")
    build.call(outer, "shop.beside")
    saved = build.dispatch(under=sell, instance="orders.Order:1")
    index, other = build.call(saved, "shop.index"), build.call(saved, "lib.other")
    placed = build.dispatch("order_placed", "None", index)
    thank = build.call(placed, "shop.thank")
    build.call(build.dispatch("order_placed", "far.Away", thank), "shop.too_far")
    trace = build.build()

    whole = spans_of_story(trace, [saved])
    mine = spans_of_story(trace, [saved], {index.number, placed.number, thank.number})

    kept = {each.number for each in (outer, sell, saved, index, placed, thank)}
    assert (whole, mine) == (kept | {other.number}, kept)
