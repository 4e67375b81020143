"""Rules about receivers that raised, were skipped, lost or bypassed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tracing.analysis.hazards.facts import DELETES, ROBUST, SAVES, Facts
from tracing.analysis.hazards.rule import Options, by_receiver, finding, names, of_calls, rule, who
from tracing.analysis.names import (
    callsite_text,
    in_library,
    is_of_library,
    place,
    short_signal,
    shorten_middle,
    signal_of,
    write_text,
)
from tracing.spans.records import Bypass, Dispatch, Kind, Outcome, ReceiverCall, ReceiverLabel
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.spans.records import Hazard


def _raised(call: ReceiverCall) -> str:
    """Return what a call raised, as ``ValueError: no price``."""
    text = call.exception_type or "an exception"
    if call.exception_message:
        text += f": {shorten_middle(call.exception_message, 120)}"
    return text


@rule(
    "swallowed-error",
    severity="warning",
    summary="send_robust() caught an exception of a receiver.",
    why="The caller went on as if nothing had happened; the work of that receiver is not done.",
    remedy=(
        "Repair the receiver, or have the caller look at the responses that send_robust() returns "
        "and act on the exceptions among them."
    ),
    wants="raised",
)
def swallowed_error(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield receivers with swallowed exceptions, once for each type."""
    swallowed = [pair for pair in facts.raised if _is_swallowed(pair[1])]
    for calls in by_receiver(
        facts, swallowed, lambda call, dispatch: (call.exception_type, dispatch.signal)
    ):
        call, dispatch = calls[0]
        times = f" {plural(len(calls), 'time')}" if len(calls) > 1 else ""
        yield of_calls(
            f"{who(call.receiver)} raised {_raised(call).rstrip('.')}{times}, and {dispatch.method}() of "
            f"{short_signal(dispatch.signal)} swallowed it.",
            calls,
            lambda pair: _raised(pair[0]),
        )


def _is_swallowed(dispatch: Dispatch) -> bool:
    return dispatch.method in ROBUST and not dispatch.exception_type


