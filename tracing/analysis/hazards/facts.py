"""Facts: one pass over a trace that sorts its spans into what each kind of rule looks at.

Rules are many and traces are mostly harmless. A rule names the fact it starts from, and is not even
called where that fact is empty; so a trace without anything odd costs one pass and little more.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tracing.analysis.tree import Index
from tracing.capture.spans import Method, Outcome

if TYPE_CHECKING:
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

    __slots__ = ("calls", "dispatches", "label")

    def __init__(self, label: ReceiverLabel) -> None:
        self.label = label
        self.calls: list[ReceiverCall] = []
        self.dispatches: list[Dispatch] = []


class Facts:
    """What the rules look at. Every list is in order of span number.

    Args:
        trace: A finished trace, or one segment of it.
        slow_ns: From which own time on a receiver call is listed in ``slow``.
        repeated: From how many calls on a receiver is listed in ``repeated``.
    """

    __slots__ = (
        "_index",
        "async_hops",
        "by_receiver",
        "coroutines",
        "init",
        "nested",
        "raised",
        "raw",
        "repeated",
        "sharing",
        "slow",
        "sync_sends_of_async",
        "trace",
        "twins",
        "unfiltered",
        "with_statements",
    )

    def __init__(  # noqa: C901, PLR0915 - one look at each span, and no call for it.
        self, trace: Trace, *, slow_ns: int = 100_000_000, repeated: int = 5, models: int = 5
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
        self.by_receiver: list[Calls] = _merged(by_label)
        """The calls of each receiver."""
        self.repeated = [calls for calls in self.by_receiver if len(calls.calls) >= repeated]
        """Receivers that were called many times."""
        self.with_statements = [
            calls for calls in self.by_receiver if any(call.statements for call in calls.calls)
        ]
        """Receivers of which statements were recorded."""
        self.unfiltered = [
            calls
            for calls in self.by_receiver
            if calls.label.any_sender and models <= len(calls.calls)
        ]
        """Receivers connected without a sender that were called often enough to matter."""
        self.sharing = _sharing(self.by_receiver)
        """Receivers that have their file and line in common with another."""

    @property
    def index(self) -> Index:
        """Return the spans by number. Built when a rule first asks."""
        if self._index is None:
            self._index = Index(self.trace)
        return self._index

    @property
    def side_effects(self) -> list[SideEffect]:
        """Return what was done to the world outside the database."""
        return self.trace.side_effects

    @property
    def bypasses(self) -> list[Bypass]:
        """Return the writes that skipped signals."""
        return self.trace.bypasses

    @property
    def lost_receivers(self) -> list[LostReceiver]:
        """Return the receivers that were found dead."""
        return self.trace.lost_receivers

    @property
    def always(self) -> bool:
        """Return True: for a rule that looks at every trace."""
        return True


def _merged(by_label: dict[int, Calls]) -> list[Calls]:
    """Return the groups with those of equal labels put together (one may be loaded twice)."""
    groups = list(by_label.values())
    merged: dict[ReceiverLabel, Calls] = {}
    for group in groups:
        known = merged.setdefault(group.label, group)
        if known is not group:
            known.calls += group.calls
            known.dispatches += group.dispatches
    return groups if len(merged) == len(groups) else list(merged.values())


def _sharing(groups: list[Calls]) -> list[list[Calls]]:
    """Return the receivers that share a place in the source, in groups of two and more."""
    places: defaultdict[tuple[str, int], list[Calls]] = defaultdict(list)
    for group in groups:
        if group.label.line:
            places[group.label.file, group.label.line].append(group)
    if len(places) == len(groups):
        return []
    return [sharing for sharing in places.values() if len(sharing) > 1]
