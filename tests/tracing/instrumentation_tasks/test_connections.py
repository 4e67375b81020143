"""Receivers connected, disconnected and lost, as traces show them; and Django's own behaviour kept."""

from __future__ import annotations

import gc
import threading
import traceback
import weakref
from functools import partial, update_wrapper
from typing import Any

import pytest
from django.apps import apps
from django.core.files.storage import FileSystemStorage, mixins
from django.core.signals import setting_changed
from django.db.models.signals import ModelSignal
from django.dispatch import Signal
from django.test import override_settings

from tracing.instrumentation import patching
from tracing.instrumentation.connections import changes as connections
from tracing.instrumentation.connections import registry
from tracing.spans.records import ConnectionChange, LostReceiver, ReceiverLabel
from tracing.store.columns import decode_trace_extra, encode_trace_extra

here = Signal()
elsewhere = Signal()
HERE = f"{__name__}.here"
ELSEWHERE = f"{__name__}.elsewhere"


class Shop:
    """A sender."""


def greet(**_kwargs: Any) -> None:
    """Receive without doing anything."""


async def greet_later(**_kwargs: Any) -> None:
    """Receive asynchronously."""


class Clerk:
    """Has a bound method for a receiver."""

    def greet(self, **_kwargs: Any) -> None:
        """Receive without doing anything."""


@pytest.fixture(autouse=True)
def empty_signals():
    yield
    for signal in (here, elsewhere):
        signal.receivers.clear()
        signal.sender_receivers_cache.clear()


def local_receiver():
    """Return a receiver that nobody else holds."""

    def local(**_kwargs: Any) -> None:
        pass

    return local


LOCAL = f"{__name__}.local_receiver.<locals>.local"


def shown(changes):
    """Return what the changes say, without place and time."""
    return [
        (change.change, change.signal, change.sender, change.receiver.name, change.parent_number)
        for change in changes
    ]


# -- connected and disconnected -------------------------------------------------------------------


def test_change_is_recorded_with_its_place(keeper):
    with keeper.block():
        here.connect(greet, sender=Shop, dispatch_uid="first")
        here.disconnect(sender=Shop, dispatch_uid="first")
    [trace] = keeper.traces()

    sender = f"{__name__}.Shop"
    assert shown(trace.connection_changes) == [
        ("connected", HERE, sender, f"{__name__}.greet", None),
        ("disconnected", HERE, sender, f"{__name__}.greet", None),
    ]
    made = trace.connection_changes[0]
    assert made.receiver == ReceiverLabel(
        f"{__name__}.greet",
        __file__,
        greet.__code__.co_firstlineno,
        dispatch_uid="first",
        weak=True,
    )
    assert (made.callsite.file, made.callsite.function) == (
        __file__,
        "test_change_is_recorded_with_its_place",
    )
    assert 0 <= made.start_ns <= trace.connection_changes[1].start_ns <= trace.duration_ns


def test_change_in_a_receiver_hangs_under_its_call(keeper):
    def connecting(**_kwargs):
        elsewhere.connect(greet)

    here.connect(connecting)
    with keeper.block():
        here.send(Shop)
    [trace] = keeper.traces()

    [call] = trace.dispatches[0].receiver_calls
    assert shown(trace.connection_changes) == [
        ("connected", ELSEWHERE, "None", f"{__name__}.greet", call.number)
    ]


@pytest.mark.parametrize("receiver", [greet, greet_later, Clerk().greet])
@pytest.mark.parametrize("weak", [True, False])
def test_change_of_any_receiver(keeper, receiver, weak):
    with keeper.block():
        here.connect(receiver, weak=weak)
        here.disconnect(receiver)
    [trace] = keeper.traces()

    connected, disconnected = trace.connection_changes
    assert (connected.change, disconnected.change) == ("connected", "disconnected")
    assert connected.receiver == disconnected.receiver
    assert connected.receiver.weak is weak
    assert connected.receiver.is_async is (receiver is greet_later)
    assert connected.receiver.any_sender is True


def test_connection_that_existed_is_no_change(keeper):
    here.connect(greet)
    with keeper.block():
        here.connect(greet)
        assert here.disconnect(local_receiver()) is False
    [trace] = keeper.traces()

    assert trace.connection_changes == []
    assert len(here.receivers) == 1


def test_changes_outside_a_trace_are_not_kept(keeper):
    here.connect(greet)
    here.disconnect(greet)
    with keeper.block():
        pass
    [trace] = keeper.traces()

    assert trace.connection_changes == []


def test_change_to_a_sender_named_by_text_when_its_model_is_there(keeper):
    signal = ModelSignal()
    user = apps.get_model("auth.User")
    with keeper.block():
        signal.connect(greet, sender="auth.User")
    [trace] = keeper.traces()

    assert [change.sender for change in trace.connection_changes] == [user._meta.label]
    assert len(signal.receivers) == 1


