"""Explanations from the sums by path, which have every recorded trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q

from tracing.analysis.explain.steps import SUMS, Explanation, Step
from tracing.analysis.explain.trees import Path, Tree
from tracing.analysis.explain.wired import life_place
from tracing.analysis.histogram import HOUR_NS
from tracing.spans import records
from tracing.store.models import (
    PathRollup,
    ReceiverLabel,
    Rollup,
    SenderLabel,
    SignalLabel,
    TraceLabel,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.explain import Question
    from tracing.analysis.explain.steps import Key
    from tracing.analysis.why_not.target import Target

MOST_TREES: Final = 2_000
"""Newest hours and days that are added up, each with its signals and senders."""
_MOST_PAIRS: Final = 200
"""Signals and senders of a receiver."""


def explain_by_sums(question: Question, since_ns: int | None = None) -> Explanation | None:
    """Return what follows, from the hour of *since_ns* on; None without sums."""
    rows = _rows(question)
    if rows is None:
        return None
    if since_ns is not None:
        rows = rows.filter(hour__gte=since_ns // HOUR_NS)
    found = [*rows.order_by("-hour").values_list("tree", flat=True)[: MOST_TREES + 1]]
    tree = Tree.decode(*map(bytes, found[:MOST_TREES]))
    explanation = Explanation(question, [], source=SUMS, has_more=len(found) > MOST_TREES)
    if question.receiver is not None:
        _add_calls(explanation, tree, question.receiver)
    else:
        _add_roots(explanation, tree.roots.values())
        explanation.nested_count = tree.nested
    return explanation if explanation.roots else None


def _rows(question: Question) -> Any:
    """Return the rows that hold it, or None."""
    if question.receiver is not None:
        return _of_pairs(_pairs(question.receiver))
    asked = (
        ("label", TraceLabel, question.name),
        ("signal", SignalLabel, question.signal),
        ("sender", SenderLabel, question.sender),
    )
    condition = {
        f"{column}__in": list(model.objects.filter(name=name).values_list("pk", flat=True))
        for column, model, name in asked
        if name
    }
    return PathRollup.objects.filter(**condition) if condition else None


def _pairs(target: Target) -> list[tuple[int, int]]:
    """Return the signals and senders for which a receiver was called."""
    labels = ReceiverLabel.objects.filter(name__endswith=target.name.rpartition(".")[2])
    fields = ("name", "file", "line", "dispatch_uid")
    keys = [
        key
        for key, *values in labels.values_list("pk", *fields)
        if target.is_of(records.ReceiverLabel(*values))
    ]
    calls = Rollup.objects.filter(receiver__in=keys[:_MOST_PAIRS], receiver__gt=0)
    return [*calls.order_by().values_list("signal", "sender").distinct()[:_MOST_PAIRS]]


def _of_pairs(pairs: list[tuple[int, int]]) -> Any:
    condition = Q(pk__in=())
    for signal, sender in pairs:
        condition |= Q(signal=signal, sender=sender)
    return PathRollup.objects.filter(condition)


def _add_roots(found: Explanation, roots: Iterable[Path]) -> None:
    """Add trees of what is asked about, in the order of a model's life."""
    kept = [root for root in roots if root.step.count]
    for root in sorted(kept, key=lambda root: (life_place(root.step.name), -root.step.count)):
        found.roots.append(root.steps())
        _see(found, root)
    # Of several roots nobody knows how many of their traces are the same.
    found.trace_count = kept[0].traces if len(kept) == 1 else None


def _add_calls(found: Explanation, tree: Tree, target: Target) -> None:
    """Add the calls of a receiver, from the trees of what it hears."""
    calls: dict[Key, Path] = {}
    heard: dict[Key, Step] = {}
    for root in tree.roots.values():
        for key, path in root.below.items():
            label = path.step.receiver
            if label is None or not target.is_of(label):
                continue
            _see(found, root)
            calls.setdefault(key, Path(key, path.level)).merge(path)
            pair = root.step.name, root.step.sender
            heard.setdefault(key, Step(*key)).heard[pair] += path.step.count
    found.trace_count = None
    for key, path in calls.items():
        step = path.steps(path.level)
        step.heard = heard[key].heard
        found.roots.append(step)


def _see(found: Explanation, root: Path) -> None:
    found.oldest_ns = min(filter(None, (found.oldest_ns, root.first_ns)), default=None)
    found.newest_ns = max(found.newest_ns or 0, root.last_ns) or None
    found.left_out += root.left_out
