from __future__ import annotations

import gc
import threading
import weakref

import pytest
from django.core.signals import request_finished
from django.db import models
from django.db.models.signals import ModelSignal, post_save, pre_init
from django.dispatch import Signal, dispatcher
from django.test.utils import isolate_apps

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation import context
from tracing.instrumentation.attributes import names
from tracing.instrumentation.connections import changes, registry
from tracing.instrumentation.connections import receivers as cached_receivers
from tracing.instrumentation.dispatch import orphans
from tracing.instrumentation.patching import instrument, uninstrument


@pytest.fixture(autouse=True)
def instrumented(stock):
    undo = instrument(sql=False, side_effects=False)
    # Lone dispatches are recorded and go nowhere.
    before = context.set_processor(None)
    yield
    context.set_processor(before)
    undo()


class Sender:
    pass


def first(**named):
    return "first"


def second(**named):
    return "second"


def answers(responses):
    return [response for _receiver, response in responses]


@pytest.fixture(params=[Signal, ModelSignal], ids=["plain", "caching"])
def signal(request):
    return Signal(use_caching=request.param is ModelSignal)


# -- What is remembered holds only as long as it is true -----------------------------------------


def test_live_receivers_replaced_on_a_signal_after_its_first_dispatch_are_called(signal):
    signal.connect(first, weak=False)
    before = answers(signal.send(Sender))

    signal._live_receivers = lambda sender: ([second], [])

    assert before == ["first"]
    assert answers(signal.send(Sender)) == ["second"]
    del signal._live_receivers
    assert answers(signal.send(Sender)) == ["first"]


def test_live_receivers_replaced_on_the_class_after_a_dispatch_are_called(signal, monkeypatch):
    signal.connect(first, weak=False)
    before = answers(signal.send(Sender))

    monkeypatch.setattr(Signal, "_live_receivers", lambda self, sender: ([second], []))

    assert before == ["first"]
    assert answers(signal.send(Sender)) == ["second"]


@pytest.mark.parametrize("in_place", [True, False])
def test_receivers_of_a_plain_signal_changed_by_hand_are_noticed(in_place):
    signal, other = Signal(), Signal()
    signal.connect(first, weak=False)
    other.connect(second, weak=False)
    before = answers(signal.send(Sender))

    if in_place:
        signal.receivers[:] = other.receivers
    else:
        signal.receivers = other.receivers

    assert before == ["first"]
    assert answers(signal.send(Sender)) == ["second"]


def test_remembered_wiring_keeps_nothing_alive(signal):
    def receiver(**named):
        return "weak"

    class Passing:
        pass

    signal.connect(receiver)
    called = answers(signal.send(Passing))
    references = [weakref.ref(receiver), weakref.ref(Passing)]
    del receiver, Passing
    gc.collect()

    assert called == ["weak"]
    assert [reference() for reference in references] == [None, None]
    assert signal.send(Sender) == []


@isolate_apps("tests")
def test_wiring_of_a_model_does_not_hold_the_model():
    class Passing(models.Model):
        class Meta:
            app_label = "tests"

    post_save.connect(first, sender=Passing, weak=False)
    post_save.send(Passing, instance=Passing(), created=True, raw=False, using="default")
    details = post_save.sender_receivers_cache[Passing].details
    post_save.disconnect(first, sender=Passing)

    # Django holds a cached as long as its sender lives: a reader that held the sender would keep both.
    assert details.__closure__
    assert all(cell.cell_contents is not Passing for cell in details.__closure__)


def test_sender_that_cannot_be_hashed_fails_as_in_django(signal):
    class Unhashable:
        __hash__ = None

    signal.connect(first, weak=False)

    with pytest.raises(TypeError, match="unhashable type: 'Unhashable'") as caught:
        signal.send(Unhashable())
    assert caught.value.__context__ is None


def test_sender_without_weak_references_fails_as_in_django_where_it_fails_there():
    signal = Signal(use_caching=True)
    signal.connect(first, weak=False)

    with pytest.raises(TypeError, match="cannot create weak reference to 'str' object") as caught:
        signal.send("text")
    assert caught.value.__context__ is None


