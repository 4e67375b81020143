"""Tests of what other projects test with: capturing, asserting and muting."""

from __future__ import annotations

import asyncio
import gc
import unittest
from contextlib import ExitStack
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db.models.signals import post_save, pre_save
from django.dispatch import Signal
from django.test import TestCase

import tracing
from core.buyers.models import Buyer
from core.buyers.receivers import create_buyer
from tracing import testing
from tracing.instrumentation import context, sampling
from tracing.spans.records import Kind, Outcome
from tracing.testing import (
    DispatchAssertions,
    assert_dispatch_budget,
    assert_dispatched,
    assert_no_hazards,
    assert_not_dispatched,
    assert_not_received,
    assert_received,
    capture_dispatches,
    mute,
)
from tracing.testing.muting import ANY_SENDER

if TYPE_CHECKING:
    from collections.abc import Iterator

parcel_sent = Signal()
parcel_weighed = Signal()
heard: list[str] = []


def pack(**named):
    heard.append("pack")


def weigh(**named):
    heard.append("weigh")
    parcel_weighed.send(sender=None)


def lose(**named):
    heard.append("lose")
    raise OSError("the parcel is gone")


def stick(**named):
    heard.append("stick")


async def notify(**named):
    heard.append("notify")


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    heard.clear()
    yield
    for signal in (parcel_sent, parcel_weighed):
        signal.receivers = []
        signal.sender_receivers_cache.clear()


def shape(captured):
    """Return what was captured as (signal, depth, receivers with outcome)."""
    return [
        (
            dispatch.signal.rpartition(".")[2],
            dispatch.depth,
            [
                (call.receiver.name.rpartition(".")[2], str(call.outcome))
                for call in dispatch.receiver_calls
            ],
        )
        for dispatch in captured.dispatches
    ]


# -- Capturing ---------------------------------------------------------------------------------


def test_capture_records_nested_dispatches_and_receivers():
    parcel_sent.connect(pack)
    parcel_sent.connect(weigh)
    parcel_weighed.connect(stick)

    with capture_dispatches("shipping") as captured:
        parcel_sent.send(sender=None)

    assert (captured.trace.name, captured.trace.kind) == ("shipping", Kind.BLOCK)
    assert shape(captured) == [
        ("parcel_sent", 0, [("pack", "returned"), ("weigh", "returned")]),
        ("parcel_weighed", 1, [("stick", "returned")]),
    ]
    assert [call.receiver.line for call in captured.receiver_calls] == [
        function.__code__.co_firstlineno for function in (pack, weigh, stick)
    ]


def test_capture_instruments_for_the_block_only():
    stock = Signal.send

    with capture_dispatches():
        inside = Signal.send

    assert not tracing.is_instrumented()
    assert inside is not stock
    assert Signal.send is stock


def test_capture_answers_while_it_runs():
    parcel_sent.connect(pack)

    with capture_dispatches() as captured:
        parcel_sent.send(sender=None)
        first = len(captured.dispatches)
        parcel_sent.send(sender=None)
        second = len(captured.dispatches)

    assert (first, second, len(captured.dispatches)) == (1, 2, 2)


def test_capture_keeps_what_was_dispatched_before_an_exception():
    parcel_sent.connect(lose)

    with pytest.raises(OSError, match="gone"), capture_dispatches() as captured:
        parcel_sent.send(sender=None)

    assert shape(captured) == [("parcel_sent", 0, [("lose", "raised")])]
    assert captured.trace.error == "OSError: the parcel is gone"


def test_captures_nest_and_the_outer_one_holds_both():
    parcel_sent.connect(pack)
    parcel_weighed.connect(stick)

    with capture_dispatches("outer") as outer:
        parcel_sent.send(sender=None)
        with capture_dispatches("inner") as inner:
            parcel_weighed.send(sender=None)
        parcel_sent.send(sender=None)

    assert [signal for signal, _, _ in shape(inner)] == ["parcel_weighed"]
    assert [signal for signal, _, _ in shape(outer)] == [
        "parcel_sent",
        "parcel_weighed",
        "parcel_sent",
    ]
    assert [dispatch.number for dispatch in outer.dispatches] == [1, 3, 5]
    assert inner.trace.parent_trace_id == outer.trace.trace_id


