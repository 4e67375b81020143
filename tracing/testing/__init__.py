"""Tests of any project: capture what was dispatched, assert on it, mute receivers safely.

Nothing here needs the database, the pipeline or the tracer's application to be installed: a
capture records into memory, for as long as its block lasts.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager
from fnmatch import fnmatchcase
from threading import RLock
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.dispatch import Signal, dispatcher

from tracing.analysis import tree
from tracing.analysis.names import callsite_text, receiver_text, shorten_middle
from tracing.analysis.notes import notes
from tracing.analysis.wiring import all_signals
from tracing.instrumentation import context
from tracing.instrumentation.assembly.assembler import snapshot
from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.redaction import known_as
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.attributes.values import error_text
from tracing.instrumentation.context import LiveTrace
from tracing.instrumentation.sampling import Sampler, switch
from tracing.spans.records import Dispatch, Kind, Outcome, ReceiverCall
from tracing.units import format_ns, format_spent, plural, query_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tracing.instrumentation.context import Processor
    from tracing.spans.records import Bypass, ConnectionChange, Hazard, SideEffect, Trace

__all__ = [
    "Captured",
    "DispatchAssertions",
    "assert_dispatch_budget",
    "assert_dispatched",
    "assert_no_hazards",
    "assert_not_dispatched",
    "assert_not_received",
    "assert_received",
    "capture_dispatches",
    "dispatch_tree",
    "mute",
]


class _AnySender:
    """The sender that stands for every sender; None is a sender of its own."""

    def __repr__(self) -> str:
        return "ANY_SENDER"


ANY_SENDER: Final = _AnySender()

SignalName: TypeAlias = "Signal | str"
"""A signal, its dotted path, its last part (``post_save``) or a pattern with ``*``."""
ReceiverName: TypeAlias = "Callable[..., Any] | str"
"""A receiver, its dotted path, its last part or a pattern with ``*``."""


# --- capturing -----------------------------------------------------------------------------------


class Captured:
    """What was dispatched within a block. While the block runs: what was dispatched so far."""

    def __init__(self, live: LiveTrace, *, is_alone: bool = False) -> None:
        self.is_alone = is_alone
        """Django is instrumented for this capture only: nothing is recorded for anybody else."""
        self._live = live
        self._running: list[LiveTrace] = []
        self._ended: list[Trace] = []
        self._starts: dict[str, int] = {}
        self._trace: Trace | None = None

    def __repr__(self) -> str:
        trace = self.trace
        return (
            f"<Captured {trace.name!r}: {plural(trace.dispatch_count, 'dispatch', 'dispatches')}>"
        )

    @property
    def trace(self) -> Trace:
        """Return the trace of the block, requests and blocks inside it included."""
        return self._trace if self._trace is not None else self._assemble()

    @property
    def dispatches(self) -> list[Dispatch]:
        """Return every dispatch that had a receiver, parents before children."""
        return self.trace.dispatches

    @property
    def receiver_calls(self) -> list[ReceiverCall]:
        """Return every receiver call, skipped ones included, in order of their dispatches."""
        return [call for dispatch in self.dispatches for call in dispatch.receiver_calls]

    @property
    def hazards(self) -> list[Hazard]:
        """Return what the hazard rules find in it, known ones left out, the worst first."""
        from tracing.analysis.hazards import diagnose  # noqa: PLC0415 - many rules, rarely asked.

        return diagnose(self.trace)

    def tree(self, *, limit: int = 60) -> str:
        """Return it as text for a person, repetitions folded, at most *limit* lines."""
        return dispatch_tree(self.trace, limit=limit)

    def _follows(self, trace: LiveTrace) -> bool:
        """Return whether *trace* was begun inside this block."""
        outer = trace.root.outer
        while outer is not None:
            if outer.trace is self._live:
                return True
            outer = outer.trace.root.outer if outer.trace is not None else outer.outer
        return False

    def _begun(self, trace: LiveTrace) -> None:
        if self._follows(trace):
            trace.held = True
            self._running.append(trace)

    def _over(self, trace: LiveTrace) -> None:
        if trace in self._running:
            self._running.remove(trace)
            # Now, not later: the pipeline is about to empty its streams.
            ended = snapshot(trace)
            self._starts[ended.root_span_id] = trace.start
            self._ended.append(ended)

    def _assemble(self) -> Trace:
        trace = snapshot(self._live)
        inner = [(self._starts[ended.root_span_id], ended) for ended in self._ended]
        inner += [(running.start, snapshot(running)) for running in self._running]
        for start, other in inner:
            _merge(trace, other, start - self._live.start)
        if inner:
            _renumber(trace)
        return trace

    def _finish(self) -> None:
        self._trace = self._assemble()
        self._running.clear()
        self._ended.clear()


def _merge(trace: Trace, other: Trace, offset_ns: int) -> None:
    """Add what *other* holds to *trace*; it began *offset_ns* later."""
    # Numbers must not meet before everything is numbered anew.
    above = 1 + max(
        (span.number for dispatch in trace.dispatches for span in _spans(dispatch)), default=0
    )
    for dispatch in other.dispatches:
        for span in _spans(dispatch):
            span.number += above
            span.start_ns += offset_ns
        if dispatch.parent_number is not None:
            dispatch.parent_number += above
    for note in _notes(other):
        note.start_ns += offset_ns
        if note.parent_number is not None:
            note.parent_number += above
    trace.dispatches += other.dispatches
    trace.bypasses += other.bypasses
    trace.side_effects += other.side_effects
    trace.lost_receivers += other.lost_receivers
    trace.connection_changes += other.connection_changes
    trace.unreadable += other.unreadable
    trace.missed_receivers += other.missed_receivers
    trace.waiting_callbacks += other.waiting_callbacks
    counts: dict[tuple[str, str], int] = {}
    for signal, sender, count in (*trace.unheard, *other.unheard):
        counts[signal, sender] = counts.get((signal, sender), 0) + count
    trace.unheard = [(signal, sender, count) for (signal, sender), count in counts.items()]
    for name in _SUMS:
        setattr(trace, name, getattr(trace, name) + getattr(other, name))


_SUMS: Final = (
    "dispatch_count",
    "receiver_call_count",
    "query_count",
    "query_ns",
    "signal_ns",
    "error_count",
    "dropped_count",
    "unheard_count",
    "overhead_ns",
)


def _notes(trace: Trace) -> list[Bypass | SideEffect | ConnectionChange]:
    return [*trace.bypasses, *trace.side_effects, *trace.connection_changes]


def _spans(dispatch: Dispatch) -> tuple[Dispatch | ReceiverCall, ...]:
    return (dispatch, *dispatch.receiver_calls)


def _renumber(trace: Trace) -> None:
    """Number the spans of *trace* in the order of time, parents before children."""
    numbers: dict[int, int] = {}
    ordered: list[Dispatch] = []
    roots = sorted(tree.roots(trace), key=lambda dispatch: dispatch.start_ns)
    for visit in tree.walk_from(roots):
        numbers[visit.span.number] = len(numbers) + 1
        if isinstance(visit.span, Dispatch):
            ordered.append(visit.span)
    for dispatch in ordered:
        dispatch.parent_number = numbers.get(dispatch.parent_number or 0)
        for span in _spans(dispatch):
            span.number = numbers[span.number]
    for note in _notes(trace):
        note.parent_number = numbers.get(note.parent_number or 0)
    trace.dispatches = ordered


class _RecordAll(Sampler):
    """Lets every trace be recorded while something is captured: a request that is not sampled too.

    What would not have been recorded otherwise is handed to nobody.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stood = switch.sampler
        self._paused = switch.paused
        self._refused = threading.local()
        switch.sampler = self
        switch.paused = False

    def undo(self) -> None:
        """Put back what stood there; a sampler or a pause that came later stays."""
        if switch.sampler is self:
            switch.sampler = self._stood
        switch.paused = switch.paused or self._paused

    def decide(
        self,
        kind: Kind,
        name: str,
        parent_sampled: bool | None = None,  # noqa: FBT001 - as in the class above.
    ) -> bool:
        """Return True, and remember what would have been decided."""
        sampled = not self._paused and self._stood.decide(kind, name, parent_sampled)
        self._refused.now = not sampled
        return True

    def was_refused(self) -> bool:
        """Return whether the trace that begins now was not meant to be recorded; per thread."""
        refused: bool = getattr(self._refused, "now", False)
        self._refused.now = False
        return refused


