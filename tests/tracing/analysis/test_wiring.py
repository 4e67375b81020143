"""Tests of the wiring: read from real signals, on every release of Django; and its diff."""

from __future__ import annotations

import functools
import gc
import json
import sys

import pytest
from django.contrib.auth.models import Group, User
from django.db.models.signals import post_save
from django.dispatch import Signal

from tracing.analysis import wiring
from tracing.analysis.hazards.connected import diagnose_wiring
from tracing.analysis.senders import UNKNOWN_SENDER
from tracing.instrumentation.attributes.signal_names import signal_name

HERE = __name__

placed = Signal()
"""Sent by nobody: it is only connected here."""

called = []


def first(sender, **kwargs):
    called.append("first")


def second(sender, **kwargs):
    called.append("second")


async def third(sender, **kwargs):
    called.append("third")


class Indexer:
    def on_save(self, sender, **kwargs):
        called.append("on_save")

    def __call__(self, sender, **kwargs):
        called.append("call")


class AsyncIndexer:
    async def __call__(self, sender, **kwargs):
        called.append("async call")


indexer = Indexer()
async_indexer = AsyncIndexer()


def make():
    def receive(sender, **kwargs):
        called.append("receive")

    return receive


@pytest.fixture(autouse=True)
def clean():
    called.clear()
    yield
    placed.receivers.clear()
    placed.sender_receivers_cache.clear()
    assert called == [], "reading the wiring called a receiver"


def read():
    return wiring.read_wiring([placed])


def described(route):
    return [wiring.describe(connection) for connection in route.connections]


def test_wiring_is_in_calling_order_with_async_receivers_last():
    placed.connect(third)
    placed.connect(second, sender=User, dispatch_uid="two", weak=False)
    placed.connect(first)
    everyone, users = read()

    assert (everyone.signal, everyone.sender) == (f"{HERE}.placed", "None")
    assert described(everyone) == [
        f"{HERE}.first [any sender]",
        f"{HERE}.third [async, any sender]",
    ]
    assert users.sender == "auth.User"
    assert described(users) == [
        f"{HERE}.second [uid=two, strong]",
        f"{HERE}.first [any sender]",
        f"{HERE}.third [async, any sender]",
    ]


def test_wiring_names_every_kind_of_receiver_and_calls_none():
    partial = functools.partial(first, None)
    kept = make()
    for receiver in (indexer, indexer.on_save, partial, kept):
        placed.connect(receiver, weak=False)
    (route,) = read()

    assert [connection.receiver.name for connection in route.connections] == [
        f"{HERE}.Indexer()",
        f"{HERE}.Indexer.on_save",
        f"functools.partial({HERE}.first)",
        f"{HERE}.make.<locals>.receive",
    ]
    assert all(connection.receiver.file == __file__ for connection in route.connections)
    assert wiring.where(route.connections[1]).startswith("tests/tracing/analysis/test_wiring.py:")


@pytest.mark.thorough
def test_wiring_names_senders_of_any_kind():
    class Local:
        pass

    for sender in (User, Local, make, Group):
        placed.connect(first, sender=sender, dispatch_uid=str(sender))

    assert [route.sender for route in read()] == [
        "auth.Group",
        "auth.User",
        f"{HERE}.make",
        f"{HERE}.test_wiring_names_senders_of_any_kind.<locals>.Local",
    ]


@pytest.mark.thorough
def test_wiring_does_not_guess_a_sender_that_is_gone():
    sender = type("Gone", (), {})
    placed.connect(first, sender=sender)
    if len(placed.receivers[0]) > 3:
        pytest.skip("this Django disconnects a receiver whose sender has died")
    del sender
    gc.collect()

    assert [route.sender for route in read()] == [UNKNOWN_SENDER]


def test_wiring_shows_a_dead_receiver(settings):
    settings.DEBUG = False
    placed.connect(make(), dispatch_uid="gone")
    gc.collect()
    (route,) = read()

    assert described(route) == ["(dead) [uid=gone, any sender, dead]"]
    (hazard,) = diagnose_wiring([route])
    assert (hazard.hazard, hazard.trace_id, hazard.signal) == (
        "lost-receiver",
        None,
        f"{HERE}.placed",
    )
    assert hazard.message == (
        "A receiver connected weakly to placed with dispatch_uid 'gone' has been "
        "garbage-collected: it does not run any more."
    )


