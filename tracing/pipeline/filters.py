"""Filters of finished traces, asked in the worker.

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
from tracing.instrumentation.sampling import left_out
from tracing.spans.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.conf import Settings
    from tracing.conf.parts import KeepOptions
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
    """The dispatches left out of one trace so far."""

    __slots__ = ("calls", "dispatch_count", "error_count", "numbers")

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        """Of receiver calls; what they sent may come in a later segment."""
        self.dispatch_count = self.calls = self.error_count = 0


class Exclusions:
    """A processor that leaves out what ``EXCLUDE_SIGNALS`` and others name.

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
        if trace.diagnosis_context is not None:
            # They are above what has ended, and come again when they have.
            unfinished = sorted(trace.diagnosis_context.unfinished, key=attrgetter("number"))
            trace.diagnosis_context.unfinished = self._kept(unfinished, left_out, counts=False)
        trace.dispatches = self._kept(trace.dispatches, left_out, counts=True)
        trace.dispatch_count -= left_out.dispatch_count
        trace.receiver_call_count -= left_out.calls
        trace.error_count -= left_out.error_count
        trace.excluded_count = left_out.calls
        trace.orphans = [
            entry
            for entry in trace.orphans
            if not (self._signals.fit(entry[0]) or self._senders.fit(entry[1]))
        ]
        trace.orphan_count = sum(count for _, _, count in trace.orphans)
        notes: tuple[list[Any], ...] = (
            trace.bypasses,
            trace.side_effects,
            trace.connection_changes,
            trace.waiting_callbacks,
            trace.discarded_callbacks,
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


class TailSampler:
    """A processor of the pipeline: keep whole traces by how they ended.

    Args:
        keep: The rules: a trace that one of them holds for is kept, and of the others a share.
    """

    __slots__ = ("_keep",)

    def __init__(self, keep: KeepOptions) -> None:
        self._keep = keep

    def __call__(self, trace: Trace) -> Trace | None:
        """Return *trace* if it is kept."""
        keep = self._keep
        if not trace.final or trace.segment > 0:
            # A trace of which a part is stored already is kept whole.
            return trace
        if keep.errors and (trace.error or trace.error_count or trace.status == "error"):
            return trace
        if keep.hazards and trace.hazard_count:
            return trace
        if keep.slow_ms is not None and trace.duration_ns >= keep.slow_ms * 1e6:
            return trace
        if keep.otherwise >= 1.0 or _random.random() < keep.otherwise:
            return trace
        left_out["keep"] += 1
        return None
