"""Finished spans: what a trace is made of once it has been assembled.

These are values: strings, numbers and lists of one another. They hold no receiver, sender, instance
or exception of the traced application, and nothing that holds them in turn, so that the garbage
collector need not visit them. Every later room (exporters, analysis, faces) speaks in them; the log
schema and the models have the same fields. What is nested is left out of a ``repr``: a debug toolbar
or an error page that writes down what it meets would copy the whole trace for each span.

Units: a name that ends in ``_ns`` is a whole number of nanoseconds. ``start_ns`` of a dispatch or
a receiver call counts from the start of its trace, on the monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from tracing.spans.fields import (
    Count,
    Moment,
    Nanoseconds,
    Number,
    Record,
    Rows,
    Small,
    SpanId,
    Statements,
    TraceId,
)
from tracing.spans.hazard import Hazard
from tracing.spans.ids import derived_root_span_id, span_id
from tracing.spans.labels import Callsite, ReceiverLabel
from tracing.spans.notes import (
    Bypass,
    ConnectionChange,
    DiscardedCallback,
    LostReceiver,
    MissedReceiver,
    SideEffect,
    SilentWrite,
    WaitingCallback,
)
from tracing.spans.words import TIMED, UNFINISHED, Kind, Method, Outcome, Status, TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "UNFINISHED",
    "Bypass",
    "CallbackQueries",
    "Callsite",
    "Carried",
    "ConnectionChange",
    "DiscardedCallback",
    "Dispatch",
    "Hazard",
    "Kind",
    "LostReceiver",
    "Method",
    "MissedReceiver",
    "Outcome",
    "ReceiverCall",
    "ReceiverLabel",
    "SideEffect",
    "SilentWrite",
    "Status",
    "Trace",
    "TransactionOutcome",
    "WaitingCallback",
    "derived_root_span_id",
    "span_id",
]


_SKIPPED: Final = Outcome.SKIPPED


class ReceiverCall(Record):
    """One call of one receiver for one dispatch."""

    number: Number
    """Its span number, unique in the trace."""
    position: Small
    """Its place in the calling order, from 0."""
    receiver: ReceiverLabel
    start_ns: Moment
    duration_ns: Nanoseconds
    self_ns: Moment = 0
    """The duration without the dispatches sent from inside it."""
    outcome: Outcome = Outcome.RETURNED
    response_type: str = ""
    """Class name of what it returned; empty for None."""
    exception_type: str = ""
    exception_message: str = ""
    query_count: Count = 0
    """Queries run while it was the innermost receiver call."""
    query_ns: Nanoseconds = 0
    cpu_ns: Nanoseconds | None = None
    """CPU time of its thread outside queries and what it sent; None where it was not read."""
    thread_switch_ns: Nanoseconds = 0
    """What the thread switch of a sync receiver under ``asend`` cost; on the first of its batch."""
    duplicate_of: Count | None = None
    """Position of an earlier receiver of the dispatch that is the same function, if there is one."""
    statements: Statements = ()
    """(normalised SQL, count, ns); exported only when CAPTURE_STATEMENTS is on."""

    @property
    def was_called(self) -> bool:
        """Return whether the receiver was called: it was not skipped."""
        return self.outcome is not _SKIPPED

    @property
    def is_timed(self) -> bool:
        """Return whether its duration is a measured one."""
        return self.duration_ns > 0 or self.outcome in TIMED


class Dispatch(Record):
    """One sending of a signal that had at least one receiver."""

    unshown: ClassVar[frozenset[str]] = frozenset({"receiver_calls"})

    number: Number
    """Its span number, unique in the trace."""
    signal: str
    """Dotted path of the signal, as ``django.db.models.signals.post_save``."""
    sender: str
    """Model label as ``orders.Order``, else dotted path; ``None`` for no sender."""
    method: Method
    start_ns: Moment
    duration_ns: Nanoseconds
    depth: Small = 0
    """Receiver calls above it."""
    parent_number: Count | None = None
    """Span number of the receiver call that sent it; None at the root of the trace."""
    is_detached: bool = False
    """The parent did not wait: an on_commit callback, a thread or a task that it started."""
    instance: str = ""
    """As ``orders.Order:42``: the argument ``instance``, else the one model instance that the signal
    carries; empty if there is none."""
    same_instance_as: Count | None = None
    """Span number of the outermost dispatch above it about the very object, if that has no key yet."""
    created: bool | None = None
    raw: bool | None = None
    using: str = ""
    update_fields: tuple[str, ...] | None = None
    action: str = ""
    """m2m_changed: pre_add, post_add, pre_remove ..."""
    reverse: bool | None = None
    pk_count: Rows | None = None
    """m2m_changed: how many primary keys were given; None for clear."""
    named: tuple[str, ...] = ()
    """Names of the other named arguments."""
    values: dict[str, str] = {}
    """Named arguments as redacted text; only when CAPTURE_VALUES is on."""
    callsite: Callsite | None = None
    transaction: TransactionOutcome = TransactionOutcome.NONE
    transaction_depth: Count = 0
    """0 in autocommit, 1 in the outermost atomic block, 2 in its first savepoint ..."""
    thread: str = ""
    in_event_loop: bool = False
    """A sync send of a thread whose event loop was running; known where receivers are async."""
    exception_type: str = ""
    """What left the dispatch, if anything did."""
    query_count: Count = 0
    """Queries of the dispatch and of everything below it."""
    query_ns: Nanoseconds = 0
    receiver_calls: list[ReceiverCall] = []


class CallbackQueries(Record):
    """Queries of one receiver call's on_commit callbacks, after the call."""

    parent_number: int
    """Span number of the receiver call that registered them."""
    receiver: ReceiverLabel
    statements: Statements = ()
    """(normalised SQL, count, ns), as in a receiver call."""


