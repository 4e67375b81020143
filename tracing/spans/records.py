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

import re
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Record(Struct, gc=False):
    """A part of a trace that names what its ``repr`` leaves out."""

    unshown: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out of its ``repr``."""

    def __repr__(self) -> str:
        shown = (name for name in self.__struct_fields__ if name not in self.unshown)
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({fields})"


class Kind(StrEnum):
    """What caused the dispatches of a trace."""

    REQUEST = "request"
    COMMAND = "command"
    TASK = "task"
    TEST = "test"
    BLOCK = "block"
    DISPATCH = "dispatch"
    """A lone dispatch: sent outside any other unit of work."""


class Status(StrEnum):
    """How a trace ended."""

    RUNNING = "running"
    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    """Given up from outside before it was done, as an ASGI server does when the client has gone."""


UNFINISHED: Final = "unfinished"
"""The attribute of a trace that says why nobody told of its end."""


class Outcome(StrEnum):
    """How a receiver call ended."""

    RUNNING = "running"
    RETURNED = "returned"
    RAISED = "raised"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Never called, because an earlier receiver of the same dispatch raised."""
    UNKNOWN = "unknown"
    """Its end was not observed: the dispatch was cut short or Django's release is not verified."""


_TIMED: Final = frozenset({Outcome.RETURNED, Outcome.RAISED, Outcome.CANCELLED})
"""Of a call that has no end, or that was never made, no time is known."""


class Method(StrEnum):
    """Which of the four ways of sending was used."""

    SEND = "send"
    SEND_ROBUST = "send_robust"
    ASEND = "asend"
    ASEND_ROBUST = "asend_robust"


class TransactionOutcome(StrEnum):
    """What became of the transaction in which a dispatch was sent."""

    NONE = "none"
    """No transaction: autocommit."""
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    SAVEPOINT_ROLLED_BACK = "savepoint_rolled_back"
    TEST = "test"
    """The surrounding transaction belongs to a TestCase and is always rolled back by it."""
    UNKNOWN = "unknown"
    """It had not ended when the trace was exported."""


class ReceiverLabel(Struct, gc=False, frozen=True, eq=False):
    """A receiver as it is connected: one function may have several labels (uids, strength)."""

    name: str
    """Dotted path; ``functools.partial(path)`` for a partial, ``path.Class()`` for a callable object."""
    file: str = ""
    """Absolute path of the source file; empty for code without one."""
    line: int = 0
    """First line, 1-based; 0 if unknown."""
    dispatch_uid: str = ""
    weak: bool = True
    is_async: bool = False
    app: str = ""
    """Label of the application that defines it; empty if it belongs to none."""
    any_sender: bool = False
    """Connected without a sender: it hears every sender of its signal."""
    mine: bool = False
    """The project's own, as the recording process decided. No part of which receiver it is."""

    def _identity(self) -> tuple[object, ...]:
        return (
            self.name,
            self.file,
            self.line,
            self.dispatch_uid,
            self.weak,
            self.is_async,
            self.app,
            self.any_sender,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReceiverLabel):
            return NotImplemented
        return self is other or self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


class Callsite(Struct, gc=False, frozen=True):
    """The frame of the application that sent a signal."""

    file: str
    line: int
    function: str
    """Qualified name within its module."""


class ReceiverCall(_Record):
    """One call of one receiver for one dispatch."""

    number: int
    """Its span number, unique in the trace."""
    position: int
    """Its place in the calling order, from 0."""
    receiver: ReceiverLabel
    start_ns: int
    duration_ns: int
    self_ns: int = 0
    """The duration without the dispatches sent from inside it."""
    outcome: Outcome = Outcome.RETURNED
    response_type: str = ""
    """Class name of what it returned; empty for None."""
    exception_type: str = ""
    exception_message: str = ""
    query_count: int = 0
    """Queries run while it was the innermost receiver call."""
    query_ns: int = 0
    hop_ns: int = 0
    """What the thread hop of a sync receiver under ``asend`` cost; on the first of its batch."""
    same_as: int | None = None
    """Position of an earlier receiver of the dispatch that is the same function, if there is one."""
    statements: tuple[tuple[str, int, int], ...] = ()
    """(normalised SQL, count, ns); exported only when CAPTURE_STATEMENTS is on."""

    @property
    def was_called(self) -> bool:
        """Return whether the receiver was called: it was not skipped."""
        return self.outcome is not Outcome.SKIPPED

    @property
    def is_timed(self) -> bool:
        """Return whether its duration is a measured one."""
        return self.duration_ns > 0 or self.outcome in _TIMED


