"""Hazards of the wiring: bugs in connections, before anything is sent.

They are those of the rules ``duplicate-receiver``, ``lost-receiver`` and ``never-awaited``, seen in
the registries of the running process; they belong to no trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.hazards.rule import finding, who
from tracing.analysis.hazards.ruleset import current
from tracing.analysis.names import short_signal
from tracing.analysis.wiring import ANY, DEAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracing.analysis.wiring import Route, WiredReceiver
    from tracing.spans.records import Hazard, ReceiverLabel


def diagnose_wiring(routes: Iterable[Route]) -> list[Hazard]:
    """Return the hazards of *routes*, once each, known ones too.

    Args:
        routes: What ``tracing.analysis.wiring.read_wiring`` returned.
    """
    rules = current()
    found: dict[str, Hazard] = {}
    for route in routes:
        for name, sender, hazard in _of_route(route):
            hazard.signal, hazard.sender = route.signal, sender
            for judged in rules.judge(name, [hazard]):
                # A receiver for any sender stands in the route of every sender.
                found.setdefault(f"{name} {judged.signal} {judged.message}", judged)
    return [*found.values()]


def _of_route(route: Route) -> Iterator[tuple[str, str, Hazard]]:
    """Yield (rule, sender, finding); the sender is the receiver's own."""
    for connection in route.connections:
        label = connection.receiver
        sender = ANY if label.any_sender else route.sender
        to = _to(route, sender)
        if not connection.alive:
            if connection.was_method:
                continue
            uid = f" with dispatch_uid {label.dispatch_uid!r}" if label.dispatch_uid else ""
            message = (
                f"A receiver connected weakly to {to}{uid} has been garbage-collected: it does not "
                "run any more."
            )
            yield "lost-receiver", sender, finding(message, evidence=[DEAD])
        elif connection.kept_by_debug:
            message = (
                f"{who(label)} is connected weakly to {to} and held by nothing else: it runs only "
                "because DEBUG is on, and is garbage-collected at once without it."
            )
            evidence = ["held by the cache in which Django keeps signatures when DEBUG is on"]
            yield "lost-receiver", sender, finding(message, receiver=label, evidence=evidence)
        if connection.unawaited:
            message = (
                f"{who(label)} has an async __call__ and is connected to {to} as a sync receiver: "
                "its coroutine will never be awaited."
            )
            yield "never-awaited", sender, finding(message, receiver=label)
        if connection.duplicate_of is not None:
            other = route.connections[connection.duplicate_of].receiver
            # Two that hear any sender run twice for each; one of them, for this sender only.
            sender = sender if other.any_sender else route.sender
            yield "duplicate-receiver", sender, _twice(connection, other, _to(route, sender))


def _to(route: Route, sender: str) -> str:
    return short_signal(route.signal) + ("" if sender == ANY else f" of {sender}")


def _twice(connection: WiredReceiver, other: ReceiverLabel, to: str) -> Hazard:
    message = f"{who(connection.receiver)} is connected twice and will run twice for each {to}"
    if other.name != connection.receiver.name:
        message += f": it is the same function as {other.name}"
    return finding(f"{message}.", receiver=connection.receiver, evidence=[who(other)])
