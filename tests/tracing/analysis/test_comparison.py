"""Tests of two traces compared."""

from __future__ import annotations

from tests.tracing.analysis.building import MS, TraceBuilder
from tracing.analysis.comparison import compare


def trace(*receivers, **options):
    """Return a trace of one dispatch with these receivers, each (name, own ms, queries)."""
    build = TraceBuilder()
    dispatch = build.dispatch(**options)
    for name, own_ms, queries in receivers:
        build.call(dispatch, f"core.{name}", own_ns=own_ms * MS, query_count=queries)
    return build.build()


def verdicts(before, after):
    return {
        change.label: change.verdicts
        for change in compare(before, after).changed
        if change.label != "post_save orders.Order"
    }


def test_compare_equal_traces_finds_nothing():
    comparison = compare(trace(("a", 1, 1), ("b", 1, 1)), trace(("a", 1, 1), ("b", 1, 1)))

    assert comparison.changed == []
    assert len(comparison.changes) == 3


def test_compare_names_what_appeared_and_vanished():
    found = verdicts(trace(("a", 1, 1), ("b", 1, 1)), trace(("a", 1, 1), ("c", 1, 1)))

    assert found == {"b": ["vanished"], "c": ["appeared"]}


def test_compare_calls_slower_only_what_is_clearly_slower():
    before = trace(("a", 10, 0), ("b", 10, 0), ("c", 1, 0), ("d", 20, 0))
    after = trace(("a", 20, 0), ("b", 12, 0), ("c", 1, 0), ("d", 5, 0))

    assert verdicts(before, after) == {"a": ["slower"], "d": ["faster"]}


def test_compare_counts_sql_and_errors():
    before, after = trace(("a", 1, 1), ("b", 1, 5)), trace(("a", 1, 4), ("b", 1, 0))

    assert verdicts(before, after) == {"a": ["more SQL"], "b": ["less SQL"]}
    assert [change.difference_queries for change in compare(before, after).changes] == [-2, 3, -5]


def test_compare_sees_a_changed_calling_order():
    found = verdicts(trace(("a", 1, 0), ("b", 1, 0)), trace(("b", 1, 0), ("a", 1, 0)))

    assert found == {"a": ["reordered"]}


def test_compare_does_not_call_it_reordered_when_one_came_in_between():
    before, after = trace(("a", 1, 0), ("b", 1, 0)), trace(("a", 1, 0), ("n", 1, 0), ("b", 1, 0))

    assert verdicts(before, after) == {"n": ["appeared"]}


def test_compare_follows_a_receiver_to_another_place():
    before = TraceBuilder()
    before.call(before.dispatch("pre_save"), "core.a")
    after = TraceBuilder()
    after.call(after.dispatch("post_save"), "core.a")
    changes = {change.label: change for change in compare(before.build(), after.build()).changed}

    assert changes["a"].verdicts == ["moved"]
    assert changes["a"].moved_from == "pre_save orders.Order"
    assert changes["pre_save orders.Order"].verdicts == ["vanished"]
    assert changes["post_save orders.Order"].verdicts == ["appeared"]


def test_compare_counts_calls_of_repetitions():
    before, after = TraceBuilder(), TraceBuilder()
    for build, times in ((before, 3), (after, 5)):
        for _ in range(times):
            build.call(build.dispatch(), "core.a")
    found = {
        change.label: change.verdicts for change in compare(before.build(), after.build()).changed
    }

    assert found == {"post_save orders.Order": ["more calls"], "a": ["more calls"]}