class Dispatch(_Record):
    """One sending of a signal that had at least one receiver."""

    unshown: ClassVar[frozenset[str]] = frozenset({"receiver_calls"})

    number: int
    """Its span number, unique in the trace."""
    signal: str
    """Dotted path of the signal, as ``django.db.models.signals.post_save``."""
    sender: str
    """Model label as ``orders.Order``, else dotted path; ``None`` for no sender."""
    method: Method
    start_ns: int
    duration_ns: int
    depth: int = 0
    """Receiver calls above it."""
    parent_number: int | None = None
    """Span number of the receiver call that sent it; None at the root of the trace."""
    parent_is_link: bool = False
    """The parent did not wait: an on_commit callback, a thread or a task that it started."""
    instance: str = ""
    """As ``orders.Order:42``: the argument ``instance``, else the one model instance that the signal
    carries; empty if there is none."""
    same_instance_as: int | None = None
    """Span number of the outermost dispatch above it about the very object, if that has no key yet."""
    created: bool | None = None
    raw: bool | None = None
    using: str = ""
    update_fields: tuple[str, ...] | None = None
    action: str = ""
    """m2m_changed: pre_add, post_add, pre_remove ..."""
    reverse: bool | None = None
    pk_count: int | None = None
    """m2m_changed: how many primary keys were given; None for clear."""
    named: tuple[str, ...] = ()
    """Names of the other named arguments."""
    values: dict[str, str] = {}
    """Named arguments as redacted text; only when CAPTURE_VALUES is on."""
    callsite: Callsite | None = None
    transaction: TransactionOutcome = TransactionOutcome.NONE
    transaction_depth: int = 0
    """0 in autocommit, 1 in the outermost atomic block, 2 in its first savepoint ..."""
    thread: str = ""
    in_event_loop: bool = False
    """A sync send of a thread whose event loop was running; known where receivers are async."""
    exception_type: str = ""
    """What left the dispatch, if anything did."""
    query_count: int = 0
    """Queries of the dispatch and of everything below it."""
    query_ns: int = 0
    receiver_calls: list[ReceiverCall] = []


class Bypass(_Record):
    """A write that sent no signals although receivers were connected for them."""

    operation: str
    """bulk_create, bulk_update, update, delete, on_delete (SET_NULL and the like) or db_cascade; of the
    application's own SQL sql_insert, sql_update, sql_delete, sql_merge, sql_replace or sql_truncate."""
    model: str
    signals: tuple[str, ...]
    receivers: tuple[ReceiverLabel, ...]
    rows: int | None
    """How many rows were written; None if the database did not say."""
    start_ns: int
    callsite: Callsite | None = None
    parent_number: int | None = None
    """Span number of the receiver call that wrote; None outside any."""


class SideEffect(_Record):
    """Something done to the world outside the database: it cannot be rolled back."""

    kind: str
    """mail, task or socket."""
    target: str
    """Recipients' count, task name or host and port; never a value of the application."""
    start_ns: int
    parent_number: int | None = None
    """Span number of the receiver call that did it; None outside any."""
    backend: str = ""
    """Dotted path of the mail or task backend class that was asked; empty if there is none."""
    in_on_commit: bool = False
    """Done by an on_commit callback: after the commit, as it should be."""
    using: str = ""
    """Alias of the open transaction; empty in autocommit."""
    transaction: TransactionOutcome = TransactionOutcome.NONE
    """What became of the blocks that were open: rolled back if any of them was."""
    transaction_depth: int = 0
    """Open atomic blocks, those of a TestCase not counted; 0 in autocommit."""
    callsite: Callsite | None = None
    ran_at_once_on: str = ""
    """Alias with which ``on_commit()`` was called, where it ran the callback at once: no transaction
    of that alias was open."""


class LostReceiver(_Record):
    """A weakly connected receiver that was found dead: it does not run any more."""

    signal: str
    sender: str
    """As it was connected: ``None`` for any sender."""
    receiver: ReceiverLabel
    was_called: bool = False
    """It ran at least once before it died."""


