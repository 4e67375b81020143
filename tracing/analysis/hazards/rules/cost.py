"""Rules about time and queries: slow receivers, fixtures, hops."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tracing.analysis.hazards.facts import INSTANCE_SIGNALS, Calls, Facts, is_control
from tracing.analysis.hazards.rule import (
    Options,
    by_receiver,
    finding,
    lines,
    names,
    of_calls,
    rule,
    who,
)
from tracing.analysis.index import outermost
from tracing.analysis.names import callsite_text, is_of_library, short_signal, signal_of
from tracing.spans.intervals import time_once
from tracing.spans.records import Dispatch, Kind, Outcome, ReceiverCall
from tracing.spans.words import ASYNC_METHODS
from tracing.units import format_ns, plural, query_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.index import Below
    from tracing.spans.records import Hazard


_MS: Final = 1_000_000


@rule(
    "slow-receiver",
    severity="warning",
    summary="A receiver call takes much time of its own.",
    why="Whoever sends the signal waits for it, and mostly does not know that it is there.",
    remedy="Move the work to a task enqueued in on_commit, or make it cheaper.",
    wants="slow",
    threshold_ms=100,
)
def slow_receiver(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield receivers with a slow call, once per receiver and signal."""
    threshold_ns = options["threshold_ms"] * _MS
    # Exactly the threshold is still within it.
    slow = [pair for pair in facts.slow if pair[0].self_ns > threshold_ns]
    for calls in by_receiver(facts, slow, _signal):
        slowest = call, dispatch = max(calls, key=lambda pair: pair[0].self_ns)
        queries = f", {format_ns(call.query_ns)} of it in SQL" if call.query_ns else ""
        times = f"; {len(calls)} such calls in this trace" if len(calls) > 1 else ""
        hazard = of_calls(
            f"{who(call.receiver)} took {format_ns(call.self_ns)} of its own time for "
            f"{signal_of(dispatch.signal, dispatch.sender)}{queries}{times}.",
            calls,
            lambda pair: (
                f"self time {format_ns(pair[0].self_ns)}, in all {format_ns(pair[0].duration_ns)}, "
                f"{query_text(pair[0].query_count)} in {format_ns(pair[0].query_ns)}"
            ),
            slowest,
        )
        if facts.trace.kind is Kind.TASK:
            hazard.remedy = "Make it cheaper: it runs in a task already, or enqueue one of its own."
        yield hazard


def _signal(_call: ReceiverCall, dispatch: Dispatch) -> tuple[str, ...]:
    return (dispatch.signal,)


def _all_queries(call: ReceiverCall, below: Below) -> int:
    """Return the queries of *call* and below it, without detached dispatches."""
    return call.query_count + sum(
        dispatch.query_count for dispatch in below.sent(call) if not dispatch.is_detached
    )


def _questions(call: ReceiverCall, below: Below) -> int:
    """Return the same without savepoints, which an early return leaves open."""
    questions = 0
    todo = [call]
    while todo:
        each = todo.pop()
        questions += each.query_count
        questions -= sum([count for sql, count, _ in each.statements if is_control(sql)])
        for dispatch in below.sent(each):
            if dispatch.query_count and not dispatch.is_detached:
                todo += dispatch.receiver_calls
    return questions