def test_capture_goes_to_no_exporter():
    ended = []

    class Watcher:
        def on_start(self, trace):
            pass

        def on_end(self, trace):
            ended.append(trace)

    before = context.set_processor(Watcher())
    try:
        with capture_dispatches():
            parcel_sent.send(sender=None)
        undo = tracing.instrument()
        with tracing.trace("afterwards"):
            pass
        undo()
    finally:
        context.set_processor(before)

    assert [trace.name for trace in ended] == ["afterwards"]


@pytest.mark.parametrize("instrumented", [True, False])
def test_capture_tells_the_pipeline_of_traces_inside_it_if_they_are_recorded(instrumented):
    ended = []

    class Watcher:
        def on_start(self, trace):
            pass

        def on_end(self, trace):
            ended.append(trace.name)

    parcel_sent.connect(pack)
    undo = tracing.instrument() if instrumented else None
    before = context.set_processor(Watcher())
    try:
        with capture_dispatches() as captured, tracing.trace("inside"):
            parcel_sent.send(sender=None)
    finally:
        context.set_processor(before)
        if undo is not None:
            undo()

    assert ended == (["inside"] if instrumented else [])
    assert len(captured.dispatches) == 1


@pytest.mark.parametrize("state", ["paused", "not sampled"])
def test_capture_records_requests_that_are_not_recorded_otherwise(client, db, state, monkeypatch):
    sampler = sampling.Sampler(0.0 if state == "not sampled" else 1.0)
    monkeypatch.setattr(sampling.switch, "sampler", sampler)
    monkeypatch.setattr(sampling.switch, "paused", state == "paused")
    ended = []

    class Watcher:
        def on_start(self, trace):
            pass

        def on_end(self, trace):
            ended.append(trace)

    before = context.set_processor(Watcher())
    try:
        with capture_dispatches() as captured:
            client.get("/accounts/sign-up/")
    finally:
        context.set_processor(before)

    assert_dispatched(captured, "request_started", times=1)
    assert_dispatched(captured, "request_finished", times=1)
    assert ended == []
    assert sampling.switch.sampler is sampler
    assert sampling.switch.paused is (state == "paused")


@pytest.mark.django_db
def test_capture_holds_what_a_request_of_the_client_does(client):
    with capture_dispatches() as captured:
        client.post(
            "/accounts/sign-up/",
            {"username": "ada", "password1": "xk3-hhqp9", "password2": "xk3-hhqp9"},
        )

    calls = assert_received(captured, create_buyer, sender=User, times=2)
    assert [call.outcome for call in calls] == [Outcome.RETURNED, Outcome.RETURNED]
    numbers = [dispatch.number for dispatch in captured.dispatches]
    assert numbers == sorted(set(numbers))


def test_capture_that_is_asked_while_it_runs_answers_the_same_again(client, db):
    with capture_dispatches() as captured:
        client.post(
            "/accounts/sign-up/",
            {"username": "ada", "password1": "xk3-hhqp9", "password2": "xk3-hhqp9"},
        )
        first = captured.trace.dispatches
        again = captured.trace.dispatches

    assert [each.start_ns for each in again] == [each.start_ns for each in first]
    assert [each.number for each in again] == [each.number for each in first]
    assert first
    assert captured.parts[0].dispatches == []
    assert sum(len(part.dispatches) for part in captured.parts) == len(captured.dispatches)


def test_capture_follows_work_that_asgiref_takes_to_a_thread():
    parcel_sent.connect(pack)

    async def ship():
        await sync_to_async(parcel_sent.send)(sender=None)

    with capture_dispatches() as captured:
        asyncio.run(ship())

    assert shape(captured) == [("parcel_sent", 0, [("pack", "returned")])]


def test_capture_works_in_async_code():
    parcel_sent.connect(pack)
    parcel_sent.connect(notify)

    async def ship():
        with capture_dispatches() as captured:
            await parcel_sent.asend(sender=None)
        return captured

    captured = asyncio.run(ship())

    assert shape(captured) == [("parcel_sent", 0, [("pack", "returned"), ("notify", "returned")])]


