"""Receivers called elsewhere: added, removed, or connected otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.review.changes import Finding
from tracing.analysis.review.differences import ANY_SENDER, Elsewhere
from tracing.analysis.review.receivers import compare_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.review.changes import Place
    from tracing.analysis.review.differences import Project

_NOWHERE = Elsewhere()


class Rewired:
    """The fate of the receivers that were called on one side alone.

    One that is lost for one signal and found for another was connected otherwise, which is one change.
    Where no test sends what it waits for now, what was connected at the end of the tests says so.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each test of each receiver."""
        for name in sorted({*self._project.lost, *self._project.gained}):
            yield from self._of(name)

    def _of(self, name: str) -> Iterator[Finding]:
        lost = self._project.lost.get(name, _NOWHERE)
        gained = self._project.gained.get(name, _NOWHERE)
        wired_before = self._project.wired_before.get(name, set())
        wired_after = self._project.wired_after.get(name, set())
        gone, new = wired_before - wired_after, wired_after - wired_before
        left = sorted(gained.tests)
        for place in sorted(lost.tests):
            other = _nearest(place, left)
            if other is not None:
                left.remove(other)
                tests = lost.tests[place] | gained.tests[other]
                yield from _changed(name, place, other, tests, gained)
                for test in tests:
                    was, now = lost.calls[place], gained.calls[other]
                    yield from compare_receiver(test, name, other, was, now)
                continue
            wires = _wires(place, gone, new)
            if wires is not None:
                yield from _changed(name, wires[0], wires[1], lost.tests[place], lost)
            else:
                yield from _alone("receiver-removed", name, place, lost)
        for place in left:
            wires = _wires(place, new, gone)
            if wires is not None:
                yield from _changed(name, wires[1], wires[0], gained.tests[place], gained)
            else:
                yield from _alone("receiver-added", name, place, gained)


def _wires(place: Place, wires: set[Place], others: set[Place]) -> tuple[Place, Place] | None:
    """Return the connection that *place* is heard by, on both sides."""
    wire = next((each for each in (place, (place[0], ANY_SENDER)) if each in wires), None)
    other = _nearest(wire, sorted(others)) if wire is not None else None
    return (wire, other) if wire is not None and other is not None else None


def _nearest(place: Place, others: list[Place]) -> Place | None:
    """Return the one of *others* that *place* became; None if none did."""
    for index in (0, 1):
        for other in others:
            if other != place and other[index] == place[index]:
                return other
    return others[0] if len(others) == 1 and others[0] != place else None


def _changed(
    name: str, before: Place, after: Place, tests: set[str], where: Elsewhere
) -> Iterator[Finding]:
    calls = where.calls.get(after) or next(iter(where.calls.values()))
    for kind, index in (("signal-changed", 0), ("sender-changed", 1)):
        if before[index] == after[index]:
            continue
        was, now = (
            "any sender" if (index, each) == (1, ANY_SENDER) else each
            for each in (before[index], after[index])
        )
        for test in tests:
            yield Finding(kind, test, after, name, calls, was, now, any_sender=calls.any_sender)


def _alone(kind: str, name: str, place: Place, where: Elsewhere) -> Iterator[Finding]:
    calls = where.calls[place]
    was, now = ("called", None) if kind == "receiver-removed" else (None, "called")
    for test in where.tests[place]:
        yield Finding(kind, test, place, name, calls, was, now, any_sender=calls.any_sender)
