"""Rules about transactions: side effects while nothing was certain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.hazards.rule import Options, finding, lines, rule, who
from tracing.analysis.names import place, signal_of
from tracing.spans.records import ReceiverCall, SideEffect, TransactionOutcome
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.hazards.facts import Facts
    from tracing.spans.records import Hazard

_ROLLED_BACK: Final = (TransactionOutcome.ROLLED_BACK, TransactionOutcome.SAVEPOINT_ROLLED_BACK)
_DONE: Final = {"mail": "sent mail", "task": "enqueued a task", "socket": "opened a socket"}
_TRANSACTIONAL: Final = (
    # Their queue is a table of the same database: it rolls back with the transaction.
    "django_tasks.backends.database.",
    "django_tasks_db.",
    "mailer.backend.",
    "post_office.",
    # It runs at once, in the transaction.
    "celery.eager",
)


def _risky(
    facts: Facts, options: Options, *, rolled_back: bool
) -> Iterator[tuple[SideEffect, ReceiverCall]]:
    """Yield side effects inside an open transaction of the application."""
    harmless = (*_TRANSACTIONAL, *options["transactional_backends"])
    for effect in facts.side_effects:
        if effect.in_on_commit or effect.transaction_depth < 1:
            continue
        if (effect.transaction in _ROLLED_BACK) is not rolled_back:
            continue
        if effect.backend and effect.backend.startswith(harmless):
            continue
        call = facts.index.call(effect.parent_number)
        if call is not None:
            yield effect, call


def _evidence(effect: SideEffect) -> str:
    return (
        f"{_DONE.get(effect.kind, effect.kind)} {effect.target}, atomic blocks open: "
        f"{effect.transaction_depth}, alias {effect.using or 'default'}, "
        f"{effect.transaction.replace('_', ' ')}"
    )


def _findings(
    facts: Facts, options: Options, ending: str, *, rolled_back: bool
) -> Iterator[Hazard]:
    found: dict[tuple[int, str, str, str], list[tuple[SideEffect, ReceiverCall]]] = {}
    labels = facts.labels
    for effect, call in _risky(facts, options, rolled_back=rolled_back):
        key = (labels[id(call.receiver)], effect.kind, effect.target, effect.ran_at_once_on)
        found.setdefault(key, []).append((effect, call))
    for (_label, kind, target, other), effects in found.items():
        effect, call = effects[0]
        label = call.receiver
        dispatch = facts.index.dispatch_of(call)
        done = _DONE.get(kind, f"did {kind}") + (f" ({target})" if target else "")
        where = ""
        if effect.callsite is not None:
            where = f" at {place(effect.callsite.file, effect.callsite.line)}"
        times = f" {plural(len(effects), 'time')}" if len(effects) > 1 else ""
        if other:
            times += f", at once in on_commit() of {other!r}, which had no transaction,"
        what = signal_of(dispatch.signal, dispatch.sender)
        using = f" on {effect.using!r}" if other else ""
        hazard = finding(
            f"{who(label)} {done}{where}{times} while the transaction of {what}{using} {ending}.",
            dispatch=dispatch,
            receiver=label,
            spans=(call for _, call in effects),
            evidence=lines(effects, lambda pair: _evidence(pair[0])),
        )
        if other and other != effect.using:
            hazard.remedy = (
                f"Give on_commit() the alias of that transaction: using={effect.using!r}, or the "
                "argument using of the receiver."
            )
        yield hazard


@rule(
    "side-effect-in-transaction",
    severity="warning",
    summary="A receiver sent mail, enqueued a task or opened a socket in an open transaction.",
    why=(
        "The transaction may still roll back, and a worker may look for the row before it is "
        "committed."
    ),
    remedy="Do it in transaction.on_commit(), which runs it after the commit and only then.",
    wants="side_effects",
    transactional_backends=(),
)
def side_effect_in_transaction(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield side effects in an open transaction that did not roll back."""
    yield from _findings(facts, options, "was still open", rolled_back=False)


@rule(
    "rolled-back-side-effect",
    severity="error",
    summary="A side effect of a receiver happened and its transaction then rolled back.",
    why="The world was told of something that never took place, and cannot be untold.",
    remedy="Do it in transaction.on_commit(), which forgets it when the transaction rolls back.",
    wants="side_effects",
    transactional_backends=(),
)
def rolled_back_side_effect(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield side effects that the rollback did not undo.

    A savepoint that was opened after the side effect, or closed before it, does not cover it.
    """
    yield from _findings(facts, options, "was open, and it then rolled back", rolled_back=True)
