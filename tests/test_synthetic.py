"""Made-up traces: the same for the same seed, whole, and counted wherever they are copied to."""

from __future__ import annotations

import time

import pytest

from benchmarks import synthetic
from tests.tracing.command_line import checkout, store
from tracing import models
from tracing.analysis.explain.trees import read, span_of
from tracing.analysis.histogram import HOUR_NS
from tracing.analysis.index import Index
from tracing.conf import store_alias

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def fill(dispatches, **options):
    return synthetic.fill(store_alias(), dispatches, **options)


@pytest.mark.thorough
def test_fill_makes_up_the_same_traces_for_the_same_seed():
    reported = []
    made = fill(300, applications=3, seed=5, report=lambda *counts: reported.append(counts))
    names = [trace.name for trace in models.Trace.objects.order_by("pk")]
    models.Trace.objects.all().delete()

    assert made == (len(names), 300)
    assert reported[-1] == (300, 300)
    assert fill(300, applications=3, seed=5) == made
    assert [trace.name for trace in models.Trace.objects.order_by("pk")] == names


@pytest.mark.thorough
def test_fill_keeps_each_variation_of_a_trace(monkeypatch):
    monkeypatch.setattr(synthetic, "_WHOLE", 3)
    monkeypatch.setattr(synthetic, "_IN_A_BATCH", 50)

    fill(400, applications=2)

    assert sum(models.Trace.objects.values_list("dispatch_count", flat=True)) == 400


@pytest.mark.thorough
def test_fill_copies_what_it_made_up_when_much_is_wanted(monkeypatch):
    monkeypatch.setattr(synthetic, "_MADE_UP", 250)
    found = fill(1001, applications=2, days=5)
    traces = list(models.Trace.objects.order_by("pk"))
    whole = list(models.Trace.objects.load_rows(traces))

    assert found == (len(traces), 1001)
    assert sum(len(trace.dispatches) for trace in whole) == 1001
    assert len({trace.trace_id for trace in whole}) == len(whole)
    assert all(
        len(trace.dispatches) == trace.dispatch_count
        and sum(len(d.receiver_calls) for d in trace.dispatches) == trace.receiver_call_count
        for trace in whole
    )
    moments = [trace.started_ns for trace in whole]
    assert moments == sorted(moments)
    assert sum(models.Rollup.objects.filter(receiver=0).values_list("count", flat=True)) == 1001
    _, by_name = read(
        *map(bytes, models.PathRollup.objects.filter(label__gt=0).values_list("tree", flat=True))
    )
    traced, first_ns, last_ns = span_of(each for alike in by_name.values() for each in alike)
    assert (traced, first_ns, last_ns) == (len(traces), moments[0], moments[-1])
    # Whoever stores next must get ids that are free.
    store(checkout(1), shared=False)
    assert models.Trace.objects.count() == len(traces) + 1


@pytest.mark.thorough
@pytest.mark.parametrize("minute", [0, 1, 30, 59])
def test_fill_counts_everything_at_whatever_minute_it_begins(monkeypatch, minute):
    now_ns = time.time_ns() // HOUR_NS * HOUR_NS + minute * HOUR_NS // 60
    monkeypatch.setattr(synthetic, "_MADE_UP", 250)
    monkeypatch.setattr(synthetic.time, "time_ns", lambda: now_ns)
    fill(1001, applications=2, days=5)

    assert sum(models.Rollup.objects.filter(receiver=0).values_list("count", flat=True)) == 1001


@pytest.mark.thorough
def test_fill_copies_nothing_that_it_did_not_make_up(monkeypatch):
    store(checkout(1), shared=False)
    monkeypatch.setattr(synthetic, "_MADE_UP", 100)
    fill(400, applications=2)

    assert models.Trace.objects.filter(trace_id=checkout(1).trace_id).count() == 1


def test_fill_varies_what_it_uses_again(monkeypatch):
    monkeypatch.setattr(synthetic, "_WHOLE", 5)
    made = list(synthetic.Filler(3, newest_ns=10**18, apps=2).traces(400))

    assert sum(len(trace.dispatches) for trace in made) == 400
    assert len(made) > 5
    assert len({trace.duration_ns for trace in made}) == len(made)
    for trace in made:
        index = Index(trace)
        for dispatch in trace.dispatches:
            assert (index.call(dispatch.parent_number) is None) is (dispatch.parent_number is None)