class _Watch:
    """Tells captures of the traces that begin and end inside them, and whoever was told before."""

    def __init__(self) -> None:
        self._captures: list[Captured] = []
        self._before: Processor | None = None
        self._sampling: _RecordAll | None = None
        self._lock = RLock()

    def add(self, captured: Captured) -> None:
        with self._lock:
            if not self._captures:
                self._before = context.set_processor(self)
                self._sampling = _RecordAll()
            self._captures = [*self._captures, captured]

    def remove(self, captured: Captured) -> None:
        with self._lock:
            self._captures = [other for other in self._captures if other is not captured]
            if self._captures:
                return
            if context.processor is self:
                context.set_processor(self._before)
            self._before = None
            if self._sampling is not None:
                self._sampling.undo()
                self._sampling = None

    def ended(self, trace: LiveTrace) -> None:
        for captured in self._captures:
            captured._over(trace)  # noqa: SLF001 - the two belong together.

    def on_start(self, trace: LiveTrace) -> None:
        refused = self._sampling is not None and self._sampling.was_refused()
        if refused or any(captured.is_alone for captured in self._captures):
            trace.excluded = True
        for captured in self._captures:
            captured._begun(trace)  # noqa: SLF001 - the same.
        if self._before is not None:
            self._before.on_start(trace)

    def on_end(self, trace: LiveTrace) -> None:
        self.ended(trace)
        if self._before is not None:
            self._before.on_end(trace)