class ConnectionChange(_Record):
    """A receiver that was connected or disconnected while the trace was running."""

    change: str
    """connected or disconnected."""
    signal: str
    sender: str
    """As it was connected: ``None`` for any sender."""
    receiver: ReceiverLabel
    start_ns: int
    parent_number: int | None = None
    """Span number of the receiver call that did it; None outside any."""
    callsite: Callsite | None = None


class MissedReceiver(_Record):
    """A receiver of a signal that was sent, which did not run because it waits for another sender.

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


class WaitingCallback(_Record):
    """on_commit callbacks that wait for a commit which the transaction of a TestCase never makes."""

    using: str
    count: int = 1
    parent_number: int | None = None
    """Span number of the receiver call that registered them; None outside any."""


_NUMBERS: Final = re.compile(r"[\d.,]+")


class Hazard(_Record):
    """A diagnosis: a named bug, found in the spans of one trace or across traces."""

    hazard: str
    """Id of the rule, as ``slow-receiver``."""
    severity: str
    """error, warning or info."""
    message: str
    """One sentence that names functions with file and line."""
    trace_id: str | None = None
    """None for a finding that belongs to no trace."""
    signal: str = ""
    sender: str = ""
    receiver: str = ""
    file: str = ""
    line: int = 0
    numbers: list[int] = []
    """Span numbers of the evidence."""
    evidence: list[str] = []
    """The same for a reader: one line per fact."""
    remedy: str = ""
    known: str = ""
    """Why the project accepts it, as it was marked; empty if it is not marked as known."""
    root_span_id: str = ""
    """Of the trace: it tells it from others that share the id."""

    def values(self) -> dict[str, Any]:
        """Return its fields by name."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @property
    def subject(self) -> tuple[str, ...]:
        """Return what it is about: the same for the same thing found again."""
        about: tuple[str, ...] = (self.signal, self.sender, self.receiver, self.file)
        if not any(about):
            # About a trace as a whole, as an exceeded budget is: only the message names it. How much it
            # was differs from time to time.
            about = (_NUMBERS.sub("", self.message),)
        return (self.hazard, *about, str(self.line))

    @property
    def fingerprint(self) -> str:
        """Return 32 hex digits that are the same for the same thing found again."""
        text = "\x1f".join(self.subject)
        return blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


class CallbackQueries(_Record):
    """What the on_commit callbacks of one receiver call asked of the database after the call."""

    parent_number: int
    """Span number of the receiver call that registered them."""
    receiver: ReceiverLabel
    statements: tuple[tuple[str, int, int], ...] = ()
    """(normalised SQL, count, ns), as in a receiver call."""


class Carried(_Record):
    """What the diagnosis of a trace, or of a segment of it, needs besides its spans."""

    unfinished: list[Dispatch] = []
    """What is running above its dispatches; comes finished in a later segment."""
    counted: dict[Any, list[tuple[int, int]]] = {}
    """Moments that sums of earlier segments have and later spans may share, by the key of the sum."""
    unsettled: list[SideEffect] = []
    """Side effects whose transaction has not ended; they come in a later segment."""
    receiver_queries: int = 0
    """Queries in receivers that are not among those of its dispatches."""
    asked_later: list[CallbackQueries] = []
    """Queries of on_commit callbacks, which no receiver call ran; in order of the first one."""


