"""Changes, each with all its tests, put together out of findings."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.review.records import Located

KINDS: Final[dict[str, str]] = {
    "receiver-added": "A receiver is called that was not called before.",
    "receiver-removed": "A receiver is not called any more.",
    "receiver-renamed": "A receiver has another name.",
    "receiver-reordered": "The receivers of a dispatch are called in another order.",
    "sender-changed": "A receiver is called for another sender.",
    "signal-changed": "A receiver is called for another signal.",
    "calls-changed": "A receiver is called more or less often.",
    "queries-changed": "A receiver runs more or fewer queries of its own in a call.",
    "outcome-changed": "A receiver ends in another way: it raises, or does not any more.",
    "method-changed": "A signal is sent by another method.",
    "async-changed": "A receiver became async, or sync.",
    "dispatch-deferred": "A dispatch waits for the commit, or does not any more.",
    "dispatch-added": "A signal is sent that was not sent before.",
    "dispatch-removed": "A signal is not sent any more.",
    "receivers-bypassed": "A receiver is skipped by a write that sends no signals.",
}
"""The kinds of changes, in the order in which they are told, and what each means."""

Value: TypeAlias = "str | int | list[str] | None"
Place: TypeAlias = tuple[str, str]
"""(signal, sender)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One change in one test."""

    kind: str
    test: str
    place: Place
    receiver: str | None
    """As it is called now; None where a whole dispatch changed."""
    located: Located | None
    before: Value
    after: Value
    any_sender: bool = False
    """The receiver is connected once, for all senders: its change is one change."""


@dataclass(slots=True)
class Change:
    """One change, with all its tests."""

    kind: str
    signal: str | None
    """None if it is of a receiver of several signals."""
    receiver: str | None
    sender: str | None
    """None if it is of several senders."""
    tests: list[str]
    before: Value
    after: Value
    file: str = ""
    line: int = 0


@dataclass(slots=True)
class _Collected:
    places: list[Place] = field(default_factory=list)
    values: list[tuple[Value, Value]] = field(default_factory=list)
    tests: set[str] = field(default_factory=set)
    where: Counter[tuple[str, int]] = field(default_factory=Counter)


_OF_FUNCTION: Final = frozenset({"receiver-renamed", "async-changed"})
"""Changes of a function, for whatever it is connected."""


def collected(findings: Iterable[Finding]) -> list[Change]:
    """Return one change for all findings that say the same, with their tests."""
    every: dict[tuple[str, ...], _Collected] = defaultdict(_Collected)
    for found in findings:
        key: tuple[str, ...] = (found.kind, found.receiver or "")
        if found.kind not in _OF_FUNCTION:
            key += found.place[:1] if found.any_sender else found.place
        one = every[key]
        one.places.append(found.place)
        one.values.append((found.before, found.after))
        one.tests.add(found.test)
        located = found.located
        one.where[(located.file, located.line) if located is not None else ("", 0)] += 1
    changes = [_change(key, one) for key, one in every.items()]
    order = list(KINDS)
    changes.sort(
        key=lambda each: (
            order.index(each.kind),
            each.signal or "",
            each.receiver or "",
            each.sender or "",
        )
    )
    return changes


def _change(key: tuple[str, ...], one: _Collected) -> Change:
    signals = {signal for signal, _sender in one.places}
    senders = {sender for _signal, sender in one.places}
    # Tests differ in how often they do something: what most of them say is told.
    counted = Counter(map(repr, one.values))
    before, after = max(one.values, key=lambda pair: counted[repr(pair)])
    file, line = max(one.where, key=lambda place: (one.where[place], place))
    return Change(
        kind=key[0],
        signal=signals.pop() if len(signals) == 1 else None,
        receiver=key[1] or None,
        sender=senders.pop() if len(senders) == 1 else None,
        tests=sorted(one.tests),
        before=before,
        after=after,
        file=file,
        line=line,
    )