@rule(
    "raw-query",
    severity="warning",
    summary="A receiver queried the database for a raw=True dispatch (a fixture being loaded).",
    why=(
        "While a fixture is loaded related rows may not exist yet: the query fails or finds "
        "nothing, and loaddata breaks depending on the order of the file."
    ),
    remedy="Return at once if raw is true.",
    wants="raw",
)
def raw_query(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield receivers that queried under raw=True, once for each sender."""
    below = facts.index.below
    pairs = [
        (call, dispatch)
        for dispatch in facts.raw
        for call in dispatch.receiver_calls
        if _questions(call, below)
    ]
    for calls in by_receiver(facts, pairs, lambda _call, dispatch: (dispatch.sender,)):
        call, dispatch = calls[0]
        outer = outermost(facts.index, [call for call, _ in calls])
        queries = sum(_questions(each, below) for each in outer)
        yield finding(
            f"{who(call.receiver)} ran {query_text(queries)} while {dispatch.sender} was saved raw, "
            f"as from a fixture: it does not return early for raw=True.",
            dispatch=dispatch,
            receiver=call.receiver,
            spans=itertools.chain.from_iterable(calls),
            evidence=lines(
                calls,
                lambda pair: (
                    f"{pair[1].instance or pair[1].sender}: {query_text(_questions(pair[0], below))}"
                ),
            ),
        )


@rule(
    "init-receiver-cost",
    severity="warning",
    summary="A pre_init or post_init receiver queries or is slow, times the instances.",
    why="It runs for every instance that is made, also for each row of a list that was one query.",
    remedy=(
        "Compute the value when it is asked for (cached_property), annotate the queryset, or use "
        "from_db()."
    ),
    wants="init",
    total_ms=10,
)
def init_receiver_cost(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield receivers of pre_init and post_init that cost queries or time."""
    pairs = ((call, dispatch) for dispatch in facts.init for call in dispatch.receiver_calls)
    for calls in by_receiver(facts, pairs, lambda _call, _dispatch: ()):
        # One that makes instances itself runs inside itself.
        outer = outermost(facts.index, [call for call, _ in calls])
        queries = sum(_all_queries(each, facts.index.below) for each in outer)
        total = time_once([call for call, _ in calls])
        if not queries and total <= options["total_ms"] * _MS:
            continue
        call, dispatch = calls[0]
        label = call.receiver
        cost = [format_ns(total)]
        if queries:
            cost.insert(0, query_text(queries))
        yield finding(
            f"{who(label)} cost {' and '.join(cost)} for {plural(len(calls), 'instance')} of "
            f"{dispatch.sender}: {short_signal(dispatch.signal)} is sent for every instance made.",
            dispatch=dispatch,
            receiver=label,
            spans=(call for call, _ in calls),
            evidence=[
                f"{plural(len(calls), 'instance')}, {format_ns(total / len(calls))} each",
                query_text(queries),
            ],
        )


@rule(
    "unfiltered-receiver",
    severity="info",
    summary="A model-signal receiver without sender runs for many models.",
    why="It is called for every model there is, sessions and log entries included.",
    remedy="Connect it with sender=…, once for each model that it means.",
    wants="calls_for_any_sender",
    models=5,
)
def unfiltered_receiver(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield receivers that heard many models."""
    for calls in facts.unfiltered:
        yield from unfiltered(calls, options["models"])


def unfiltered(calls: Calls, models: int) -> Iterator[Hazard]:
    """Yield a finding for each signal with at least *models* senders.

    None for a receiver of an installed package: how it is connected is not the project's to say.
    """
    if is_of_library(calls.label):
        return
    senders: defaultdict[str, dict[str, tuple[ReceiverCall, Dispatch]]] = defaultdict(dict)
    for call, dispatch in zip(calls.calls, calls.dispatches, strict=True):
        if dispatch.signal in INSTANCE_SIGNALS:
            senders[dispatch.signal].setdefault(dispatch.sender, (call, dispatch))
    for signal, by_sender in senders.items():
        if len(by_sender) < models:
            continue
        heard = sorted(by_sender)
        shown = ", ".join(heard[:models]) + (" …" if len(heard) > models else "")
        hazard = finding(
            f"{who(calls.label)} is connected to {short_signal(signal)} without a sender "
            f"and ran for {plural(len(heard), 'model')}: {shown}.",
            dispatch=next(iter(by_sender.values()))[1],
            receiver=calls.label,
            spans=[call for call, _ in by_sender.values()],
            evidence=heard,
        )
        hazard.sender = "None"
        yield hazard


# --- async ---------------------------------------------------------------------------------------


@rule(
    "sync-send-in-loop",
    severity="error",
    summary="A sync send() with async receivers inside a running event loop.",
    why=(
        "Django cannot run the async receivers there: send() raises RuntimeError after the sync "
        "receivers have already run."
    ),
    remedy="Await asend() or asend_robust() there.",
    wants="sync_sends_of_async",
)
def sync_send_in_loop(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield sync sends to async receivers in an event loop, once per place."""
    found: dict[tuple[str, str, object], list[Dispatch]] = {}
    for dispatch in facts.sync_sends_of_async:
        if dispatch.method in ASYNC_METHODS or not _async_calls(dispatch):
            continue
        if not dispatch.in_event_loop and not _raised_by_django(dispatch):
            continue
        found.setdefault((dispatch.signal, dispatch.sender, dispatch.callsite), []).append(dispatch)
    for dispatches in found.values():
        dispatch = dispatches[0]
        receivers = [call.receiver for call in _async_calls(dispatch)]
        yield finding(
            f"{callsite_text(dispatch.callsite)} called {dispatch.method}() of "
            f"{short_signal(dispatch.signal)} inside a running event loop, "
            f"where the async {names(receivers)} cannot run.",
            dispatch=dispatch,
            receiver=receivers[0],
            callsite=dispatch.callsite,
            spans=dispatches,
            evidence=[f"async: {who(label)}" for label in receivers],
        )


def _async_calls(dispatch: Dispatch) -> list[ReceiverCall]:
    return [call for call in dispatch.receiver_calls if call.receiver.is_async]


def _raised_by_django(dispatch: Dispatch) -> bool:
    """Return whether a RuntimeError came from no receiver of the dispatch."""
    return dispatch.exception_type == "RuntimeError" and not any(
        call.outcome is Outcome.RAISED and not call.receiver.is_async
        for call in dispatch.receiver_calls
    )


def _is_djangos(dispatch: Dispatch) -> bool:
    """Return whether all its sync receivers are Django's own."""
    return all(
        call.receiver.is_async or call.receiver.name.startswith("django.")
        for call in dispatch.receiver_calls
    )


@rule(
    "async-hop",
    severity="info",
    summary="Sync receivers under asend() whose hops into a thread cost much in a trace.",
    why="Each asend() with sync receivers hands them to a thread and waits for it.",
    remedy="Make the receivers async, or send once for many.",
    wants="async_hops",
    total_ms=5,
)
def async_hop(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield one finding if hops add up to too much; it names the dearest."""
    hops = [
        (call, dispatch)
        for call, dispatch in facts.async_hops
        if dispatch.method in ASYNC_METHODS and not _is_djangos(dispatch)
    ]
    total = sum(call.thread_switch_ns for call, _ in hops)
    if total <= options["total_ms"] * _MS:
        return
    receivers = {
        id(other.receiver): other.receiver
        for _, owner in hops
        for other in owner.receiver_calls
        if not other.receiver.is_async
    }
    yield of_calls(
        f"{plural(len(hops), 'hop')} into a thread cost {format_ns(total)}, because "
        f"{names(list(dict.fromkeys(receivers.values()))[:5])} ran as sync under asend().",
        hops,
        lambda pair: (
            f"{signal_of(pair[1].signal, pair[1].sender)}: {format_ns(pair[0].thread_switch_ns)}"
        ),
        max(hops, key=lambda pair: pair[0].thread_switch_ns),
    )


@rule(
    "never-awaited",
    severity="error",
    summary="A callable object with async __call__ (or the like) is treated as sync.",
    why=(
        "Django asks iscoroutinefunction() when it connects; what looks sync is called and its "
        "coroutine is dropped: not a line of it runs."
    ),
    remedy=(
        "Connect an async function or an async method of the object, or mark the object with "
        "asgiref.sync.markcoroutinefunction()."
    ),
    wants="coroutines",
)
def never_awaited(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield receivers that were called as sync and returned a coroutine."""
    dropped = [pair for pair in facts.coroutines if not pair[0].receiver.is_async]
    for calls in by_receiver(facts, dropped, _signal):
        call, dispatch = calls[0]
        label = call.receiver
        yield finding(
            f"{who(label)} returned a coroutine that nobody awaits: for Django it is a sync "
            f"receiver of {short_signal(dispatch.signal)}, and nothing of it ran.",
            dispatch=dispatch,
            receiver=label,
            spans=(call for call, _ in calls),
            evidence=[f"called {plural(len(calls), 'time')}, each time returning a coroutine"],
        )
