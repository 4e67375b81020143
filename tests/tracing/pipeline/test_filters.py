from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.tracing.samples import plain_trace
from tracing.conf import Settings
from tracing.conf.parts import KeepOptions
from tracing.pipeline import filters
from tracing.pipeline.filters import Exclusions, Patterns, TailSampler
from tracing.spans.records import (
    Carried,
    Dispatch,
    Method,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    SideEffect,
    Status,
)


def label(name):
    return ReceiverLabel(name)


def nested():
    """Return a trace: shop.a > shop.b > shop.c, one receiver each, and a shop.d beside them."""
    trace = plain_trace(dispatches=0)
    above = None
    for place, name in enumerate("abc"):
        dispatch = Dispatch(
            2 * place + 1,
            f"shop.{name}",
            f"shop.{name.upper()}",
            Method.SEND,
            place,
            10,
            depth=place,
        )
        dispatch.receiver_calls.append(
            ReceiverCall(2 * place + 2, 0, label(f"shop.on_{name}"), place, 5)
        )
        if above is not None:
            dispatch.parent_number = above.number
        above = dispatch.receiver_calls[0]
        trace.dispatches.append(dispatch)
    last = Dispatch(7, "shop.d", "shop.D", Method.SEND, 50, 10)
    last.receiver_calls.append(ReceiverCall(8, 0, label("shop.on_d"), 50, 5))
    trace.dispatches.append(last)
    trace.dispatch_count = trace.receiver_call_count = 4
    trace.orphans = [("shop.a", "shop.X", 2), ("shop.e", "shop.X", 1)]
    return trace


def shape(trace):
    return [(d.signal, d.parent_number, d.depth) for d in trace.dispatches]


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        ([], "a.b", False),
        (["a.*"], "a.b", True),
        (["a.*"], "b.a", False),
        (["x", "*.b"], "a.b", True),
    ],
)
def test_name_fits_any_of_the_patterns(patterns, name, fits):
    found = Patterns(patterns)

    assert [found.fit(name), found.fit(name)] == [fits, fits]
    assert bool(found) is bool(patterns)


def test_no_lists_are_no_processor():
    assert not Exclusions(Settings())
    assert Exclusions(Settings(exclude_receivers=["x"]))


def test_dispatch_is_left_out_with_all_that_it_sent():
    trace = Exclusions(Settings(exclude_signals=["shop.b"]))(nested())

    assert shape(trace) == [("shop.a", None, 0), ("shop.d", None, 0)]
    assert (trace.dispatch_count, trace.receiver_call_count, trace.excluded_count) == (2, 2, 2)


def test_sender_is_left_out_and_so_are_its_orphans():
    trace = Exclusions(Settings(exclude_senders=["shop.A", "shop.X"]))(nested())

    assert shape(trace) == [("shop.d", None, 0)]
    assert (trace.orphans, trace.orphan_count) == ([], 0)


def test_receiver_is_left_out_with_what_it_sent_and_takes_an_empty_dispatch_along():
    trace = nested()
    trace.dispatches[0].receiver_calls.append(ReceiverCall(9, 1, label("shop.other"), 3, 5))
    trace.receiver_call_count += 1
    trace.dispatches[1].receiver_calls[0].outcome = Outcome.RAISED
    trace.error_count = 1

    found = Exclusions(Settings(exclude_receivers=["shop.on_a", "shop.on_d"]))(trace)

    assert shape(found) == [("shop.a", None, 0)]
    assert [call.receiver.name for call in found.dispatches[0].receiver_calls] == ["shop.other"]
    assert (found.dispatch_count, found.receiver_call_count, found.excluded_count) == (1, 1, 4)
    assert found.error_count == 0


def test_what_was_left_out_is_left_out_of_later_segments_and_of_their_counts():
    whole = nested()
    exclusions = Exclusions(Settings(exclude_signals=["shop.a"]))
    first = replace(
        whole,
        dispatches=whole.dispatches[1:2],
        dispatch_count=2,
        receiver_call_count=2,
        final=False,
        diagnosis_context=Carried(unfinished=whole.dispatches[:1]),
    )
    last = replace(whole, dispatches=[whole.dispatches[0], *whole.dispatches[2:]], segment=1)

    assert exclusions(first).dispatches == first.diagnosis_context.unfinished == []
    assert (first.dispatch_count, first.excluded_count) == (1, 1)
    assert shape(exclusions(last)) == [("shop.d", None, 0)]
    assert (last.dispatch_count, last.receiver_call_count, last.excluded_count) == (1, 1, 3)


def test_dispatch_that_was_cut_short_before_its_first_receiver_stays():
    trace = nested()
    trace.dispatches[3].receiver_calls.clear()

    found = Exclusions(Settings(exclude_receivers=["shop.none"]))(trace)

    assert (len(found.dispatches), found.dispatch_count, found.excluded_count) == (4, 4, 0)


def test_mail_of_a_receiver_that_is_left_out_stays():
    trace = nested()
    trace.side_effects.append(SideEffect("mail", "1 recipient", 1, parent_number=2))

    found = Exclusions(Settings(exclude_receivers=["shop.on_a"]))(trace)

    assert [effect.parent_number for effect in found.side_effects] == [None]


# -- TailSampler --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, False),
        ({"error_count": 1}, True),
        ({"error": "ValueError: no"}, True),
        ({"status": Status.ERROR}, True),
        ({"hazard_count": 1}, True),
        ({"duration_ns": 500_000_000}, True),
        ({"duration_ns": 499_999_999}, False),
        ({"final": False}, True),
        ({"segment": 1}, True),
    ],
)
def test_trace_is_kept_by_how_it_ended(fields, kept):
    trace = plain_trace(**{"duration_ns": 1, **fields})

    assert TailSampler(KeepOptions(slow_ms=500, otherwise=0.0))(trace) is (trace if kept else None)


def test_rules_that_are_off_keep_nothing():
    trace = plain_trace(error_count=1, hazard_count=1)

    assert TailSampler(KeepOptions(errors=False, hazards=False, otherwise=0.0))(trace) is None


def test_share_of_the_others_is_kept(monkeypatch):
    rolls = iter([0.05, 0.2])
    monkeypatch.setattr(filters._random, "random", lambda: next(rolls))
    trace = plain_trace()

    assert [
        TailSampler(KeepOptions(otherwise=0.1))(trace),
        TailSampler(KeepOptions(otherwise=0.1))(trace),
    ] == [
        trace,
        None,
    ]
    assert TailSampler(KeepOptions())(trace) is trace
