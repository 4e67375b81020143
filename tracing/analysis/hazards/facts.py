"""Facts: one pass over a trace that sorts its spans into what each kind of rule looks at.

Rules are many and traces are mostly harmless. A rule names the fact it starts from, and is not even
called where that fact is empty; so a trace without anything odd costs one pass and little more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.tree import Index
from tracing.capture.spans import Method, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tracing.capture.spans import (
        Bypass,
        Dispatch,
        LostReceiver,
        ReceiverCall,
        ReceiverLabel,
        SideEffect,
        Trace,
    )

MODEL_SIGNALS: Final = "django.db.models.signals."
PRE_INIT: Final = f"{MODEL_SIGNALS}pre_init"
POST_INIT: Final = f"{MODEL_SIGNALS}post_init"
PRE_SAVE: Final = f"{MODEL_SIGNALS}pre_save"
POST_SAVE: Final = f"{MODEL_SIGNALS}post_save"
PRE_DELETE: Final = f"{MODEL_SIGNALS}pre_delete"
POST_DELETE: Final = f"{MODEL_SIGNALS}post_delete"
M2M_CHANGED: Final = f"{MODEL_SIGNALS}m2m_changed"

SAVES: Final = frozenset({PRE_SAVE, POST_SAVE})
INITS: Final = frozenset({PRE_INIT, POST_INIT})
DELETES: Final = frozenset({PRE_DELETE, POST_DELETE})
INSTANCE_SIGNALS: Final = SAVES | INITS | DELETES | {M2M_CHANGED}
"""Django's model signals that are sent for one instance."""

ROBUST: Final = frozenset({Method.SEND_ROBUST, Method.ASEND_ROBUST})
ASYNC: Final = frozenset({Method.ASEND, Method.ASEND_ROBUST})


class Calls:
    """All calls of one receiver in a trace, with the dispatches they belong to."""

    __slots__ = ("calls", "dispatches", "label", "query_count")

    def __init__(self, label: ReceiverLabel) -> None:
        self.label = label
        self.query_count = 0
        self.calls: list[ReceiverCall] = []
        self.dispatches: list[Dispatch] = []

    def copy(self) -> Calls:
        """Return the same calls in lists of their own."""
        copied = Calls(self.label)
        copied.query_count = self.query_count
        copied.calls, copied.dispatches = self.calls[:], self.dispatches[:]
        return copied