_watch: Final = _Watch()


@contextmanager
def capture_dispatches(
    name: str = "block", *, kind: Kind | str = Kind.BLOCK
) -> Generator[Captured]:
    """Record every dispatch of the block, whatever is sampled or paused, and hand it to nobody.

    Instruments Django for as long as the block lasts, if it is not instrumented already. Requests
    of the test client are traces of their own, and part of the block as well. So are threads that
    asgiref starts for it; what other threads do on their own (a live server) is not.

    Args:
        name: The name of the trace.
        kind: Its kind.

    Yields:
        What is captured, which may be asked during the block and after it.
    """
    import tracing  # noqa: PLC0415 - the package's own functions need all rooms below this one.

    undo = None if tracing.is_instrumented() else tracing.instrument()
    outer = context.current()
    parent = context.trace_around(outer)
    live = LiveTrace(
        Kind(kind), name, parent_trace_id=parent.trace_id if parent else "", outer=outer
    )
    live.excluded = True
    captured = Captured(live, is_alone=undo is not None)
    try:
        _watch.add(captured)
        context.begin(live)
        yield captured
    except BaseException as error:
        live.error = ": ".join(filter(None, error_text(error)))[: names.MAX_NAME]
        raise
    finally:
        context.finish(live)
        _watch.remove(captured)
        captured._finish()  # noqa: SLF001 - the two belong together.
        # An excluded trace is not announced: captures around this one hear of it here.
        _watch.ended(live)
        if undo is not None:
            undo()


# --- the tree as text ----------------------------------------------------------------------------


