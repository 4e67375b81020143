"""Connected receivers beside those that were seen, in calling order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.explain.steps import DISPATCH, RECEIVER, Step, with_parents
from tracing.analysis.wiring import ANY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracing.analysis.explain.question import Question
    from tracing.analysis.explain.steps import Explanation
    from tracing.analysis.wiring import Route
    from tracing.spans.labels import ReceiverLabel

_MODEL_SIGNALS: Final = "django.db.models.signals."
_ORDER: Final = (
    "pre_init", "post_init", "pre_save", "post_save", "m2m_changed", "pre_delete", "post_delete",
)  # fmt: skip
"""Signals of a model in the order in which its life sends them."""


def add_connected(
    found: Explanation,
    routes: Sequence[Route],
    *,
    models: frozenset[str] = frozenset(),
    recorded: Mapping[tuple[str, str, str], int] | None = None,
) -> None:
    """Add to *found* what is connected and unseen; mark what is connected.

    Args:
        found: What the traces had.
        routes: What this process has connected.
        models: Labels of models: any receiver of a model's signals hears those of each.
        recorded: Counts of the statistics by signal, sender and receiver (empty for the dispatches
            themselves); None if there are none.
    """
    by_pair = {(route.signal, route.sender): route for route in routes}
    question = found.question
    if question.receiver is not None:
        _add_receiver(found, routes, recorded)
    elif not question.name:
        seen = {(step.name, step.sender) for step in found.roots}
        signals = {signal for signal, _ in seen}
        for signal, sender in _pairs(question, routes, models):
            # Those who hear any sender stand below each that sent.
            if (signal, sender) not in seen and not (sender == ANY and signal in signals):
                found.roots.append(Step(DISPATCH, signal, sender))
        if not found.roots and question.signal:
            found.roots.append(Step(DISPATCH, question.signal, ANY))
    for step, _ in list(with_parents(found.roots)):
        if step.kind != DISPATCH:
            continue
        route = by_pair.get((step.name, step.sender)) or by_pair.get((step.name, ANY))
        labels = _living(route)
        # Each action of m2m_changed is a step of its own, and all receivers hear each.
        _complete(step, labels)
        if recorded is not None:
            _add_counts(step, recorded)


def wired_pairs(
    found: Explanation, routes: Sequence[Route], models: frozenset[str]
) -> set[tuple[str, str]]:
    """Return the signals and senders of which *found* will tell."""
    steps = {
        (step.name, step.sender) for step, _ in with_parents(found.roots) if step.kind == DISPATCH
    }
    heard = {pair for step in found.roots for pair in step.heard}
    return steps | heard | {*_pairs(found.question, routes, models), *_connected(found, routes)}


def _pairs(
    question: Question, routes: Sequence[Route], models: frozenset[str]
) -> list[tuple[str, str]]:
    """Return the signals and senders with receivers that are asked about."""
    if not (question.signal or question.sender):
        return []
    pairs: dict[tuple[str, str], None] = {}
    for route in routes:
        if question.signal not in {"", route.signal}:
            continue
        if route.sender == question.sender or not question.sender:
            pairs[route.signal, route.sender] = None
        elif route.sender == ANY and (
            question.signal
            or (question.sender in models and life_place(route.signal) < len(_ORDER))
        ):
            pairs[route.signal, question.sender] = None
    if question.signal and question.sender:
        # Nothing listens, and that is the answer.
        pairs[question.signal, question.sender] = None
    return sorted(pairs, key=lambda pair: (life_place(pair[0]), pair))


def life_place(signal: str) -> int:
    """Return the place of a signal in a model's life; that of others is last."""
    name = signal.removeprefix(_MODEL_SIGNALS)
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _living(route: Route | None) -> list[ReceiverLabel]:
    if route is None:
        return []
    return [connection.receiver for connection in route.connections if connection.alive]


def _complete(step: Step, labels: Sequence[ReceiverLabel]) -> None:
    """Put missing receivers below their dispatch, in calling order."""
    seen = {child.name: child for child in step.children}
    order = {label.name: place for place, label in enumerate(labels)}
    for child in step.children:
        child.is_connected = child.name in order
    for label in labels:
        if label.name not in seen:
            unseen = Step(RECEIVER, label.name, receiver=label, is_connected=True)
            seen[label.name] = unseen
            step.children.append(unseen)
    # What is not connected here stays behind what it came behind.
    places: dict[str, int] = {}
    last = -1
    for child in step.children:
        last = places[child.name] = order.get(child.name, last)
    step.children.sort(key=lambda child: places[child.name])


def _add_counts(step: Step, recorded: Mapping[tuple[str, str, str], int]) -> None:
    """Add the counts of the statistics to a dispatch and its receivers."""
    step.recorded = recorded.get((step.name, step.sender, ""), 0)
    for child in step.children:
        child.recorded = recorded.get((step.name, step.sender, child.name), 0)


def _connected(found: Explanation, routes: Sequence[Route]) -> dict[tuple[str, str], ReceiverLabel]:
    """Return the signals and senders of the receiver that is asked about."""
    target = found.question.receiver
    return {
        (route.signal, route.sender): label
        for route in (routes if target is not None else ())
        for label in _living(route)
        if target is not None
        and target.is_of(label)
        and (route.sender == ANY or not label.any_sender)
    }


def _add_receiver(
    found: Explanation,
    routes: Sequence[Route],
    recorded: Mapping[tuple[str, str, str], int] | None,
) -> None:
    """Add the signals and senders of the receiver that is asked about."""
    connected = _connected(found, routes)
    found.connected = sorted(connected)
    if not found.roots and connected:
        label = next(iter(connected.values()))
        found.roots.append(Step(RECEIVER, label.name, receiver=label))
    for step in found.roots:
        step.is_connected = bool(connected)
        if recorded is not None:
            pairs = {*connected, *step.heard}
            step.recorded = sum(recorded.get((*pair, step.name), 0) for pair in pairs)
