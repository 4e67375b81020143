"""The moments and queries that sums would have twice: spans share them."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from tracing.spans.intervals import (
    ENDLESS,
    Pair,
    covered,
    intervals_by_sum,
    merged,
    sums_of,
    without,
)
from tracing.spans.records import Outcome
from tracing.store.summing import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from tracing.spans.records import Dispatch, ReceiverCall, ReceiverLabel, Trace
    from tracing.store.summing import Sum, Wires

_SKIPPED: Final = Outcome.SKIPPED
_ALL: Final[Pair] = (None, None)
_ONLY_ALL: Final[tuple[Pair, ...]] = (_ALL,)


def shares_sums(trace: Trace) -> bool:
    """Return whether other segments of *trace* may share moments with it."""
    context = trace.diagnosis_context
    return context is not None and bool(context.unfinished or context.counted)


def subtract_repeats(
    trace: Trace,
    wires_at: Callable[[Dispatch], Wires],
    receiver_id: Callable[[ReceiverLabel], int],
    *,
    in_turn: bool = False,
) -> None:
    """Have the sums of *trace* count each moment and each query once.

    A receiver that runs inside itself, or several times at once, has taken the time once, and so have
    the dispatches of a signal and sender; what a dispatch asked of the database, one of its like around
    it has counted already. What a signal's dispatches of several senders have in common is kept apart,
    in a wire without a sender, to be taken from the sum over them; likewise for senders and for all.

    Args:
        trace: A trace, or a segment of one.
        wires_at: Returns the sums of the hour in which a dispatch began.
        receiver_id: Returns what the sums of a receiver are found by.
        in_turn: No two calls of one receiver share a moment.
    """
    if shares_sums(trace):
        _subtract_across_segments(trace, wires_at, receiver_id)
    else:
        _subtract_within(trace, wires_at)
        if not in_turn:
            _subtract_within_receivers(trace, wires_at, receiver_id)
    asking = [each for each in trace.dispatches if each.query_count and each.parent_number]
    owners = {
        call.number: dispatch
        for dispatch in ((*trace.unfinished, *trace.dispatches) if asking else ())
        for call in dispatch.receiver_calls
    }
    for dispatch in asking:
        _subtract_queries(dispatch, owners, wires_at(dispatch))


def _subtract_within(trace: Trace, wires_at: Callable[[Dispatch], Wires]) -> None:
    """Have the sums of ended dispatches count each moment once."""
    repeated = _repeated_in_others(trace.dispatches)
    if repeated is None:
        _subtract_any(trace, wires_at)
        return
    for keys, dispatch in repeated:
        wires, duration = wires_at(dispatch), dispatch.duration_ns
        for key in keys:
            if key[0] is None or key[1] is None:
                _sum_over(wires, key, dispatch).repeated_ns -= duration
            else:
                wires[key].own.repeated_ns += duration


def _shared(around: list[tuple[int, str, str]], signal: str, sender: str) -> Sequence[Pair]:
    """Return the sums that have what is around a dispatch as well as itself.

    That of its signal and sender alone, if it is one: what that has lost, all that are wider have lost.
    """
    found: tuple[Pair, ...] = _ONLY_ALL
    for _, other_signal, other_sender in around:
        if other_signal == signal:
            if other_sender == sender:
                return ((signal, sender),)
            found = (*found, (signal, None))
        elif other_sender == sender:
            found = (*found, (None, sender))
    return found if found is _ONLY_ALL else [*dict.fromkeys(found)]


def _repeated_in_others(
    dispatches: Sequence[Dispatch],
) -> list[tuple[Sequence[Pair], Dispatch]] | None:
    """Return which sums have all of which dispatch in one around it.

    None where dispatches overlap, of which neither is inside the other, or are in another order. Most
    traces are of one thread, where this cannot be.
    """
    found: list[tuple[Sequence[Pair], Dispatch]] = []
    around: list[tuple[int, str, str]] = []
    last = -ENDLESS
    for dispatch in dispatches:
        start = dispatch.start_ns
        end = start + dispatch.duration_ns
        while around and around[-1][0] <= start:
            around.pop()
        if start < last or (around and around[-1][0] < end):
            return None
        last = start
        signal, sender = dispatch.signal, dispatch.sender
        if around and start < end:
            found.append((_shared(around, signal, sender), dispatch))
        around.append((end, signal, sender))
    return found


def _subtract_any(trace: Trace, wires_at: Callable[[Dispatch], Wires]) -> None:
    """Do the same whatever dispatches have in common."""
    reached: dict[Pair, int] = {}
    """Up to where the spans of each sum have taken the time, of those that share moments."""
    reached_by_all, first = -ENDLESS, None
    spans = [(each.start_ns, -each.start_ns - each.duration_ns, each) for each in trace.dispatches]
    for start, until, dispatch in sorted(spans, key=_outermost_first):
        end = -until
        if start >= reached_by_all:
            # Nothing that ended before shares a moment with what comes: most begin like this.
            reached_by_all, first = end, dispatch
            continue
        if first is not None:
            reached = dict.fromkeys(sums_of(first), reached_by_all)
            first = None
        wires, repeated = wires_at(dispatch), 0
        for key in sums_of(dispatch):
            before = reached.get(key, start)
            if before > start:
                # What the sum of the pair has lost, all that are wider have lost with it.
                more = (end if end < before else before) - start - repeated  # noqa: FURB136
                if not repeated and None not in key:
                    repeated = more
                    wires[key].own.repeated_ns += more
                elif more:
                    _sum_over(wires, key, dispatch).repeated_ns -= more
            if end > before:
                reached[key] = end
        reached_by_all = reached[_ALL]


def _subtract_within_receivers(
    trace: Trace,
    wires_at: Callable[[Dispatch], Wires],
    receiver_id: Callable[[ReceiverLabel], int],
) -> None:
    """Have the sums of receivers do the same."""
    reached: dict[int, int] = {}
    ids: dict[int, int] = {}  # By the identity of labels, which calls share.
    is_in_turn = True
    for dispatch in trace.dispatches:
        for call in dispatch.receiver_calls:
            if call.outcome is not _SKIPPED:
                label = id(call.receiver)
                receiver = ids.get(label)
                if receiver is None:
                    receiver = ids[label] = receiver_id(call.receiver)
                start = call.start_ns
                if start < reached.get(receiver, start):
                    is_in_turn = False
                reached[receiver] = start + call.duration_ns
    if is_in_turn:
        return
    spans = [
        (call.start_ns, -call.start_ns - call.duration_ns, ids[id(call.receiver)], dispatch)
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
        if call.outcome is not _SKIPPED
    ]
    reached.clear()
    for start, until, receiver, dispatch in sorted(spans, key=_outermost_first):
        end, before = -until, reached.get(receiver, start)
        if repeated := _repeated(start, end, before):
            total = wires_at(dispatch)[dispatch.signal, dispatch.sender].calls[receiver]
            total.repeated_ns += repeated
        reached[receiver] = max(before, end)


_outermost_first: Final = itemgetter(0, 1)
"""Of spans that begin with (start, -end)."""


def _repeated(start: int, end: int, reached: int) -> int:
    """Return how much of a span, up to *reached*, others have taken."""
    # Written out: three calls for each dispatch and receiver call of the application would cost.
    if reached <= start:
        return 0
    return (end if end < reached else reached) - start  # noqa: FURB136


def _subtract_across_segments(
    trace: Trace,
    wires_at: Callable[[Dispatch], Wires],
    receiver_id: Callable[[ReceiverLabel], int],
) -> None:
    """Do the same where other segments have spans of these sums."""
    spans = _Spans(trace, receiver_id)
    in_pairs: dict[int, int] = {}
    for signal, sender in spans.pairs:
        for dispatch, repeated in spans.repeats((signal, sender)):
            wires_at(dispatch)[signal, sender].own.repeated_ns += repeated
            in_pairs[dispatch.number] = repeated
    for key in spans.wider:
        for dispatch, repeated in spans.repeats(key):
            if more := repeated - in_pairs.get(dispatch.number, 0):
                _sum_over(wires_at(dispatch), key, dispatch).repeated_ns -= more
    for receiver in spans.receivers:
        for dispatch, repeated in spans.repeats(receiver):
            total = wires_at(dispatch)[dispatch.signal, dispatch.sender].calls[receiver]
            total.repeated_ns += repeated


class _Spans:
    """The spans of a trace by the sums that they are part of."""

    def __init__(self, trace: Trace, receiver_id: Callable[[ReceiverLabel], int]) -> None:
        unfinished = trace.unfinished
        self._of: defaultdict[Hashable, list[tuple[int, int, Dispatch]]] = defaultdict(list)
        self.receivers: dict[int, None] = {}
        self.pairs: dict[tuple[str, str], None] = {}

        def id_of(call: ReceiverCall) -> int:
            return receiver_id(call.receiver)

        # What is still running comes later, with all that is inside it.
        self._elsewhere = intervals_by_sum(unfinished, id_of, running=True)
        for key, moments in (
            trace.diagnosis_context.counted.items() if trace.diagnosis_context is not None else ()
        ):
            known = key if type(key) is tuple else receiver_id(key)
            self._elsewhere.setdefault(known, []).extend(moments)
        for dispatch in trace.dispatches:
            pair = dispatch.signal, dispatch.sender
            self.pairs[pair] = None
            start = dispatch.start_ns
            self._of[pair].append((start, start + dispatch.duration_ns, dispatch))
            for call in dispatch.receiver_calls:
                if call.was_called:
                    receiver = receiver_id(call.receiver)
                    self.receivers[receiver] = None
                    start = call.start_ns
                    self._of[receiver].append((start, start + call.duration_ns, dispatch))
        self.wider = self._wider()

    def _wider(self) -> list[Pair]:
        """Return the sums over several pairs of signal and sender."""
        senders: defaultdict[Pair, set[Pair]] = defaultdict(set)
        everywhere = [*self.pairs, *(key for key in self._elsewhere if type(key) is tuple)]
        for signal, sender in everywhere:
            if signal is not None and sender is not None:
                for wider in ((signal, None), (None, sender), (None, None)):
                    senders[wider].add((signal, sender))
        found = [key for key, pairs in senders.items() if len(pairs) > 1]
        for key in found:
            self._of[key] = [span for pair in senders[key] for span in self._of.get(pair, ())]
        return found

    def repeats(self, key: Hashable) -> Iterator[tuple[Dispatch, int]]:
        """Yield whose spans of a sum took how much time (ns) others have."""
        elsewhere = merged(self._elsewhere.get(key, ()))
        reached = place = 0
        for start, end, dispatch in sorted(self._of[key], key=lambda span: (span[0], -span[1])):
            begin = max(start, reached)
            own = end - begin
            if own > 0 and elsewhere:
                while place < len(elsewhere) and elsewhere[place][1] <= begin:
                    place += 1
                if place < len(elsewhere) and elsewhere[place][0] < end:
                    own = covered(without([(begin, end)], elsewhere[place:]))
            repeated = end - start - max(own, 0)
            if repeated:
                yield dispatch, repeated
            reached = max(reached, end)


def _sum_over(wires: Wires, key: Pair, dispatch: Dispatch) -> Sum:
    """Return what the sum of *key* has too often."""
    wire = wires.get(key)
    if wire is None:
        of_pair = wires[dispatch.signal, dispatch.sender]
        wire = wires[key] = Wire(
            0 if key[0] is None else of_pair.signal, 0 if key[1] is None else of_pair.sender
        )
    return wire.own


def _subtract_queries(dispatch: Dispatch, owners: dict[int, Dispatch], wires: Wires) -> None:
    """Take the queries of *dispatch* out of the sums that have them twice.

    *owners* are the dispatches of receiver calls, by the calls' numbers.
    """
    signal, sender = dispatch.signal, dispatch.sender
    count, took = dispatch.query_count, dispatch.query_ns
    found: set[Pair] = set()
    above: Dispatch | None = dispatch
    while above is not None and above.parent_number is not None and not above.is_detached:
        above = owners.get(above.parent_number)
        if above is None:
            break
        if (above.signal, above.sender) == (signal, sender):
            own = wires[signal, sender].own
            own.queries -= count
            own.query_ns -= took
            # All that is wider has lost them with that.
            return
        found.add((None, None))
        if above.signal == signal:
            found.add((signal, None))
        elif above.sender == sender:
            found.add((None, sender))
    for key in found:
        total = _sum_over(wires, key, dispatch)
        total.queries += count
        total.query_ns += took
