"""Tests of transactions where one alias has several connections, and threads that hand one over."""

from __future__ import annotations

import gc
import threading

import pytest
from django.contrib.auth.models import Group
from django.core.mail import send_mail
from django.db import connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.models.signals import pre_save
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation import context
from tracing.instrumentation.database import transactions
from tracing.instrumentation.database.pending import PendingTraces
from tracing.instrumentation.database.transactions import open_blocks
from tracing.instrumentation.patching import instrument
from tracing.spans.records import TransactionOutcome

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("traced")]

NONE, UNKNOWN, COMMITTED, ROLLED_BACK = (
    TransactionOutcome.NONE,
    TransactionOutcome.UNKNOWN,
    TransactionOutcome.COMMITTED,
    TransactionOutcome.ROLLED_BACK,
)
ALIAS = "other"
sent = Signal()


@pytest.fixture
def traced(stock, keeper, no_failures):
    undo = instrument()
    sent.connect(nothing)
    pre_save.connect(nothing, sender=Group)
    yield
    sent.disconnect(nothing)
    pre_save.disconnect(nothing, sender=Group)
    undo()
    assert open_blocks() == []


def nothing(**named):
    pass


@pytest.fixture
def main(tmp_path):
    """Return the application's connection, to a file: one in memory is never closed."""
    defaults = connections["default"].settings_dict
    made = DatabaseWrapper(
        {**defaults, "NAME": str(tmp_path / "other.sqlite3"), "OPTIONS": {}}, alias=ALIAS
    )
    connections[ALIAS] = made
    yield made
    made.close()
    del connections[ALIAS]


@pytest.fixture
def beside(main):
    """Return a second connection of the same alias, as ``create_connection()`` makes it."""
    made = DatabaseWrapper(main.settings_dict, alias=ALIAS)
    yield made
    made.close()


def fates(recorded):
    return [dispatch.transaction for dispatch in recorded.trace.dispatches]


def send():
    """Send in the database of the application's connection, as saving does."""
    named = {"instance": Group(pk=1), "raw": False, "update_fields": None, "using": ALIAS}
    pre_save.send(Group, **named)


def begin(connection):
    connection.set_autocommit(False)


def commit(connection):
    connection.commit()
    connection.set_autocommit(True)


def roll_back(connection):
    connection.rollback()
    connection.set_autocommit(True)


def in_thread(call):
    """Run *call* in another thread, to its end."""
    raised = []

    def run():
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again in the test.
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_transaction_beside_that_ends_leaves_the_one_around_it(main, beside):
    with recording() as recorded, transaction.atomic(ALIAS):
        begin(beside)
        commit(beside)
        send()
        sent.send("anywhere")
        transaction.set_rollback(True, ALIAS)

    assert fates(recorded) == [ROLLED_BACK, ROLLED_BACK]


def test_transaction_beside_is_not_that_of_what_the_application_saves(main, beside):
    with recording() as recorded:
        begin(beside)
        send()
        with transaction.atomic(ALIAS):
            send()
        send()
        roll_back(beside)
        send()

    assert fates(recorded) == [NONE, COMMITTED, NONE, NONE]


def test_what_is_sent_without_a_database_is_in_the_transaction_beside(main, beside):
    with recording() as recorded:
        begin(beside)
        sent.send("anywhere")
        roll_back(beside)
        sent.send("anywhere")

    assert fates(recorded) == [ROLLED_BACK, NONE]


def test_transaction_begun_before_the_trace_is_told_apart_as_well(main, beside):
    begin(beside)
    with transaction.atomic(ALIAS):
        with recording() as recorded:
            send()
            roll_back(beside)
            send()
            sent.send("anywhere")

    assert fates(recorded) == [UNKNOWN] * 3


def test_connection_put_in_the_place_of_another_has_its_own_transactions(main, beside):
    with recording() as recorded, transaction.atomic(ALIAS):
        connections[ALIAS] = beside
        with transaction.atomic(ALIAS):
            send()
        connections[ALIAS] = main
        send()
        with transaction.atomic(ALIAS):
            send()
        transaction.set_rollback(True, ALIAS)

    assert fates(recorded) == [COMMITTED, ROLLED_BACK, ROLLED_BACK]