class Carried(Record):
    """The needs of the diagnosis of a trace besides its spans."""

    unfinished: list[Dispatch] = []
    """What is running above its dispatches; comes finished in a later segment."""
    counted: dict[Any, list[tuple[int, int]]] = {}
    """Moments that sums of earlier segments have and later spans may share, by the key of the sum."""
    pending_effects: list[SideEffect] = []
    """Side effects whose transaction has not ended; they come in a later segment."""
    receiver_queries: Count = 0
    """Queries in receivers that are not among those of its dispatches."""
    callback_queries: list[CallbackQueries] = []
    """Queries of on_commit callbacks, which no receiver call ran; in order of the first one."""
    on_commit: list[int] = []
    """Span numbers of the dispatches that on_commit callbacks sent themselves."""
    outer_spans: dict[int, str] = {}
    """Span ids of OpenTelemetry's around dispatches of this segment, by the dispatch's number."""


class Trace(Record, eq=False):
    """One unit of work and its dispatches; or one segment of a long one."""

    unshown: ClassVar[frozenset[str]] = frozenset(
        {
            "dispatches",
            "bypasses",
            "orphans",
            "side_effects",
            "lost_receivers",
            "connection_changes",
            "unreadable",
            "missed_receivers",
            "waiting_callbacks",
            "silent_writes",
            "discarded_callbacks",
            "hazards",
            "known_hazards",
            "diagnosis_context",
        }
    )

    trace_id: TraceId
    """W3C trace id, 32 lower-case hex digits: what other services know it by, too."""
    kind: Kind
    name: str
    """Route, command, task, test or block name; for a standalone dispatch the signal and sender."""
    started_ns: Nanoseconds
    """Wall clock, nanoseconds since the epoch."""
    duration_ns: Nanoseconds
    """So far, while the status is running."""
    status: Status = Status.OK
    root_span_id: SpanId = ""
    """Id of the span that encloses all of it, 16 hex digits. No other trace has it, while several
    requests that come with one ``traceparent`` share their trace id."""
    parent_span_id: str = ""
    """From an incoming ``traceparent`` or an active OpenTelemetry span; 16 hex digits or empty."""
    parent_trace_id: str = ""
    """The trace in which this one was opened (a test's request); 32 hex digits or empty."""
    http_method: str = ""
    http_path: str = ""
    http_status: Small | None = None
    arrival_key: str = ""
    """Of a GET with a session: digest of that and its path. A redirect that led here has the same."""
    redirect_key: str = ""
    """Of a redirect in a session: digest of that and the path it leads to."""
    user_id: str = ""
    host: str = ""
    process: Count = 0
    thread: str = ""
    release: str = ""
    error: str = ""
    """Type and message of the exception that ended it."""
    attributes: dict[str, str] = {}
    """Context of the application: request_id and the like."""
    dispatch_count: Count = 0
    receiver_call_count: Count = 0
    query_count: Count = 0
    """Queries of the whole trace, inside and outside receivers."""
    query_ns: Nanoseconds = 0
    signal_ns: Nanoseconds = 0
    """Time inside dispatches: the sum over root dispatches."""
    error_count: Count = 0
    """Receiver calls that raised."""
    hazard_count: Count = 0
    dropped_count: Count = 0
    """Dispatches, queries and other items that were not recorded because a limit was reached."""
    excluded_count: Count = 0
    """Receiver calls that ``EXCLUDE_SIGNALS`` and the others left out; no other count has them."""
    left_out_count: Count = 0
    """Blocks in it that were suppressed or not sampled."""
    orphan_count: Count = 0
    """Dispatches without any receiver."""
    overhead_ns: Nanoseconds = 0
    """Estimate of what recording cost the traced threads: counts times what each cost when it was
    measured in this process; 0 where it was not measured yet."""
    segment: Count = 0
    """0 for the first or only export of a trace, then 1, 2 ...; counts are totals so far."""
    final: bool = True
    """False while the trace is still running and more segments follow."""
    dispatches: list[Dispatch] = []
    """Every dispatch of this segment, parents before children, in order of span number."""
    bypasses: list[Bypass] = []
    orphans: list[tuple[str, str, Count]] = []
    """(signal, sender, count) of dispatches without receivers."""
    side_effects: list[SideEffect] = []
    """Mails, tasks and sockets of this segment, in order of time."""
    lost_receivers: list[LostReceiver] = []
    """Receivers first seen dead during this segment, or before it outside any trace."""
    connection_changes: list[ConnectionChange] = []
    """Receivers connected and disconnected during this segment, in order of time per thread."""
    unreadable: list[tuple[str, str, Count]] = []
    """(what, type of exception, count) of what could not be read or written in this segment."""
    missed_receivers: list[MissedReceiver] = []
    """Receivers that wait for a sender related to one that sent, or were left disconnected."""
    waiting_callbacks: list[WaitingCallback] = []
    """Callbacks that a test's own transaction keeps from running."""
    silent_writes: list[SilentWrite] = []
    """Writes that sent nothing, of models that nobody listens for."""
    discarded_callbacks: list[DiscardedCallback] = []
    """on_commit callbacks that never ran."""
    hazards: list[Hazard] = []
    """What the rules of ``tracing.analysis.hazards`` found when the trace was finished."""
    known_hazards: list[Hazard] = []
    """The same of what the project accepts; the store alone keeps it, and no count has it."""

    diagnosis_context: Carried | None = None
    """What is needed to understand it and is none of its spans. Exported by nobody."""

    def __post_init__(self) -> None:
        if not self.root_span_id:
            self.root_span_id = derived_root_span_id(self.trace_id, self.started_ns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        names = (name for name in self.__struct_fields__ if name != "diagnosis_context")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]

    @property
    def address(self) -> str:
        """Return what names it: its trace id and its root span id."""
        return f"{self.trace_id}/{self.root_span_id}"

    @property
    def task_id(self) -> str:
        """Return the id of the task that it is a run of; empty for none."""
        return self.attributes.get("task_id", "") if self.kind is Kind.TASK else ""

    @property
    def chord_ids(self) -> list[str]:
        """Return the ids of the tasks that follow its Celery group."""
        return self.attributes.get("chord", "").split() if self.kind is Kind.TASK else []

    @property
    def is_mine(self) -> bool:
        """Return whether a receiver that is mine was in it, called or skipped."""
        return any(
            call.receiver.mine for dispatch in self.dispatches for call in dispatch.receiver_calls
        )

    @property
    def unfinished(self) -> Sequence[Dispatch]:
        """Return the running calls above its dispatches, for a later segment."""
        return self.diagnosis_context.unfinished if self.diagnosis_context is not None else ()

    def sent_by(self) -> dict[int, list[Dispatch]]:
        """Return the dispatches of each receiver call by its number, in order."""
        sent: dict[int, list[Dispatch]] = {}
        several = False
        every: Iterable[Dispatch] = self.dispatches
        if unfinished := self.unfinished:
            every = {dispatch.number: dispatch for dispatch in (*unfinished, *every)}.values()
        for dispatch in every:
            if (parent := dispatch.parent_number) is not None:
                beside = sent.get(parent)
                if beside is None:
                    sent[parent] = [dispatch]
                else:
                    several = several or dispatch.start_ns < beside[-1].start_ns
                    beside.append(dispatch)
        if several:
            # What was sent in another thread or task stands in a stream that was read later.
            for beside in sent.values():
                beside.sort(key=_by_start)
        return sent

    @property
    def roots(self) -> list[Dispatch]:
        """Return the dispatches of this segment that no receiver sent."""
        return [dispatch for dispatch in self.dispatches if dispatch.parent_number is None]


def _by_start(dispatch: Dispatch) -> int:
    return dispatch.start_ns
