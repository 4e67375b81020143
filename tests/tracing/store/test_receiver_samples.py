"""Tests of receiver calls read for a comparison: the same as of traces that were loaded whole."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tests.tracing.viewer.traces import command, identify, order, store, visit
from tracing.analysis.regression import samples
from tracing.models import Dispatch
from tracing.spans.records import Method, Outcome
from tracing.store import traces
from tracing.store.receiver_samples import receiver_samples

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])

TOTAL = "shop.receivers.total"


def outcomes(number):
    """Return a trace with a call of each outcome, one with an unknown time."""
    build = TraceBuilder()
    for outcome in Outcome:
        own_ns = 0 if outcome in {Outcome.SKIPPED, Outcome.UNKNOWN} else number * MS
        build.call(build.dispatch(), TOTAL, own_ns=own_ns, outcome=outcome, query_count=number)
    return identify(build.build(), number)


def waiting(number):
    """Return a trace whose two async receivers waited in the same moments."""
    build = TraceBuilder()
    sent = build.dispatch("order_placed", method=Method.ASEND)
    for name in (TOTAL, "shop.receivers.send"):
        build.call(sent, name, own_ns=6 * MS)
    trace = build.build()
    for call in sent.receiver_calls:
        call.start_ns = 0
    return identify(trace, number)


def as_values(found):
    return {
        name: (each.count, each.error_count, each.total_ns, each.durations.buckets,
               each.queries, each.mine)
        for name, each in found.items()
    }  # fmt: skip


def test_samples_of_the_store_are_those_of_the_traces():
    store(order(1), order(2, fails=True), command(3, cars=40), visit(4), outcomes(5), waiting(6))
    rows = traces.newest(10)

    found = receiver_samples(rows)

    assert as_values(found) == as_values(samples(traces.load_all(rows)))
    assert found[TOTAL].count == 6
    assert found["django.db.close_old_connections"].mine is False


def test_receiver_that_was_connected_at_several_lines_is_one():
    for number, line in ((1, 10), (2, 20)):
        build = TraceBuilder()
        build.call(build.dispatch(), label(TOTAL, line=line, mine=line == 20), own_ns=MS)
        store(identify(build.build(), number))

    (found,) = receiver_samples(traces.newest(10)).values()

    assert (found.count, found.total_ns, found.durations.count) == (2, 2 * MS, 2)
    assert found.mine


def test_trace_that_was_pruned_meanwhile_is_left_out():
    store(order(1), order(2))
    rows = traces.newest(10)
    Dispatch.objects.filter(trace=rows[0].row).delete()

    assert receiver_samples(rows)["core.sales.receivers.make_sale"].count == 1


def test_nothing_is_made_of_no_traces():
    assert receiver_samples([]) == {}
