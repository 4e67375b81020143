"""Tests of two periods compared, and of the statistical tests behind it."""

from __future__ import annotations

import random

import pytest

from tests.tracing.analysis.building import MS, TraceBuilder
from tracing.analysis.regression import (
    compare_samples,
    fisher,
    holm,
    mann_whitney,
    samples,
)
from tracing.spans.records import Method, Outcome


def period(times, *, name="core.orders.total", queries=lambda number: 1, failed=0):
    """Return traces of one call each, with these times (ms)."""
    traces = []
    for number, ms in enumerate(times):
        build = TraceBuilder()
        build.call(
            build.dispatch(),
            name,
            own_ns=int(ms * MS),
            query_count=queries(number),
            outcome=Outcome.RAISED if number < failed else Outcome.RETURNED,
        )
        traces.append(build.build())
    return traces


def times(mean, count=60, seed=1):
    source = random.Random(seed)
    return [max(0.01, source.gauss(mean, mean / 5)) for _ in range(count)]


def verdicts(before, after, **options):
    found = compare_samples(samples(before), samples(after), **options)
    return {regression.receiver: regression.verdicts for regression in found}


def test_comparison_of_the_same_work_finds_nothing():
    assert verdicts(period(times(5)), period(times(5, seed=2))) == {"core.orders.total": []}


def test_comparison_finds_what_became_slower_and_says_how_sure_it_is():
    (found,) = compare_samples(samples(period(times(5))), samples(period(times(8, seed=2))))

    assert found.verdicts == ["slower"]
    assert found.is_worse
    assert found.p_time < 0.001
    assert found.before.median_ns == pytest.approx(5 * MS, rel=0.1)
    assert found.after.median_ns == pytest.approx(8 * MS, rel=0.1)


def test_samples_leave_out_what_was_skipped_and_times_that_are_not_known():
    build = TraceBuilder()
    for outcome in (Outcome.RETURNED, Outcome.SKIPPED, Outcome.UNKNOWN):
        own_ns = 4 * MS if outcome is Outcome.RETURNED else 0
        build.call(build.dispatch(), "shop.total", own_ns=own_ns, outcome=outcome)

    found = samples([build.build()])["shop.total"]

    assert (found.count, found.total_ns) == (2, 4 * MS)
    assert found.median_ns == pytest.approx(4 * MS, rel=0.02)


def test_samples_share_a_moment_among_receivers_that_waited_in_it():
    build = TraceBuilder()
    sent = build.dispatch("order_placed", method=Method.ASEND)
    for name in ("shop.fetch", "shop.send"):
        build.call(sent, name, own_ns=6 * MS)
    trace = build.build()
    for call in sent.receiver_calls:
        call.start_ns = 0

    found = samples([trace])

    assert [sample.total_ns for sample in found.values()] == [3 * MS, 3 * MS]


def test_comparison_finds_what_became_faster():
    assert verdicts(period(times(8)), period(times(5))) == {"core.orders.total": ["faster"]}


def test_comparison_leaves_a_sure_but_small_difference_alone():
    before, after = period(times(5, 2000)), period(times(5.3, 2000, seed=2))
    (found,) = compare_samples(samples(before), samples(after))

    assert found.p_time < 0.01
    assert found.verdicts == []
    assert verdicts(before, after, ratio=1.01) == {"core.orders.total": ["slower"]}


def test_comparison_leaves_a_large_difference_of_nothing_alone():
    before, after = period([0.001] * 50), period([0.005] * 50)

    assert verdicts(before, after) == {"core.orders.total": []}


def test_comparison_says_when_there_are_too_few_calls():
    before, after = period(times(5, 5)), period(times(50, 5))

    assert verdicts(before, after) == {"core.orders.total": ["too few calls"]}


def test_comparison_names_what_appeared_and_vanished():
    before = period(times(5), name="core.old")
    after = period(times(5), name="core.new")

    assert verdicts(before, after) == {"core.old": ["vanished"], "core.new": ["appeared"]}


def test_comparison_counts_queries():
    before = period(times(5), queries=lambda number: 2)
    after = period(times(5), queries=lambda number: 3)

    assert verdicts(before, after) == {"core.orders.total": ["more queries"]}
    assert verdicts(after, before) == {"core.orders.total": ["fewer queries"]}


def test_comparison_counts_errors():
    before, after = period(times(5)), period(times(5), failed=15)

    assert verdicts(before, after) == {"core.orders.total": ["more errors"]}
    assert verdicts(after, before) == {"core.orders.total": ["fewer errors"]}


@pytest.mark.thorough
def test_comparison_rarely_finds_what_is_not_there():
    source = random.Random(7)
    wrong = 0
    for _ in range(100):
        before = period([source.expovariate(0.2) for _ in range(40)])
        after = period([source.expovariate(0.2) for _ in range(40)])
        wrong += bool(verdicts(before, after)["core.orders.total"])

    assert wrong <= 3


def test_comparison_comes_worst_first():
    before = {**samples(period(times(5), name="a")), **samples(period(times(5), name="b"))}
    after = {
        **samples(period(times(5), name="a")),
        **samples(period(times(9), name="b")),
        **samples(period(times(5), name="c")),
    }

    assert [found.receiver for found in compare_samples(before, after)] == ["b", "c", "a"]


def test_samples_do_not_count_skipped_calls_and_take_own_time():
    build = TraceBuilder()
    outer = build.dispatch()
    call = build.call(outer, "core.a", own_ns=2 * MS)
    build.call(outer, "core.b", outcome=Outcome.SKIPPED)
    build.call(build.dispatch(under=call), "core.c", own_ns=9 * MS)
    found = samples([build.build()])

    assert sorted(found) == ["core.a", "core.c"]
    assert found["core.a"].total_ns == 2 * MS


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        # Checked against scipy.stats.mannwhitneyu(method="asymptotic", use_continuity=True).
        ({1: 1, 2: 1, 3: 1, 4: 1}, {5: 1, 6: 1, 7: 1, 8: 1}, 0.030383),
        ({1: 3, 2: 5, 3: 2}, {1: 1, 2: 4, 3: 6}, 0.095012),
        ({1: 10}, {1: 12}, 1.0),
        ({}, {1: 3}, 1.0),
        ({1: 4, 9: 4}, {5: 8}, 1.0),
    ],
)
def test_mann_whitney_gives_the_known_p_value(first, second, p):
    assert mann_whitney(first, second) == pytest.approx(p, abs=1e-4)
    assert mann_whitney(second, first) == pytest.approx(p, abs=1e-4)


@pytest.mark.parametrize(
    ("table", "p"),
    [
        # Fisher's cups of tea first; all checked against scipy.stats.fisher_exact().
        ((3, 1, 1, 3), 0.485714),
        ((8, 2, 1, 5), 0.034965),
        ((0, 50, 0, 50), 1.0),
        ((5, 0, 7, 0), 1.0),
        ((0, 0, 3, 4), 1.0),
        ((0, 60, 15, 45), 0.0000224897),
        ((100, 900, 140, 860), 0.0071854),
    ],
)
def test_fisher_gives_the_known_p_value(table, p):
    assert fisher(*table) == pytest.approx(p, rel=1e-2)


def test_holm_corrects_in_order_and_never_below_a_smaller_one():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]
