from __future__ import annotations

import pytest

from tests.tracing.samples import plain_trace
from tracing.conf import Settings
from tracing.pipeline import filters
from tracing.pipeline.filters import Lists, Patterns, Tail
from tracing.spans.records import Dispatch, Method, ReceiverCall, ReceiverLabel, Status


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
    trace.unheard = [("shop.a", "shop.X", 2), ("shop.e", "shop.X", 1)]
    return trace


def shape(trace):
    return [(d.signal, d.parent_number, d.depth) for d in trace.dispatches]


@pytest.mark.parametrize(
    ("allow", "deny", "name", "kept"),
    [
        ([], [], "a.b", True),
        (["a.*"], [], "a.b", True),
        (["a.*"], [], "b.a", False),
        ([], ["a.*"], "a.b", False),
        (["a.*"], ["*.b"], "a.b", False),
    ],
)
def test_name_is_kept_if_it_is_allowed_and_not_denied(allow, deny, name, kept):
    patterns = Patterns(allow, deny)

    assert [patterns.keeps(name), patterns.keeps(name)] == [kept, kept]
    assert bool(patterns) is bool(allow or deny)


def test_no_lists_are_no_processor():
    assert not Lists(Settings())
    assert Lists(Settings(receivers_deny=["x"]))


def test_dispatch_left_out_hands_what_is_below_it_to_what_is_above():
    trace = Lists(Settings(signals_deny=["shop.b"]))(nested())

    assert shape(trace) == [("shop.a", None, 0), ("shop.c", 2, 1), ("shop.d", None, 0)]
    (a,) = trace.dispatches[0].receiver_calls
    assert [d.signal for d in trace.sent_by()[a.number]] == ["shop.c"]
    assert (trace.dispatch_count, trace.receiver_call_count) == (3, 3)


def test_root_left_out_makes_roots_of_what_is_below_it():
    trace = Lists(Settings(signals_deny=["shop.a", "shop.b"]))(nested())

    assert shape(trace) == [("shop.c", None, 0), ("shop.d", None, 0)]
    assert trace.unheard == [("shop.e", "shop.X", 1)]


def test_senders_that_are_not_allowed_are_left_out():
    trace = Lists(Settings(senders_allow=["shop.A", "shop.D"]))(nested())

    assert shape(trace) == [("shop.a", None, 0), ("shop.d", None, 0)]
    assert trace.sent_by() == {}


def test_receiver_is_left_out_only_where_nothing_was_sent_from_inside_it():
    trace = Lists(Settings(receivers_deny=["shop.on_a", "shop.on_d"]))(nested())

    assert [[c.receiver.name for c in d.receiver_calls] for d in trace.dispatches] == [
        ["shop.on_a"],
        ["shop.on_b"],
        ["shop.on_c"],
        [],
    ]
    assert trace.receiver_call_count == 3


# -- Tail --------------------------------------------------------------------------------------


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

    assert Tail({"slow_ms": 500, "else": 0.0})(trace) is (trace if kept else None)


def test_rules_that_are_off_keep_nothing():
    trace = plain_trace(error_count=1, hazard_count=1)

    assert Tail({"errors": False, "hazards": False, "else": 0.0})(trace) is None


def test_share_of_the_others_is_kept(monkeypatch):
    rolls = iter([0.05, 0.2])
    monkeypatch.setattr(filters._random, "random", lambda: next(rolls))
    trace = plain_trace()

    assert [Tail({"else": 0.1})(trace), Tail({"else": 0.1})(trace)] == [trace, None]
    assert Tail({})(trace) is trace