def dispatch_tree(trace: Trace, *, limit: int = 60) -> str:
    """Return *trace* as indented text, repetitions folded, at most *limit* lines of dispatches."""
    lines = [_heading(trace)]
    nodes = list(tree.flatten(tree.fold(trace)))
    lines += ["  " * (node.depth + 1) + _line(node) for node in nodes[:limit]]
    if len(nodes) > limit:
        lines.append(f"  … {plural(len(nodes) - limit, 'more line')}")
    if trace.unheard:
        heard = sorted(trace.unheard, key=lambda item: -item[2])[:8]
        unheard = ", ".join(
            f"{signal.rpartition('.')[2]} {sender} {tree.TIMES}{count}"
            for signal, sender, count in heard
        )
        more = ", …" if len(trace.unheard) > len(heard) else ""
        lines.append(f"  without receivers: {unheard}{more}")
    for note in notes(trace):
        times = f" {tree.TIMES}{note.count}" if note.count > 1 else ""
        lines.append(f"  {note.kind}{times}: {note.text}")
    return "\n".join(lines)


def _heading(trace: Trace) -> str:
    parts = [
        plural(trace.dispatch_count, "dispatch", "dispatches"),
        plural(trace.receiver_call_count, "receiver call"),
        query_text(trace.query_count),
        format_ns(trace.duration_ns),
    ]
    return f"{trace.kind} {trace.name}: {', '.join(parts)}"


def _line(node: tree.Node) -> str:
    span = node.span
    times = f"{node.count} {tree.TIMES} " if node.count > 1 else ""
    queries = f", {query_text(node.query_count)}" if node.query_count else ""
    if isinstance(span, Dispatch):
        what = f" {span.instance}" if node.count == 1 and span.instance else ""
        site = f", sent by {callsite_text(span.callsite)}" if span.callsite is not None else ""
        raised = f", raised {span.exception_type}" if span.exception_type else ""
        return f"{times}{node.label}{what}: {format_spent(node.total_ns)}{queries}{raised}{site}"
    text = f"{times}→ {receiver_text(span.receiver)}: "
    if span.outcome is Outcome.SKIPPED:
        return f"{text}skipped"
    text += f"{format_spent(node.total_ns)}{queries}"
    if span.outcome is Outcome.RAISED:
        message = shorten_middle(span.exception_message, 120)
        return f"{text}, raised {span.exception_type}({message!r})"
    return text if span.outcome is Outcome.RETURNED else f"{text}, {span.outcome}"


# --- asserting -----------------------------------------------------------------------------------


def _matches(text: str, wanted: str) -> bool:
    """Return whether a dotted path is the one that is wanted: in full, its end, or by pattern."""
    if "*" in wanted or "?" in wanted:
        return fnmatchcase(text, wanted)
    return text == wanted or text.endswith(f".{wanted}")


def _signal_text(signal: SignalName) -> str:
    return signal if isinstance(signal, str) else signal_name(signal)


def _sender_text(sender: Any) -> str:
    if isinstance(sender, str):
        return sender
    if sender is ANY_SENDER:
        return ""
    return names.sender_name(sender)


def _receiver_text(receiver: ReceiverName) -> str:
    return receiver if isinstance(receiver, str) else names.receiver_label(receiver).name


def _dispatches(captured: Captured, signal: SignalName | None, sender: Any) -> list[Dispatch]:
    wanted_signal = "*" if signal is None else _signal_text(signal)
    wanted_sender = "*" if sender is ANY_SENDER else _sender_text(sender)
    return [
        dispatch
        for dispatch in captured.dispatches
        if _matches(dispatch.signal, wanted_signal) and _matches(dispatch.sender, wanted_sender)
    ]


def _unheard(captured: Captured, signal: SignalName | None, sender: Any) -> int:
    """Return how many dispatches without a receiver match: they happened, though nobody heard."""
    wanted_signal = "*" if signal is None else _signal_text(signal)
    wanted_sender = "*" if sender is ANY_SENDER else _sender_text(sender)
    return sum(
        count
        for name, of, count in captured.trace.unheard
        if _matches(name, wanted_signal) and _matches(of, wanted_sender)
    )