def test_captures_of_two_threads_are_apart():
    parcel_sent.connect(pack)
    parcel_weighed.connect(stick)
    found = {}

    def ship(signal, name):
        with capture_dispatches(name) as captured:
            signal.send(sender=None)
        found[name] = [signal for signal, _, _ in shape(captured)]

    threads = [
        Thread(target=ship, args=pair) for pair in ((parcel_sent, "a"), (parcel_weighed, "b"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {"a": ["parcel_sent"], "b": ["parcel_weighed"]}


@pytest.mark.parametrize(("all_threads", "signals"), [(False, []), (True, ["parcel_sent"])])
def test_what_another_thread_does_by_itself_is_captured_if_wanted(all_threads, signals):
    parcel_sent.connect(pack)

    go = Event()

    def server():
        go.wait(60)
        parcel_sent.send(None)

    # As a live server: it was there before.
    thread = Thread(target=server)
    thread.start()
    with capture_dispatches(all_threads=all_threads) as captured:
        go.set()
        thread.join()

    assert [signal for signal, _, _ in shape(captured)] == signals


@pytest.mark.parametrize("all_threads", [False, True])
def test_a_dispatch_is_captured_once_whatever_is_said_of_threads(all_threads):
    parcel_sent.connect(weigh)
    parcel_weighed.connect(stick)

    with capture_dispatches(all_threads=all_threads) as captured:
        parcel_sent.send(None)
        with tracing.trace("inner"):
            parcel_sent.send(None)

    assert len(captured.dispatches) == 4


# -- Asserting ---------------------------------------------------------------------------------


@pytest.fixture
def captured():
    parcel_sent.connect(pack)
    parcel_sent.connect(weigh)
    parcel_weighed.connect(stick)
    with capture_dispatches("shipping") as captured:
        parcel_sent.send(sender=Buyer)
        parcel_sent.send(sender=User)
    return captured


def message(assertion, *arguments, **named):
    with pytest.raises(AssertionError) as raised:
        assertion(*arguments, **named)
    return str(raised.value)


@pytest.mark.parametrize(
    ("signal", "sender", "count"),
    [
        (parcel_sent, ANY_SENDER, 2),
        (parcel_sent, Buyer, 1),
        ("parcel_sent", "buyers.Buyer", 1),
        ("*.parcel_*", ANY_SENDER, 4),
        (parcel_weighed, None, 2),
    ],
)
def test_a_dispatch_is_found_by_signal_and_sender(captured, signal, sender, count):
    found = assert_dispatched(captured, signal, sender=sender, times=count)

    assert len(found) == count


def test_a_dispatch_without_receivers_counts():
    with capture_dispatches() as captured:
        parcel_sent.send(sender=User)

    assert assert_dispatched(captured, parcel_sent, sender=User, times=1) == []
    assert "was dispatched 1 time" in message(assert_not_dispatched, captured, parcel_sent)


def test_a_missing_dispatch_is_reported_with_the_tree(captured):
    text = message(assert_dispatched, captured, pre_save, sender=User)

    assert text.startswith(
        "django.db.models.signals.pre_save from auth.User was not dispatched.\n\n"
        "block shipping: 4 dispatches, 6 receiver calls, 0 queries"
    )
    assert "parcel_sent" in text
    assert "→ test_testing.stick" in text or ".stick (" in text


def test_a_wrong_number_of_dispatches_is_reported(captured):
    text = message(assert_dispatched, captured, parcel_sent, times=3)

    assert "was dispatched 2 times, not 3 times." in text.splitlines()[0]


def test_nothing_dispatched_is_asserted_without_a_signal(captured):
    with capture_dispatches() as quiet:
        pass

    assert_not_dispatched(quiet)
    assert message(assert_not_dispatched, captured).startswith("a signal was dispatched 4 times.")


@pytest.mark.django_db
def test_a_dispatch_is_found_by_its_instance():
    with capture_dispatches() as captured:
        user = User.objects.create(username="ada")

    assert_dispatched(captured, post_save, instance=f"auth.User:{user.pk}", times=1)
    assert "post_save for auth.User:0 was not" in message(
        assert_dispatched, captured, post_save, instance="auth.User:0"
    )


@pytest.mark.parametrize("receiver", [pack, "pack", "*.pack"])
def test_a_receiver_is_found_by_function_name_or_pattern(captured, receiver):
    assert len(assert_received(captured, receiver, times=2)) == 2
    assert len(assert_received(captured, receiver, sender=User)) == 1


def test_a_receiver_that_was_not_called_is_reported(captured):
    text = message(assert_received, captured, create_buyer, signal=post_save)

    assert text.startswith(
        "core.buyers.receivers.create_buyer was not called"
        " by django.db.models.signals.post_save.\n\nblock shipping"
    )


def test_a_receiver_that_must_not_be_called_is_reported(captured):
    assert_not_received(captured, create_buyer)

    assert "was called 2 times." in message(assert_not_received, captured, weigh)


def test_outcomes_of_receivers_are_told_apart():
    parcel_sent.connect(pack)
    parcel_sent.connect(lose)
    parcel_sent.connect(stick)
    with pytest.raises(OSError, match="gone"), capture_dispatches() as captured:
        parcel_sent.send(sender=None)

    assert_received(captured, lose, outcome="raised", times=1)
    assert_not_received(captured, stick)
    assert message(assert_received, captured, pack, outcome="raised").startswith("No call of ")
    assert "skipped" in captured.tree()
    assert "raised OSError('the parcel is gone')" in captured.tree()


def test_a_budget_that_is_kept_passes(captured):
    assert_dispatch_budget(
        captured, dispatches=4, receiver_calls=6, queries=0, receiver_ms=60_000.0
    )
    assert_dispatch_budget(captured)


def test_a_budget_that_is_exceeded_names_each_limit(captured):
    text = message(
        assert_dispatch_budget, captured, dispatches=3, receiver_calls=5, queries=0, receiver_ms=0.0
    )

    first = text.splitlines()[0]
    assert first.startswith("Over budget: 4 dispatches, 3 allowed; 6 receiver calls, 5 allowed; ")
    assert first.endswith(" in dispatches, 0 ms allowed.")


@pytest.mark.django_db
def test_a_budget_counts_the_queries_of_receivers_only():
    with capture_dispatches() as captured:
        User.objects.create(username="ada")

    assert captured.trace.query_count == 2
    assert_dispatch_budget(captured, queries=1)
    assert "1 query in receivers, 0 allowed" in message(assert_dispatch_budget, captured, queries=0)


def test_hazards_are_asserted(captured):
    assert_no_hazards(captured, ignore=["unfiltered-receiver"])

    parcel_sent.connect(lose)
    with capture_dispatches() as failing:
        parcel_sent.send_robust(sender=None)
    assert "swallowed-error" in message(assert_no_hazards, failing)


@pytest.mark.django_db
def test_the_tree_folds_repetitions_and_is_cut():
    with capture_dispatches("many") as captured:
        for number in range(12):
            User.objects.create(username=f"user{number}")

    lines = captured.tree(limit=1).splitlines()
    assert lines[0].startswith("block many: 12 dispatches, 12 receiver calls, 24 queries, ")
    assert lines[1].startswith("  12 \N{MULTIPLICATION SIGN} post_save auth.User of 12 instances: ")
    assert lines[2] == "  … 1 more line"
    assert lines[3].startswith("  without receivers: ")


class MixinTests(DispatchAssertions, TestCase):
    """The mixin, in a test case of Django."""

    def test_assertions_of_the_mixin_are_the_functions(self):
        with self.captureDispatches("mixin") as captured:
            user = User.objects.create(username="ada")

        self.assertDispatched(captured, post_save, sender=User, times=1)
        self.assertNotDispatched(captured, parcel_sent)
        self.assertReceived(captured, create_buyer, times=1)
        self.assertNotReceived(captured, pack)
        self.assertDispatchBudget(captured, dispatches=1, queries=1)
        self.assertNoHazards(captured)
        assert Buyer.objects.get().user == user


class PlainMixinTests(DispatchAssertions, unittest.TestCase):
    """The mixin, without any database."""

    def test_the_mixin_needs_no_database(self):
        with self.captureDispatches() as captured:
            parcel_sent.send(sender=None)

        self.assertDispatched(captured, parcel_sent)


# -- Muting ------------------------------------------------------------------------------------


def test_muting_a_signal_silences_all_its_receivers_and_puts_them_back_in_order():
    for receiver in (pack, weigh, stick):
        parcel_sent.connect(receiver)
    before = list(parcel_sent.receivers)

    with mute(parcel_sent):
        parcel_sent.send(sender=None)
        during = list(heard)

    parcel_sent.send(sender=None)
    assert during == []
    assert heard == ["pack", "weigh", "stick"]
    assert parcel_sent.receivers == before


def test_muting_a_receiver_leaves_the_others():
    for receiver in (pack, weigh, stick):
        parcel_sent.connect(receiver)
    parcel_weighed.connect(pack)

    with mute(pack):
        parcel_sent.send(sender=None)

    assert heard == ["weigh", "stick"]


@pytest.mark.django_db
def test_muting_works_on_a_signal_that_caches_its_receivers():
    User.objects.create(username="before")

    with mute(create_buyer):
        User.objects.create(username="during")
    User.objects.create(username="after")

    assert list(Buyer.objects.values_list("user__username", flat=True).order_by("pk")) == [
        "before",
        "after",
    ]


def test_muting_for_a_sender_leaves_other_senders():
    parcel_sent.connect(pack, sender=User)
    parcel_sent.connect(stick, sender=Buyer)

    with mute(parcel_sent, sender=User):
        parcel_sent.send(sender=User)
        parcel_sent.send(sender=Buyer)

    assert heard == ["stick"]


@pytest.mark.thorough
def test_muting_an_async_receiver_gives_django_something_to_await():
    parcel_sent.connect(notify)

    with mute(notify):
        responses = asyncio.run(parcel_sent.asend(sender=None))

    assert heard == []
    assert [response for _receiver, response in responses] == [None]


@pytest.mark.thorough
def test_a_bound_method_can_be_muted():
    class Clerk:
        def stamp(self, **named):
            heard.append("stamp")

    clerk = Clerk()
    parcel_sent.connect(clerk.stamp)

    with mute(clerk.stamp):
        parcel_sent.send(sender=None)

    assert heard == []


def test_muted_blocks_may_overlap():
    parcel_sent.connect(pack)
    parcel_sent.connect(stick)
    first, second = ExitStack(), ExitStack()

    first.enter_context(mute(parcel_sent))
    second.enter_context(mute(pack))
    first.close()
    parcel_sent.send(sender=None)
    after_first = list(heard)
    second.close()
    parcel_sent.send(sender=None)

    assert after_first == ["stick"]
    assert heard == ["stick", "pack", "stick"]


def test_what_is_connected_and_disconnected_while_muted_stays_so():
    parcel_sent.connect(pack, dispatch_uid="pack")
    parcel_sent.connect(stick)

    with mute(parcel_sent):
        parcel_sent.connect(weigh)
        parcel_sent.connect(stick)
        parcel_sent.disconnect(dispatch_uid="pack")
        parcel_sent.send(sender=None)
        during = list(heard)

    heard.clear()
    parcel_sent.send(sender=None)
    assert during == ["weigh"]
    assert heard == ["stick", "weigh"]


def test_a_receiver_that_dies_while_muted_is_not_kept_alive():
    class Clerk:
        def stamp(self, **named):
            heard.append("stamp")

    clerk = Clerk()
    parcel_sent.connect(clerk.stamp)

    with mute(parcel_sent):
        del clerk
        gc.collect()
    responses = parcel_sent.send(sender=None)

    assert responses == []
    assert parcel_sent.receivers == []


def test_muting_ends_when_the_block_raises():
    parcel_sent.connect(pack)

    with pytest.raises(ValueError, match="stop"), mute(parcel_sent):
        raise ValueError("stop")

    parcel_sent.send(sender=None)
    assert heard == ["pack"]


@pytest.mark.thorough
def test_muting_a_receiver_that_is_connected_nowhere_is_an_error():
    parcel_sent.connect(pack)

    with pytest.raises(LookupError, match=r"lose is connected to no signal"), mute(pack, lose):
        pytest.fail("The block must not run.")

    parcel_sent.send(sender=None)
    assert heard == ["pack"]


def test_every_public_name_exists():
    assert sorted(testing.__all__) == testing.__all__
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_all_public_names_are_there_and_no_others():
    assert all(getattr(testing, name) is not None for name in testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing
