"""What has been read becomes a trace, or a segment of one that still runs."""

from __future__ import annotations

from time import perf_counter_ns as clock
from typing import Final

from msgspec.structs import replace

from tracing.instrumentation.assembly import state
from tracing.instrumentation.assembly.details import plain_name
from tracing.instrumentation.assembly.dispatches import interval
from tracing.instrumentation.assembly.events import Events
from tracing.instrumentation.attributes.names import MAX_NAME, exact
from tracing.instrumentation.attributes.redaction import HIDDEN, policy, redact_error, redact_path
from tracing.instrumentation.buffer import HOST, LiveTrace
from tracing.instrumentation.connections import missed
from tracing.instrumentation.process import identity
from tracing.spans.intervals import TimeSoFar, covered_within
from tracing.spans.records import (
    Carried,
    Dispatch,
    Kind,
    MissedReceiver,
    Outcome,
    ReceiverCall,
    SideEffect,
    Status,
    Trace,
    TransactionOutcome,
    WaitingCallback,
)

SERVER_ERROR: Final = 500
"""HTTP statuses from here on are failures of the application."""


class Segments(Events):
    """What has been read, handed out as a trace or as a segment of one."""

    @property
    def unsettled(self) -> bool:
        """Return whether the fate of a transaction of this trace is not known yet."""
        return any(not block.settled for _span, blocks in self._blocks for block in blocks)

    @property
    def pending(self) -> int:
        """Return how many finished dispatches wait to be exported."""
        return len(self._done) + (0 if self._is_cut else len(self._closing))

    def _settle_blocks(self, *, final: bool) -> None:
        waiting = []
        for span, blocks in self._blocks:
            outcomes = [block.outcome for block in blocks]
            worst = next((o for o in _GRAVEST if o in outcomes), outcomes[0])
            span.transaction = worst
            if worst is TransactionOutcome.UNKNOWN and not final:
                waiting.append((span, blocks))
        self._blocks = waiting

    def segment(self, *, final: bool) -> Trace:
        """Return what has been read since the last segment as a trace; *final* if no more follows."""
        self._settle_async()
        live, trace = self.live, self.trace
        if final:
            self._close_open()
        self._settle_blocks(final=final)
        self._count_unheard()
        self._tell_statements()
        dispatches = sorted(self._done, key=_by_number)
        self._sum_up(dispatches)
        effects, unsettled = self._told_effects(final=final)
        result = Trace(
            trace_id=trace.trace_id,
            root_span_id=trace.root_span_id,
            kind=live.kind,
            name=self._name(),
            started_ns=live.started_ns,
            duration_ns=live.duration_ns(),
            status=_status(live, final=final),
            parent_span_id=live.parent_span_id,
            parent_trace_id=live.parent_trace_id,
            http_method=plain_name(live.http_method),
            http_path=self._path(),
            http_status=live.http_status,
            user_id=plain_name(live.user_id),
            host=HOST,
            process=identity.pid,
            thread=self._redacted(plain_name(live.thread)),
            release=plain_name(identity.release),
            error=self._redacted(exact(live.error), redact_error),
            attributes=self._attributes(),
            dispatch_count=trace.dispatch_count,
            receiver_call_count=trace.receiver_call_count,
            query_count=trace.query_count,
            query_ns=trace.query_ns,
            signal_ns=self._time_of_roots(dispatches, final=final),
            error_count=trace.error_count,
            dropped_count=live.dropped,
            unheard_count=sum(self._unheard.values()),
            overhead_ns=self._overhead_ns(),
            segment=self._segment,
            final=final,
            dispatches=dispatches,
            bypasses=self._bypasses,
            unheard=[(signal, sender, count) for (signal, sender), count in self._unheard.items()],
            side_effects=effects,
            carried=self._carried(unsettled, final=final),
            lost_receivers=self._lost,
            connection_changes=self._changes,
            unreadable=[(what, why, count) for (what, why), count in self._unreadable.items()],
            missed_receivers=self._missed_receivers(dispatches) if final else [],
            waiting_callbacks=self._waiting_callbacks() if final else [],
        )
        self._segment += 1
        if not final:
            self._counted.count(dispatches, result.unfinished, self._complete_until)
            self._let_go()
        self._begin_anew(unsettled)
        return result

    def _tell_statements(self) -> None:
        """Put what was asked into the spans that asked it."""
        for asking, counts in self._statements.values():
            asking.statements = tuple((sql, count, ns) for sql, (count, ns) in counts.items())

    def _carried(self, unsettled: list[SideEffect], *, final: bool) -> Carried:
        """Return what a later segment has to know of this one."""
        return Carried(
            unfinished=[] if final else self._unfinished(),
            counted=self._counted.known,
            unsettled=unsettled,
            asked_later=list(self._asked_later.values()),
        )

    def _begin_anew(self, unsettled: list[SideEffect]) -> None:
        """Keep of what has been read only what the next segment tells."""
        self._done, self._bypasses, self._effects, self._lost = [], [], unsettled, []
        self._changes = []
        self._unreadable = {}
        self._statements.clear()
        self._asked_later.clear()

    def _attributes(self) -> dict[str, str]:
        """Return the attributes of the trace without their secrets."""
        return {
            exact(name)[:MAX_NAME]: HIDDEN
            if policy.is_sensitive(exact(name))
            else self._redacted(exact(text))
            for name, text in self.live.attributes.items()
        }

    def _overhead_ns(self) -> int:
        """Return about how long the recording has kept the traced threads."""
        trace, costs = self.trace, state.costs
        return (
            trace.dispatch_count * costs.dispatch_ns
            + trace.receiver_call_count * costs.call_ns
            + trace.query_count * costs.query_ns
        )

    def _told_effects(self, *, final: bool) -> tuple[list[SideEffect], list[SideEffect]]:
        """Return (side effects to be told now, those that wait for the end of their transaction)."""
        if final:
            return self._effects, []
        waiting = {id(span) for span, _blocks in self._blocks}
        unsettled = [effect for effect in self._effects if id(effect) in waiting][-MAX_UNSETTLED:]
        later = {id(effect) for effect in unsettled}
        return [effect for effect in self._effects if id(effect) not in later], unsettled

    def _missed_receivers(self, dispatches: list[Dispatch]) -> list[MissedReceiver]:
        sent = [(dispatch.signal, dispatch.sender) for dispatch in dispatches]
        return missed.find([*sent, *self._unheard], self.live.start)

    def _waiting_callbacks(self) -> list[WaitingCallback]:
        """Return the callbacks that have not begun since a TestCase never commits."""
        found: dict[tuple[str, int | None], WaitingCallback] = {}
        for call, block in self._callbacks.values():
            if block is None or block.outcome is not TransactionOutcome.TEST:
                continue
            key = block.alias, call.number if call is not None else None
            if key in found:
                found[key].count += 1
            else:
                found[key] = WaitingCallback(key[0], parent_number=key[1])
        return list(found.values())

    def _unfinished(self) -> list[Dispatch]:
        """Return what is open, as it is now: with what was sent inside it since the last segment."""
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
        """Return the numbers of the calls that are running; those of an ``asend`` begin one by one."""
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
        """Add to each of *dispatches*, ordered by number, the queries of all that is below it.

        What is below has a higher number. A task that was started and awaited lies within the call
        that started it, and counts there.
        """
        if self._awaited:
            self._settle_links(dispatches)
        sent = self._sent
        for dispatch in reversed(dispatches):
            for call in dispatch.receiver_calls:
                dispatch.query_count += call.query_count
                dispatch.query_ns += call.query_ns
                for inner in sent.get(call.number, ()):
                    if not inner.parent_is_link:
                        dispatch.query_count += inner.query_count
                        dispatch.query_ns += inner.query_ns

    def _settle_links(self, dispatches: list[Dispatch]) -> None:
        """Put what was sent by work that a call handed over and waited for into that call."""
        calls = {call.number: call for dispatch in dispatches for call in dispatch.receiver_calls}
        waited: dict[int, ReceiverCall] = {}
        for dispatch in dispatches:
            number = dispatch.parent_number
            if not dispatch.parent_is_link or number is None or number not in self._awaited:
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
                dispatch.parent_is_link = False
        for call in waited.values():
            call.self_ns = max(call.self_ns - covered_within(call, self._waited_for(call)), 0)

    def _time_of_roots(self, dispatches: list[Dispatch], *, final: bool) -> int:
        """Return the time in which any root dispatch ran, *dispatches* being those of this segment."""
        roots = [interval(each) for each in dispatches if each.parent_number is None]
        if final:
            return self._roots.with_those(roots)
        running = [each.start_ns for each in self._open_dispatches() if each.parent_number is None]
        self._roots.add(roots, running, self._complete_until)
        return self._roots.with_those(())

    def _path(self) -> str:
        """Return the path of the request without what may be a token."""
        live = self.live
        path = exact(live.http_path)
        return path if live.is_routed or not path else self._redacted(path, _read_path)

    def _name(self) -> str:
        live = self.live
        name = exact(live.name)
        if live.kind is Kind.DISPATCH and not live.name and self._first_root is not None:
            signal = self._first_root.signal.rpartition(".")[2]
            return f"{signal} {self._first_root.sender}"[:MAX_NAME]
        return self._redacted(name[:MAX_NAME])

    def _let_go(self) -> None:
        """Take what has been exported out of the calls that are still open, and keep its queries.

        Else a command that is one long dispatch would hold all that was sent inside it.
        """
        exported = {dispatch.number for dispatch in self._done}
        in_streams = {known[0].number for known in self._by_key.values()}
        sent: dict[int, list[Dispatch]] = {}
        for dispatch in self._open_dispatches():
            for call in dispatch.receiver_calls:
                kept, gone = [], []
                for inner in self._sent.get(call.number, ()):
                    if inner.number not in exported:
                        kept.append(inner)
                    elif not inner.parent_is_link:
                        gone.append(inner)
                for inner in gone:
                    dispatch.query_count += inner.query_count
                    dispatch.query_ns += inner.query_ns
                if gone and dispatch.number in in_streams:
                    self._note_inside(call, gone, kept)
                if kept:
                    sent[call.number] = kept
        self._sent = sent
        self._forget(exported)

    def _note_inside(self, call: ReceiverCall, gone: list[Dispatch], kept: list[Dispatch]) -> None:
        """Note how long an async call waited for what is *gone* and has run for what is *kept*."""
        inside = self._inside.setdefault(call.number, TimeSoFar())
        running = [inner.start_ns for inner in kept if not inner.parent_is_link]
        inside.add([interval(inner) for inner in gone], running, self._complete_until)

    def _forget(self, exported: set[int]) -> None:
        """Keep of the calls that have been exported only what something may still hang under."""
        self._by_key = {
            key: known for key, known in self._by_key.items() if known[0].number not in exported
        }
        live = {stream.number for stream in self.live.streams}
        self._links = {number: links for number, links in self._links.items() if number in live}
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
        needed.update(call.number for call, _block in self._callbacks.values() if call is not None)
        self._depths = {n: depth for n, depth in self._depths.items() if n in needed}
        self._awaited &= needed
        self._inside = {n: inside for n, inside in self._inside.items() if n in needed}

    def _close_open(self) -> None:
        """Give an end to what never came to one: the trace is over."""
        ending = self.live.end if self.live.end is not None else clock()
        for reader in self._readers.values():
            while reader.stack:
                opened = reader.stack.pop()
                if opened.dispatch is None or opened.is_batch:
                    continue
                if opened.call is not None and opened.call.outcome is Outcome.RUNNING:
                    self._end_call(opened.call, ending, Outcome.UNKNOWN, opened.nested_ns)
                opened.dispatch.duration_ns = self._since(ending) - opened.dispatch.start_ns
                self._finished(opened.dispatch)

    def _count_unheard(self) -> None:
        counted = dict(self._unheard_before)
        # Streams of one thread share their counts.
        each = {id(stream.unheard): stream.unheard for stream in self.live.streams}
        before = self.live.root.counted_before
        for counts in ({id(before): before} | each).values():
            self._add_unheard(counts, counted)
        self._unheard = counted


_GRAVEST: Final = (
    TransactionOutcome.ROLLED_BACK,
    TransactionOutcome.SAVEPOINT_ROLLED_BACK,
    TransactionOutcome.UNKNOWN,
    TransactionOutcome.TEST,
)
"""Of several open blocks, the worst fate is told."""


def _by_number(dispatch: Dispatch) -> int:
    return dispatch.number


def _status(live: LiveTrace, *, final: bool) -> Status:
    if not final:
        return Status.RUNNING
    if live.http_status is not None and live.http_status >= SERVER_ERROR:
        return Status.ERROR
    if live.cancelled:
        return Status.CANCELLED
    return Status.ERROR if live.error else Status.OK


def _read_path(path: str) -> str:
    """Return a path that matched no route, or of which it is not known, without what may be a token."""
    return redact_path(path, None, ())


MAX_UNSETTLED: Final = 1_000
"""Side effects of a running trace that wait for the end of their transaction; older ones are told."""
MAX_CALLBACKS: Final = 10_000
"""on_commit callbacks of a running trace whose registration is remembered."""
