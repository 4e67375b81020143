"""Dispatches that end before any receiver: the sender cannot be looked up."""

from __future__ import annotations

import asyncio
import traceback

import pytest
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation.patching import instrument
from tracing.spans.records import Outcome

pytestmark = pytest.mark.usefixtures("stock", "keeper", "no_failures")

cached = Signal(use_caching=True)


def on_cached(**named):
    """Do nothing."""


@pytest.fixture
def connected():
    cached.connect(on_cached)
    yield
    cached.disconnect(on_cached)


def send_to(sender):
    return cached.send(sender=sender)


def asend_to(sender):
    return asyncio.run(cached.asend(sender=sender))


def raised_by(send, sender="a string"):
    """Return the type, the text, the context and the functions of what *send* raises for a sender."""
    with pytest.raises(TypeError) as raised:
        send(sender)
    error = raised.value
    functions = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return type(error), str(error), error.__context__, functions


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("send", [send_to, asend_to])
def test_sender_that_cannot_be_looked_up_raises_as_without_tracing(send):
    stock = raised_by(send)
    undo = instrument()
    try:
        with recording():
            traced = raised_by(send)
    finally:
        undo()

    assert traced == stock


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("send", [send_to, asend_to])
def test_sender_that_cannot_be_looked_up_is_recorded_with_those_it_would_have_reached(send):
    undo = instrument()
    try:
        with recording() as recorded:
            raised_by(send)
    finally:
        undo()

    (dispatch,) = recorded.trace.dispatches
    (call,) = dispatch.receiver_calls
    assert (dispatch.sender, dispatch.exception_type) == ("'a string'", "TypeError")
    assert dispatch.callsite.function in {"send_to", "asend_to"}
    assert not call.was_called
    assert call.outcome is not Outcome.RETURNED


@pytest.mark.parametrize(("sender", "name"), [("a string", "'a string'"), (None, "None")])
def test_sender_that_cannot_be_looked_up_is_an_orphan_where_nobody_would_have_heard_it(
    sender, name
):
    cached.connect(on_cached, sender=Signal)
    undo = instrument()
    try:
        with recording() as recorded:
            raised_by(send_to, sender)
    finally:
        undo()
        cached.disconnect(on_cached, sender=Signal)

    ((_signal, counted, count),) = recorded.trace.orphans
    assert (counted, count) == (name, 1)
    assert not recorded.trace.dispatches
