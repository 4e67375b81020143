"""What somebody put into a signal's own lists by hand fails as it does without tracing."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import django
import pytest
from django.dispatch import Signal
from django.dispatch.dispatcher import NO_RECEIVERS, NONE_ID

from tests.tracing.instrumentation.conftest import recording
from tracing.analysis.why_not.process import this_process
from tracing.analysis.wiring import read_wiring
from tracing.instrumentation.patching import instrument

pytestmark = pytest.mark.usefixtures("stock", "keeper", "no_failures")

METHODS = ("send", "send_robust", "asend", "asend_robust")
BETWEEN = (None,) if django.VERSION >= (6, 0) else ()
"""For the sender, which an entry holds since Django 6."""
KEY = (1, NONE_ID)
MANY = (KEY, None, None, False, None)


class Sender:
    pass


def receive(**named):
    return 1


class Refusing:
    def __bool__(self):
        raise ZeroDivisionError("bool")

    def __iter__(self):
        raise ZeroDivisionError("iter")


ENTRY = (KEY, receive, *BETWEEN, False)
RECEIVERS = {
    "None": None,
    "number": 5,
    "text": "odd",
    "tuple": (ENTRY,),
    "refusing": Refusing(),
    **{f"entry of {n}": [MANY[:n]] for n in range(6)},
    "entry of three, the first good": [ENTRY, (KEY, receive, False)],
    "last entry too short": [ENTRY, ("odd",)],
    "first entry too short": [("odd",), ENTRY],
    "another's entry too short": [((1, 12_345),), ENTRY],
    **{f"entry {item!r}": [item] for item in (None, 3, "abc", "abcd")},
    "entry is a list": [[*ENTRY]],
    **{f"key {key!r}": [(key, *ENTRY[1:])] for key in (None, 7, (1,), (1, 2, NONE_ID), "ab")},
    **{f"receiver {item!r}": [(KEY, item, *ENTRY[2:])] for item in (None, 5, "x")},
    "refuses to say whether it is async": [(*ENTRY[:-1], Refusing())],
    **{f"sender {item}": [(KEY, receive, item, False)] for item in (5, "x", type(None))},
}
ITEM = ENTRY[1:]
CACHED = {
    **{repr(value): value for value in (5, 0, "odd", [], (), False, None, [None], [4], ["ab"])},
    **{f"item of {n}": [(receive, *MANY[1:n])] for n in range(1, 5)},
    "tuple": (ITEM,),
    "receiver None": [(None, *ITEM[1:])],
    "last item too short": [ITEM, ("odd",)],
    "refusing": Refusing(),
    "nobody": NO_RECEIVERS,
    "of stock Django": [ITEM],
}


def told(signal, method):
    """Return what a dispatch answers or raises, twice: the first one may change what is cached."""
    answers = []
    for _ in range(2):
        try:
            found = getattr(signal, method)(sender=Sender)
            found = asyncio.run(found) if method.startswith("a") else found
            answers.append(
                [(receiver, type(response), str(response)) for receiver, response in found]
            )
        except Exception as error:  # noqa: BLE001 - it is what is compared.
            answers.append((type(error), str(error), type(error.__context__)))
    return answers


def signals(*, caching):
    """Yield signals with something malformed in them until the next, and what that is."""
    for name, signal in malformed(caching):
        yield name, signal
        # It may live on, and later tests look through all signals that live.
        signal.receivers, signal.sender_receivers_cache = [], WeakKeyDictionary()


def malformed(caching):
    for name, receivers in RECEIVERS.items():
        signal = Signal(use_caching=caching)
        signal.receivers = receivers
        yield f"receivers: {name}", signal
    for name, cached in CACHED.items():
        signal = Signal(use_caching=caching)
        signal.connect(receive)
        signal.sender_receivers_cache[Sender] = cached
        yield f"cache: {name}", signal
    for cache in (None, 5, {}, WeakKeyDictionary()):
        signal = Signal(use_caching=caching)
        signal.connect(receive)
        signal.sender_receivers_cache = cache
        yield f"whole cache: {type(cache)}", signal


@pytest.mark.filterwarnings("ignore:.*was never awaited")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("caching", [False, True])
def test_malformed_receivers_fail_as_without_tracing(caching, method):
    expected = {name: told(signal, method) for name, signal in signals(caching=caching)}
    undo = instrument()
    try:
        alone = {name: told(signal, method) for name, signal in signals(caching=caching)}
        with recording():
            inside = {name: told(signal, method) for name, signal in signals(caching=caching)}
    finally:
        undo()

    assert alone == expected
    assert inside == expected


@pytest.mark.parametrize("caching", [False, True])
def test_wiring_is_read_past_malformed_receivers(caching):
    undo = instrument()
    try:
        for name, signal in signals(caching=caching):
            found = this_process([signal]).connections
            read_wiring([signal])
            good = name.startswith(("cache", "whole")) or "the first good" in name
            assert len(found) >= good, name
    finally:
        undo()