@rule(
    "skipped-receivers",
    severity="error",
    summary="A receiver raised under send() and others did not run.",
    why="Receivers after it never heard of what happened; what they keep in step is out of step.",
    remedy=(
        "Repair the receiver that raised. Where one receiver must not stop the others, send with "
        "send_robust() and look at the responses."
    ),
    wants="raised",
)
def skipped_receivers(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield receivers that kept others from running, once for each sender."""
    skipping = [
        pair
        for pair in facts.raised
        if not _is_swallowed(pair[1])
        and any(other.outcome is Outcome.SKIPPED for other in pair[1].receiver_calls)
    ]
    for calls in by_receiver(
        facts, skipping, lambda _call, dispatch: (dispatch.signal, dispatch.sender)
    ):
        call, dispatch = calls[0]
        label = call.receiver
        skipped = [other for other in dispatch.receiver_calls if other.outcome is Outcome.SKIPPED]
        hazard = finding(
            f"{who(label)} raised {_raised(call).rstrip('.')} and "
            f"{names(other.receiver for other in skipped)} did not run for "
            f"{signal_of(dispatch.signal, dispatch.sender)}.",
            dispatch=dispatch,
            receiver=label,
            spans=itertools.chain(skipped, itertools.chain.from_iterable(calls)),
            evidence=[
                f"raised: {who(label)}",
                *(f"skipped: {who(other.receiver)}" for other in skipped),
            ],
        )
        if dispatch.signal.startswith("django.") or dispatch.method in ROBUST:
            # Who sends it is not the project's to say, or the exception was none that is caught.
            hazard.remedy = (
                "Repair the receiver that raised, or have it catch what must not stop the others."
            )
        yield hazard


@rule(
    "bypassed-receivers",
    severity="warning",
    summary="A write skipped signals that had receivers.",
    why="What those receivers keep in step (totals, indexes, caches, logs) is now out of step.",
    remedy=(
        "Save the instances one by one if the receivers matter, or call their work explicitly "
        "after the write; if they do not matter here, mark this place as known."
    ),
    wants="bypasses",
)
def bypassed_receivers(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield writes past receivers, once per place.

    Left alone: writes of no row, a receiver that writes to its own model by update(): that is
    the remedy for saving again, and on purpose; and what is between installed packages.
    """
    found: dict[tuple[object, ...], list[Bypass]] = {}
    for bypass in facts.bypasses:
        if bypass.rows == 0 or not bypass.receivers or _on_purpose(facts, bypass):
            continue
        if _is_of_packages(facts, bypass):
            continue
        key: tuple[object, ...] = (bypass.operation, bypass.model)
        if bypass.callsite is not None:
            key += (bypass.callsite.file, bypass.callsite.line)
        found.setdefault(key, []).append(bypass)
    for bypasses in found.values():
        bypass = bypasses[0]
        operation, model, callsite = bypass.operation, bypass.model, bypass.callsite
        # Labels are shared, and hashing one is dearer than its identity.
        labels = {id(label): label for bypass in bypasses for label in bypass.receivers}
        receivers = dict.fromkeys(labels.values())
        signals = dict.fromkeys(signal for bypass in bypasses for signal in bypass.signals)
        rows = [bypass.rows for bypass in bypasses]
        written = plural(sum(row or 0 for row in rows), "row") if None not in rows else "some rows"
        short = " and ".join(short_signal(signal) for signal in signals)
        calls = (facts.index.call(bypass.parent_number) for bypass in bypasses)
        hazard = finding(
            f"{write_text(operation)} of {model} at {callsite_text(callsite)} wrote {written} without "
            f"sending {short}: {names(receivers)} did not run.",
            callsite=callsite,
            spans=(call for call in calls if call is not None),
            evidence=[f"did not run: {who(label)}" for label in receivers],
        )
        hazard.signal, hazard.sender = next(iter(signals), ""), model
        # The project's own, if there is one: what is marked as known of a package does not hide it.
        own = (label for label in receivers if not is_of_library(label))
        hazard.receiver = next(own, next(iter(receivers))).name
        if DELETES.issuperset(signals):
            hazard.remedy = (
                "Delete the instances with QuerySet.delete() if the receivers matter, or call their "
                "work explicitly; if they do not matter here, mark this place as known."
            )
        yield hazard


def _is_of_packages(facts: Facts, bypass: Bypass) -> bool:
    """Return whether a package wrote past the receivers of packages.

    A package writes where its code calls, or where its receiver is running: ``create_permissions()``
    of Django writes for the ``manage.py`` that runs ``migrate``.
    """
    if not all(is_of_library(label) for label in bypass.receivers):
        return False
    call = facts.index.call(bypass.parent_number)
    if call is not None and is_of_library(call.receiver):
        return True
    return bypass.callsite is not None and in_library(bypass.callsite.file)


def _on_purpose(facts: Facts, bypass: Bypass) -> bool:
    """Return whether a receiver of the save wrote past its own signals."""
    if bypass.operation not in {"update", "sql_update"} or bypass.parent_number is None:
        return False
    call = facts.index.call(bypass.parent_number)
    if call is None:
        return False
    dispatch = facts.index.dispatch_of(call)
    return dispatch.sender == bypass.model and dispatch.signal in SAVES


@rule(
    "lost-receiver",
    severity="error",
    summary="A weakly connected lambda, closure, partial or bound method died.",
    why=(
        "Nothing held it but the signal, which holds receivers weakly: it was collected, and "
        "silently runs no more. With DEBUG on, Django happens to keep it alive."
    ),
    remedy="Connect it with weak=False, or keep a reference to it for as long as it is to run.",
    wants="lost_receivers",
)
def lost_receiver(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield receivers found dead.

    Left alone: what may well have been meant to end. That is a method of an object whose life was
    over, unless it is the project's own and never ran, and a receiver made inside a test.
    """
    seen = set()
    for lost in facts.lost_receivers:
        label = lost.receiver
        if (label, lost.signal, lost.sender) in seen:
            continue
        seen.add((label, lost.signal, lost.sender))
        if lost.was_called and facts.trace.kind is Kind.TEST:
            continue
        if not _is_local(label) and (lost.was_called or is_of_library(label)):
            continue
        of = f" of {lost.sender}" if lost.sender != "None" else ""
        hazard = finding(
            f"{who(label)} was connected weakly to {short_signal(lost.signal)}{of} and has been "
            f"garbage-collected: it does not run any more.",
            receiver=label,
            evidence=[f"connected weakly: {label.name} {place(label.file, label.line)}".rstrip()],
        )
        hazard.signal, hazard.sender = lost.signal, lost.sender
        yield hazard


def _is_local(label: ReceiverLabel) -> bool:
    """Return whether a receiver is a lambda, a closure or a partial."""
    name = label.name
    return "<lambda>" in name or "<locals>" in name or name.startswith("functools.partial(")
