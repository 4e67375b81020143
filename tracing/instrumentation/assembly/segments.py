"""Traces from what has been read, and segments of those that still run."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.assembly.dispatches import interval
from tracing.instrumentation.assembly.events import Events
from tracing.instrumentation.connections import missed
from tracing.spans.intervals import TimeSoFar, covered_within
from tracing.spans.records import (
    Carried,
    DiscardedCallback,
    Dispatch,
    MissedReceiver,
    Outcome,
    ReceiverCall,
    SideEffect,
    Trace,
    TransactionOutcome,
    WaitingCallback,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_DISCARDED: Final = 50
"""on_commit callbacks told of one trace that never ran."""


class Segments(Events):
    """The spans that have been read, handed out as a trace or a segment."""

    _pairs: Iterable[tuple[str, str]] | None = None
    """Signals and senders of dispatches from a template: in order, each with the queries of all below."""

    @property
    def pending_effects(self) -> bool:
        """Return whether the fate of a transaction of this trace is not known yet."""
        return any(not block.settled for _span, blocks in self._blocks for block in blocks)

    @property
    def pending(self) -> int:
        """Return how many finished dispatches wait to be exported."""
        return len(self._done) + (0 if self._is_cut else len(self._closing))

    def _settle_blocks(self, *, final: bool) -> None:
        waiting = []
        for span, blocks in self._blocks:
            worst = blocks[0].outcome
            if len(blocks) > 1:
                outcomes = [block.outcome for block in blocks]
                worst = next((o for o in _GRAVEST if o in outcomes), worst)
            span.transaction = worst
            if not final and worst is TransactionOutcome.UNKNOWN:
                waiting.append((span, blocks))
        self._blocks = waiting

    def segment(self, *, final: bool) -> Trace:
        """Return what was read since the last segment as a trace."""
        self._settle_async()
        trace = self.trace
        self._settle(final=final)
        if self._pairs is None:
            dispatches = sorted(self._done, key=attrgetter("number"))
            self._sum_up(dispatches)
            signal_ns = self._time_of_roots(dispatches, final=final)
        else:
            dispatches = self._done
            signal_ns = sum([each.duration_ns for each in dispatches if each.parent_number is None])
        effects, pending_effects = self._told_effects(final=final)
        result = self._head(final=final)
        result.dispatch_count = trace.dispatch_count
        result.receiver_call_count = trace.receiver_call_count
        result.query_count, result.query_ns = trace.query_count, trace.query_ns
        result.signal_ns = signal_ns
        result.error_count = trace.error_count
        result.orphan_count = sum(self._orphans.values())
        result.overhead_ns = self._overhead_ns()
        result.segment, result.final = self._segment, final
        result.dispatches, result.bypasses = dispatches, self._bypasses
        result.orphans = [(*pair, count) for pair, count in self._orphans.items()]
        result.side_effects = effects
        result.diagnosis_context = self._carried(pending_effects, final=final)
        result.lost_receivers, result.connection_changes = self._lost, self._changes
        result.unreadable = [(*what, count) for what, count in self._unreadable.items()]
        result.silent_writes = self._silent
        if final:
            self._tell_what_did_not_run(result)
        self._segment += 1
        if not final:
            self._counted.count(dispatches, result.unfinished, self._complete_until)
            self._let_go()
        self._begin_anew(pending_effects)
        return result

    def _settle(self, *, final: bool) -> None:
        """Say of what has been read how it ended, as far as that is known."""
        if final:
            self._close_open()
        self._settle_blocks(final=final)
        self._count_orphans()
        self._tell_statements()

    def _tell_what_did_not_run(self, trace: Trace) -> None:
        """Put into an ended *trace* which receivers and callbacks did not run."""
        trace.missed_receivers = self._missed_receivers(trace.dispatches)
        trace.waiting_callbacks = self._waiting_callbacks()
        trace.discarded_callbacks = self._discarded_callbacks()

    def _tell_statements(self) -> None:
        """Put what was asked into the spans that asked it."""
        for asking, counts in self._statements.values():
            asking.statements = tuple((sql, count, ns) for sql, (count, ns) in counts.items())

    def _carried(self, pending_effects: list[SideEffect], *, final: bool) -> Carried:
        """Return what a later segment has to know of this one."""
        return Carried(
            unfinished=[] if final else self._unfinished(),
            counted=self._counted.known,
            pending_effects=pending_effects,
            callback_queries=list(self._asked_later.values()),
            on_commit=self._on_commit,
            outer_spans=self._numbers.take_outer_spans(self._done),
        )

    def _begin_anew(self, pending_effects: list[SideEffect]) -> None:
        """Keep of what has been read only what the next segment tells."""
        self._done, self._bypasses, self._effects, self._lost = [], [], pending_effects, []
        self._changes, self._silent = [], []
        self._unreadable = {}
        self._statements.clear()
        self._asked_later.clear()
        self._on_commit = []

    def _overhead_ns(self) -> int:
        """Return about how long the recording has kept the traced threads."""
        trace, costs = self.trace, self._costs
        return (
            trace.dispatch_count * costs.dispatch_ns
            + trace.receiver_call_count * costs.call_ns
            + trace.query_count * costs.query_ns
        )

    def _told_effects(self, *, final: bool) -> tuple[list[SideEffect], list[SideEffect]]:
        """Return side effects to tell now, and those that wait for an end."""
        if final:
            return self._effects, []
        waiting = {id(span) for span, _blocks in self._blocks}
        pending_effects = [effect for effect in self._effects if id(effect) in waiting][
            -MAX_UNSETTLED:
        ]
        later = {id(effect) for effect in pending_effects}
        return [effect for effect in self._effects if id(effect) not in later], pending_effects

    def _missed_receivers(self, dispatches: list[Dispatch]) -> list[MissedReceiver]:
        sent = self._pairs
        if sent is None:
            sent = [(dispatch.signal, dispatch.sender) for dispatch in dispatches]
        return missed.find([*sent, *self._orphans], self.active.start)

    def _waiting_callbacks(self) -> list[WaitingCallback]:
        """Return the callbacks that have not begun since a TestCase never commits."""
        found: dict[tuple[str, int | None], WaitingCallback] = {}
        for call, block, *_ in self._callbacks.values():
            if block is None or block.outcome is not TransactionOutcome.TEST:
                continue
            key = block.alias, call.number if call is not None else None
            if key in found:
                found[key].count += 1
            else:
                found[key] = WaitingCallback(key[0], parent_number=key[1])
        return list(found.values())

    def _discarded_callbacks(self) -> list[DiscardedCallback]:
        """Return the callbacks of ended transactions that have not begun."""
        found: list[DiscardedCallback] = []
        for call, block, alias, code, site, instruction in self._callbacks.values():
            if block is None or not block.settled or len(found) == MOST_DISCARDED:
                continue
            discarded = DiscardedCallback(
                using=alias,
                reason=block.outcome,
                callsite=self._site(site, instruction),
                parent_number=call.number if call is not None else None,
            )
            if code is not None:
                function = self._function(code)
                discarded.function = function.function
                discarded.file, discarded.line = function.file, function.line
            if discarded not in found:
                found.append(discarded)
        return found

    def _unfinished(self) -> list[Dispatch]:
        """Return what is open, with what was sent in it since last time."""
        begun = self._begun_calls()
        return [
            replace(
                dispatch,
                receiver_calls=[
                    replace(
                        call,
                        outcome=Outcome.UNKNOWN
                        if call.outcome is Outcome.RUNNING and call.number not in begun
                        else call.outcome,
                    )
                    for call in dispatch.receiver_calls
                ],
            )
            for dispatch in self._open_dispatches()
        ]

    def _begun_calls(self) -> set[int]:
        """Return the numbers of the calls that are running."""
        found: set[int] = set()
        for reader in self._readers.values():
            found.update(opened.call.number for opened in reader.stack if opened.call is not None)
            if reader.outer is not None and not reader.done:
                found.add(reader.outer.number)
        return found

    def _open_dispatches(self) -> list[Dispatch]:
        """Return the dispatches that have begun and not ended, each once."""
        opened = [each.dispatch for reader in self._readers.values() for each in reader.stack]
        found = {dispatch.number: dispatch for dispatch in opened if dispatch is not None}
        if self._by_key:
            ended = {dispatch.number for dispatch in self._done}
            for dispatch, _label in self._by_key.values():
                if dispatch.number not in ended:
                    found[dispatch.number] = dispatch
        return list(found.values())

    def _sum_up(self, dispatches: list[Dispatch]) -> None:
        """Add to each of *dispatches* the queries of all below it.

        What is below has a higher number. A task that was started and awaited lies within the call
        that started it, and counts there.
        """
        if self._awaited:
            self._settle_links(dispatches)
        sent = self._sent
        for dispatch in reversed(dispatches):
            for call in dispatch.receiver_calls:
                if call.query_count:
                    dispatch.query_count += call.query_count
                    dispatch.query_ns += call.query_ns
                if call.number in sent:
                    for inner in sent[call.number]:
                        if inner.query_count and not inner.is_detached:
                            dispatch.query_count += inner.query_count
                            dispatch.query_ns += inner.query_ns

    def _settle_links(self, dispatches: list[Dispatch]) -> None:
        """Put what was sent by handed-over work into the call that waited."""
        calls = {call.number: call for dispatch in dispatches for call in dispatch.receiver_calls}
        waited: dict[int, ReceiverCall] = {}
        for dispatch in dispatches:
            number = dispatch.parent_number
            if not dispatch.is_detached or number is None or number not in self._awaited:
                continue
            call = calls.get(number)
            if call is None:
                continue
            ending = call.start_ns + call.duration_ns
            if dispatch.start_ns + dispatch.duration_ns <= ending:
                if number not in waited:
                    waited[number] = call
                    # What it sent itself has been taken out of its own time already.
                    call.self_ns += covered_within(call, self._waited_for(call))
                dispatch.is_detached = False
        for call in waited.values():
            call.self_ns = max(call.self_ns - covered_within(call, self._waited_for(call)), 0)

    def _time_of_roots(self, dispatches: list[Dispatch], *, final: bool) -> int:
        """Return the time in which any root dispatch ran."""
        roots = [interval(each) for each in dispatches if each.parent_number is None]
        if final:
            return self._roots.with_those(roots)
        running = [each.start_ns for each in self._open_dispatches() if each.parent_number is None]
        self._roots.add(roots, running, self._complete_until)
        return self._roots.with_those(())

    def _let_go(self) -> None:
        """Take what was exported out of open calls, but keep its queries.

        Else a command that is one long dispatch would hold all that was sent inside it.
        """
        exported = {dispatch.number for dispatch in self._done}
        in_buffers = {known[0].number for known in self._by_key.values()}
        sent: dict[int, list[Dispatch]] = {}
        for dispatch in self._open_dispatches():
            for call in dispatch.receiver_calls:
                kept, gone = [], []
                for inner in self._sent.get(call.number, ()):
                    if inner.number not in exported:
                        kept.append(inner)
                    elif not inner.is_detached:
                        gone.append(inner)
                for inner in gone:
                    dispatch.query_count += inner.query_count
                    dispatch.query_ns += inner.query_ns
                if gone and dispatch.number in in_buffers:
                    self._note_inside(call, gone, kept)
                if kept:
                    sent[call.number] = kept
        self._sent = sent
        self._forget(exported)

    def _note_inside(self, call: ReceiverCall, gone: list[Dispatch], kept: list[Dispatch]) -> None:
        """Note how long an async call waited and has run."""
        inside = self._inside.setdefault(call.number, TimeSoFar())
        running = [inner.start_ns for inner in kept if not inner.is_detached]
        inside.add([interval(inner) for inner in gone], running, self._complete_until)

    def _forget(self, exported: set[int]) -> None:
        """Keep of exported calls only what something may hang under."""
        self._by_key = {
            key: known for key, known in self._by_key.items() if known[0].number not in exported
        }
        numbers = {buffer.number for buffer in self.active.buffers}
        self._links = {number: links for number, links in self._links.items() if number in numbers}
        while len(self._callbacks) > MAX_CALLBACKS:
            # Registered in transactions that were rolled back, most likely: they never run.
            del self._callbacks[next(iter(self._callbacks))]
        needed: set[int] = set()
        for reader in self._readers.values():
            if reader.outer is not None:
                needed.add(reader.outer.number)
            for opened in reader.stack:
                if opened.dispatch is not None:
                    needed.update(call.number for call in opened.dispatch.receiver_calls)
        for dispatch, _label in self._by_key.values():
            needed.update(call.number for call in dispatch.receiver_calls)
        for links in self._links.values():
            needed.update(call.number for _place, call in links if call is not None)
        needed.update(call.number for call, *_ in self._callbacks.values() if call is not None)
        self._depths = {n: depth for n, depth in self._depths.items() if n in needed}
        self._awaited &= needed
        self._inside = {n: inside for n, inside in self._inside.items() if n in needed}

    def _close_open(self) -> None:
        """Give an end to what never came to one: the trace is over."""
        ending = self.active.end if self.active.end is not None else clock()
        for reader in self._readers.values():
            while reader.stack:
                opened = reader.stack.pop()
                if opened.dispatch is None or opened.is_batch:
                    continue
                if opened.call is not None and opened.call.outcome is Outcome.RUNNING:
                    self._end_call(opened.call, ending, Outcome.UNKNOWN, opened.nested_ns)
                opened.dispatch.duration_ns = self._since(ending) - opened.dispatch.start_ns
                self._done.append(opened.dispatch)

    def _count_orphans(self) -> None:
        counted = dict(self._orphans_before)
        # Buffers of one thread share their counts.
        each = {id(buffer.orphans): buffer.orphans for buffer in self.active.buffers}
        before = self.active.root.counted_before
        for counts in ({id(before): before} | each).values():
            self._add_orphans(counts, counted)
        self._orphans = counted


_GRAVEST: Final = (
    TransactionOutcome.ROLLED_BACK,
    TransactionOutcome.SAVEPOINT_ROLLED_BACK,
    TransactionOutcome.UNKNOWN,
    TransactionOutcome.TEST,
)
"""Of several open blocks, the worst fate is told."""


MAX_UNSETTLED: Final = 1_000
"""Side effects of a running trace that wait for the end of their transaction; older ones are told."""
MAX_CALLBACKS: Final = 10_000
"""on_commit callbacks of a running trace whose registration is remembered."""
