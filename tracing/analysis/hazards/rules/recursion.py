"""Rules about nesting: cycles of dispatches, and repeated saves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.hazards.cycles import has_identity, instance_identity
from tracing.analysis.hazards.facts import M2M_CHANGED, POST_SAVE, PRE_SAVE, SAVES, Facts
from tracing.analysis.hazards.rule import (
    MAX_NUMBERS,
    Options,
    finding,
    lines,
    rule,
    site,
    sites,
    who,
)
from tracing.analysis.names import short_signal, signal_of
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracing.analysis.index import Below
    from tracing.spans.records import Dispatch, Hazard, ReceiverCall


def _about(dispatch: Dispatch) -> str:
    """Return the subject of *dispatch*, as ``shop.Order:7`` or ``a new …``."""
    if has_identity(dispatch.instance):
        return dispatch.instance
    label = dispatch.instance.removesuffix(":None")
    return f"a new {label}" if label else dispatch.sender


def chain(facts: Facts, dispatch: Dispatch) -> Iterator[tuple[ReceiverCall, Dispatch]]:
    """Yield the calls above *dispatch* with their dispatches, nearest first."""
    index = facts.index
    call = index.call(dispatch.parent_number)
    while call is not None:
        above = index.dispatch_of(call)
        yield call, above
        call = index.call(above.parent_number)


def _detached_text(dispatch: Dispatch) -> str:
    """Return a remark if the receiver did not wait for *dispatch*."""
    return ", in an on_commit callback, thread or task" if dispatch.is_detached else ""


def _cycle_text(calls: list[ReceiverCall], dispatches: list[Dispatch]) -> str:
    """Return the cycle from the outer dispatch down to the same one again."""
    parts = [signal_of(dispatches[0].signal, dispatches[0].sender)]
    for call, dispatch in zip(calls, dispatches[1:], strict=True):
        detached = " (detached)" if dispatch.is_detached else ""
        parts.append(f"{who(call.receiver)}{detached}")
        parts.append(signal_of(dispatch.signal, dispatch.sender))
    return " \u2192 ".join(parts)


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
    nested = facts.nested
    overflowed = any(each.exception_type == "RecursionError" for each in nested)
    # What occurs once has no cycle.
    cycles = facts.cycles.found.values() if facts.again else ()
    for levels, dispatches, calls in cycles:
        if levels >= 3 or not _is_guarded(dispatches):  # noqa: PLR2004 - two are a guarded save.
            yield _recursion_finding(levels, dispatches, calls)
    deep = options["unknown_levels"]
    if not cycles and (overflowed or len(nested) >= deep):
        yield from _nameless_recursion(facts, deep, overflowed=overflowed)


def _is_guarded(dispatches: list[Dispatch]) -> bool:
    """Return whether a cycle of one turn is a save repeated under a guard."""
    outer, inner = dispatches[0], dispatches[-1]
    direct = len(dispatches) == 2  # noqa: PLR2004 - the outer dispatch and the inner one.
    if inner.signal in SAVES:
        # What follows from a new row and ends with the save of an old one is guarded by "created".
        only_when_created = outer.created is True and inner.created is False
        return direct or only_when_created or inner.update_fields is not None
    return False


def _recursion_finding(
    levels: int, dispatches: list[Dispatch], calls: list[ReceiverCall]
) -> Hazard:
    outer = dispatches[0]
    about = _about(outer)
    cycle = _cycle_text(calls, dispatches)
    hazard = finding(
        f"{signal_of(outer.signal, about)} nests in itself, {plural(levels, 'level')} deep: {cycle}.",
        dispatch=outer,
        receiver=calls[0].receiver,
        spans=[*dispatches, *calls],
        evidence=lines(
            dispatches,
            lambda inner: (
                f"{signal_of(inner.signal, about)} sent at {site(inner)}{_detached_text(inner)}"
            ),
        ),
    )
    if outer.signal == M2M_CHANGED:
        hazard.remedy = (
            "Break the cycle: add all that is meant in one call, or write rows of the relation's "
            "through model, which sends no m2m_changed."
        )
    return hazard


def _nameless_recursion(facts: Facts, levels: int, *, overflowed: bool) -> Iterator[Hazard]:
    """Yield a runaway of unknown instances: very deep, or at Python's limit."""
    deepest = max(facts.nested, key=lambda dispatch: dispatch.depth)
    if deepest.depth < (3 if overflowed else levels):
        return
    same = [
        (call, above)
        for call, above in chain(facts, deepest)
        if (above.signal, above.sender) == (deepest.signal, deepest.sender)
        and above.callsite == deepest.callsite
        and not has_identity(above.instance)
    ]
    if len(same) < (3 if overflowed else levels):
        return
    call, above = same[0]
    ending = ", until Python's recursion limit" if overflowed else ""
    yield finding(
        f"{signal_of(deepest.signal, deepest.sender)} nests in itself, "
        f"{plural(len(same) + 1, 'level')} deep{ending}: {_cycle_text([call], [above, deepest])}.",
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

    One whole second save of a new instance (``if created``), after which nothing saves again, is info:
    the row is written twice, and every receiver runs twice. Left alone: one of named fields
    (``update_fields``), which is guarded by what it writes.
    """
    inside = {each.instance for each in facts.nested if each.signal in SAVES}
    if not inside:
        return
    found: dict[tuple[int, str], _SavedAgain] = {}
    below = facts.index.below
    around = [each for each in facts.every if each.instance in inside and each.signal in SAVES]
    for outer in around:
        if outer.raw:
            continue
        for call in outer.receiver_calls:
            if (sent := below.sent(call)) and (saves := _saves_among(sent, outer)):
                key = (facts.labels[id(call.receiver)], outer.sender)
                again = found.get(key)
                if again is None:
                    again = found[key] = _SavedAgain(outer)
                again.calls.append(call)
                again.saves += saves
                again.unguarded = again.unguarded or _is_unguarded(call, outer, saves, below)
    for again in found.values():
        if again.unguarded:
            yield _repeated_save_finding(again)
        elif any(save.update_fields is None for save in again.saves):
            hazard = _repeated_save_finding(again)
            hazard.severity = "info"
            yield hazard


class _SavedAgain:
    """The instances of one model that one receiver saved again."""

    __slots__ = ("calls", "outer", "saves", "unguarded")

    def __init__(self, outer: Dispatch) -> None:
        self.outer = outer
        """The first save that was repeated."""
        self.calls: list[ReceiverCall] = []
        self.saves: list[Dispatch] = []
        self.unguarded = False


def _repeated_save_finding(again: _SavedAgain) -> Hazard:
    outer, saves, label = again.outer, again.saves, again.calls[0].receiver
    when = f"while its {short_signal(outer.signal)} is being signalled"
    if all(save.is_detached for save in saves):
        when = "in detached work when that was saved"
    hazard = finding(
        f"{who(label)} saves {_about(outer)} again {when} "
        f"({plural(len(saves), 'more save')}, at {', '.join(sites(saves))}).",
        dispatch=outer,
        receiver=label,
        spans=(outer, *again.calls[:MAX_NUMBERS], *saves[:MAX_NUMBERS]),
        evidence=lines(
            saves,
            lambda save: (
                f"{short_signal(save.signal)} of {save.instance} sent at {site(save)}"
                f"{_detached_text(save)}"
            ),
        ),
    )
    if outer.signal == PRE_SAVE:
        hazard.remedy = "Set the fields alone: the save that is still to come writes them."
    return hazard


def _saves_among(sent: Sequence[Dispatch], outer: Dispatch) -> list[Dispatch]:
    """Return the saves of the instance of *outer* in *sent*, by one signal."""
    instance, sender, using = instance_identity(outer), outer.sender, outer.using
    if instance is None:
        return []
    saves = [
        each
        for each in sent
        if each.signal in SAVES
        and (each.instance == instance or instance_identity(each) == instance)
        and each.sender == sender
        and each.using == using
    ]
    if len(saves) < 2:  # noqa: PLR2004 - one is what it is.
        return saves
    after = [each for each in saves if each.signal == POST_SAVE]
    # A save sends both signals; one without receivers of post_save was only seen before it.
    return after or saves


def _is_unguarded(call: ReceiverCall, outer: Dispatch, saves: list[Dispatch], below: Below) -> bool:
    """Return whether second saves are more than one that a guard lets through."""
    whole = [save for save in saves if save.update_fields is None]
    if len(whole) > 1 or (whole and outer.created is not True):
        return True
    if any(
        _saves_among(below.sent(inner), save) for save in saves for inner in save.receiver_calls
    ):
        return True
    # Two receivers that each save a new instance again: guarded both, and still three saves.
    siblings = [
        other
        for other in outer.receiver_calls
        if other is not call
        for save in _saves_among(below.sent(other), outer)
        if save.update_fields is None
    ]
    return bool(whole and siblings)
