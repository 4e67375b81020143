"""Rules about what nests in itself: cycles of dispatches, and saves repeated by a receiver."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tracing.analysis.formatting import plural, short_signal
from tracing.analysis.hazards.facts import M2M_CHANGED, POST_SAVE, SAVES, Facts
from tracing.analysis.hazards.rules import Options, finding, rule, site, who

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.capture.spans import Dispatch, Hazard, ReceiverCall, ReceiverLabel


def has_identity(instance: str) -> bool:
    """Return whether *instance* names one row: unsaved instances all look the same."""
    return ":" in instance and not instance.endswith(":None")


def _instance_identity(dispatch: Dispatch) -> str | int | None:
    """Return what tells the instance of *dispatch* from others of its trace; None if nothing does.

    An object without a primary key is told by the outermost dispatch about it.
    """
    if has_identity(dispatch.instance):
        return dispatch.instance
    if dispatch.instance:
        return dispatch.same_instance_as or dispatch.number
    return None


def _identity(dispatch: Dispatch) -> tuple[object, ...] | None:
    """Return what makes two dispatches the same; None if that cannot be told."""
    instance = _instance_identity(dispatch)
    if instance is not None:
        return (dispatch.signal, dispatch.sender, instance, dispatch.action, dispatch.using)
    if dispatch.signal.startswith("django."):
        return None
    if not dispatch.named:
        return (dispatch.signal, dispatch.sender)
    if len(dispatch.values) == len(dispatch.named):
        return (dispatch.signal, dispatch.sender, *sorted(dispatch.values.items()))
    return None


def _about(dispatch: Dispatch) -> str:
    """Return what *dispatch* is about, for a reader: ``shop.Order:7`` or ``a new shop.Order``."""
    if has_identity(dispatch.instance):
        return dispatch.instance
    label = dispatch.instance.rpartition(":")[0]
    return f"a new {label}" if label else dispatch.sender


def chain(facts: Facts, dispatch: Dispatch) -> list[tuple[ReceiverCall, Dispatch]]:
    """Return the receiver calls above *dispatch* and their dispatches, the nearest first."""
    index = facts.index
    chain = []
    call = index.call(dispatch.parent_number)
    while call is not None:
        above = index.dispatch_of(call)
        chain.append((call, above))
        call = index.call(above.parent_number)
    return chain


def _left_for_later(dispatch: Dispatch) -> str:
    """Return what to add where the receiver did not wait for *dispatch*; mostly nothing."""
    return ", in an on_commit callback, thread or task" if dispatch.parent_is_link else ""


def _cycle_text(calls: list[ReceiverCall], dispatches: list[Dispatch]) -> str:
    """Return the cycle from the outer dispatch down to the same one again."""
    parts = [f"{short_signal(dispatches[0].signal)} of {dispatches[0].sender}"]
    for call, dispatch in zip(calls, dispatches[1:], strict=True):
        later = " (later)" if dispatch.parent_is_link else ""
        parts.append(f"{who(call.receiver)}{later}")
        parts.append(f"{short_signal(dispatch.signal)} of {dispatch.sender}")
    return " \N{RIGHTWARDS ARROW} ".join(parts)


@rule(
    "recursion",
    severity="error",
    summary="A dispatch of the same signal, sender and instance nests in itself.",
    why=(
        "It ends only because something happens to stop it: a value that no longer changes, a "
        "flag, or the recursion limit."
    ),
    remedy=(
        "Break the cycle: change the instance in pre_save, or write with "
        "QuerySet.update(), or return early unless created."
    ),
    wants="nested",
    unknown_levels=20,
)
def recursion(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield cycles of dispatches, each once with its levels.

    A save that a receiver repeats once and that ends there (a guard: created, update_fields, a
    flag) is not a cycle; ``repeated-save`` judges it.
    """
    found: dict[frozenset[ReceiverLabel], tuple[int, list[Dispatch], list[ReceiverCall]]] = {}
    overflowed = False
    # What occurs once has no cycle: looking up from each dispatch would cost as much as it is deep.
    trace = facts.trace
    times = Counter(
        (dispatch.signal, dispatch.instance)
        for dispatch in (*trace.carried.unfinished, *trace.dispatches)
    )
    for dispatch in facts.nested:
        overflowed = overflowed or dispatch.exception_type == "RecursionError"
        if times[dispatch.signal, dispatch.instance] == 1:
            continue
        key = _identity(dispatch)
        if key is None:
            continue
        cycle = _cycle(facts, dispatch, key)
        if cycle is None:
            continue
        levels, dispatches, calls = cycle
        # A cycle through two models is the same one wherever it is entered.
        shape = frozenset(call.receiver for call in calls)
        if shape not in found or found[shape][0] < levels:
            found[shape] = cycle
    for levels, dispatches, calls in found.values():
        if levels >= 3 or not _is_guarded(dispatches):  # noqa: PLR2004 - two are a guarded save.
            yield _recursion_finding(levels, dispatches, calls)
    if not found and (overflowed or len(facts.nested) >= options["unknown_levels"]):
        yield from _nameless_recursion(facts, options["unknown_levels"], overflowed=overflowed)


