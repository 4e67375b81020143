"""Differences in the calls of a receiver: its kind, end and queries."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tracing.analysis.review.changes import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.review.changes import Place, Value
    from tracing.analysis.review.records import ReceiverCalls


def compare_receiver(
    test: str, name: str, place: Place, was: ReceiverCalls, now: ReceiverCalls
) -> Iterator[Finding]:
    """Yield the differences in the calls of a receiver by (signal, sender)."""

    def find(kind: str, before: Value, after: Value) -> Finding:
        return Finding(kind, test, place, name, now, before, after, any_sender=now.any_sender)

    if was.is_async != now.is_async:
        before, after = ("async" if calls.is_async else "sync" for calls in (was, now))
        yield find("async-changed", before, after)
    if not (_ended(was) and _ended(now)):
        return
    ends = outcome_of(was), outcome_of(now)
    if ends[0] != ends[1]:
        # What else is different where it raises now, or raised, follows from that.
        told = [_told(each) for each in ends]
        if told[0] == told[1]:
            told = [", ".join(each) for each in ends]
        yield find("outcome-changed", told[0], told[1])
    elif (queries := _queries(was, now)) is not None:
        yield find("queries-changed", *queries)


def _queries(was: ReceiverCalls, now: ReceiverCalls) -> tuple[int, int] | None:
    """Return the queries of a call before and after; None if they are as many."""
    old, new = _per_call(was), _per_call(now)
    if len(old) != len(new):
        # How often it is called is told already: only calls that ask what none asked count.
        fewer, more = sorted((Counter(old), Counter(new)), key=Counter.total)
        if fewer <= more:
            return None
        old, new = old[:1], new[:1]
    return next(((a, b) for a, b in zip(old, new, strict=False) if a != b), None)


def _ended(calls: ReceiverCalls) -> bool:
    return calls.made > calls.outcomes.get("unknown", 0)


def outcome_of(calls: ReceiverCalls) -> tuple[str, ...]:
    """Return how its calls end, whichever of them were made."""
    return tuple(sorted(set(calls.outcomes) - {"skipped", "unknown"}))


def _told(outcomes: tuple[str, ...]) -> str:
    """Return how calls end, without the types of exceptions."""
    return ", ".join(sorted({outcome.partition(" ")[0] for outcome in outcomes}))


def _per_call(calls: ReceiverCalls) -> list[int]:
    """Return the queries of each call, the most first."""
    found = [number for number, count in calls.queries.items() for _ in range(count)]
    return sorted(found, reverse=True)
