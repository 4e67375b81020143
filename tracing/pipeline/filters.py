"""Selection: what of the finished traces is kept, decided in the worker.

The head sampler decides when a trace begins. Here the patterns of signals, senders and receivers are
applied, and the tail rules, which know how a trace ended.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracing.conf import Settings
    from tracing.spans.records import Dispatch, Trace

_random = Random()


MAX_KNOWN: Final = 10_000
"""Names whose verdict is remembered."""


class Patterns:
    """Allow and deny lists with wildcards: denied loses, and a list of allowed ones is exhaustive."""

    __slots__ = ("_allow", "_deny", "_known")

    def __init__(self, allow: list[str], deny: list[str]) -> None:
        self._allow = allow
        self._deny = deny
        self._known: Recent[str, bool] = Recent(MAX_KNOWN)

    def __bool__(self) -> bool:
        return bool(self._allow or self._deny)

    def keeps(self, name: str) -> bool:
        """Return whether *name* is kept."""
        known = self._known.get(name)
        if known is None:
            known = not any(fnmatchcase(name, pattern) for pattern in self._deny) and (
                not self._allow or any(fnmatchcase(name, pattern) for pattern in self._allow)
            )
            self._known.put(name, known)
        return known


class Lists:
    """A processor of the pipeline: leave out what the allow and deny lists leave out.

    A dispatch that is left out hands what was sent from inside it to the call above it. A receiver
    that is left out is only left out of dispatches where nothing was sent from inside it.
    """

    __slots__ = ("_receivers", "_senders", "_signals")

    def __init__(self, settings: Settings) -> None:
        self._signals = Patterns(settings.signals_allow, settings.signals_deny)
        self._senders = Patterns(settings.senders_allow, settings.senders_deny)
        self._receivers = Patterns(settings.receivers_allow, settings.receivers_deny)

    def __bool__(self) -> bool:
        return bool(self._signals or self._senders or self._receivers)

    def __call__(self, trace: Trace) -> Trace | None:
        """Return *trace* without what is left out."""
        owners = {
            call.number: dispatch
            for dispatch in trace.dispatches
            for call in dispatch.receiver_calls
        }
        kept: list[Dispatch] = []
        gone: dict[int, int | None] = {}
        """Parent to use instead, for each call of a dispatch that is left out."""
        for dispatch in trace.dispatches:
            parent = dispatch.parent_number
            while parent is not None and parent in gone:
                parent = gone[parent]
            moved = parent != dispatch.parent_number
            dispatch.parent_number = parent
            if not (self._signals.keeps(dispatch.signal) and self._senders.keeps(dispatch.sender)):
                for call in dispatch.receiver_calls:
                    gone[call.number] = parent
                    trace.receiver_call_count -= 1
                trace.dispatch_count -= 1
                continue
            above = owners.get(parent) if parent is not None else None
            dispatch.depth = above.depth + 1 if above is not None else dispatch.depth
            if moved and parent is None:
                dispatch.depth = 0
            kept.append(dispatch)
        if self._receivers:
            sending = {dispatch.parent_number for dispatch in kept}
            for dispatch in kept:
                before = len(dispatch.receiver_calls)
                dispatch.receiver_calls = [
                    call
                    for call in dispatch.receiver_calls
                    if call.number in sending or self._receivers.keeps(call.receiver.name)
                ]
                trace.receiver_call_count -= before - len(dispatch.receiver_calls)
        trace.dispatches = kept
        trace.unheard = [
            entry
            for entry in trace.unheard
            if self._signals.keeps(entry[0]) and self._senders.keeps(entry[1])
        ]
        return trace


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
