"""Explanations from the sums by path, which have every recorded trace."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q

from tracing.analysis.explain.steps import SUMS, Explanation
from tracing.analysis.explain.told import told
from tracing.analysis.explain.trees import Alike, read, sort, span_of
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
    from tracing.analysis.explain.question import Question
    from tracing.analysis.explain.steps import Key
    from tracing.analysis.explain.trees import Document
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
    nested, trees = read(*map(bytes, found[:MOST_TREES]))
    explanation = Explanation(question, [], source=SUMS, has_more=len(found) > MOST_TREES)
    if question.receiver is not None:
        _add_calls(explanation, trees, question.receiver)
    else:
        _add_roots(explanation, trees)
        explanation.nested_count = nested
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


def _add_roots(found: Explanation, trees: Alike) -> None:
    """Add trees of what is asked about, in the order of a model's life."""
    counts = {key: sum([each.counts.count for each in alike]) for key, alike in trees.items()}
    kept = [key for key, count in counts.items() if count]
    kept.sort(key=lambda key: (life_place(key[1]), -counts[key]))
    found.roots, found.left_out = told((key, trees[key]) for key in kept)
    traces = _see(found, [document for key in kept for document in trees[key]])
    # Of several roots nobody knows how many of their traces are the same.
    found.trace_count = traces if len(kept) == 1 else None


def _add_calls(found: Explanation, trees: Alike, target: Target) -> None:
    """Add the calls of a receiver, from the trees of what it hears."""
    calls, seen = Alike(), []
    heard: dict[Key, Counter[tuple[str, str]]] = {}
    for root in (document for alike in trees.values() for document in alike):
        below = [each for each in root.below if each.receiver and target.is_of(each.receiver)]
        sort(below, calls)
        seen += [root] if below else []
        for each in below:
            key = (each.kind, each.name, each.sender, each.action)
            heard.setdefault(key, Counter())[root.name, root.sender] += each.counts.count
    found.roots, found.left_out = told(calls.items())
    for step, key in zip(found.roots, calls, strict=True):
        step.heard = heard[key]
    _see(found, seen)
    found.trace_count = None


def _see(found: Explanation, roots: list[Document]) -> int:
    """Note when the traces of *roots* were; return how many."""
    traces, first_ns, last_ns = span_of(roots) if roots else (0, 0, 0)
    found.oldest_ns, found.newest_ns = first_ns or None, last_ns or None
    return traces
