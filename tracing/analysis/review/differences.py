"""Differences of one test: findings, and receivers called elsewhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from typing import TYPE_CHECKING, Final

from tracing.analysis.review.alignment import Alignment
from tracing.analysis.review.changes import Finding, Place, Value
from tracing.analysis.review.receivers import compare_receiver, outcome_of
from tracing.analysis.review.sides import is_djangos

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracing.analysis.review.alignment import NodePair
    from tracing.analysis.review.records import Bypassed, Located, ReceiverCalls
    from tracing.analysis.review.sides import Node, Tree

ANY_SENDER: Final = "None"
_NEED_LISTENERS: Final = frozenset(
    f"django.db.models.signals.{name}" for name in ("pre_delete", "post_delete", "m2m_changed")
)
"""Signals that Django does not send where nobody listens."""


@dataclass(slots=True)
class Elsewhere:
    """The places and tests in which one side alone calls a receiver."""

    tests: dict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))
    calls: dict[Place, ReceiverCalls] = field(default_factory=dict)

    def add(self, test: str, place: Place, calls: ReceiverCalls) -> None:
        """Note a receiver that was called in *test* by a signal of a sender."""
        self.tests[place].add(test)
        self.calls[place] = calls


@dataclass(slots=True)
class Project:
    """Facts about both projects, in the names of the head."""

    wired_before: Mapping[str, set[Place]]
    wired_after: Mapping[str, set[Place]]
    first_uses: frozenset[str]
    """Queries that a process runs as often on both sides: in whichever test comes first, maybe."""
    lost: dict[str, Elsewhere] = field(default_factory=lambda: defaultdict(Elsewhere))
    gained: dict[str, Elsewhere] = field(default_factory=lambda: defaultdict(Elsewhere))


class TestDifference:
    """The differences of one test."""

    __test__ = False

    def __init__(self, test: str, before: Tree, after: Tree, project: Project) -> None:
        self._test = test
        self._before, self._after = before, after
        self._project = project
        self._findings: list[Finding] = []
        self._counted: set[tuple[str, Place]] = set()
        self._alignment = Alignment(before, after)
        pairs = self._alignment.pairs
        self._pair_of = {id(pair.before): pair for pair in pairs} | {
            id(pair.after): pair for pair in pairs
        }
        # What a failure or an exception cut off is no change of its own.
        escaped = [(pair.before.group.escaped, pair.after.group.escaped) for pair in pairs]
        self._cut_before = (before.failed and not after.failed) or any(
            old and not new for old, new in escaped
        )
        self._cut_after = (after.failed and not before.failed) or any(
            new and not old for old, new in escaped
        )
        self._statements = _statements(after.nodes)
        self._statements.subtract(_statements(before.nodes))
        self._bypassed = self._find_bypassed()

    def findings(self) -> list[Finding]:
        """Return what was found, each once."""
        for pair in self._alignment.pairs:
            self._compare(pair)
        for node in self._alignment.removed:
            self._alone(node, is_gone=True)
        for node in self._alignment.added:
            self._alone(node, is_gone=False)
        if not self._has_causes():
            self._compare_orphans()
        return self._findings

    def _find(
        self,
        kind: str,
        place: Place,
        receiver: str | None = None,
        located: Located | None = None,
        *,
        was: Value = None,
        now: Value = None,
        any_sender: bool = False,
    ) -> None:
        found = Finding(kind, self._test, place, receiver, located, was, now, any_sender=any_sender)
        self._findings.append(found)

    # --- the same dispatches -------------------------------------------------------------------

    def _compare(self, pair: NodePair) -> None:
        old, new = pair.before, pair.after
        self._compare_dispatches(pair)
        resent = old.place != new.place
        shared = [name for name in old.own_receivers if name in new.own_receivers]
        for node, is_gone in ((old, True), (new, False)):
            for name, calls in node.own_receivers.items():
                if name not in shared:
                    self._called_by_one(name, node.place, calls, is_gone=is_gone)
        for name in shared:
            was, now = old.receivers[name], new.receivers[name]
            if resent:
                self._resent(name, old.place, new.place, now)
            elif was.any_sender != now.any_sender:
                self._rewired(name, new.place, now)
            if was.count != now.count and not self._follows(pair, was.count, now.count):
                self._calls(name, new.place, now)
            self._compare_receiver(name, new.place, was, now)

    def _compare_dispatches(self, pair: NodePair) -> None:
        old, new = pair.before, pair.after
        if not (old.matters or new.matters):
            return
        if set(old.group.methods) != set(new.group.methods):
            methods = [", ".join(sorted(node.group.methods)) for node in (old, new)]
            self._find("method-changed", new.place, None, new.group, was=methods[0], now=methods[1])
        deferred = [_deferral(node) for node in (old, new)]
        if deferred[0] != deferred[1]:
            self._find(
                "dispatch-deferred", new.place, None, new.group, was=deferred[0], now=deferred[1]
            )
        # Async receivers run after the others, so that one that became async moves by itself.
        stays = [
            name
            for name, calls in old.own_receivers.items()
            if name in new.own_receivers and calls.is_async == new.receivers[name].is_async
        ]
        order = [name for name in new.receivers if name in stays]
        if stays != order:
            name = _displaced(stays, order)
            calls = new.receivers[name]
            once = all(new.receivers[each].any_sender for each in order)
            find = partial(self._find, "receiver-reordered", any_sender=once)
            find(new.place, name, calls, was=stays, now=order)

    def _resent(self, name: str, before: Place, after: Place, calls: ReceiverCalls) -> None:
        kind, index = ("sender-changed", 1) if before[0] == after[0] else ("signal-changed", 0)
        self._find(kind, after, name, calls, was=before[index], now=after[index])

    def _rewired(self, name: str, place: Place, calls: ReceiverCalls) -> None:
        """Tell that a receiver is connected for any sender now, or for one."""
        was, now = place[1], "any sender"
        if not calls.any_sender:
            was, now = now, was
        self._find("sender-changed", place, name, calls, was=was, now=now, any_sender=True)

    def _compare_receiver(
        self, name: str, place: Place, was: ReceiverCalls, now: ReceiverCalls
    ) -> None:
        for found in compare_receiver(self._test, name, place, was, now):
            if found.kind != "queries-changed" or not self._is_first_use(was, now):
                self._findings.append(found)

    def _is_first_use(self, was: ReceiverCalls, now: ReceiverCalls) -> bool:
        """Return whether they differ only in what a process asks once."""
        names = {*was.statements, *now.statements}
        differs = [sql for sql in names if was.statements.get(sql, 0) != now.statements.get(sql, 0)]
        return bool(differs) and all(
            sql in self._project.first_uses and self._statements[sql] for sql in differs
        )

    # --- calls -----------------------------------------------------------------------------------

    def _follows(self, pair: NodePair, before: int, after: int) -> bool:
        """Return whether the calls follow from those of the receiver above."""
        if (after < before and self._cut_after) or (before < after and self._cut_before):
            return True
        if pair.is_moved:
            return False
        above = pair.before.calls_above, pair.after.calls_above
        if above[0] == above[1] or not above[0]:
            return False
        low, high = sorted((before, before * above[1] / above[0]))
        return low <= after <= high

    def _calls(self, name: str, place: Place, calls: ReceiverCalls) -> None:
        """Tell that a receiver is called more or less often in the test, once."""
        before, after = (tree.total(name, place) for tree in (self._before, self._after))
        if before == after or (name, place) in self._counted or (name, place) in self._bypassed:
            return
        if (after < before and self._cut_after) or (before < after and self._cut_before):
            return
        self._counted.add((name, place))
        any_sender = calls.any_sender
        self._find(
            "calls-changed", place, name, calls, was=before, now=after, any_sender=any_sender
        )

    def _called_by_one(
        self, name: str, place: Place, calls: ReceiverCalls, *, is_gone: bool
    ) -> None:
        """Note a receiver of one side; it is gone, or new."""
        if (self._after if is_gone else self._before).total(name, place):
            self._calls(name, place, calls)
        elif not is_gone:
            self._project.gained[name].add(self._test, place, calls)
        elif (name, place) not in self._bypassed:
            self._project.lost[name].add(self._test, place, calls)

    # --- dispatches of one side ------------------------------------------------------------------

    def _alone(self, node: Node, *, is_gone: bool) -> None:
        """Find what a group of dispatches says that is gone, or new."""
        place, own = node.place, node.own_receivers
        here, there = self._before, self._after
        if not is_gone:
            here, there = there, here
        if self._ends_early(node, cut=int(is_gone)):
            return
        is_cut = self._cut_after if is_gone else self._cut_before
        if there.sent(place):
            for name, calls in own.items():
                self._called_by_one(name, place, calls, is_gone=is_gone)
        elif is_cut or not node.matters or (is_gone and self._is_bypassed(place)):
            return
        elif there.waiting > here.waiting:
            when = (AT_ONCE, ON_COMMIT) if is_gone else (ON_COMMIT, AT_ONCE)
            self._find("dispatch-deferred", place, None, node.group, was=when[0], now=when[1])
        elif place[0] in _NEED_LISTENERS and own and not self._any_wired(own, place, after=is_gone):
            for name, calls in own.items():
                self._called_by_one(name, place, calls, is_gone=is_gone)
        else:
            self._sent_by_one(node, is_gone=is_gone)

    def _sent_by_one(self, node: Node, *, is_gone: bool) -> None:
        place, count = node.place, node.group.count
        kind = "dispatch-removed" if is_gone else "dispatch-added"
        counts = (count, 0) if is_gone else (0, count)
        self._find(kind, place, None, node.group, was=counts[0], now=counts[1])
        elsewhere = self._project.lost if is_gone else self._project.gained
        for name, calls in node.own_receivers.items():
            if not self._is_wired(name, place, after=is_gone):
                elsewhere[name].add(self._test, place, calls)

    def _ends_early(self, node: Node, *, cut: int) -> bool:
        """Return whether the sender of *node* raises on the other side alone."""
        pair = self._pair_of.get(id(node.parent)) if node.parent is not None else None
        if pair is None:
            return False
        sides = [pair.before.receivers.get(node.caller), pair.after.receivers.get(node.caller)]
        ends = [outcome_of(calls) if calls is not None else () for calls in sides]
        return ends[0] != ends[1] and any(each != "returned" for each in ends[cut])

    def _is_wired(self, name: str, place: Place, *, after: bool) -> bool:
        tree = self._after if after else self._before
        wired = (self._project.wired_after if after else self._project.wired_before).get(name, ())
        places = place, (place[0], ANY_SENDER)
        return any(each in wired or (name, *each) in tree.connected for each in places)

    def _any_wired(
        self, receivers: Mapping[str, ReceiverCalls], place: Place, *, after: bool
    ) -> bool:
        return any(self._is_wired(name, place, after=after) for name in receivers)

    # --- without receivers -----------------------------------------------------------------------

    def _has_causes(self) -> bool:
        """Return whether a finding of this test may explain others."""
        elsewhere = (*self._project.lost.values(), *self._project.gained.values())
        return bool(self._findings) or any(
            self._test in tests for each in elsewhere for tests in each.tests.values()
        )

    def _compare_orphans(self) -> None:
        """Find the project's signals without receivers that one side sends."""
        for place in sorted({*self._before.orphans, *self._after.orphans}):
            before, after = self._before.sent(place), self._after.sent(place)
            if is_djangos(place[0]) or bool(before) == bool(after):
                continue
            if after and not self._cut_before:
                self._find("dispatch-added", place, was=0, now=after)
            elif before and not self._cut_after:
                self._find("dispatch-removed", place, was=before, now=0)

    # --- bypasses --------------------------------------------------------------------------------

    def _find_bypassed(self) -> set[tuple[str, Place]]:
        """Find and return the receivers that a write without signals skips."""
        found: set[tuple[str, Place]] = set()
        for (name, *rest), now in self._after.bypassed.items():
            place = (rest[0], rest[1])
            was = self._before.bypassed.get((name, *place), {})
            grown = [each for each in now.values() if each.count > _count(was.get(each.operation))]
            if sum(map(_count, now.values())) <= sum(map(_count, was.values())) or not grown:
                continue
            skipped = grown[0]
            if is_djangos(skipped.receiver):
                continue
            called = self._before.total(name, place)
            if not called and not self._is_wired(name, place, after=False):
                continue
            found.add((name, place))
            before = "called" if called else None
            self._find(
                "receivers-bypassed", place, name, skipped, was=before, now=skipped.operation
            )
        return found

    def _is_bypassed(self, place: Place) -> bool:
        return any(each == place for _name, each in self._bypassed)


AT_ONCE: Final = "at once"
ON_COMMIT: Final = "on commit"


def _count(bypassed: Bypassed | None) -> int:
    return bypassed.count if bypassed is not None else 0


def _deferral(node: Node) -> str:
    if not node.group.on_commit:
        return AT_ONCE
    return ON_COMMIT if node.group.on_commit == node.group.count else f"{AT_ONCE}, {ON_COMMIT}"


def _displaced(before: list[str], after: list[str]) -> str:
    """Return the first receiver that has another place among the others."""
    for what, i1, _i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what in {"insert", "replace"} and j2 > j1:
            return after[j1]
        if what == "delete":
            return before[i1]
    return after[0]


def _statements(nodes: list[Node]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for calls in _every(nodes):
        counts.update(calls.statements)
    return counts


def _every(nodes: list[Node]) -> Iterator[ReceiverCalls]:
    for node in nodes:
        yield from node.receivers.values()
