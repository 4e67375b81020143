"""Other tools that have a hand in Django's signals: recorded in full, and left as they are."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import weakref
from hashlib import sha256
from pathlib import Path
from unittest import mock

import pytest
from django.core.checks import run_checks
from django.db.models.signals import ModelSignal
from django.dispatch import Signal, dispatcher

from tests.tracing.instrumentation.conftest import recording
from tracing.analysis.wiring import read_wiring
from tracing.instrumentation import context
from tracing.instrumentation.attributes.names import receiver_label
from tracing.instrumentation.connections import neighbours
from tracing.instrumentation.connections.neighbours import STOCK_LIVE_RECEIVERS, STOCK_SENDS, stock
from tracing.instrumentation.patching import (
    VERIFIED_FILES,
    defines_verified_sends,
    instrument,
    sends_are_verified,
    uninstrument,
)
from tracing.spans.records import Method, Outcome

pytestmark = pytest.mark.usefixtures("stock")


@pytest.fixture
def patch():
    """Return what patches and is undone before anybody looks at what is left."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    # What was patched after us is put back to ours, which passes on what it is called with.
    for method, function in STOCK_SENDS.items():
        setattr(Signal, method.value, function)


def first(**named):
    return "first"


class Mailer:
    def second(self, **named):
        return "second"


def third(extra, **named):
    return "third"


async def fourth(**named):
    return "fourth"


class Proxy:
    """A callable object around another, as some libraries make them."""

    def __init__(self, wrapped):
        self.__wrapped__ = wrapped

    def __call__(self, *args, **kwargs):
        return self.__wrapped__(*args, **kwargs)


class Holder:
    def __init__(self, inside):
        self.inside = inside

    def __call__(self, *args, **kwargs):
        return self.inside(*args, **kwargs)