def test_effect_inside_both_has_the_worse_fate(main, beside, mailoutbox):
    with recording() as recorded, transaction.atomic(ALIAS):
        connections[ALIAS] = beside
        with transaction.atomic(ALIAS):
            send_mail("sold", "", "shop@shop.example", ["buyer@shop.example"])
        connections[ALIAS] = main
        transaction.set_rollback(True, ALIAS)

    assert [effect.transaction for effect in recorded.trace.side_effects] == [ROLLED_BACK]


def test_connection_beside_that_dies_in_a_transaction_leaves_nothing_open(main, tmp_path):
    dropped = DatabaseWrapper(main.settings_dict, alias=ALIAS)
    begin(dropped)
    with recording() as recorded:
        dropped.connection.close()
        del dropped
        gc.collect()
        with transaction.atomic(ALIAS):
            send()
        sent.send("anywhere")

    assert fates(recorded) == [COMMITTED, NONE]


def test_lone_dispatch_waits_for_the_transactions_of_both(main, beside, keeper):
    context.set_processor(PendingTraces(keeper))
    begin(beside)
    with transaction.atomic(ALIAS):
        send()
        commit(beside)
        waited = keeper.traces()

    assert waited == []
    assert [trace.dispatches[0].transaction for trace in keeper.traces()] == [COMMITTED]


# --- one connection in two threads ----------------------------------------------------------------


@pytest.fixture
def shared(main):
    main.inc_thread_sharing()
    yield main
    main.dec_thread_sharing()


def with_connection(connection, call):
    """Return *call*, made to run where *connection* is the one of the alias."""

    def run():
        connections[ALIAS] = connection
        call()

    return run


def record(call):
    """Return what *call* recorded in another thread."""
    done = []

    def run():
        with recording() as recorded:
            call()
        done.append(recorded)

    return done, run


def test_work_handed_over_is_in_the_transaction_begun_before(shared):
    done, run = record(send)
    with transaction.atomic(ALIAS):
        in_thread(with_connection(shared, run))
        transaction.set_rollback(True, ALIAS)
    ended, run = record(send)
    in_thread(with_connection(shared, run))

    assert [fates(recorded) for recorded in done] == [[UNKNOWN]]
    assert [fates(recorded) for recorded in ended] == [[NONE]]


def test_savepoint_of_another_thread_is_inside_the_transaction(shared):
    def work():
        with transaction.atomic(ALIAS):
            send()
        with pytest.raises(ZeroDivisionError), transaction.atomic(ALIAS):
            send()
            raise ZeroDivisionError

    done, run = record(work)
    with recording() as recorded, transaction.atomic(ALIAS):
        in_thread(with_connection(shared, run))
        send()

    assert fates(done[0]) == [UNKNOWN, TransactionOutcome.SAVEPOINT_ROLLED_BACK]
    assert fates(recorded) == [COMMITTED]


def test_transaction_ended_by_another_thread_has_ended(shared):
    begin(shared)
    with recording() as recorded:
        send()
        in_thread(with_connection(shared, lambda: commit(shared)))
    with recording() as later:
        send()

    assert (fates(recorded), fates(later)) == ([COMMITTED], [NONE])


def test_transaction_ended_by_another_thread_is_over_for_the_running_trace_at_the_next(shared):
    with recording() as recorded:
        begin(shared)
        send()
        in_thread(with_connection(shared, lambda: roll_back(shared)))
        with transaction.atomic("default"):
            pass
        send()

    assert fates(recorded) == [ROLLED_BACK, NONE]


def test_connections_that_died_in_threads_are_forgotten(main):
    def work():
        dropped = DatabaseWrapper(main.settings_dict, alias=ALIAS)
        begin(dropped)
        dropped.connection.close()

    begin(main)
    for _ in range(3):
        in_thread(work)
    gc.collect()
    done, run = record(send)
    in_thread(run)
    known = len(transactions._open)
    roll_back(main)

    assert (fates(done[0]), known, len(transactions._open)) == ([NONE], 1, 0)


def test_connection_of_another_thread_is_nobody_elses(main):
    main.set_autocommit(False)
    done, run = record(send)
    in_thread(run)
    roll_back(main)

    assert fates(done[0]) == [NONE]
