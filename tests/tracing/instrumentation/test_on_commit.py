"""Callbacks of on_commit are known by what Django keeps of them, and no longer than Django keeps it."""

from __future__ import annotations

import contextvars
import gc
from weakref import ref

import pytest
from django.db import connection, transaction
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation.database import on_commit
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.recent import Recent, forgotten

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("traced")]

leaf = Signal()


@pytest.fixture
def traced(stock, keeper, no_failures, monkeypatch):
    # What other tests' connections still hold is not counted here.
    monkeypatch.setattr(on_commit, "_registered", Recent(5_000, "on_commit callbacks"))
    undo = instrument()
    leaf.connect(nothing)
    yield
    leaf.disconnect(nothing)
    undo()


def nothing(**named):
    pass


class Rollback(Exception):
    pass


def rolled_back(callback, times=1):
    with pytest.raises(Rollback), transaction.atomic():
        for _ in range(times):
            transaction.on_commit(callback)
        raise Rollback


def committed_by_nobody(callback, times):
    with transaction.atomic():
        for _ in range(times):
            transaction.on_commit(callback)


def told(trace):
    """Return the senders of what callbacks sent, by the rules' own knowledge."""
    by_number = {each.number: each.sender for each in trace.dispatches}
    return [by_number[number] for number in trace.diagnosis_context.on_commit]


def test_no_callback_is_told_by_the_identity_of_one_that_was_rolled_back():
    with recording() as recorded:
        rolled_back(nothing, times=300)
        # Outside the trace, on the same connection: their entries get the identities of those.
        contextvars.Context().run(committed_by_nobody, lambda: leaf.send("another"), 300)

    assert [each.sender for each in recorded.trace.dispatches] == []


def test_callbacks_that_outlive_the_rollback_of_a_savepoint_are_still_known():
    with recording() as recorded, transaction.atomic():
        transaction.on_commit(lambda: leaf.send("kept"))
        rolled_back(lambda: leaf.send("never"))

    assert [each.sender for each in recorded.trace.dispatches] == ["'kept'"]
    assert told(recorded.trace) == ["'kept'"]
    assert recorded.trace.waiting_callbacks == []


@pytest.mark.thorough
def test_nothing_is_kept_of_callbacks_that_were_rolled_back():
    before = forgotten["on_commit callbacks"]
    with recording():
        for _ in range(4):
            rolled_back(nothing, times=5_000)
        with transaction.atomic():
            transaction.on_commit(nothing)
            kept = len(on_commit._registered)

    assert kept == 1
    assert forgotten["on_commit callbacks"] == before


def test_nothing_is_kept_of_callbacks_when_their_connection_is_closed():
    with recording():
        with pytest.raises(Rollback), transaction.atomic():
            transaction.on_commit(nothing)
            connection.close()
            raise Rollback
        with transaction.atomic():
            transaction.on_commit(nothing)
            kept = len(on_commit._registered)

    assert kept == 1


@pytest.mark.parametrize("times", [1, 3])
def test_a_callback_dies_before_the_next_one_runs_as_without_tracing(times):
    class Callback:
        def __call__(self):
            pass

    alive = []
    gc.disable()
    try:
        with recording(), transaction.atomic():
            for _ in range(times):
                callback = Callback()
                died = ref(callback)
                transaction.on_commit(callback)
                del callback
                transaction.on_commit(lambda died=died: alive.append(died() is not None))
    finally:
        gc.enable()

    assert alive == [False] * times


def test_a_callback_given_twice_is_told_twice_in_the_order_of_its_registration():
    def callback():
        leaf.send("again")

    with recording() as recorded, transaction.atomic():
        transaction.on_commit(callback)
        rolled_back(nothing)
        transaction.on_commit(callback)

    assert told(recorded.trace) == ["'again'", "'again'"]