def _cycle(
    facts: Facts, dispatch: Dispatch, key: tuple[object, ...]
) -> tuple[int, list[Dispatch], list[ReceiverCall]] | None:
    """Return (levels, dispatches, calls) of the shortest cycle that ends in *dispatch*."""
    levels = 1
    dispatches, calls = [dispatch], []
    closed = False
    for call, above in chain(facts, dispatch):
        if not closed:
            calls.append(call)
            dispatches.append(above)
        if _identity(above) == key:
            levels += 1
            closed = True
    if not closed:
        return None
    dispatches.reverse()
    calls.reverse()
    return levels, dispatches, calls


def _is_guarded(dispatches: list[Dispatch]) -> bool:
    """Return whether a cycle that came round once is a save repeated under a guard."""
    outer, inner = dispatches[0], dispatches[-1]
    direct = len(dispatches) == 2  # noqa: PLR2004 - the outer dispatch and the inner one.
    if inner.signal in SAVES:
        # What follows from a new row and ends with the save of an old one is guarded by "created".
        only_when_created = outer.created is True and inner.created is False
        return direct or only_when_created or inner.update_fields is not None
    return direct and inner.signal == M2M_CHANGED


def _recursion_finding(
    levels: int, dispatches: list[Dispatch], calls: list[ReceiverCall]
) -> Hazard:
    outer = dispatches[0]
    about = _about(outer)
    cycle = _cycle_text(calls, dispatches)
    return finding(
        f"{short_signal(outer.signal)} of {about} nests in itself, {levels} levels deep: {cycle}.",
        dispatch=outer,
        receiver=calls[0].receiver,
        spans=[*dispatches, *calls],
        evidence=[
            f"{short_signal(inner.signal)} of {about} sent at {site(inner)}{_left_for_later(inner)}"
            for inner in dispatches
        ],
    )


def _nameless_recursion(facts: Facts, levels: int, *, overflowed: bool) -> Iterator[Hazard]:
    """Yield a runaway whose instances are unknown: very deep, or at Python's limit."""
    deepest = max(facts.nested, key=lambda dispatch: dispatch.depth)
    above_it = chain(facts, deepest)
    same = [
        (call, above)
        for call, above in above_it
        if (above.signal, above.sender) == (deepest.signal, deepest.sender)
        and above.callsite == deepest.callsite
        and not has_identity(above.instance)
    ]
    if len(same) < (3 if overflowed else levels):
        return
    call, above = same[0]
    ending = ", until Python's recursion limit" if overflowed else ""
    yield finding(
        f"{short_signal(deepest.signal)} of {deepest.sender} nests in itself, {len(same) + 1} "
        f"levels deep{ending}: {_cycle_text([call], [above, deepest])}.",
        dispatch=deepest,
        receiver=call.receiver,
        spans=[deepest, call, above],
        evidence=[f"sent at {site(deepest)}"],
    )