# -- Dispatches without receivers ----------------------------------------------------------------


def test_orphan_dispatches_are_counted_by_name(signal):
    other = Signal()
    with recording() as recorded:
        for _ in range(3):
            signal.send(Sender)
        other.send(Sender)
        other.send(None)
        other.send_robust("text")
        other.send("text")

    assert sorted((sender, count) for _signal, sender, count in recorded.trace.orphans) == [
        ("'text'", 2),
        ("None", 1),
        (f"{__name__}.Sender", 4),
    ]
    assert recorded.trace.orphan_count == 7


@pytest.mark.thorough
def test_orphan_dispatch_of_a_sender_in_the_place_of_a_dead_one_counts_under_its_own_name():
    signal = Signal()
    identities = set()
    with recording() as recorded:
        for number in range(20):
            sender = type(f"Passing{number}", (), {})
            identities.add(id(sender))
            signal.send(sender)
            del sender
            gc.collect()

    # The point of the test: identities were given out again.
    assert len(identities) < 20
    assert sorted(recorded.trace.orphans) == sorted(
        ("django.dispatch.Signal (unnamed)", f"{__name__}.Passing{number}", 1)
        for number in range(20)
    )


def test_orphan_dispatches_keep_nothing_alive_and_leave_nothing_behind():
    class Passing:
        pass

    signal = Signal()
    before = set(orphans.known)
    with recording():
        signal.send(Passing)
        held = len(set(orphans.known) - before)
        references = [weakref.ref(signal), weakref.ref(Passing)]
        del signal, Passing
        gc.collect()
        alive = [reference() for reference in references]

    assert held == 1
    assert alive == [None, None]
    assert set(orphans.known) <= before
    assert not [key for key, numbers in orphans.known.items() if not numbers and key not in before]


class Listened:
    """A sender that somebody listens to."""


@pytest.fixture
def listened():
    """Return a caching signal with a receiver for ``Listened`` only, sent thrice from ``Sender``."""
    signal = Signal(use_caching=True)
    signal.connect(first, sender=Listened, weak=False)
    with recording() as recorded:
        for _ in range(3):
            signal.send(Sender)
    assert recorded.trace.orphan_count == 3
    assert type(signal.sender_receivers_cache[Sender]) is orphans.Orphan
    return signal


def test_sender_that_nobody_listened_to_is_heard_once_somebody_does(listened):
    assert not listened.has_listeners(Sender)

    listened.connect(second, weak=False)

    assert listened.has_listeners(Sender)
    assert answers(listened.send(Sender)) == ["second"]
    assert answers(listened.send(Listened)) == ["first", "second"]


def test_signal_whose_receivers_are_taken_out_for_a_while_has_them_back(signal):
    signal.connect(first, weak=False)
    signal.receivers, taken = [], signal.receivers
    with recording() as recorded:
        for _ in range(3):
            signal.send(Sender)
    signal.receivers = taken

    assert recorded.trace.orphan_count == 3
    assert signal.has_listeners(Sender)
    assert answers(signal.send(Sender)) == ["first"]


def test_traces_that_take_turns_each_count_their_own(listened):
    """Two threads in two traces send the same, one after the other."""
    turns = [threading.Event(), threading.Event()]
    traces = {}

    def work(own, other):
        with recording() as recorded:
            for _ in range(5):
                turns[own].wait()
                turns[own].clear()
                listened.send(Sender)
                Signal().send(Sender)
                turns[other].set()
        traces[own] = recorded.trace

    thread = threading.Thread(target=work, args=(1, 0))
    thread.start()
    turns[0].set()
    work(0, 1)
    thread.join()

    assert [traces[own].orphan_count for own in (0, 1)] == [10, 10]
    assert len(traces[0].orphans) == 2


def test_trace_that_was_let_go_is_kept_by_nothing_it_counted(listened):
    with recording() as recorded:
        listened.send(Sender)
    held = listened.sender_receivers_cache[Sender].tally[0]
    recorded.active.let_go()

    assert held == {}


