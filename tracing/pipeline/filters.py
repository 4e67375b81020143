"""What of the finished traces is kept, decided in the worker.

The head sampler decides when a trace begins. Here the patterns of what is to be left out are applied,
and the tail rules, which know how a trace ended.
"""

from __future__ import annotations

from collections import OrderedDict
from fnmatch import fnmatchcase
from itertools import chain
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.recent import Recent
from tracing.spans.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracing.conf import Settings
    from tracing.spans.records import Dispatch, ReceiverCall, Trace

_random = Random()


MAX_KNOWN: Final = 10_000
"""Names whose verdict is remembered."""
MAX_RUNNING: Final = 256
"""Running traces of which it is remembered what was left out."""


class Patterns:
    """Patterns with wildcards, of which a name fits any."""

    __slots__ = ("_known", "_patterns")

    def __init__(self, patterns: list[str]) -> None:
        self._patterns = patterns
        self._known: Recent[str, bool] = Recent(MAX_KNOWN)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def fit(self, name: str) -> bool:
        """Return whether *name* fits one of them."""
        known = self._known.get(name)
        if known is None:
            known = any(fnmatchcase(name, pattern) for pattern in self._patterns)
            self._known.put(name, known)
        return known


class _LeftOut:
    """What was left out of one trace so far."""

    __slots__ = ("calls", "dispatch_count", "error_count", "numbers")

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        """Of receiver calls; what they sent may come in a later segment."""
        self.dispatch_count = self.calls = self.error_count = 0


class Exclusions:
    """A processor of the pipeline: leave out what ``EXCLUDE_SIGNALS`` and the others name.

    A dispatch or a receiver call that is left out goes with all that it sent, and a dispatch without
    any receiver left goes, too. Mail and writes that sent no signals stay: they were done.
    """

    __slots__ = ("_receivers", "_running", "_senders", "_signals")

    def __init__(self, settings: Settings) -> None:
        self._signals = Patterns(settings.exclude_signals)
        self._senders = Patterns(settings.exclude_senders)
        self._receivers = Patterns(settings.exclude_receivers)
        self._running: OrderedDict[str, _LeftOut] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._signals or self._senders or self._receivers)

    def __call__(self, trace: Trace) -> Trace | None:
        """Return *trace* without what is left out."""
        left_out = self._running.pop(trace.root_span_id, None) or _LeftOut()
        if trace.carried is not None:
            # They are above what has ended, and come again when they have.
            unfinished = sorted(trace.carried.unfinished, key=attrgetter("number"))
            trace.carried.unfinished = self._kept(unfinished, left_out, counts=False)
        trace.dispatches = self._kept(trace.dispatches, left_out, counts=True)
        trace.dispatch_count -= left_out.dispatch_count
        trace.receiver_call_count -= left_out.calls
        trace.error_count -= left_out.error_count
        trace.excluded_count = left_out.calls
        trace.unheard = [
            entry
            for entry in trace.unheard
            if not (self._signals.fit(entry[0]) or self._senders.fit(entry[1]))
        ]
        trace.unheard_count = sum(count for _, _, count in trace.unheard)
        notes: tuple[list[Any], ...] = (
            trace.bypasses,
            trace.side_effects,
            trace.connection_changes,
            trace.waiting_callbacks,
        )
        for note in chain(*notes):
            if note.parent_number in left_out.numbers:
                note.parent_number = None
        if not trace.final:
            self._running[trace.root_span_id] = left_out
            while len(self._running) > MAX_RUNNING:
                self._running.popitem(last=False)
        return trace

    def _kept(
        self, dispatches: Sequence[Dispatch], left_out: _LeftOut, *, counts: bool
    ) -> list[Dispatch]:
        """Return what stays of *dispatches*, parents before children."""
        kept = []
        for dispatch in dispatches:
            is_gone = (
                dispatch.parent_number in left_out.numbers
                or self._signals.fit(dispatch.signal)
                or self._senders.fit(dispatch.sender)
            )
            calls: list[ReceiverCall] = []
            gone: list[ReceiverCall] = []
            for call in dispatch.receiver_calls:
                (gone if is_gone or self._receivers.fit(call.receiver.name) else calls).append(call)
            # One that was cut short before its first receiver has none, and stays.
            is_gone = is_gone or bool(gone and not calls)
            left_out.numbers.update(call.number for call in gone)
            if counts:
                left_out.calls += len(gone)
                left_out.error_count += sum(call.outcome is Outcome.RAISED for call in gone)
                left_out.dispatch_count += is_gone
            if not is_gone:
                dispatch.receiver_calls = calls
                kept.append(dispatch)
        return kept


TAIL_KEYS: Final = frozenset({"errors", "hazards", "slow_ms", "else"})
"""What ``TRACING["KEEP"]`` may have."""


class Tail:
    """A processor of the pipeline: keep whole traces by how they ended.

    Args:
        rules: ``errors``, ``hazards`` (bool), ``slow_ms`` (number): a trace that one of them holds for
            is kept; ``else``: the share of the others that is kept, 0.0 to 1.0, 1.0 by default.
    """

    __slots__ = ("_else", "_errors", "_hazards", "_slow_ns")

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self._errors = bool(rules.get("errors", True))
        self._hazards = bool(rules.get("hazards", True))
        slow_ms = rules.get("slow_ms")
        self._slow_ns = float(slow_ms) * 1e6 if slow_ms is not None else None
        self._else = float(rules.get("else", 1.0))

    def __call__(self, trace: Trace) -> Trace | None:
        """Return *trace* if it is kept."""
        if not trace.final or trace.segment > 0:
            # A trace of which a part is stored already is kept whole.
            return trace
        if self._errors and (trace.error or trace.error_count or trace.status == "error"):
            return trace
        if self._hazards and trace.hazard_count:
            return trace
        if self._slow_ns is not None and trace.duration_ns >= self._slow_ns:
            return trace
        return trace if self._else >= 1.0 or _random.random() < self._else else None