# --- repeated-save -------------------------------------------------------------------------------


@rule(
    "repeated-save",
    severity="warning",
    summary="A receiver saves again the very instance whose save is being signalled.",
    why=(
        "Every receiver of the save runs again, every write is doubled, and without a guard it "
        "never ends."
    ),
    remedy=(
        "Set the fields in pre_save, where the one save still to come writes them; or write with "
        "QuerySet.filter(pk=instance.pk).update(), which sends no signals."
    ),
    wants="nested",
)
def repeated_save(facts: Facts, _options: Options) -> Iterator[Hazard]:
    """Yield receivers that save their instance again.

    Left alone: one second save under one of Django's own guards. That is a save of a new instance
    (``if created``) or of named fields (``update_fields``), after which nothing saves again.
    """
    index = facts.index
    again: dict[tuple[ReceiverLabel, str], list[tuple[ReceiverCall, Dispatch, list[Dispatch]]]] = {}
    done: set[int] = set()
    for dispatch in facts.nested:
        call = index.call(dispatch.parent_number)
        if call is None or call.number in done or dispatch.signal not in SAVES:
            continue
        outer = index.dispatch_of(call)
        if outer.signal not in SAVES or outer.raw or not _same_row(outer, dispatch):
            continue
        done.add(call.number)
        again.setdefault((call.receiver, outer.sender), []).append(
            (call, outer, _saves_below(call, outer))
        )
    for (label, _sender), repeats in again.items():
        if any(_is_unguarded(call, outer, saves) for call, outer, saves in repeats):
            call, outer, _ = repeats[0]
            saves = [save for _, _, below in repeats for save in below]
            places = ", ".join(dict.fromkeys(site(save) for save in saves if save.callsite))
            when = f"while its {short_signal(outer.signal)} is being signalled"
            if all(save.parent_is_link for save in saves):
                when = "in what it left for later when that was saved"
            yield finding(
                f"{who(label)} saves {_about(outer)} again {when} "
                f"({plural(len(saves), 'more save')}, at {places}).",
                dispatch=outer,
                receiver=label,
                spans=[outer, *(call for call, _, _ in repeats), *saves],
                evidence=[
                    f"{short_signal(save.signal)} of {save.instance} sent at {site(save)}"
                    f"{_left_for_later(save)}"
                    for save in saves
                ],
            )


def _same_row(outer: Dispatch, inner: Dispatch) -> bool:
    return (
        inner.sender == outer.sender
        and _instance_identity(inner) == _instance_identity(outer) is not None
        and inner.using == outer.using
    )


def _saves_below(call: ReceiverCall, outer: Dispatch) -> list[Dispatch]:
    """Return the saves of the instance that *call* itself made, each by one of its signals."""
    saves = [
        dispatch
        for dispatch in call.dispatches
        if dispatch.signal in SAVES and _same_row(outer, dispatch)
    ]
    after = [dispatch for dispatch in saves if dispatch.signal == POST_SAVE]
    # A save sends both signals; one without receivers of post_save was only seen before it.
    return after or saves


def _is_unguarded(call: ReceiverCall, outer: Dispatch, saves: list[Dispatch]) -> bool:
    """Return whether these second saves are more than one that a guard lets through once."""
    whole = [save for save in saves if save.update_fields is None]
    if len(whole) > 1 or (whole and outer.created is not True):
        return True
    if any(_saves_again(save) for save in saves):
        return True
    # Two receivers that each save a new instance again: guarded both, and still three saves.
    siblings = [
        other
        for other in outer.receiver_calls
        if other is not call
        for save in _saves_below(other, outer)
        if save.update_fields is None
    ]
    return bool(whole and siblings)


def _saves_again(save: Dispatch) -> bool:
    return any(_saves_below(call, save) for call in save.receiver_calls)