def _what(signal: SignalName | None, sender: Any) -> str:
    text = "a signal" if signal is None else _signal_text(signal)
    return text if sender is ANY_SENDER else f"{text} from {_sender_text(sender)}"


def _fail(message: str, captured: Captured) -> AssertionError:
    return AssertionError(f"{message}\n\n{captured.tree()}")


def _times(count: int) -> str:
    return plural(count, "time")


def assert_dispatched(
    captured: Captured,
    signal: SignalName,
    *,
    sender: Any = ANY_SENDER,
    instance: str = "",
    times: int | None = None,
) -> list[Dispatch]:
    """Assert that *signal* was sent, and return its dispatches that had receivers.

    A dispatch that nobody received counts too; it cannot be told by *instance*.

    Args:
        captured: What ``capture_dispatches`` yielded.
        signal: A signal, its dotted path, the end of it, or a pattern with ``*``.
        sender: A class, a model label or dotted path; None for signals sent with no sender.
        instance: As ``orders.Order:42``.
        times: Exactly how often; at least once if None.

    Raises:
        AssertionError: It was not, or not so often; the message shows the whole tree.
    """
    __tracebackhide__ = True
    found = _dispatches(captured, signal, sender)
    count = len(found) + _unheard(captured, signal, sender)
    what = _what(signal, sender)
    if instance:
        found = [dispatch for dispatch in found if dispatch.instance in known_as(instance)]
        count = len(found)
        what += f" for {instance}"
    if times is None and not count:
        raise _fail(f"{what} was not dispatched.", captured)
    if times is not None and count != times:
        raise _fail(f"{what} was dispatched {_times(count)}, not {_times(times)}.", captured)
    return found


def assert_not_dispatched(
    captured: Captured, signal: SignalName | None = None, *, sender: Any = ANY_SENDER
) -> None:
    """Assert that *signal*, or without one any signal, was not sent; not even unheard.

    Raises:
        AssertionError: It was; the message shows the whole tree.
    """
    __tracebackhide__ = True
    count = len(_dispatches(captured, signal, sender)) + _unheard(captured, signal, sender)
    if count:
        raise _fail(f"{_what(signal, sender)} was dispatched {_times(count)}.", captured)


def _calls(
    captured: Captured, receiver: ReceiverName, signal: SignalName | None, sender: Any
) -> list[ReceiverCall]:
    wanted = _receiver_text(receiver)
    return [
        call
        for dispatch in _dispatches(captured, signal, sender)
        for call in dispatch.receiver_calls
        if _matches(call.receiver.name, wanted) and call.outcome is not Outcome.SKIPPED
    ]


def assert_received(
    captured: Captured,
    receiver: ReceiverName,
    *,
    signal: SignalName | None = None,
    sender: Any = ANY_SENDER,
    outcome: Outcome | str | None = None,
    times: int | None = None,
) -> list[ReceiverCall]:
    """Assert that *receiver* was called, and return its calls.

    Args:
        captured: What ``capture_dispatches`` yielded.
        receiver: A receiver, its dotted path, the end of it, or a pattern with ``*``.
        signal: Only calls for this signal.
        sender: Only calls for this sender.
        outcome: Only calls that ended so: ``returned``, ``raised`` or ``cancelled``.
        times: Exactly how often; at least once if None.

    Raises:
        AssertionError: It was not, or not so often; the message shows the whole tree.
    """
    __tracebackhide__ = True
    calls = _calls(captured, receiver, signal, sender)
    what = f"{_receiver_text(receiver)} was"
    if outcome is not None:
        calls = [call for call in calls if call.outcome == outcome]
        what = f"{_receiver_text(receiver)} {outcome}"
    by = "" if signal is None and sender is ANY_SENDER else f" by {_what(signal, sender)}"
    called = f"{what} called" if outcome is None else what
    if times is None and not calls:
        text = f"{what} not called{by}" if outcome is None else f"No call of {what}{by}"
        raise _fail(f"{text}.", captured)
    if times is not None and len(calls) != times:
        raise _fail(f"{called}{by} {_times(len(calls))}, not {_times(times)}.", captured)
    return calls


