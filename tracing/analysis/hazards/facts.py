"""Facts: one pass over a trace that sorts its spans for all rules.

Rules are many and traces are mostly harmless. A rule names the fact it starts from, and is not even
called where that fact is empty; so a trace without anything odd costs one pass and little more. What
only some rules ask for is worked out when the first one asks.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from django.utils.functional import cached_property

from tracing.analysis.hazards.cycles import Cycles, has_identity
from tracing.analysis.index import Index
from tracing.spans.records import Carried, Method, Outcome, ReceiverLabel

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from tracing.spans.records import (
        Bypass,
        Dispatch,
        LostReceiver,
        ReceiverCall,
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

# Tuples: the hash of an enum's member is worked out in Python, each time.
ROBUST: Final = (Method.SEND_ROBUST, Method.ASEND_ROBUST)


class Calls:
    """All calls of one receiver in a trace, with their dispatches."""

    __slots__ = ("calls", "dispatches", "label", "query_count")

    def __init__(self, label: ReceiverLabel) -> None:
        self.label = label
        self.query_count = 0
        self.calls: list[ReceiverCall] = []
        self.dispatches: list[Dispatch] = []

    def add(self, call: ReceiverCall, dispatch: Dispatch) -> None:
        """Add one call."""
        self.calls.append(call)
        self.dispatches.append(dispatch)
        self.query_count += call.query_count


def _odd_calls(dispatches: list[Dispatch], slow_ns: int) -> list[tuple[ReceiverCall, Dispatch]]:
    """Return the calls of which there is anything to say."""
    returned = Outcome.RETURNED
    return [
        (call, dispatch)
        for dispatch in dispatches
        for call in dispatch.receiver_calls
        if call.query_count
        or call.outcome is not returned
        or call.self_ns >= slow_ns
        or call.thread_switch_ns
        or call.duplicate_of is not None
        or call.response_type == "coroutine"
        or call.receiver.any_sender
    ]


class Facts:
    """The facts that rules look at, each list in order of span number.

    Args:
        trace: A finished trace, or one segment of it.
        slow_ns: From which own time on a receiver call is listed in ``slow``.
        repeated: From how many calls on a receiver is listed in ``repeated``.
        queries: From how many queries on a receiver is listed in ``with_statements``.
        models: From how many calls on a receiver is listed in ``unfiltered``.
    """

    always = True
    """For a rule that looks at every trace."""
    of_processes = False
    """For a rule that looks at processes, and so at no trace."""

    def __init__(
        self,
        trace: Trace,
        *,
        slow_ns: int = 100_000_000,
        repeated: int = 5,
        queries: int = 5,
        models: int = 5,
    ) -> None:
        self.trace = trace
        self.diagnosis_context = trace.diagnosis_context or Carried()
        """What is known of a segment besides its spans."""
        self._least_repeated, self._least_queries, self._least_models = repeated, queries, models
        self.raised: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls that raised."""
        self.duplicates: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls that are the same function as an earlier one of their dispatch."""
        self.slow: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls with much time of their own."""
        self.coroutines: list[tuple[ReceiverCall, Dispatch]] = []
        """Calls of sync receivers that returned a coroutine."""
        self.async_hops: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls that began with a hop into another thread."""
        self.calls_with_queries: list[tuple[ReceiverCall, Dispatch]] = []
        """Receiver calls that queried the database."""
        self.raw: list[Dispatch] = []
        """Dispatches of a fixture being loaded."""
        self.init: list[Dispatch] = []
        """Dispatches of pre_init and post_init."""
        self.sync_sends_of_async: list[Dispatch] = []
        """Sync sends with async receivers that began in an event loop or failed to run them."""
        self.calls_for_any_sender: list[tuple[ReceiverCall, Dispatch]] = []
        """Calls of receivers of model signals that are connected without a sender."""
        self.side_effects: list[SideEffect] = trace.side_effects
        """What was done to the world outside the database."""
        self.bypasses: list[Bypass] = trace.bypasses
        """Writes that skipped signals."""
        self.lost_receivers: list[LostReceiver] = trace.lost_receivers
        """Receivers that were found dead."""
        # These comprehensions are most of what diagnosing a harmless trace costs.
        dispatches = trace.dispatches
        self.nested = [each for each in dispatches if each.parent_number is not None]
        """Dispatches sent from inside a receiver."""
        odd_calls = _odd_calls(dispatches, slow_ns)
        if odd_calls:
            self._sort_calls(odd_calls, slow_ns)
        self.statements = bool(self.calls_with_queries or self.diagnosis_context.callback_queries)
        """Whether receivers or their callbacks queried the database."""
        self.repeats = len(dispatches) >= repeated
        """Whether there are dispatches enough for a receiver to be called in vain."""
        odd = [
            each
            for each in dispatches
            if each.raw or each.in_event_loop or each.exception_type or each.signal in INITS
        ]
        if odd:
            self._sort_dispatches(odd)

    def _sort_calls(self, calls: list[tuple[ReceiverCall, Dispatch]], slow_ns: int) -> None:
        raised = Outcome.RAISED
        for pair in calls:
            call, dispatch = pair
            if call.query_count:
                self.calls_with_queries.append(pair)
            if call.outcome is raised:
                self.raised.append(pair)
            if call.self_ns >= slow_ns:
                self.slow.append(pair)
            if call.response_type == "coroutine":
                self.coroutines.append(pair)
            if call.thread_switch_ns:
                self.async_hops.append(pair)
            if call.duplicate_of is not None:
                self.duplicates.append(pair)
            if call.receiver.any_sender and dispatch.signal in INSTANCE_SIGNALS:
                self.calls_for_any_sender.append(pair)

    def _sort_dispatches(self, dispatches: list[Dispatch]) -> None:
        for dispatch in dispatches:
            if dispatch.raw:
                self.raw.append(dispatch)
            if dispatch.signal in INITS:
                self.init.append(dispatch)
            if dispatch.in_event_loop or dispatch.exception_type == "RuntimeError":
                self.sync_sends_of_async.append(dispatch)

    @cached_property
    def every(self) -> list[Dispatch]:
        """Return the dispatches and the running ones above them, each once."""
        unfinished = self.trace.unfinished
        if not unfinished:
            return self.trace.dispatches
        every = (*unfinished, *self.trace.dispatches)
        return list({dispatch.number: dispatch for dispatch in every}.values())

    @cached_property
    def index(self) -> Index:
        """Return the spans by number."""
        return Index(self.trace)

    @cached_property
    def labels(self) -> dict[int, int]:
        """Return a number for each label by its identity; equal ones share it.

        Labels are shared by their calls, and hashing one is dearer than its identity.
        """
        labels = {
            id(call.receiver): call.receiver
            for dispatch in self.every
            for call in dispatch.receiver_calls
        }
        numbers: dict[tuple[object, ...], int] = {}
        return {
            identity: numbers.setdefault(_values(label), len(numbers))
            for identity, label in labels.items()
        }

    # -- receivers ---------------------------------------------------------------------------

    @cached_property
    def by_receiver(self) -> list[Calls]:
        """Return the calls of each receiver."""
        return self._grouped(
            (call, dispatch)
            for dispatch in self.trace.dispatches
            for call in dispatch.receiver_calls
        )

    @property
    def repeated(self) -> list[Calls]:
        """Return the receivers that were called many times."""
        return [each for each in self.by_receiver if len(each.calls) >= self._least_repeated]

    @cached_property
    def unfiltered(self) -> list[Calls]:
        """Return busy receivers of model signals that have no sender."""
        if len(self.calls_for_any_sender) < self._least_models:
            return []
        groups = self._grouped(self.calls_for_any_sender)
        return [each for each in groups if len(each.calls) >= self._least_models]

    @cached_property
    def with_statements(self) -> list[Calls]:
        """Return functions that ran many queries with recorded statements.

        Of their calls those that queried. A query for each instance that is made is judged by itself.
        """
        least = self._least_queries
        if (
            len(self.calls_with_queries) < least
            and sum([call.query_count for call, _ in self.calls_with_queries]) < least
        ):
            return []
        found: dict[Hashable, Calls] = {}
        known: dict[int, Calls] = {}
        for call, dispatch in self.calls_with_queries:
            if dispatch.signal in INITS:
                continue
            label = call.receiver
            calls = known.get(id(label))
            if calls is None:
                calls = found.setdefault(by_function(label), Calls(label))
                known[id(label)] = calls
            calls.calls.append(call)
            calls.dispatches.append(dispatch)
            calls.query_count += call.query_count
        return [
            each
            for each in found.values()
            if each.query_count >= least and any(call.statements for call in each.calls)
        ]

    def _grouped(self, pairs: Iterable[tuple[ReceiverCall, Dispatch]]) -> list[Calls]:
        found: dict[int, Calls] = {}
        labels = self.labels
        for call, dispatch in pairs:
            number = labels[id(call.receiver)]
            calls = found.get(number)
            if calls is None:
                calls = found[number] = Calls(call.receiver)
            calls.add(call, dispatch)
        return list(found.values())

    # -- what is repeated --------------------------------------------------------------------

    @cached_property
    def times(self) -> Counter[tuple[str, str]]:
        """Return how often each (signal, instance) was dispatched."""
        return Counter([(each.signal, each.instance) for each in self.every])

    @cached_property
    def again(self) -> list[Dispatch]:
        """Return nested dispatches that share signal and instance with others."""
        times = self.times
        if len(times) == len(self.every):
            return []
        return [each for each in self.nested if times[each.signal, each.instance] > 1]

    @cached_property
    def cycles(self) -> Cycles:
        """Return what nests in its like."""
        return Cycles(self.index, self.labels, self.every, self.times)

    @cached_property
    def often(self) -> set[tuple[str, str]]:
        """Return each (signal, instance) that was sent often and names one row."""
        least = self._least_repeated
        return {key for key, count in self.times.items() if count >= least and has_identity(key[1])}

    @cached_property
    def loops(self) -> set[tuple[str, int, int | None]]:
        """Return each (signal, line, parent) that was sent often in a row.

        A signal of Django that is sent for no instance, or for the many that are loaded or deleted, is
        meant to be sent often.
        """
        least = self._least_repeated
        lines = Counter(
            [
                (each.signal, each.callsite.line if each.callsite else 0, each.parent_number)
                for each in self.trace.dispatches
            ]
        )
        return {
            key for key, count in lines.items() if count >= least and key[1] and _says_much(key[0])
        }


_values: Final = attrgetter(*ReceiverLabel.__struct_fields__)
"""Returns what makes two labels equal."""


def _says_much(signal: str) -> bool:
    """Return whether it is odd that *signal* is sent often."""
    if signal in INSTANCE_SIGNALS:
        return signal not in INITS and signal not in DELETES
    return not signal.startswith("django.")


_CONTROL: Final = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT", "START ", "SET ")


def is_control(sql: str) -> bool:
    """Return whether a statement only begins or ends a transaction."""
    return sql[:20].lstrip("( ").upper().startswith(_CONTROL)


def by_function(label: ReceiverLabel) -> Hashable:
    """Return the same for one function under several uids."""
    return (label.name, label.file, label.line)
