"""The review of two recordings: what changed in the tests that both have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.review.changes import Change, Finding, Place, collected
from tracing.analysis.review.differences import Project, TestDifference
from tracing.analysis.review.pairing import pair_names
from tracing.analysis.review.sides import Names, Side, Tree
from tracing.analysis.review.wires import Rewired

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.review.records import Recording


def review(before: Recording, after: Recording) -> list[Change]:
    """Return what changed in the tests that both sides have, by kind and name."""
    tests = sorted(before.tests.keys() & after.tests.keys())
    base, head = Side(before, tests), Side(after, tests)
    names, renamed = pair_names(base, head)
    project = Project(
        wired_before=_wired(base, names),
        wired_after=_wired(head, Names()),
        first_uses=frozenset(
            sql
            for sql, count in before.statements.items()
            if count == after.statements.get(sql) and sql.startswith("SELECT")
        ),
    )
    findings: list[Finding] = []
    for test in tests:
        trees = Tree(base, base.tests[test], names), Tree(head, head.tests[test], Names())
        findings += TestDifference(test, *trees, project).findings()
    findings += Rewired(project).findings()
    findings += _renamed(head, renamed)
    return collected(findings)


def _wired(side: Side, names: Names) -> dict[str, set[Place]]:
    """Return what is connected, in the names of the head."""
    found: dict[str, set[Place]] = {}
    for receiver, places in side.wiring.items():
        known = found.setdefault(names.receiver(receiver), set())
        known.update(names.place(*place) for place in places)
    return found


def _renamed(head: Side, renamed: dict[str, str]) -> Iterator[Finding]:
    for test, group, calls in head.calls():
        name = head.identity(calls)
        if name in renamed:
            place = group.signal, group.sender
            yield Finding("receiver-renamed", test.test, place, name, calls, renamed[name], name)
