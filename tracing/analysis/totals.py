"""Totals of each receiver in one trace."""

from __future__ import annotations

from dataclasses import dataclass, field

from tracing.analysis.critical_path import self_times
from tracing.analysis.index import Shown, only
from tracing.analysis.time_split import split_time
from tracing.spans.intervals import time_once
from tracing.spans.records import Outcome, ReceiverCall, Trace


@dataclass(slots=True)
class ReceiverTotal:
    """The calls of one receiver in one trace, added up."""

    name: str
    file: str
    line: int
    app: str
    calls: int = 0
    total_ns: int = 0
    self_ns: int = 0
    max_ns: int = 0
    query_count: int = 0
    query_ns: int = 0
    cpu_ns: int | None = None
    """Of its self time, what its thread computed outside queries; None where it was not read."""
    waiting_ns: int | None = None
    """The rest of it without queries."""
    error_count: int = 0
    skipped_count: int = 0
    share: float = 0.0
    """Its self time, as a share (0 to 1) of the self time of all receivers."""
    signals: list[str] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    slowest_number: int = 0
    """Span number of its longest call."""


def totals(trace: Trace, shown: Shown = None) -> list[ReceiverTotal]:
    """Return totals of *shown* calls by receiver, most self time first.

    Each moment counts once: a call inside another one of its receiver adds nothing to the total.
    """
    found: dict[tuple[str, str, int], ReceiverTotal] = {}
    calls: dict[tuple[str, str, int], list[ReceiverCall]] = {}
    own = self_times(trace)
    for dispatch in trace.dispatches:
        for call in only(dispatch.receiver_calls, shown):
            receiver = call.receiver
            key = (receiver.name, receiver.file, receiver.line)
            total = found.get(key)
            if total is None:
                total = found[key] = ReceiverTotal(*key, app=receiver.app)
            if dispatch.signal not in total.signals:
                total.signals.append(dispatch.signal)
            if dispatch.sender not in total.senders:
                total.senders.append(dispatch.sender)
            if call.outcome is Outcome.SKIPPED:
                total.skipped_count += 1
                continue
            total.calls += 1
            calls.setdefault(key, []).append(call)
            total.self_ns += own[call.number]
            total.query_count += call.query_count
            total.query_ns += call.query_ns
            total.error_count += call.outcome is Outcome.RAISED
            if call.duration_ns >= total.max_ns:
                total.max_ns = call.duration_ns
                total.slowest_number = call.number
    whole = sum(total.self_ns for total in found.values()) or 1
    for key, total in found.items():
        total.total_ns = time_once(calls.get(key, ()))
        if (split := split_time(calls.get(key, ()))) is not None:
            total.cpu_ns, total.waiting_ns = split.cpu_ns, split.waiting_ns
        total.share = total.self_ns / whole
    return sorted(found.values(), key=lambda total: (-total.self_ns, total.name))