@pytest.mark.parametrize("method", ["asend", "asend_robust"])
def test_async_dispatch_without_receivers_does_not_wait(listened, method):
    sending = getattr(listened, method)(Sender)

    with pytest.raises(StopIteration) as ended:
        sending.send(None)

    assert ended.value.value == []


@pytest.mark.parametrize("method", ["asend", "asend_robust"])
def test_nothing_of_it_stays_in_the_caches_without_tracing(listened, method):
    uninstrument()

    assert listened.sender_receivers_cache[Sender] is dispatcher.NO_RECEIVERS
    with pytest.raises(StopIteration):
        getattr(listened, method)(Sender).send(None)


def test_counting_waits_for_nobody_who_holds_the_lock_of_the_signal():
    signal = Signal(use_caching=True)
    signal.connect(first, sender=Listened, weak=False)
    signal.send(Sender)
    with recording() as recorded, signal.lock:
        signal.send(Sender)
        signal.send(Sender)

    assert recorded.trace.orphan_count == 2
    assert signal.sender_receivers_cache[Sender] is dispatcher.NO_RECEIVERS


def test_loading_of_instances_is_not_counted():
    with recording() as recorded:
        pre_init.send(Sender, args=(), kwargs={})

    assert recorded.trace.orphans == []


def test_end_of_a_request_without_any_receiver_is_counted():
    receivers, request_finished.receivers = request_finished.receivers, []
    try:
        with recording() as recorded:
            request_finished.send(Sender)
            request_finished.send(Sender)
    finally:
        request_finished.receivers = receivers

    assert recorded.trace.orphans == [
        ("django.core.signals.request_finished", f"{__name__}.Sender", 2)
    ]


# -- Under the lock of a signal --------------------------------------------------------------------

NOT_UNDER_THE_LOCK = (
    (names, "receiver_label"),
    (names, "sender_name"),
    (registry, "connections_of"),
    (registry, "twins_among"),
    (cached_receivers, "details_reader"),
    (cached_receivers, "receiver_set"),
    (changes, "note_cleared"),
)


@pytest.mark.parametrize(("owner", "name"), NOT_UNDER_THE_LOCK)
def test_nothing_of_ours_is_done_under_the_lock(signal, monkeypatch, owner, name):
    original = getattr(owner, name)
    locked = []

    def watched(*args, **kwargs):
        locked.append(signal.lock.locked())
        return original(*args, **kwargs)

    for module in {owner, cached_receivers}:
        if hasattr(module, name):
            monkeypatch.setattr(module, name, watched)

    def passing(**named):
        return "passing"

    signal.connect(first)
    signal.connect(passing)
    signal.send(Sender)
    del passing
    gc.collect()
    answered = answers(signal.send(Sender))
    signal.disconnect(first)

    assert answered == ["first"]
    assert locked
    assert not any(locked)


class _Sends:
    """Sends when it is collected, as a cache that announces what it lets go."""

    def __init__(self, signal):
        self.signal = signal
        self.itself = self

    def __del__(self):
        self.signal.send(Sender)


def test_a_finaliser_that_sends_may_run_wherever_we_make_something(signal, monkeypatch):
    signal.connect(first, weak=False)
    original = cached_receivers._receiver_set
    sent = []

    def collecting(*args):
        if not sent:
            sent.append(_Sends(signal) and None)
            gc.collect()
        return original(*args)

    monkeypatch.setattr(cached_receivers, "_receiver_set", collecting)

    assert answers(signal.send(Sender)) == ["first"]
    assert sent


def test_a_wiring_whose_finishing_failed_is_finished_by_the_next_dispatch(monkeypatch):
    signal = Signal(use_caching=True)
    signal.connect(first, weak=False)

    def failing(*args):
        raise ValueError

    with monkeypatch.context() as patched:
        patched.setattr(cached_receivers, "_receiver_set", failing)
        during = answers(signal.send(Sender))
    after = answers(signal.send(Sender))

    assert during == after == ["first"]
    assert signal.sender_receivers_cache[Sender].derefs is not cached_receivers.UNFINISHED