class Trace(_Record, eq=False):
    """One unit of work and the dispatches under it; or one segment of a long one."""

    unshown: ClassVar[frozenset[str]] = frozenset(
        {
            "dispatches",
            "bypasses",
            "unheard",
            "side_effects",
            "lost_receivers",
            "connection_changes",
            "unreadable",
            "missed_receivers",
            "waiting_callbacks",
            "hazards",
            "known_hazards",
            "carried",
        }
    )

    trace_id: str
    """W3C trace id, 32 lower-case hex digits: what other services know it by, too."""
    kind: Kind
    name: str
    """Route, command, task, test or block name; for a lone dispatch the signal and sender."""
    started_ns: int
    """Wall clock, nanoseconds since the epoch."""
    duration_ns: int
    """So far, while the status is running."""
    status: Status = Status.OK
    root_span_id: str = ""
    """Id of the span that encloses all of it, 16 hex digits. No other trace has it, while several
    requests that come with one ``traceparent`` share their trace id."""
    parent_span_id: str = ""
    """From an incoming ``traceparent`` or an active OpenTelemetry span; 16 hex digits or empty."""
    parent_trace_id: str = ""
    """The trace in which this one was opened (a test's request); 32 hex digits or empty."""
    http_method: str = ""
    http_path: str = ""
    http_status: int | None = None
    user_id: str = ""
    host: str = ""
    process: int = 0
    thread: str = ""
    release: str = ""
    error: str = ""
    """Type and message of the exception that ended it."""
    attributes: dict[str, str] = {}
    """Context of the application: request_id and the like."""
    dispatch_count: int = 0
    receiver_call_count: int = 0
    query_count: int = 0
    """Queries of the whole trace, inside and outside receivers."""
    query_ns: int = 0
    signal_ns: int = 0
    """Time inside dispatches: the sum over root dispatches."""
    error_count: int = 0
    """Receiver calls that raised."""
    hazard_count: int = 0
    dropped_count: int = 0
    """Dispatches, queries and other items that were not recorded because a limit was reached."""
    unheard_count: int = 0
    """Dispatches without any receiver."""
    overhead_ns: int = 0
    """Estimate of what recording cost the traced threads: counts times what each cost when it was
    measured in this process; 0 where it was not measured yet."""
    segment: int = 0
    """0 for the first or only export of a trace, then 1, 2 ...; counts are totals so far."""
    final: bool = True
    """False while the trace is still running and more segments follow."""
    dispatches: list[Dispatch] = []
    """Every dispatch of this segment, parents before children, in order of span number."""
    bypasses: list[Bypass] = []
    unheard: list[tuple[str, str, int]] = []
    """(signal, sender, count) of dispatches without receivers."""
    side_effects: list[SideEffect] = []
    """Mails, tasks and sockets of this segment, in order of time."""
    lost_receivers: list[LostReceiver] = []
    """Receivers first seen dead during this segment, or before it outside any trace."""
    connection_changes: list[ConnectionChange] = []
    """Receivers connected and disconnected during this segment, in order of time per thread."""
    unreadable: list[tuple[str, str, int]] = []
    """(what, type of exception, count) of what could not be read or written in this segment."""
    missed_receivers: list[MissedReceiver] = []
    """Receivers that wait for a sender related to one that sent, or were left disconnected."""
    waiting_callbacks: list[WaitingCallback] = []
    """Callbacks that a test's own transaction keeps from running."""
    hazards: list[Hazard] = []
    """What the rules of ``tracing.analysis.hazards`` found when the trace was finished."""
    known_hazards: list[Hazard] = []
    """The same of what the project accepts; the store alone keeps it, and no count has it."""

    carried: Carried = field(default_factory=Carried)
    """What is needed to understand it and is none of its spans. Exported by nobody."""

    def __post_init__(self) -> None:
        if not self.root_span_id:
            self.root_span_id = derived_root_span_id(self.trace_id, self.started_ns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        names = (name for name in self.__struct_fields__ if name != "carried")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]

    @property
    def address(self) -> str:
        """Return what names it: its trace id and its root span id."""
        return f"{self.trace_id}/{self.root_span_id}"

    @property
    def is_mine(self) -> bool:
        """Return whether a receiver that is mine was in it, called or skipped."""
        return any(
            call.receiver.mine for dispatch in self.dispatches for call in dispatch.receiver_calls
        )

    def sent_by(self) -> dict[int, list[Dispatch]]:
        """Return what was sent from inside each receiver call, by the call's number, in order of start."""
        sent: dict[int, list[Dispatch]] = {}
        several = False
        every: Iterable[Dispatch] = self.dispatches
        if unfinished := self.carried.unfinished:
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


def _digest(text: str) -> str:
    """Return 16 hex digits made of *text*, never all zero."""
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    return digest if int(digest, 16) else "0000000000000001"


def derived_root_span_id(trace_id: str, started_ns: int) -> str:
    """Return the root span id of a trace that was recorded before traces had one of their own."""
    return _digest(f"{trace_id}:{started_ns}:0")


def span_id(root_span_id: str, number: int) -> str:
    """Return the W3C span id (16 hex digits, never all zero) of span *number* of a trace; 0 is its root.

    Made of what the store, the log and the export all have, so it is the same in each of them.
    """
    return _digest(f"{root_span_id}:{number}") if number else root_span_id
