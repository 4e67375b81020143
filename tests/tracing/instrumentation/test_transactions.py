"""Transactions of connections that are closed or dropped end there, not with the next BEGIN."""

from __future__ import annotations

import gc

import pytest
from django.db import connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation import context
from tracing.instrumentation.database.pending import PendingTraces
from tracing.instrumentation.database.transactions import open_blocks
from tracing.instrumentation.patching import instrument
from tracing.spans.records import TransactionOutcome

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("traced")]

sent = Signal()


@pytest.fixture
def traced(stock, keeper, no_failures):
    undo = instrument()
    sent.connect(nothing)
    yield
    sent.disconnect(nothing)
    undo()


def nothing(**named):
    pass


def connection_to(folder):
    defaults = connections["default"].settings_dict
    return DatabaseWrapper({**defaults, "NAME": str(folder / "other.sqlite3")}, alias="other")


@pytest.fixture
def other(tmp_path):
    """Return the connection "other", to a file: one in memory is never closed."""
    connections["other"] = connection_to(tmp_path)
    yield connections["other"]
    connections["other"].close()
    del connections["other"]


def close_in_block(connection):
    with pytest.raises(ZeroDivisionError), transaction.atomic(connection.alias):
        sent.send("before")
        with transaction.atomic(connection.alias):
            sent.send("deeper")
            connection.close()
            raise ZeroDivisionError


def test_what_is_sent_after_a_connection_was_closed_in_a_block_is_in_no_transaction(other):
    with recording() as recorded:
        close_in_block(other)
        sent.send("after")

    assert [each.transaction for each in recorded.trace.dispatches] == [
        TransactionOutcome.ROLLED_BACK,
        TransactionOutcome.ROLLED_BACK,
        TransactionOutcome.NONE,
    ]


def test_a_trace_that_waited_for_the_block_ends_when_its_connection_is_closed(other, keeper):
    context.set_processor(PendingTraces(keeper))
    with pytest.raises(ZeroDivisionError), transaction.atomic("other"):
        sent.send("alone")
        waited = keeper.traces()
        other.close()
        ended = keeper.traces()
        raise ZeroDivisionError

    assert waited == []
    assert [each.dispatches[0].transaction for each in ended] == [TransactionOutcome.ROLLED_BACK]


def test_a_connection_that_dies_in_a_block_leaves_nothing_open(tmp_path):
    dropped = connection_to(tmp_path)
    dropped.set_autocommit(False)
    dropped.ensure_connection()
    dropped.cursor().execute("SELECT 1")
    with recording() as recorded:
        opened = len(open_blocks())
        sent.send("before")
        dropped.connection.close()
        del dropped
        gc.collect()
        left = open_blocks()

    assert (opened, left) == (1, [])
    assert recorded.trace.dispatches[0].transaction is TransactionOutcome.ROLLED_BACK


def test_a_connection_closed_outside_any_block_says_nothing(other):
    with recording() as recorded:
        with transaction.atomic("other"):
            sent.send("committed")
        other.close()
        with transaction.atomic("other"):
            sent.send("again")

    assert [each.transaction for each in recorded.trace.dispatches] == [
        TransactionOutcome.COMMITTED,
        TransactionOutcome.COMMITTED,
    ]