class Facts:
    """What the rules look at. Every list is in order of span number.

    Args:
        trace: A finished trace, or one segment of it.
        slow_ns: From which own time on a receiver call is listed in ``slow``.
        repeated: From how many calls on a receiver is listed in ``repeated``.
        queries: From how many queries on a receiver is listed in ``with_statements``.
        models: From how many calls on a receiver is listed in ``unfiltered``.
    """

    __slots__ = (
        "_index",
        "async_hops",
        "by_receiver",
        "bypasses",
        "coroutines",
        "init",
        "lost_receivers",
        "nested",
        "raised",
        "raw",
        "repeated",
        "side_effects",
        "slow",
        "statements",
        "sync_sends_of_async",
        "trace",
        "twins",
        "unfiltered",
        "with_statements",
    )

    always = True
    """For a rule that looks at every trace."""

    def __init__(  # noqa: C901, PLR0912, PLR0915 - one look at each span, and no call for it.
        self,
        trace: Trace,
        *,
        slow_ns: int = 100_000_000,
        repeated: int = 5,
        queries: int = 5,
        models: int = 5,
    ) -> None:
        self.trace = trace
        self._index: Index | None = None
        self.raised: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls that raised."""
        self.twins: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls that are the same function as an earlier one of their dispatch."""
        self.slow: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls with much time of their own."""
        self.coroutines: list[tuple[ReceiverCall, Dispatch]] = []
        """Calls of sync receivers that returned a coroutine."""
        self.async_hops: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls that began with a hop into another thread."""
        self.nested: list[Dispatch] = []
        """Dispatches sent from inside a receiver."""
        self.raw: list[Dispatch] = []
        """Dispatches of a fixture being loaded."""
        self.init: list[Dispatch] = []
        """Dispatches of pre_init and post_init."""
        self.sync_sends_of_async: list[Dispatch] = []
        """Sync sends with async receivers that began in an event loop or failed to run them."""
        by_label: dict[int, Calls] = {}
        # One look at each span: this loop is most of what diagnosing a harmless trace costs.
        returned, raised = Outcome.RETURNED, Outcome.RAISED
        for dispatch in trace.dispatches:
            if dispatch.parent_number is not None:
                self.nested.append(dispatch)
            if dispatch.raw:
                self.raw.append(dispatch)
            if dispatch.signal in INITS:
                self.init.append(dispatch)
            if dispatch.in_event_loop or dispatch.exception_type == "RuntimeError":
                self.sync_sends_of_async.append(dispatch)
            for call in dispatch.receiver_calls:
                label = call.receiver
                # Labels are shared by their calls, and hashing one is dearer than its identity.
                calls = by_label.get(id(label))
                if calls is None:
                    calls = by_label[id(label)] = Calls(label)
                calls.calls.append(call)
                calls.dispatches.append(dispatch)
                calls.query_count += call.query_count
                if call.outcome is not returned and call.outcome is raised:
                    self.raised.append((call, dispatch))
                if call.self_ns >= slow_ns:
                    self.slow.append((call, dispatch))
                if call.response_type == "coroutine":
                    self.coroutines.append((call, dispatch))
                if call.hop_ns:
                    self.async_hops.append((call, dispatch))
                if call.same_as is not None:
                    self.twins.append((call, dispatch))
        groups = list(by_label.values())
        functions = groups
        if len({(group.label.file, group.label.line) for group in groups}) < len(groups):
            groups = _put_together(groups, _by_label)
            functions = _put_together(groups, by_function)
        self.by_receiver = groups
        """The calls of each receiver."""
        self.repeated: list[Calls] = []
        """Receivers that were called many times."""
        self.with_statements: list[Calls] = []
        """Functions that ran many queries, however connected; their statements were recorded."""
        self.unfiltered: list[Calls] = []
        """Receivers connected without a sender that were called often enough to matter."""
        for calls in groups:
            times = len(calls.calls)
            if times >= repeated:
                self.repeated.append(calls)
            if times >= models and calls.label.any_sender:
                self.unfiltered.append(calls)
        for calls in functions:
            if calls.query_count >= queries and any(call.statements for call in calls.calls):
                self.with_statements.append(calls)
        self.statements: bool = bool(self.with_statements or trace.carried.asked_later)
        """Whether there are statements that may have run many times, by calls or by callbacks."""
        self.side_effects: list[SideEffect] = trace.side_effects
        """What was done to the world outside the database."""
        self.bypasses: list[Bypass] = trace.bypasses
        """Writes that skipped signals."""
        self.lost_receivers: list[LostReceiver] = trace.lost_receivers
        """Receivers that were found dead."""

    @property
    def index(self) -> Index:
        """Return the spans by number. Built when a rule first asks."""
        if self._index is None:
            self._index = Index(self.trace)
        return self._index


def _put_together(groups: list[Calls], same: Callable[[ReceiverLabel], Hashable]) -> list[Calls]:
    """Return the calls of *groups*, those of labels that are the *same* in one."""
    merged: dict[Hashable, Calls] = {}
    several: set[Hashable] = set()
    for group in groups:
        key = same(group.label)
        known = merged.get(key)
        if known is None:
            merged[key] = group
            continue
        if key not in several:
            several.add(key)
            known = merged[key] = known.copy()
        known.calls += group.calls
        known.dispatches += group.dispatches
        known.query_count += group.query_count
    return list(merged.values())


def _by_label(label: ReceiverLabel) -> Hashable:
    return label


def by_function(label: ReceiverLabel) -> Hashable:
    """Return the same for one function under several uids; what has no place is its name alone."""
    return (label.name, label.file, label.line)