def assert_not_received(
    captured: Captured,
    receiver: ReceiverName,
    *,
    signal: SignalName | None = None,
    sender: Any = ANY_SENDER,
) -> None:
    """Assert that *receiver* was not called.

    Raises:
        AssertionError: It was; the message shows the whole tree.
    """
    __tracebackhide__ = True
    calls = _calls(captured, receiver, signal, sender)
    if calls:
        raise _fail(f"{_receiver_text(receiver)} was called {_times(len(calls))}.", captured)


def assert_dispatch_budget(
    captured: Captured,
    *,
    dispatches: int | None = None,
    receiver_calls: int | None = None,
    queries: int | None = None,
    receiver_ms: float | None = None,
) -> None:
    """Assert that no more was done than this. What is None is not limited.

    Args:
        captured: What ``capture_dispatches`` yielded.
        dispatches: Dispatches that had at least one receiver.
        receiver_calls: Calls of receivers.
        queries: Queries run by receivers; queries outside them do not count.
        receiver_ms: Time inside dispatches, in milliseconds. Machines differ: set it generously.

    Raises:
        AssertionError: Something took more; the message shows all that did, and the tree.
    """
    __tracebackhide__ = True
    trace = captured.trace
    calls = captured.receiver_calls
    in_receivers = sum(call.query_count for call in calls)
    called = sum(call.outcome is not Outcome.SKIPPED for call in calls)
    over = []
    if dispatches is not None and len(trace.dispatches) > dispatches:
        over.append(
            f"{plural(len(trace.dispatches), 'dispatch', 'dispatches')}, {dispatches} allowed"
        )
    if receiver_calls is not None and called > receiver_calls:
        over.append(f"{plural(called, 'receiver call')}, {receiver_calls} allowed")
    if queries is not None and in_receivers > queries:
        over.append(f"{query_text(in_receivers)} in receivers, {queries} allowed")
    if receiver_ms is not None and trace.signal_ns > receiver_ms * 1_000_000:
        over.append(f"{format_ns(trace.signal_ns)} in dispatches, {receiver_ms:g} ms allowed")
    if over:
        raise _fail(f"Over budget: {'; '.join(over)}.", captured)


def assert_no_hazards(captured: Captured, *, ignore: Sequence[str] = ()) -> None:
    """Assert that the hazard rules find nothing, except rules named in *ignore*.

    Raises:
        AssertionError: They do; the message names each finding, and shows the tree.
    """
    __tracebackhide__ = True
    found = [hazard for hazard in captured.hazards if hazard.hazard not in ignore]
    if found:
        listed = "\n".join(f"- {hazard.hazard}: {hazard.message}" for hazard in found)
        raise _fail(f"{plural(len(found), 'hazard')} found:\n{listed}", captured)


class DispatchAssertions:
    """The same assertions for ``unittest``: mix it into a test case.

    First ``with self.captureDispatches() as captured: ...``, after it
    ``self.assertDispatched(captured, post_save, sender=Order)``.
    """

    captureDispatches = staticmethod(capture_dispatches)  # noqa: N815 - unittest's spelling.
    assertDispatched = staticmethod(assert_dispatched)  # noqa: N815 - the same.
    assertNotDispatched = staticmethod(assert_not_dispatched)  # noqa: N815 - the same.
    assertReceived = staticmethod(assert_received)  # noqa: N815 - the same.
    assertNotReceived = staticmethod(assert_not_received)  # noqa: N815 - the same.
    assertDispatchBudget = staticmethod(assert_dispatch_budget)  # noqa: N815 - the same.
    assertNoHazards = staticmethod(assert_no_hazards)  # noqa: N815 - the same.


