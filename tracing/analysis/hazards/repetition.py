"""Rules about things that happen more often than they should: receivers, calls, queries."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from tracing.analysis.formatting import (
    human_ns,
    ordinal,
    plural,
    short_signal,
    shorten_middle,
)
from tracing.analysis.hazards.facts import (
    DELETES,
    INITS,
    INSTANCE_SIGNALS,
    Calls,
    Facts,
    by_function,
)
from tracing.analysis.hazards.recursion import chain, has_identity
from tracing.analysis.hazards.rules import Options, finding, rule, site, who
from tracing.capture.spans import Dispatch, Kind, Outcome, ReceiverCall, ReceiverLabel

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from tracing.capture.spans import CallbackQueries, Hazard

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
    wants="twins",
)
def duplicate_receiver(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield receivers that run more than once for one dispatch."""
    pairs: dict[tuple[ReceiverLabel, ReceiverLabel, str, str], Dispatch] = {}
    evidence: defaultdict[object, list[ReceiverCall]] = defaultdict(list)
    for call, dispatch in facts.twins:
        if call.outcome is Outcome.SKIPPED:
            continue
        for first in dispatch.receiver_calls:
            if first.position == call.same_as:
                key = (first.receiver, call.receiver, dispatch.signal, dispatch.sender)
                pairs.setdefault(key, dispatch)
                evidence[key] += [first, call]
    for key, dispatch in pairs.items():
        one, two, _signal, _sender = key
        what = f"{short_signal(dispatch.signal)} of {dispatch.sender}"
        yield finding(
            f"{who(two)} runs twice for one {what}: {_how_twice(one, two)}.",
            dispatch=dispatch,
            receiver=two,
            spans=evidence[key],
            evidence=[
                f"{ordinal(call.position)}: {call.receiver.name}, {human_ns(call.duration_ns)}"
                for call in evidence[key]
            ],
        )


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
    wants="repeated",
    calls=5,
)
def repeated_receiver(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield receivers called again and again for one instance, or by a loop that saves one by one.

    Left alone: calls for different instances from different places, deletions in cascade, loops
    of a test outside any receiver, fixtures, and what ``recursion`` explains.
    """
    least: int = options["calls"]
    for calls in facts.repeated:
        # Counting alone tells harmless receivers apart, at a fraction of what grouping costs.
        instances = Counter([dispatch.instance for dispatch in calls.dispatches])
        often = {name for name, count in instances.items() if count >= least}
        if any(map(has_identity, often)):
            yield from _same_instance(facts, calls, often, least)
        lines = Counter(
            [dispatch.callsite.line if dispatch.callsite else 0 for dispatch in calls.dispatches]
        )
        looping = {line for line, count in lines.items() if line and count >= least}
        if looping:
            yield from _loops(facts, calls, looping, least)


def _same_instance(facts: Facts, calls: Calls, often: set[str], least: int) -> Iterator[Hazard]:
    alike: dict[tuple[str, ...], list[tuple[ReceiverCall, Dispatch]]] = {}
    for call, dispatch in zip(calls.calls, calls.dispatches, strict=True):
        if dispatch.instance in often and has_identity(dispatch.instance):
            if dispatch.raw or dispatch.signal in INITS or not _says_one_thing(dispatch):
                continue
            key = (dispatch.signal, dispatch.sender, dispatch.action, dispatch.instance)
            alike.setdefault(key, []).append((call, dispatch))
    groups = [group for group in map(_once_each, alike.values()) if len(group) >= least]
    groups = [group for group in groups if not _nests(facts, group)]
    if not groups:
        return
    group = max(groups, key=len)
    first = group[0][1]
    others = f" and so for {plural(len(groups) - 1, 'other instance')}" if len(groups) > 1 else ""
    sites = list(dict.fromkeys(site(dispatch) for _, dispatch in group if dispatch.callsite))
    yield finding(
        f"{who(calls.label)} runs {len(group)} times for {short_signal(first.signal)} of "
        f"{first.instance}{others}, sent at {_few(sites)}.",
        dispatch=first,
        receiver=calls.label,
        spans=[call for call, _ in group],
        evidence=[
            f"{first.instance} saved at {site(dispatch)}, {human_ns(call.duration_ns)}"
            for call, dispatch in group
        ],
    )


def _says_one_thing(dispatch: Dispatch) -> bool:
    """Return whether a dispatch says no more than its instance: an own signal may say much more."""
    return dispatch.signal in INSTANCE_SIGNALS or len(dispatch.named) <= 1


def _loops(facts: Facts, calls: Calls, looping: set[int], least: int) -> Iterator[Hazard]:
    loops: dict[tuple[object, ...], list[tuple[ReceiverCall, Dispatch]]] = {}
    for call, dispatch in zip(calls.calls, calls.dispatches, strict=True):
        place = dispatch.callsite
        if place is None or place.line not in looping or dispatch.raw:
            continue
        if dispatch.signal in INITS or dispatch.signal in DELETES:
            continue
        what = (dispatch.signal, dispatch.sender, dispatch.action)
        key = (*what, place.file, place.line, dispatch.parent_number)
        loops.setdefault(key, []).append((call, dispatch))
    for group in map(_once_each, loops.values()):
        if len(group) < least:
            continue
        first = group[0][1]
        # Unsaved instances look alike; they are as many as their dispatches.
        named = {each.instance for _, each in group if has_identity(each.instance)}
        if first.signal in INSTANCE_SIGNALS:
            count = len(named) or len(group)
        else:
            # The same said again and again of one instance has been found already.
            count = 1 if len(named) == 1 and _says_one_thing(first) else len(group)
        by_test = facts.trace.kind is Kind.TEST and first.parent_number is None
        if (
            count < least
            or by_test
            or first.signal.startswith("django.") != (first.signal in INSTANCE_SIGNALS)
        ):
            continue
        total = sum(call.duration_ns for call, _ in group)
        of = "" if first.sender == "None" else f" of {first.sender}"
        yield finding(
            f"{who(calls.label)} runs {len(group)} times ({human_ns(total)}) for "
            f"{short_signal(first.signal)}{of}, because {site(first)} sends it in a loop.",
            dispatch=first,
            receiver=calls.label,
            spans=[call for call, _ in group],
            evidence=[
                f"{dispatch.instance or dispatch.sender}, {human_ns(call.duration_ns)}"
                for call, dispatch in group
            ],
        )


def _once_each(
    group: list[tuple[ReceiverCall, Dispatch]],
) -> list[tuple[ReceiverCall, Dispatch]]:
    """Return of *group* one call per dispatch: a factory may have made several receivers for it."""
    once = {dispatch.number: (call, dispatch) for call, dispatch in reversed(group)}
    return group if len(once) == len(group) else list(once.values())[::-1]


def _nests(facts: Facts, group: list[tuple[ReceiverCall, Dispatch]]) -> bool:
    """Return whether these calls run inside one another: recursion, not repetition."""
    numbers = {call.number for call, _ in group}
    inside = sum(
        any(above.number in numbers for above, _ in chain(facts, dispatch)) for _, dispatch in group
    )
    return inside * 2 >= len(group)


def _few(texts: list[str]) -> str:
    """Return up to three of *texts*, and how many more there are."""
    if not texts:
        return "unknown places"
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""  # noqa: PLR2004 - three fit.
    return ", ".join(texts[:3]) + more


# --- n-plus-one ----------------------------------------------------------------------------------

_TRANSACTION_WORDS = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT", "START ", "SET ")


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
        if calls.dispatches[0].signal in INITS:
            continue  # A query for each instance is what init-receiver-cost says.
        repeated = _repeated([call.statements for call in calls.calls], least)
        if not repeated:
            continue
        running = [
            (call, dispatch)
            for call, dispatch in zip(calls.calls, calls.dispatches, strict=True)
            if any(text in repeated for text, _, _ in call.statements)
        ]
        spans = [call for call, _ in running]
        if len(spans) > 1 and _nests(facts, running):
            continue  # Recursion repeats its queries too, and is found as what it is.
        told.add(by_function(calls.label))
        yield _repeated_finding(calls.label, repeated, running[0][1], spans)
    for label, several in _asked_later(facts, least):
        repeated = _repeated([asked.statements for asked in several], least)
        if not repeated or by_function(label) in told:
            continue
        spans = [
            call
            for asked in several
            if any(text in repeated for text, _, _ in asked.statements)
            and (call := facts.index.call(asked.parent_number)) is not None
        ]
        sent = facts.index.dispatch_of(spans[0]) if spans else None
        yield _repeated_finding(label, repeated, sent, spans, of=OF_CALLBACKS)


OF_CALLBACKS: Final = " in on_commit callbacks that it registered"
"""How a finding of ``n-plus-one`` says that the receiver did not run the query in its call."""


def _asked_later(facts: Facts, least: int) -> list[tuple[ReceiverLabel, list[CallbackQueries]]]:
    """Return what callbacks asked, by the function that registered them, where it may be enough."""
    by_receiver: defaultdict[Hashable, list[CallbackQueries]] = defaultdict(list)
    for asked in facts.trace.carried.asked_later:
        by_receiver[by_function(asked.receiver)].append(asked)
    return [
        (several[0].receiver, several)
        for several in by_receiver.values()
        if sum(count for asked in several for _, count, _ in asked.statements) >= least
    ]


def _repeated(asked: list[list[tuple[str, int, int]]], least: int) -> dict[str, list[int]]:
    """Return [count, ns] of each statement that ran *least* times or more."""
    totals: dict[str, list[int]] = {}
    for statements in asked:
        for sql, count, nanoseconds in statements:
            total = totals.setdefault(sql, [0, 0])
            total[0] += count
            total[1] += nanoseconds
    return {
        sql: total
        for sql, total in totals.items()
        if total[0] >= least and not sql.lstrip("( ").upper().startswith(_TRANSACTION_WORDS)
    }


def _repeated_finding(
    label: ReceiverLabel,
    repeated: dict[str, list[int]],
    dispatch: Dispatch | None,
    spans: list[ReceiverCall],
    of: str = "",
) -> Hazard:
    sql = max(repeated, key=lambda text: (repeated[text][0], repeated[text][1]))
    count, nanoseconds = repeated[sql]
    # Of callbacks the calls may lie so far back that they are not remembered.
    where = {0: "earlier", 1: "in one call"}.get(len(spans), f"in {len(spans)} calls")
    return finding(
        f"{who(label)} runs one query {count} times{of} {where} ({human_ns(nanoseconds)}): "
        f"{shorten_middle(sql, 160)}",
        dispatch=dispatch,
        receiver=label,
        spans=spans,
        evidence=[
            f"{total[0]} times, {human_ns(total[1])}: {shorten_middle(text, 300)}"
            for text, total in sorted(repeated.items(), key=lambda item: -item[1][0])
        ],
    )
