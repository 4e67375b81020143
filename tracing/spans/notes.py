"""Notes of a trace beside its spans, as writes that sent no signals."""

from __future__ import annotations

from tracing.spans.fields import Count, Moment, Record, Rows
from tracing.spans.labels import Callsite, ReceiverLabel
from tracing.spans.words import TransactionOutcome


class Bypass(Record):
    """A write that sent no signals although receivers were connected for them."""

    operation: str
    """bulk_create, bulk_update, update, delete, save (of a row of a relation), on_delete (SET_NULL and the
    like) or db_cascade; of the application's own SQL sql_insert, sql_update, sql_delete, sql_merge,
    sql_replace or sql_truncate."""
    model: str
    signals: tuple[str, ...]
    receivers: tuple[ReceiverLabel, ...]
    rows: Rows | None
    """How many rows were written; None if the database did not say."""
    start_ns: Moment
    callsite: Callsite | None = None
    parent_number: Count | None = None
    """Span number of the receiver call that wrote; None outside any."""


class SideEffect(Record):
    """A side effect outside the database: it cannot be rolled back."""

    kind: str
    """mail, task or socket."""
    target: str
    """Recipients' count, task name or host and port; never a value of the application."""
    start_ns: Moment
    parent_number: Count | None = None
    """Span number of the receiver call that did it; None outside any."""
    backend: str = ""
    """Dotted path of the mail or task backend class that was asked; empty if there is none."""
    in_on_commit: bool = False
    """Done by an on_commit callback: after the commit, as it should be."""
    using: str = ""
    """Alias of the open transaction; empty in autocommit."""
    transaction: TransactionOutcome = TransactionOutcome.NONE
    """What became of the blocks that were open: rolled back if any of them was."""
    transaction_depth: Count = 0
    """Open atomic blocks, those of a TestCase not counted; 0 in autocommit."""
    callsite: Callsite | None = None
    ran_at_once_on: str = ""
    """Alias with which ``on_commit()`` was called, where it ran the callback at once: no transaction
    of that alias was open."""
    task_id: str = ""
    """Of a task, the id of its result, which the traces of its runs have as ``task_id``, too; empty
    where enqueueing it failed."""


class LostReceiver(Record):
    """A weakly connected receiver that was found dead."""

    signal: str
    sender: str
    """As it was connected: ``None`` for any sender."""
    receiver: ReceiverLabel
    was_called: bool = False
    """It ran at least once before it died."""


class ConnectionChange(Record):
    """A receiver connected or disconnected while the trace was running."""

    change: str
    """connected or disconnected."""
    signal: str
    sender: str
    """As it was connected: ``None`` for any sender."""
    receiver: ReceiverLabel
    start_ns: Moment
    parent_number: Count | None = None
    """Span number of the receiver call that did it; None outside any."""
    callsite: Callsite | None = None


class MissedReceiver(Record):
    """A receiver that did not run because it waits for another sender.

    Or because it was disconnected, by an earlier unit of work, and not connected again.
    """

    signal: str
    sender: str
    """As it was sent."""
    receiver: ReceiverLabel
    connected_for: str
    """The sender that it waits for; of one that was disconnected, for which it was connected."""
    reason: str
    """What that sender is to the one that sent, as ``its parent model``; or ``disconnected``."""
    callsite: Callsite | None = None
    """Where it was disconnected."""


class SilentWrite(Record):
    """A write that sent nothing, as nobody listens for its very model.

    What adds to a many-to-many relation asks for receivers of the through model, and what deletes a
    queryset for those of its model; bulk writes never send.
    """

    operation: str
    """As that of a bypass; ``m2m`` for a many-to-many relation."""
    model: str
    signals: tuple[str, ...]
    """Those that would have been sent, or that were left out, and have receivers."""
    callsite: Callsite | None = None


class DiscardedCallback(Record):
    """An on_commit callback that never ran, and the transaction's outcome."""

    using: str
    reason: TransactionOutcome
    """Rolled back; or committed, if an earlier callback raised; or of a test, which never commits."""
    function: str = ""
    """Qualified name of the callback."""
    file: str = ""
    line: Count = 0
    callsite: Callsite | None = None
    """Where ``on_commit()`` was called."""
    parent_number: Count | None = None
    """Span number of the receiver call that registered it; None outside any."""


class WaitingCallback(Record):
    """on_commit callbacks whose commit the transaction of a TestCase prevents."""

    using: str
    count: Count = 1
    parent_number: Count | None = None
    """Span number of the receiver call that registered them; None outside any."""