# --- muting --------------------------------------------------------------------------------------


class Muted:
    """Stands in the place of a muted receiver: it is called and does nothing."""

    def __init__(self, entry: tuple[Any, ...]) -> None:
        self.entry = entry
        """What stood in ``Signal.receivers``: put back when nobody mutes it any more."""
        self.count = 1
        self.is_async = bool(entry[-1])

    def __call__(self, **_named: Any) -> Any:
        return _nothing() if self.is_async else None


async def _nothing() -> None:
    pass


@contextmanager
def mute(*targets: Signal | Callable[..., Any], sender: Any = ANY_SENDER) -> Generator[None]:
    """Keep receivers from running during the block, in the whole process.

    The connections stay where they are: only what they lead to is exchanged, and put back. So
    whatever is connected or disconnected meanwhile stays so, the order does not change, blocks may
    be nested or overlap, and a receiver that dies meanwhile is not kept alive. A muted receiver
    stands in the list of responses with None.

    Args:
        targets: Signals (all their receivers) and receivers (of whatever signal).
        sender: Only connections for exactly this sender; None for those made without one.

    Raises:
        LookupError: A receiver among the targets is connected to no signal.
    """
    muted: list[tuple[Signal, Muted]] = []
    try:
        for target in targets:
            if isinstance(target, Signal):
                _mute_signal(target, sender, muted)
            else:
                _mute_receiver(target, sender, muted)
        yield
    finally:
        for signal, stand_in in muted:
            _unmute(signal, stand_in)


def _mute_receiver(target: Any, sender: Any, muted: list[tuple[Signal, Muted]]) -> None:
    before = len(muted)
    for signal in all_signals():
        _mute_signal(signal, sender, muted, only=target)
    if len(muted) == before:
        raise LookupError(f"{names.receiver_label(target).name} is connected to no signal")


def _mute_signal(
    signal: Signal, sender: Any, muted: list[tuple[Signal, Muted]], only: Any = None
) -> None:
    wanted = dispatcher._make_id(sender)  # type: ignore[attr-defined]  # noqa: SLF001 - Django's key.
    with signal.lock:
        for index, entry in enumerate(signal.receivers):
            if sender is not ANY_SENDER and entry[0][1] != wanted:
                continue
            receiver = entry[1]
            if isinstance(receiver, Muted):
                if only is None or _same(_alive(receiver.entry[1]), only):
                    receiver.count += 1
                    muted.append((signal, receiver))
                continue
            if only is not None and not _same(_alive(receiver), only):
                continue
            stand_in = Muted(entry)
            signal.receivers[index] = (entry[0], stand_in, *entry[2:])
            muted.append((signal, stand_in))
        signal.sender_receivers_cache.clear()


def _alive(reference: Any) -> Any:
    return reference() if isinstance(reference, weakref.ReferenceType) else reference


def _same(receiver: Any, target: Any) -> bool:
    """Return whether both are one receiver; a bound method is a new object at each naming."""
    if isinstance(receiver, MethodType) and isinstance(target, MethodType):
        return receiver.__self__ is target.__self__ and receiver.__func__ is target.__func__
    return receiver is target


def _unmute(signal: Signal, stand_in: Muted) -> None:
    with signal.lock:
        stand_in.count -= 1
        if stand_in.count:
            return
        for index, entry in enumerate(signal.receivers):
            if entry[1] is stand_in:
                signal.receivers[index] = stand_in.entry
                break
        # It may have died meanwhile; Django then clears it away at the next chance.
        signal._dead_receivers = True  # type: ignore[attr-defined]  # noqa: SLF001 - Django's flag.
        signal.sender_receivers_cache.clear()