def by_wraps(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def by_closure(function):
    return lambda *args, **kwargs: function(*args, **kwargs)


def by_default(function):
    def wrapper(*args, _inner=function, **kwargs):
        return _inner(*args, **kwargs)

    return wrapper


WRAPPERS = [by_wraps, by_closure, by_default, Proxy, Holder, functools.partial]


def connected():
    signal, mailer = Signal(), Mailer()
    for receiver in (first, mailer.second, functools.partial(third, 1)):
        signal.connect(receiver, weak=False, dispatch_uid=str(len(signal.receivers)))
    return signal


def test_wrapper_of_a_method_or_partial_is_named_after_what_it_wraps():
    mailer = Mailer()
    biting = by_wraps(first)
    biting.__wrapped__ = functools.partial(biting)

    named = [
        receiver_label(by_wraps(each))
        for each in (first, mailer.second, functools.partial(third, 1), by_wraps(mailer.second))
    ]

    assert [(label.name.removeprefix(f"{__name__}."), label.line) for label in named] == [
        ("first", first.__code__.co_firstlineno),
        ("Mailer.second", Mailer.second.__code__.co_firstlineno),
        (f"functools.partial({__name__}.third)", third.__code__.co_firstlineno),
        ("Mailer.second", Mailer.second.__code__.co_firstlineno),
    ]
    assert receiver_label(biting).file in {"", __file__}


def handing_out_wrappers(wrap, seen):
    """Return a ``_live_receivers`` that wraps each sync receiver, as error trackers do."""
    before = Signal._live_receivers

    def _live_receivers(self, sender):
        live, live_async = before(self, sender)
        seen.append(sender)
        return [wrap(receiver) for receiver in live], live_async

    return _live_receivers


def facts(recorded):
    [dispatch] = recorded.trace.dispatches
    return [
        (
            call.receiver.name.rpartition("test_neighbours.")[2],
            Path(call.receiver.file).name,
            call.receiver.line,
            call.receiver.dispatch_uid,
            call.outcome,
            call.response_type,
            call.duration_ns > 0,
        )
        for call in dispatch.receiver_calls
    ]


EXPECTED = [
    (name, "test_neighbours.py", line.co_firstlineno, uid, Outcome.RETURNED, "str", True)
    for name, line, uid in (
        ("first", first.__code__, "0"),
        ("Mailer.second", Mailer.second.__code__, "1"),
        ("third)", third.__code__, "2"),
    )
]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_receivers_in_the_wrappers_of_a_neighbour_are_named_and_timed(
    wrap, order, patch, no_failures
):
    seen = []
    signal = connected()
    if order == "after":
        instrument()
    patch.setattr(Signal, "_live_receivers", handing_out_wrappers(wrap, seen))
    instrument()
    with recording() as recorded:
        responses = [response for _receiver, response in signal.send("sender")]
        asyncio.run(signal.asend("async"))
    uninstrument()

    recorded.trace.dispatches.pop()
    assert responses == ["first", "second", "third"]
    assert seen == ["sender", "async"]
    assert facts(recorded) == EXPECTED


def test_receivers_that_a_neighbour_leaves_out_or_adds_are_told_apart(patch, no_failures):
    signal = connected()

    def added(**named):
        return 4

    def _live_receivers(self, sender):
        live, live_async = STOCK_LIVE_RECEIVERS(self, sender)
        return [added, by_wraps(live[2]), live[0]], live_async

    patch.setattr(Signal, "_live_receivers", _live_receivers)
    instrument()
    with recording() as recorded:
        signal.send("sender")
    uninstrument()

    [dispatch] = recorded.trace.dispatches
    names = [call.receiver.name.rpartition(".")[2] for call in dispatch.receiver_calls]
    uids = [call.receiver.dispatch_uid for call in dispatch.receiver_calls]
    assert names == ["added", "third)", "first"]
    assert uids == ["", "2", "0"]


def wrapping_send(method, wrap, seen):
    before = Signal.__dict__[method.value]

    def told(self, sender, **named):
        seen.append(sender)
        return before(self, sender, **named)

    return functools.wraps(before)(told) if wrap == "wraps" else told


def dispatch_of(method, signal, sender):
    done = getattr(signal, method.value)(sender)
    return asyncio.run(done) if asyncio.iscoroutine(done) else done


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("wrap", ["wraps", "plain"])
@pytest.mark.parametrize("method", list(Method))
def test_receivers_below_a_wrapped_send_are_named_and_timed(
    method, wrap, order, patch, no_failures
):
    seen = []
    signal = connected()
    signal.connect(fourth, weak=False, dispatch_uid="3")
    if order == "after":
        instrument()
    theirs = wrapping_send(method, wrap, seen)
    patch.setattr(Signal, method.value, theirs)
    instrument()
    with recording() as recorded:
        responses = dispatch_of(method, signal, "sender")
    is_theirs_during = Signal.__dict__[method.value] is theirs
    uninstrument()
    is_theirs_after = Signal.__dict__[method.value] is theirs

    recorded_facts = facts(recorded)
    [dispatch] = recorded.trace.dispatches
    expected = ("fourth", "test_neighbours.py", fourth.__code__.co_firstlineno, "3")
    assert [response for _, response in responses] == ["first", "second", "third", "fourth"]
    assert seen == ["sender"]
    assert recorded_facts[:3] == EXPECTED
    assert recorded_facts[3] == (*expected, Outcome.RETURNED, "str", True)
    if order == "before":
        assert dispatch.callsite.function == "dispatch_of"
    assert is_theirs_during
    assert is_theirs_after


@pytest.mark.parametrize("method", list(Method))
def test_what_imported_the_function_before_is_recorded(method, no_failures):
    send = Signal.__dict__[method.value]
    code = send.__code__
    signal = connected()

    instrument()
    with recording() as recorded:
        for sender in ("first", "second"):
            done = send(signal, sender)
            if asyncio.iscoroutine(done):
                asyncio.run(done)
    uninstrument()

    assert [d.sender for d in recorded.trace.dispatches] == ["'first'", "'second'"]
    assert [d.method for d in recorded.trace.dispatches] == [method, method]
    assert all(len(d.receiver_calls) == 3 for d in recorded.trace.dispatches)
    assert send.__code__ is code


@pytest.mark.parametrize("first_out", ["tracing", "neighbour"])
def test_undone_in_any_order_nothing_of_ours_is_left(first_out, keeper_of_all):
    seen = []
    instrument()
    ours = Signal.send
    Signal.send = wrapping_send(Method.SEND, "plain", seen)
    if first_out == "neighbour":
        Signal.send = ours
    uninstrument()
    signal = connected()
    responses = [response for _, response in signal.send("sender")]
    if first_out == "tracing":
        Signal.send = STOCK_SENDS[Method.SEND]

    assert responses == ["first", "second", "third"]
    assert len(seen) == (first_out == "tracing")
    assert keeper_of_all == []
    assert Signal.send is STOCK_SENDS[Method.SEND]


@pytest.fixture
def keeper_of_all(patch):
    """Keep all traces that begin."""
    begun = []
    patch.setattr(context, "begin", begun.append)
    return begun


def test_django_s_own_functions_are_found_and_verified_behind_a_neighbour_s(patch):
    sends_are_verified.cache_clear()
    patch.setattr(Signal, "send", wrapping_send(Method.SEND, "plain", []))
    patch.setattr(Signal, "_live_receivers", handing_out_wrappers(by_wraps, []))

    assert stock("send") is STOCK_SENDS[Method.SEND]
    assert stock("_live_receivers") is STOCK_LIVE_RECEIVERS
    assert stock("send").__globals__ is vars(dispatcher)
    assert sends_are_verified()


def test_a_module_that_is_known_as_a_whole_is_verified_in_its_parts_as_well():
    source = inspect.getsource(dispatcher)

    assert sha256(source.encode()).hexdigest()[:16] in VERIFIED_FILES
    assert defines_verified_sends(source)
    assert defines_verified_sends(f"{source}\n# another release")
    assert not defines_verified_sends(source.replace("return responses", "return []"))


def test_patched_send_of_a_test_is_not_recorded_and_put_back(no_failures):
    signal = connected()
    instrument()
    ours = Signal.send
    with recording() as recorded, mock.patch.object(Signal, "send") as send:
        signal.send("sender")
    is_put_back = Signal.send is ours
    uninstrument()

    assert send.call_count == 1
    assert recorded.trace.dispatches == []
    assert is_put_back


def test_check_names_the_neighbour_and_not_the_release(patch):
    patch.setattr(Signal, "_live_receivers", handing_out_wrappers(by_wraps, []))

    found = {message.id: message.msg for message in run_checks() if "Signal." in message.msg}

    place = f"{__name__}.handing_out_wrappers.<locals>._live_receivers"
    assert found == {"tracing.I019": f"Signal._live_receivers is replaced by {place}."}


@pytest.mark.thorough
def test_signal_whose_class_has_a_loop_of_its_own_is_named(patch):
    class Looping(Signal):
        def send(self, sender, **named):
            return [receiver(sender=sender) for receiver in self._live_receivers(sender)[0]]

    class Calling(Signal):
        def send(self, sender, **named):
            return super().send(sender, **named)

    looping, calling = Looping(), Calling()
    patch.setitem(globals(), "looping", looping)
    patch.setitem(globals(), "calling", calling)
    before = [message.msg for message in run_checks() if message.id == "tracing.I020"]
    looping.connect(first)
    calling.connect(first)
    after = [message.msg for message in run_checks() if message.id == "tracing.I020"]
    routes = {route.signal: route.own_send for route in read_wiring([looping, calling])}

    own = f"{__name__}.{Looping.__qualname__}"
    assert before == []
    assert after == [
        f"Dispatches of {__name__}.looping are not recorded: {own} calls receivers in its own send()."
    ]
    assert routes == {f"{__name__}.looping": own, f"{__name__}.calling": ""}


def test_modules_are_not_walked_through_unless_a_class_of_signals_has_a_loop_of_its_own(patch):
    patch.setattr(neighbours, "_kinds_of", lambda _signal: [Signal, ModelSignal])
    patch.delattr(neighbours, "living_signals")

    assert neighbours.signals_with_own_send() == []


@pytest.mark.parametrize("use_caching", [True, False])
def test_receivers_muted_by_hand_do_as_without_tracing(use_caching, no_failures):
    def responses():
        signal, found = Signal(use_caching=use_caching), []
        signal.connect(first, weak=False)
        found.append([response for _, response in signal.send(Mailer)])
        kept, signal.receivers = signal.receivers, []
        found.append([response for _, response in signal.send(Mailer)])
        signal.sender_receivers_cache.clear()
        found.append([response for _, response in signal.send(Mailer)])
        signal.receivers = kept
        found.append([response for _, response in signal.send(Mailer)])
        signal.receivers = [*kept, *kept]
        found.append([response for _, response in signal.send(Mailer)])
        signal.connect(first, sender=Proxy, weak=False)
        found.append([response for _, response in signal.send(Holder)])
        # Some are muted, then none: what Django has cached meanwhile stays.
        signal.receivers = signal.receivers[1:]
        found.append([response for _, response in signal.send(Proxy)])
        signal.receivers = signal.receivers[-1:]
        found.append([response for _, response in signal.send(Mailer)])
        found.append([response for _, response in signal.send(Holder)])
        found.append([response for _, response in asyncio.run(signal.asend(Holder))])
        signal.receivers = kept
        found.append([response for _, response in signal.send(Proxy)])
        found.append([response for _, response in signal.send(Mailer)])
        found.append([response for _, response in asyncio.run(signal.asend(Mailer))])
        return found

    expected = responses()
    instrument()
    with recording() as recorded:
        found = responses()
    uninstrument()

    calls = [len(d.receiver_calls) for d in recorded.trace.dispatches]
    assert found == expected
    assert calls == [len(each) for each in expected if each]


class Reversed(Signal):
    def _live_receivers(self, sender):
        live, live_async = super()._live_receivers(sender)
        return live[::-1], live_async[::-1]


def sent_to_a_receiver_that_holds_its_signal():
    """Return weak references to a signal and to a receiver that nothing but that signal holds."""
    signal = Reversed()

    def receiver(**named):
        return signal

    signal.connect(receiver, weak=False)
    signal.send(None)
    signal.send(None)
    return [weakref.ref(signal), weakref.ref(receiver)]


def test_receiver_that_holds_its_signal_dies_with_it():
    with recording():
        instrument()
        references = sent_to_a_receiver_that_holds_its_signal()
    uninstrument()

    gc.collect()

    assert [reference() for reference in references] == [None, None]