def test_change_in_another_thread_of_the_trace(keeper):
    def work():
        here.connect(greet)

    def starting(**_kwargs):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    elsewhere.connect(starting)
    with keeper.block():
        elsewhere.send(Shop)
    [trace] = keeper.traces()

    [call] = trace.dispatches[0].receiver_calls
    assert shown(trace.connection_changes) == [
        ("connected", HERE, "None", f"{__name__}.greet", call.number)
    ]


# -- lost -----------------------------------------------------------------------------------------


def test_lost_receiver_that_never_ran(keeper):
    here.connect(local_receiver(), sender=Shop)
    gc.collect()
    with keeper.block():
        here.send(Shop)
    [trace] = keeper.traces()

    [lost] = trace.lost_receivers
    assert (lost.signal, lost.sender, lost.receiver.name, lost.was_called) == (
        HERE,
        f"{__name__}.Shop",
        LOCAL,
        False,
    )
    assert (lost.receiver.file, lost.receiver.line) == (
        __file__,
        local_receiver.__code__.co_firstlineno + 3,
    )


@pytest.mark.parametrize("signal", [Signal(), Signal(use_caching=True)])
def test_lost_receiver_that_ran(keeper, signal):
    receiver = local_receiver()
    signal.connect(receiver)
    signal.connect(greet)
    with keeper.block():
        signal.send(Shop)
    del receiver
    gc.collect()
    with keeper.block():
        signal.send(Shop)
    first, second = keeper.traces()

    assert first.lost_receivers == []
    assert [(lost.receiver.name, lost.was_called) for lost in second.lost_receivers] == [
        (LOCAL, True)
    ]
    assert [call.receiver.name for call in second.dispatches[0].receiver_calls] == [
        f"{__name__}.greet"
    ]


def test_lost_receivers_of_one_function_are_told_apart(keeper):
    called, silent = local_receiver(), local_receiver()
    here.connect(called)
    here.send(Shop)
    here.connect(silent)
    del called, silent
    gc.collect()
    keeper.traces()
    with keeper.block():
        here.send(Shop)
    [trace] = keeper.traces()

    assert [(lost.receiver.name, lost.was_called) for lost in trace.lost_receivers] == [
        (LOCAL, True),
        (LOCAL, False),
    ]


def test_lost_receiver_found_outside_a_trace_waits_for_the_next(keeper):
    here.connect(local_receiver())
    gc.collect()
    assert here.has_listeners() is False
    with keeper.block():
        pass
    with keeper.block():
        pass
    first, second = keeper.traces()

    assert [(lost.signal, lost.sender, lost.receiver.name) for lost in first.lost_receivers] == [
        (HERE, "None", LOCAL)
    ]
    assert second.lost_receivers == []


def test_lost_receivers_outside_traces_are_bounded(keeper):
    for _ in range(connections.WAITING_LIMIT + 5):
        here.connect(local_receiver())
    gc.collect()
    here.has_listeners()

    assert len(connections.take_waiting()) == connections.WAITING_LIMIT


def test_lost_bound_method(keeper):
    here.connect(Clerk().greet)
    gc.collect()
    with keeper.block():
        here.send(Shop)
    [trace] = keeper.traces()

    assert [lost.receiver.name for lost in trace.lost_receivers] == [f"{__name__}.Clerk.greet"]


def test_receiver_connected_before_the_recording_has_its_name(keeper):
    signal = Signal()
    receiver = local_receiver()
    patching.uninstrument()
    signal.connect(receiver, sender=apps.get_model("auth.User"))
    patching.instrument()
    registry.connections_of(signal)
    del receiver
    gc.collect()
    with keeper.block():
        signal.send(Shop)
    [trace] = keeper.traces()

    assert [(lost.sender, lost.receiver.name) for lost in trace.lost_receivers] == [
        ("auth.User", LOCAL)
    ]


def test_receiver_never_seen_alive_is_unknown(keeper):
    signal = Signal()
    patching.uninstrument()
    receiver = local_receiver()
    signal.connect(receiver, dispatch_uid="ghost")
    del receiver
    patching.instrument()
    gc.collect()
    with keeper.block():
        signal.send(Shop)
    [trace] = keeper.traces()

    assert [(lost.sender, lost.receiver) for lost in trace.lost_receivers] == [
        ("None", ReceiverLabel("(unknown)", dispatch_uid="ghost", any_sender=True))
    ]


def test_receiver_whose_sender_died_with_it_is_not_missed(keeper):
    class Local:
        pass

    here.connect(local_receiver(), sender=Local)
    del Local
    gc.collect()
    with keeper.block():
        here.send(Shop)
    [trace] = keeper.traces()

    assert trace.lost_receivers == []


