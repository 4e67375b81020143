"""Rules about repetition: of receivers, calls, queries."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeAlias

from tracing.analysis.hazards.cycles import has_identity
from tracing.analysis.hazards.facts import INITS, INSTANCE_SIGNALS, Facts, by_function, is_control
from tracing.analysis.hazards.rule import (
    Options,
    Pair,
    finding,
    lines,
    of_calls,
    rule,
    site,
    sites,
    who,
)
from tracing.analysis.hazards.rules.recursion import chain
from tracing.analysis.names import short_signal, shorten_middle, signal_of
from tracing.spans.intervals import time_once
from tracing.spans.records import Dispatch, Kind, Outcome, ReceiverCall, ReceiverLabel
from tracing.units import format_ns, ordinal, plural

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from tracing.spans.records import CallbackQueries, Hazard

# --- duplicate-receiver --------------------------------------------------------------------------


def _how_twice(first: ReceiverLabel, second: ReceiverLabel) -> str:
    if first.name != second.name:
        return f"it is connected as {first.name} and as {second.name}"
    if first.dispatch_uid != second.dispatch_uid:
        uids = " and ".join(
            f"dispatch_uid {label.dispatch_uid!r}" if label.dispatch_uid else "no dispatch_uid"
            for label in (first, second)
        )
        return f"it is connected with {uids}"
    if first.any_sender != second.any_sender:
        return "it is connected once for this sender and once for every sender"
    return "two objects made by the same code are connected"


@rule(
    "duplicate-receiver",
    severity="error",
    summary="One function runs twice for one dispatch.",
    why="Everything it does is done twice: rows, mails, money.",
    remedy=(
        "Connect it once, in the ready() of one application, under one import path and with one "
        "dispatch_uid."
    ),
    wants="duplicates",
)
def duplicate_receiver(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield receivers that run more than once for one dispatch."""
    found: dict[tuple[int, int, str, str], tuple[Dispatch, list[ReceiverCall]]] = {}
    labels = facts.labels
    for call, dispatch in facts.duplicates:
        if call.outcome is Outcome.SKIPPED:
            continue
        first = _at(dispatch.receiver_calls, call.duplicate_of)
        if first is None:
            continue
        one, two = labels[id(first.receiver)], labels[id(call.receiver)]
        key = (one, two, dispatch.signal, dispatch.sender)
        known = found.get(key)
        if known is None:
            found[key] = (dispatch, [first, call])
        else:
            known[1].append(first)
            known[1].append(call)
    for dispatch, calls in found.values():
        first, call = calls[:2]
        what = signal_of(dispatch.signal, dispatch.sender)
        yield finding(
            f"{who(call.receiver)} runs twice for one {what}: "
            f"{_how_twice(first.receiver, call.receiver)}.",
            dispatch=dispatch,
            receiver=call.receiver,
            spans=calls,
            evidence=lines(
                calls,
                lambda call: (
                    f"{ordinal(call.position)}: {call.receiver.name}, {format_ns(call.duration_ns)}"
                ),
            ),
        )


def _at(calls: list[ReceiverCall], position: int | None) -> ReceiverCall | None:
    """Return the call at a place in the calling order."""
    if position is not None and position < len(calls) and calls[position].position == position:
        return calls[position]
    return next((call for call in calls if call.position == position), None)


# --- repeated-receiver ---------------------------------------------------------------------------