def test_wiring_leaves_the_method_of_an_object_that_ended_alone(settings):
    settings.DEBUG = False
    placed.connect(Indexer().on_save)
    gc.collect()
    (route,) = read()

    assert described(route) == ["(dead) [any sender, dead]"]
    assert diagnose_wiring([route]) == []


@pytest.fixture
def thawed_heap():
    """Let the garbage collector see what is there from the beginning: who refers to what is asked."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.thorough
@pytest.mark.usefixtures("thawed_heap")
@pytest.mark.parametrize("make_receiver", [make, lambda: functools.partial(first, None)])
def test_wiring_sees_that_only_debug_keeps_a_receiver(settings, make_receiver):
    settings.DEBUG = True
    placed.connect(make_receiver())
    gc.collect()
    (hazard,) = diagnose_wiring(read())

    assert hazard.hazard == "lost-receiver"
    assert "it runs only because DEBUG is on" in hazard.message


def test_wiring_leaves_a_kept_closure_a_strong_one_and_a_function_alone(settings):
    settings.DEBUG = True
    kept = {"receiver": make()}
    placed.connect(kept["receiver"])
    placed.connect(functools.partial(first, None), weak=False)
    placed.connect(first)
    placed.connect(indexer.on_save)
    gc.collect()

    assert diagnose_wiring(read()) == []


def test_wiring_sees_an_object_whose_async_call_is_taken_for_sync():
    placed.connect(async_indexer)
    placed.connect(functools.partial(async_indexer, later=True), weak=False)
    placed.connect(third)
    placed.connect(indexer)
    found = diagnose_wiring(read())

    assert [hazard.hazard for hazard in found] == ["never-awaited", "never-awaited"]
    assert found[0].receiver == f"{HERE}.AsyncIndexer()"


def test_what_is_wrong_with_a_receiver_of_any_sender_is_told_once():
    placed.connect(async_indexer)
    placed.connect(first, dispatch_uid="one")
    placed.connect(first, dispatch_uid="two")
    placed.connect(first, sender=Group)
    found = diagnose_wiring(read())

    told = [(hazard.hazard, hazard.sender) for hazard in found]
    assert sorted(told) == [
        ("duplicate-receiver", "None"),
        ("duplicate-receiver", "auth.Group"),
        ("never-awaited", "None"),
    ]


def test_wiring_sees_one_function_connected_twice():
    placed.connect(first, dispatch_uid="a")
    placed.connect(first, dispatch_uid="b")
    placed.connect(make(), weak=False)
    placed.connect(make(), weak=False, dispatch_uid="again")
    found = diagnose_wiring(read())

    assert [hazard.hazard for hazard in found] == ["duplicate-receiver"] * 2
    assert "is connected twice and will run twice for each placed" in found[0].message


def test_wiring_leaves_different_bindings_of_one_function_alone():
    def bound(name):
        def receive(sender, **kwargs):
            called.append(name)

        return receive

    placed.connect(bound("a"), weak=False)
    placed.connect(bound("b"), weak=False)
    placed.connect(functools.partial(first, 1), weak=False)
    placed.connect(functools.partial(first, 2), weak=False)
    placed.connect(second, sender=User)
    placed.connect(second, sender=Group)

    assert diagnose_wiring(read()) == []


def test_wiring_of_a_known_hazard_says_so(settings):
    settings.TRACING = {"KNOWN_HAZARDS": ["duplicate-receiver"]}
    placed.connect(first, dispatch_uid="a")
    placed.connect(first, dispatch_uid="b")

    assert [hazard.known for hazard in diagnose_wiring(read())] == ["KNOWN_HAZARDS"]


@pytest.mark.thorough
def test_wiring_of_the_whole_process_has_djangos_own_signals():
    placed.connect(first)
    signals = wiring.all_signals()

    assert post_save in signals
    assert f"{HERE}.placed" in {route.signal for route in wiring.read_wiring()}
    assert [signal_name(signal) for signal in signals] == sorted(map(signal_name, signals))


def test_known_signals_are_those_that_modules_hold_now(monkeypatch):
    before = wiring.known_signals()
    module = sys.modules[__name__]
    new, other = Signal(), Signal()
    monkeypatch.setattr(module, "brand_new", new, raising=False)
    monkeypatch.setattr(module, "placed", other)

    signals = wiring.known_signals()

    assert {id(new), id(other)} <= set(map(id, signals)) - set(map(id, before))
    assert signal_name(new) == f"{HERE}.brand_new"


def test_wiring_as_json_says_everything():
    placed.connect(second, sender=User, dispatch_uid="two", weak=False)
    (found,) = wiring.as_dicts(read(), {f"{HERE}.second": 4})

    assert json.loads(json.dumps(found)) == {
        "signal": f"{HERE}.placed",
        "sender": "auth.User",
        "position": 0,
        "receiver": f"{HERE}.second",
        "file": __file__,
        "line": second.__code__.co_firstlineno,
        "app": "",
        "dispatch_uid": "two",
        "weak": False,
        "async": False,
        "any_sender": False,
        "alive": True,
        "calls": 4,
        "own_send": None,
    }


def test_unseen_receivers_are_those_the_store_never_counted():
    placed.connect(first)
    placed.connect(second)
    (route,) = wiring.unseen(read(), {f"{HERE}.first": 3})

    assert described(route) == [f"{HERE}.second [any sender]"]
    assert wiring.unseen(read(), {f"{HERE}.first": 3, f"{HERE}.second": 1}) == []


def test_matching_filters_by_part_of_a_name():
    placed.connect(first, sender=User)
    placed.connect(second)

    def count(**options):
        return sum(len(route.connections) for route in wiring.matching(read(), **options))

    assert count() == 3
    assert count(sender="user") == 2
    assert count(receiver="second") == 2
    assert count(signal="placed", receiver="first") == 1
    assert count(app="orders") == 0


# --- the diff ------------------------------------------------------------------------------------


def written():
    return json.loads(json.dumps(wiring.to_file(read())))


def lines(document):
    return list(wiring.change_lines(wiring.compare_wiring(document, read())))


def test_check_of_an_unchanged_wiring_finds_nothing():
    placed.connect(first)
    placed.connect(third, sender=User)

    assert lines(written()) == []


def test_check_names_what_was_added_and_lost():
    placed.connect(first)
    document = written()
    placed.disconnect(first)
    placed.connect(second)

    assert lines(document) == [
        f"{HERE}.placed from any sender",
        f"  + added: {HERE}.second [any sender]",
        f"  - lost: {HERE}.first [any sender]",
    ]


def test_check_names_what_changed():
    placed.connect(first)
    document = written()
    placed.disconnect(first)
    placed.connect(first, weak=False, dispatch_uid="one")

    assert lines(document) == [
        f"{HERE}.placed from any sender",
        f"  ~ changed: {HERE}.first [uid=one, strong, any sender] (was {HERE}.first [any sender])",
    ]


def test_check_names_what_was_reordered_once():
    placed.connect(first)
    placed.connect(second)
    placed.connect(indexer, sender=User)
    document = written()
    placed.disconnect(first)
    placed.connect(first)
    (change, *others) = wiring.compare_wiring(document, read())

    assert (change.kind, change.sender) == ("reordered", "None")
    assert [other.kind for other in others] in ([], ["reordered"])


def test_check_sees_a_signal_that_is_gone():
    placed.connect(first, sender=User)
    document = written()
    placed.disconnect(first, sender=User)

    assert lines(document) == [
        f"{HERE}.placed from auth.User",
        f"  - lost: {HERE}.first",
    ]


def test_check_of_a_new_sender_names_only_what_is_new():
    placed.connect(first)
    document = written()
    placed.connect(second, sender=User)

    assert lines(document) == [f"{HERE}.placed from auth.User", f"  + added: {HERE}.second"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "not a wiring file"),
        ({"version": 99}, "not a wiring file"),
        ({"version": 1, "signals": []}, "'signals' is not an object"),
        ({"version": 1, "signals": {"a": []}}, "'signals' is not an object"),
    ],
)
def test_check_refuses_what_is_no_wiring_file(document, message):
    with pytest.raises(ValueError, match=message):
        wiring.compare_wiring(document, [])