def test_disconnected_receiver_is_not_lost(keeper):
    receiver = local_receiver()
    here.connect(receiver)
    here.disconnect(receiver)
    del receiver
    gc.collect()
    with keeper.block():
        here.send(Shop)
    [trace] = keeper.traces()

    assert trace.lost_receivers == []


# -- the application is left alone ----------------------------------------------------------------


def test_nothing_is_kept_alive(keeper):
    signal, receiver = Signal(), local_receiver()
    clerk = Clerk()

    class Local:
        pass

    with keeper.block():
        signal.connect(receiver, sender=Local)
        signal.connect(clerk.greet, sender=clerk)
        signal.send(Local)
    references = [weakref.ref(target) for target in (signal, receiver, clerk, Local)]
    del signal, receiver, clerk, Local
    gc.collect()

    assert [reference() for reference in references] == [None] * 4


def test_memory_goes_with_receivers_taken_out_by_hand(keeper):
    kept = [local_receiver() for _ in range(100)]
    for receiver in kept:
        here.connect(receiver)
        here.receivers.clear()

    assert len(registry.connections_of(here)) < 50


@pytest.mark.parametrize("debug", [True, False])
def test_error_shows_no_frame_of_the_tracer(keeper, debug):
    with override_settings(DEBUG=debug), pytest.raises(TypeError) as caught:
        here.connect(1)

    files = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert [file for file in files if "capture/connections" in file] == []
    assert here.receivers == []


def test_hostile_receiver_is_asked_no_more_than_by_django(keeper):
    def asked_while_connecting():
        asked = []

        class Hostile:
            def __getattribute__(self, name):
                asked.append(name)
                return object.__getattribute__(self, name)

            def __call__(self, **kwargs):
                pass

        hostile = Hostile()
        signal = Signal()
        signal.connect(hostile, weak=False)
        signal.disconnect(hostile)
        return asked

    traced = asked_while_connecting()
    patching.uninstrument()
    stock = asked_while_connecting()
    patching.instrument()

    assert traced == stock


def test_own_failure_does_not_reach_the_application(keeper, monkeypatch):
    def broken(*_args):
        raise RuntimeError("ours")

    noted = []
    monkeypatch.setattr(connections, "failed", lambda place, error: noted.append(place))
    monkeypatch.setattr(registry, "failed", lambda place, error: noted.append(place))
    monkeypatch.setattr(registry, "connections_of", broken)
    receiver = local_receiver()
    with keeper.block():
        here.connect(receiver)
        assert here.send(Shop) == [(receiver, None)]
        assert here.disconnect(receiver) is True

    assert noted == ["connect", "reached", "disconnect"]


def test_subclass_with_a_connect_of_its_own(keeper):
    class Careful(Signal):
        def connect(self, receiver, **kwargs):
            def guarded(**named):
                return receiver(**named)

            super().connect(update_wrapper(guarded, receiver), weak=False, **kwargs)

    signal = Careful()
    with keeper.block():
        signal.connect(greet)
    [trace] = keeper.traces()

    [change] = trace.connection_changes
    assert change.callsite.function.endswith("Careful.connect")
    assert change.signal == f"{__name__}.{type(signal).__qualname__} (unnamed)"


def test_methods_of_djangos_own_objects_die_by_design_and_those_of_the_project_do_not(keeper):
    with keeper.block():
        clerk = Clerk()
        setting_changed.connect(clerk.greet)
        setting_changed.connect(partial(FileSystemStorage._clear_cached_properties))
        FileSystemStorage()
        del clerk
        gc.collect()
        # Whoever asks for its receivers finds the dead ones.
        setting_changed.disconnect(greet)
        setting_changed.send(None, setting="MEDIA_ROOT", value="", enter=True)
    [trace] = keeper.traces()

    assert {lost.receiver.name for lost in trace.lost_receivers} == {
        f"{__name__}.Clerk.greet",
        f"functools.partial({mixins.__name__}.StorageSettingsMixin._clear_cached_properties)",
    }


# -- stored and logged ----------------------------------------------------------------------------


def test_changes_survive_the_store(keeper):
    with keeper.block():
        here.connect(local_receiver())
        gc.collect()
        here.connect(greet)
    [trace] = keeper.traces()

    decoded = decode_trace_extra(encode_trace_extra(trace))
    assert decoded["connection_changes"] == trace.connection_changes
    assert decoded["lost_receivers"] == trace.lost_receivers
    assert [type(change) for change in decoded["connection_changes"]] == [ConnectionChange] * 2
    assert [type(lost) for lost in decoded["lost_receivers"]] == [LostReceiver]