@rule(
    "repeated-receiver",
    severity="warning",
    summary="A receiver runs many times in a trace where one call would do.",
    why="Each of these calls costs its own time and queries; the last one alone gives the result.",
    remedy=(
        "Save the instance once, after all its fields are set; replace a loop of save() by "
        "bulk_create() or bulk_update() and call the receiver's work once for all of them."
    ),
    wants="repeats",
    calls=5,
)
def repeated_receiver(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield receivers repeated for one instance, or by a loop of single saves.

    Left alone: calls for different instances from different places, deletions in cascade, loops
    of a test outside any receiver, fixtures, and what ``recursion`` explains.
    """
    least: int = options["calls"]
    if facts.often:
        yield from _same_instance(facts, least)
    if facts.loops:
        yield from _loops(facts, least)


_Pairs: TypeAlias = "list[Pair]"


def _by_receiver(facts: Facts, dispatches: list[Dispatch]) -> Iterator[_Pairs]:
    """Yield the calls of each receiver for *dispatches*, one of each dispatch.

    A factory may have made several receivers for it.
    """
    labels = {
        id(call.receiver): call.receiver for each in dispatches for call in each.receiver_calls
    }
    # Mostly no two are equal, and identity will do.
    alike = len({(label.name, label.line) for label in labels.values()}) < len(labels)
    numbers = facts.labels if alike else {identity: identity for identity in labels}
    found: dict[int, _Pairs] = {}
    for dispatch in dispatches:
        for call in dispatch.receiver_calls:
            label = numbers[id(call.receiver)]
            pairs = found.get(label)
            if pairs is None:
                found[label] = [(call, dispatch)]
            elif pairs[-1][1] is not dispatch:
                pairs.append((call, dispatch))
    yield from found.values()


def _same_instance(facts: Facts, least: int) -> Iterator[Hazard]:
    often = facts.often
    alike: dict[tuple[str, ...], list[Dispatch]] = {}
    for dispatch in facts.trace.dispatches:
        if (dispatch.signal, dispatch.instance) in often:
            if dispatch.raw or dispatch.signal in INITS or not _says_one_thing(dispatch):
                continue
            key = (dispatch.signal, dispatch.sender, dispatch.action, dispatch.instance)
            alike.setdefault(key, []).append(dispatch)
    by_label: dict[int, list[_Pairs]] = {}
    for dispatches in alike.values():
        if len(dispatches) < least:
            continue
        for pairs in _by_receiver(facts, dispatches):
            if len(pairs) >= least and not _nests(facts, pairs):
                by_label.setdefault(facts.labels[id(pairs[0][0].receiver)], []).append(pairs)
    for groups in by_label.values():
        group = max(groups, key=len)
        call, first = group[0]
        others = ""
        if len(groups) > 1:
            others = f" and so for {plural(len(groups) - 1, 'other instance')}"
        places = _few(sites(dispatch for _, dispatch in group))
        yield of_calls(
            f"{who(call.receiver)} runs {plural(len(group), 'time')} for {short_signal(first.signal)} of "
            f"{first.instance}{others}, sent at {places}.",
            group,
            lambda pair: (
                f"{pair[1].instance} saved at {site(pair[1])}, {format_ns(pair[0].duration_ns)}"
            ),
        )


def _says_one_thing(dispatch: Dispatch) -> bool:
    """Return whether a dispatch says no more than its instance."""
    return dispatch.signal in INSTANCE_SIGNALS or len(dispatch.named) <= 1


def _loops(facts: Facts, least: int) -> Iterator[Hazard]:
    looping, by_test = facts.loops, facts.trace.kind is Kind.TEST
    loops: dict[tuple[object, ...], list[Dispatch]] = {}
    for dispatch in facts.trace.dispatches:
        place = dispatch.callsite
        if place is None or dispatch.raw:
            continue
        signal, parent = dispatch.signal, dispatch.parent_number
        if (signal, place.line, parent) not in looping or (by_test and parent is None):
            continue
        key = (signal, dispatch.sender, dispatch.action, place.file, place.line, parent)
        loops.setdefault(key, []).append(dispatch)
    for dispatches in loops.values():
        if len(dispatches) < least or not _are_many(dispatches, least):
            continue
        for group in _by_receiver(facts, dispatches):
            sending = [dispatch for _, dispatch in group]
            if len(group) >= least and (len(group) == len(dispatches) or _are_many(sending, least)):
                yield _loop_finding(group)


def _are_many(dispatches: list[Dispatch], least: int) -> bool:
    """Return whether a loop is about many things, not one already found."""
    if dispatches[0].signal not in INSTANCE_SIGNALS and not _says_one_thing(dispatches[0]):
        return True
    named = [each for each in {each.instance for each in dispatches} if has_identity(each)]
    if len(named) >= least:
        return True
    # Unsaved instances look alike; they are as many as their dispatches. A signal that is sent for
    # several instances, or for none, may say something else each time.
    if dispatches[0].signal in INSTANCE_SIGNALS:
        return not named
    return len(named) != 1


def _loop_finding(group: _Pairs) -> Hazard:
    call, first = group[0]
    total = time_once([each for each, _ in group])
    return of_calls(
        f"{who(call.receiver)} runs {plural(len(group), 'time')} ({format_ns(total)}) for "
        f"{signal_of(first.signal, first.sender)}, because {site(first)} sends it in a loop.",
        group,
        lambda pair: (
            f"{pair[1].instance or signal_of(pair[1].signal, pair[1].sender)}, "
            f"{format_ns(pair[0].duration_ns)}"
        ),
    )


def _nests(facts: Facts, group: _Pairs) -> bool:
    """Return whether these calls are nested: recursion, not repetition."""
    nested = [pair for pair in group if pair[1].parent_number is not None]
    if len(nested) * 2 < len(group):
        return False
    numbers = {call.number for call, _ in group}
    # What is known of calls above: whether they are one of them, or inside one.
    known: dict[int | None, bool] = dict.fromkeys(numbers, True)
    inside = 0
    for _, dispatch in nested:
        answer = known.get(dispatch.parent_number)
        if answer is not None:
            inside += answer
            continue
        passed = []
        is_inside = False
        for above, _ in chain(facts, dispatch):
            is_inside = known.get(above.number, False)
            if is_inside or above.number in known:
                break
            passed.append(above.number)
        for number in passed:
            known[number] = is_inside
        inside += is_inside
    return inside * 2 >= len(group)


def _few(texts: list[str]) -> str:
    """Return up to three of *texts*, and how many more there are."""
    if not texts:
        return "unknown places"
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""  # noqa: PLR2004 - three fit.
    return ", ".join(texts[:3]) + more


# --- n-plus-one ----------------------------------------------------------------------------------


@rule(
    "n-plus-one",
    severity="warning",
    summary="A receiver's similar SQL repeats many times over the trace.",
    why="The time grows with the number of rows instead of with the number of queries.",
    remedy=(
        "Fetch what is needed once (select_related, prefetch_related, in_bulk), or collect the "
        "instances and do the work once, in on_commit."
    ),
    wants="statements",
    queries=5,
)
def n_plus_one(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield receivers of which one normalised statement ran many times.

    What their on_commit callbacks ask is none of their calls', and is told apart.
    """
    least: int = options["queries"]
    told = set()
    for calls in facts.with_statements:
        repeated = _repeated([call.statements for call in calls.calls], least)
        if not repeated:
            continue
        running = [
            pair
            for pair in zip(calls.calls, calls.dispatches, strict=True)
            if _ran(pair[0].statements, repeated)
        ]
        spans = [call for call, _ in running]
        if len(spans) > 1 and _nests(facts, running):
            continue  # Recursion repeats its queries too, and is found as what it is.
        told.add(by_function(calls.label))
        yield _repeated_finding(calls.label, repeated, running[0][1], spans, _in_calls(len(spans)))
    for label, several in _asked_later(facts, least):
        repeated = _repeated([asked.statements for asked in several], least)
        if not repeated or by_function(label) in told:
            continue
        registering = dict.fromkeys(
            asked.parent_number for asked in several if _ran(asked.statements, repeated)
        )
        # Calls of earlier segments may not be remembered.
        spans = [call for each in registering if (call := facts.index.call(each)) is not None]
        sent = facts.index.dispatch_of(spans[0]) if spans else None
        where = f"{OF_CALLBACKS} {_in_calls(len(registering))}"
        hazard = _repeated_finding(label, repeated, sent, spans, where)
        hazard.remedy = "Register one callback for all instances, which fetches what it needs once."
        yield hazard


OF_CALLBACKS: Final = "in on_commit callbacks that it registered"
"""How a finding of ``n-plus-one`` says that the receiver did not run the query in its call."""


def _asked_later(facts: Facts, least: int) -> list[tuple[ReceiverLabel, list[CallbackQueries]]]:
    """Return queries of callbacks by the function that registered them."""
    by_receiver: defaultdict[Hashable, list[CallbackQueries]] = defaultdict(list)
    for asked in facts.diagnosis_context.callback_queries:
        by_receiver[by_function(asked.receiver)].append(asked)
    return [
        (several[0].receiver, several)
        for several in by_receiver.values()
        if sum(count for asked in several for _, count, _ in asked.statements) >= least
    ]


_Statements: TypeAlias = tuple[tuple[str, int, int], ...]
"""As a receiver call has them."""


def _repeated(asked: Sequence[_Statements], least: int) -> dict[str, list[int]]:
    """Return [count, ns] of each statement that ran *least* times or more."""
    totals: dict[str, list[int]] = {}
    for statements in asked:
        for sql, count, nanoseconds in statements:
            total = totals.setdefault(sql, [0, 0])
            total[0] += count
            total[1] += nanoseconds
    return {
        sql: total for sql, total in totals.items() if total[0] >= least and not is_control(sql)
    }


def _ran(statements: _Statements, repeated: dict[str, list[int]]) -> bool:
    """Return whether one of *repeated* is among *statements*."""
    for text, _, _ in statements:  # noqa: SIM110 - for one statement, as mostly, at half the cost.
        if text in repeated:
            return True
    return False


def _in_calls(count: int) -> str:
    return "in one call" if count == 1 else f"in {count} calls"


def _repeated_finding(
    label: ReceiverLabel,
    repeated: dict[str, list[int]],
    dispatch: Dispatch | None,
    spans: list[ReceiverCall],
    where: str,
) -> Hazard:
    sql = max(repeated, key=lambda text: (repeated[text][0], repeated[text][1]))
    count, nanoseconds = repeated[sql]
    return finding(
        f"{who(label)} runs one query {plural(count, 'time')} {where} ({format_ns(nanoseconds)}): "
        f"{shorten_middle(sql, 160)}",
        dispatch=dispatch,
        receiver=label,
        spans=spans,
        evidence=lines(
            sorted(repeated.items(), key=lambda item: -item[1][0]),
            lambda item: (
                f"{plural(item[1][0], 'time')}, {format_ns(item[1][1])}: "
                f"{shorten_middle(item[0], 300)}"
            ),
        ),
    )
