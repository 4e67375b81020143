"""Traces, dispatches, receiver calls and what else a trace has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

from tracing.spans.records import Kind, Method, Outcome, Status, TransactionOutcome
from tracing.store.fields import CodeField, NewestFirstIndex, RowIdField, reference
from tracing.store.models.labels import (
    CallsiteLabel,
    ReceiverLabel,
    SenderLabel,
    SharedAttributes,
    SignalLabel,
    TraceLabel,
)
from tracing.store.queries import TraceManager, TraceQuerySet

if TYPE_CHECKING:
    from tracing.spans import records

# The order is the format of the store: only ever append. Text without an enum follow one rule:
# the commonest first, because 0 and 1 take no space on SQLite.
KIND_CODES = (
    Kind.REQUEST,
    Kind.COMMAND,
    Kind.TASK,
    Kind.TEST,
    Kind.BLOCK,
    Kind.DISPATCH,
)
STATUS_CODES = (Status.OK, Status.ERROR, Status.RUNNING, Status.CANCELLED)
METHOD_CODES = (Method.SEND, Method.SEND_ROBUST, Method.ASEND, Method.ASEND_ROBUST)
OUTCOME_CODES = (
    Outcome.RETURNED,
    Outcome.RAISED,
    Outcome.SKIPPED,
    Outcome.CANCELLED,
    Outcome.RUNNING,
    Outcome.UNKNOWN,
)
TRANSACTION_CODES = (
    TransactionOutcome.NONE,
    TransactionOutcome.COMMITTED,
    TransactionOutcome.ROLLED_BACK,
    TransactionOutcome.SAVEPOINT_ROLLED_BACK,
    TransactionOutcome.TEST,
    TransactionOutcome.UNKNOWN,
)


class Trace(models.Model):
    """A unit of work: a request, command, task, test, block or dispatch."""

    id = RowIdField(primary_key=True)
    trace_id = models.CharField(
        max_length=32, help_text=_("W3C trace id, 32 hex digits; others may have the same.")
    )
    root_span_id = models.CharField(
        max_length=16, help_text=_("Id of the span that encloses it, 16 hex digits: its own.")
    )
    label = reference(TraceLabel)
    kind = CodeField(codes=KIND_CODES)
    status = CodeField(codes=STATUS_CODES)
    failed = models.BooleanField(
        default=False, help_text=_("It ended with an error, or a receiver raised.")
    )
    started_ns = models.BigIntegerField(help_text=_("Wall clock, nanoseconds since the epoch."))
    duration_ns = models.BigIntegerField()
    parent_span_id = models.CharField(max_length=16, blank=True)
    parent_trace_id = models.CharField(max_length=32, blank=True)
    http_method = models.CharField(max_length=10, blank=True)
    http_path = models.CharField(max_length=500, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    user_id = models.CharField(max_length=64, blank=True)
    host = models.CharField(max_length=100, blank=True)
    process = models.PositiveIntegerField(default=0)
    thread = models.CharField(max_length=100, blank=True)
    release = models.CharField(max_length=100, blank=True)
    error = models.CharField(max_length=500, blank=True)
    attributes = models.TextField(blank=True, help_text=_("JSON object; empty for none."))
    extra = models.TextField(
        blank=True, help_text=_("JSON object: side effects and lost receivers; empty for none.")
    )
    dispatch_count = models.PositiveIntegerField(default=0)
    receiver_call_count = models.PositiveIntegerField(default=0)
    query_count = models.PositiveIntegerField(default=0)
    query_ns = models.BigIntegerField(default=0)
    signal_ns = models.BigIntegerField(default=0)
    error_count = models.PositiveIntegerField(default=0)
    hazard_count = models.PositiveIntegerField(default=0)
    dropped_count = models.PositiveIntegerField(default=0)
    orphan_count = models.PositiveIntegerField(default=0)
    overhead_ns = models.BigIntegerField(default=0)
    segment = models.PositiveIntegerField(default=0, help_text=_("Number of the last segment."))
    final = models.BooleanField(default=True)
    # True for what was stored before there was this column: it is shown rather than folded away.
    mine = models.BooleanField(default=True, help_text=_("A receiver that is mine was in it."))
    pinned = models.BooleanField(default=False, help_text=_("Kept by pruning."))
    note = models.CharField(max_length=500, blank=True)

    objects = TraceManager.from_queryset(TraceQuerySet)()

    class Meta:
        ordering = ["-id"]
        permissions = [
            ("prune_trace", _("Can prune traces")),
            ("pause_recorder", _("Can pause and resume recording")),
            ("annotate_trace", _("Can pin and annotate traces")),
            ("view_source", _("Can see source code in the trace viewer")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["root_span_id"], name="tracing_trace_once"),
        ]
        indexes = [
            models.Index(fields=["trace_id"], name="tracing_trace_w3c"),
            NewestFirstIndex(fields=["label", "id"], name="tracing_trace_label"),
            NewestFirstIndex(fields=["kind", "id"], name="tracing_trace_kind"),
            NewestFirstIndex(fields=["failed", "id"], name="tracing_trace_failed"),
            NewestFirstIndex(fields=["mine", "id"], name="tracing_trace_mine"),
            NewestFirstIndex(fields=["started_ns", "id"], name="tracing_trace_started"),
            NewestFirstIndex(fields=["duration_ns", "id"], name="tracing_trace_duration"),
            NewestFirstIndex(fields=["dispatch_count", "id"], name="tracing_trace_dispatches"),
            NewestFirstIndex(fields=["query_count", "id"], name="tracing_trace_queries"),
            NewestFirstIndex(fields=["error_count", "id"], name="tracing_trace_errors"),
            NewestFirstIndex(fields=["hazard_count", "id"], name="tracing_trace_hazards"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def address(self) -> str:
        """Return what names it: its trace id and its root span id."""
        return f"{self.trace_id}/{self.root_span_id}"

    @property
    def name(self) -> str:
        """Return the route, command, task, test, block, or signal and sender."""
        return self.label.name

    @property
    def started_at(self) -> datetime:
        """Return the aware moment of its start, to the microsecond."""
        return datetime.fromtimestamp(self.started_ns // 1000 / 1_000_000, tz=UTC)

    def load(self) -> records.Trace:
        """Return the finished spans of this trace, all its segments together."""
        return type(self).objects.load_row(self)


class Dispatch(models.Model):
    """One sending of a signal that had at least one receiver.

    The receiver calls of a dispatch have the ids that follow its own: ``id + 1`` to
    ``id + receiver_call_count``. So no index leads from a dispatch to its calls. The numbers are
    never negative; a CHECK on each would be paid for each row.
    """

    id = RowIdField(primary_key=True)
    trace = reference(Trace, related_name="dispatches", db_index=True)
    number = models.IntegerField(help_text=_("Span number within the trace."))
    parent_number = models.IntegerField(null=True)
    depth = models.SmallIntegerField(default=0)
    signal = reference(SignalLabel)
    sender = reference(SenderLabel)
    callsite = reference(CallsiteLabel, null=True)
    shared = reference(SharedAttributes)
    method = CodeField(codes=METHOD_CODES)
    transaction = CodeField(codes=TRANSACTION_CODES)
    start_ns = models.BigIntegerField(help_text=_("From the start of the trace."))
    duration_ns = models.BigIntegerField()
    instance = models.CharField(
        max_length=255,
        blank=True,
        help_text=_("As orders.Order:42; only :42 when the sender is orders.Order."),
    )
    receiver_call_count = models.IntegerField(default=0)
    query_count = models.IntegerField(default=0)
    query_ns = models.BigIntegerField(default=0)
    extra = models.TextField(null=True, help_text=_("JSON object of what is rare."))  # noqa: DJ001

    class Meta:
        ordering = ["id"]
        indexes = [
            NewestFirstIndex(fields=["signal", "id"], name="tracing_dispatch_signal"),
            NewestFirstIndex(fields=["sender", "id"], name="tracing_dispatch_sender"),
        ]

    def __str__(self) -> str:
        return f"{self.signal} from {self.sender}"


class ReceiverCall(models.Model):
    """One call of one receiver for one dispatch."""

    id = RowIdField(primary_key=True)
    dispatch = reference(Dispatch, related_name="receiver_calls")
    number = models.IntegerField(help_text=_("Span number within the trace."))
    position = models.SmallIntegerField()
    receiver = reference(ReceiverLabel)
    outcome = CodeField(codes=OUTCOME_CODES)
    start_ns = models.BigIntegerField(help_text=_("From the start of the dispatch."))
    duration_ns = models.BigIntegerField()
    nested_ns = models.BigIntegerField(
        default=0, help_text=_("What the dispatches sent from inside it took of its duration.")
    )
    query_count = models.IntegerField(default=0)
    query_ns = models.BigIntegerField(default=0)
    extra = models.TextField(null=True, help_text=_("JSON object of what is rare."))  # noqa: DJ001

    class Meta:
        ordering = ["id"]
        indexes = [NewestFirstIndex(fields=["receiver", "id"], name="tracing_call_receiver")]

    def __str__(self) -> str:
        return f"{self.receiver} ({self.outcome})"


class FailedCall(models.Model):
    """A receiver call that raised: few rows, in place of an index on all."""

    id = RowIdField(primary_key=True, help_text=_("Id of the receiver call."))
    dispatch = reference(Dispatch)
    receiver = reference(ReceiverLabel)
    exception_type = models.CharField(max_length=255)

    class Meta:
        ordering = ["-id"]
        indexes = [NewestFirstIndex(fields=["receiver", "id"], name="tracing_failed_receiver")]

    def __str__(self) -> str:
        return f"{self.receiver}: {self.exception_type}"


class Bypass(models.Model):
    """A write that sent no signals although receivers were connected for them."""

    id = RowIdField(primary_key=True)
    trace = reference(Trace, related_name="bypasses", db_index=True)
    operation = models.CharField(max_length=20)
    model = models.CharField(max_length=255)
    rows = models.PositiveBigIntegerField(null=True)
    start_ns = models.BigIntegerField()
    parent_number = models.PositiveIntegerField(null=True)
    callsite = reference(CallsiteLabel, null=True)
    signals = models.TextField(help_text=_("JSON array of dotted paths."))
    receivers = models.TextField(help_text=_("JSON array of ids of receiver labels."))

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "bypasses"

    def __str__(self) -> str:
        return f"{self.operation} of {self.model}"


class Orphan(models.Model):
    """A count of dispatches that had no receiver, in one trace."""

    id = RowIdField(primary_key=True)
    trace = reference(Trace, related_name="orphans", db_index=True)
    signal = reference(SignalLabel)
    sender = reference(SenderLabel)
    count = models.PositiveIntegerField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.count} x {self.signal} from {self.sender}"
