"""The two sides of a review, in the names of the head."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tracing.analysis.names import short_receiver

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tracing.analysis.review.records import (
        Bypassed,
        Group,
        ReceiverCalls,
        Recording,
        TestBehaviour,
    )

_PARTIAL: Final = "functools.partial("
_NOT_REVIEWED: Final = ("django.", "tracing.")


def is_djangos(name: str) -> bool:
    """Return whether a signal or receiver is Django's own, or the tracer's."""
    return name.removeprefix(_PARTIAL).startswith(_NOT_REVIEWED)


def function_name(receiver: str) -> str:
    """Return a receiver's own name, without module; a partial's is inner."""
    while receiver.startswith(_PARTIAL) and receiver.endswith(")"):
        receiver = receiver[len(_PARTIAL) : -1]
    return short_receiver(receiver).rpartition("<locals>.")[2]


@dataclass(slots=True)
class Names:
    """Names of one side as the other has them."""

    signals: dict[str, str] = field(default_factory=dict)
    senders: dict[str, str] = field(default_factory=dict)
    receivers: dict[str, str] = field(default_factory=dict)

    def place(self, signal: str, sender: str) -> tuple[str, str]:
        """Return a signal and a sender in the names of the other side."""
        return self.signals.get(signal, signal), self.senders.get(sender, sender)

    def receiver(self, name: str) -> str:
        """Return a receiver in the names of the other side."""
        return self.receivers.get(name, name)


class Side:
    """A run of the tests, its receivers told apart where names are equal."""

    def __init__(self, recording: Recording, tests: Iterable[str]) -> None:
        self.recording = recording
        self.tests: dict[str, TestBehaviour] = {test: recording.tests[test] for test in tests}
        self.identities = self._tell_apart()
        self.wiring: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for signal, sender, receiver in recording.connected:
            self.wiring[receiver].add((signal, sender))

    def _tell_apart(self) -> dict[tuple[str, str, int], str]:
        """Return a name for each function: two lambdas may have the same."""
        places: dict[str, set[tuple[str, int]]] = defaultdict(set)
        for _test, _group, calls in self.calls():
            places[calls.receiver].add((calls.file, calls.line))
        return {
            (name, *place): name if number == 1 else f"{name}#{number}"
            for name, found in places.items()
            for number, place in enumerate(sorted(found), 1)
        }

    def calls(self) -> Iterator[tuple[TestBehaviour, Group, ReceiverCalls]]:
        """Yield every receiver of every group of every test."""
        for test in self.tests.values():
            for group in test.groups:
                for calls in group.receivers:
                    yield test, group, calls

    def identity(self, calls: ReceiverCalls) -> str:
        """Return the name that tells a receiver from the others of its side."""
        return self.identities[calls.receiver, calls.file, calls.line]

    def sent(self) -> set[tuple[str, str]]:
        """Return the signals that were sent, and their senders."""
        tests = self.tests.values()
        heard = {(group.signal, group.sender) for test in tests for group in test.groups}
        return heard | {(signal, sender) for test in tests for signal, sender, _ in test.orphans}


@dataclass(slots=True, eq=False)
class Node:
    """A group of dispatches in the tree of a test, in the names of the head."""

    group: Group
    place: tuple[str, str]
    """(signal, sender)."""
    receivers: dict[str, ReceiverCalls]
    """In calling order."""
    parent: Node | None = None
    caller: str = ""
    """The receiver of the parent that sent them."""
    children: dict[str, list[Node]] = field(default_factory=dict)
    """By the receiver that sent them."""
    is_paired: bool = False
    is_loose: bool = False
    """What sent it is on the other side too, and does not send it there."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what makes it the same as one of the other side."""
        return (*self.place, self.group.action)

    @property
    def calls_above(self) -> int:
        """Return how often what sends it was called; once, the test itself."""
        return self.parent.receivers[self.caller].made if self.parent is not None else 1

    @property
    def own_receivers(self) -> dict[str, ReceiverCalls]:
        """Return its receivers without Django's own."""
        return {
            name: calls
            for name, calls in self.receivers.items()
            if calls.mine or not is_djangos(calls.receiver)
        }

    def below(self) -> Iterator[Node]:
        """Yield it and all below it, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            for children in node.children.values():
                waiting.extend(reversed(children))

    @property
    def matters(self) -> bool:
        """Return whether anybody but Django sends, hears or is called below it."""
        return not is_djangos(self.place[0]) or any(node.own_receivers for node in self.below())


class Tree:
    """The behaviour of a test, in the names of the head."""

    def __init__(self, side: Side, test: TestBehaviour, names: Names) -> None:
        self.failed = test.failed
        self.roots: list[Node] = []
        self.nodes: list[Node] = []
        for group in test.groups:
            self._add(side, group, names)
        self.orphans: dict[tuple[str, str], int] = {}
        for signal, sender, count in test.orphans:
            self.orphans[names.place(signal, sender)] = count
        self.waiting = sum(count for *_, count in test.waiting)
        self.bypassed: dict[tuple[str, str, str], dict[str, Bypassed]] = {}
        """By receiver, signal and sender: what skipped it, by operation."""
        for each in test.bypassed:
            key = (names.receiver(each.receiver), *names.place(each.signal, each.sender))
            self.bypassed.setdefault(key, {})[each.operation] = each
        self.connected = {
            (names.receiver(receiver), *names.place(signal, sender))
            for signal, sender, receiver in test.connected
        }

    def _add(self, side: Side, group: Group, names: Names) -> None:
        receivers: dict[str, ReceiverCalls] = {
            names.receiver(side.identity(calls)): calls for calls in group.receivers
        }
        node = Node(group, names.place(group.signal, group.sender), receivers)
        self.nodes.append(node)
        if group.within is None:
            self.roots.append(node)
            return
        parent, position = group.within
        node.parent = self.nodes[parent]
        node.caller = list(node.parent.receivers)[position]
        node.parent.children.setdefault(node.caller, []).append(node)

    def sent(self, place: tuple[str, str]) -> int:
        """Return how often a sender sent a signal, to somebody or to nobody."""
        return self.orphans.get(place, 0) + sum(
            node.group.count for node in self.nodes if node.place == place
        )

    def total(self, receiver: str, place: tuple[str, str]) -> int:
        """Return how often a receiver was reached by a signal of a sender."""
        return sum(
            node.receivers[receiver].count
            for node in self.nodes
            if node.place == place and receiver in node.receivers
        )


def last_part(path: str) -> str:
    """Return the last part of a dotted path."""
    return path.rpartition(".")[2]


def moved(before: Iterable[str], after: Iterable[str], *, least_dots: int = 1) -> Mapping[str, str]:
    """Return what went to another module: a new name ends like one gone."""
    gone, new = set(before) - set(after), set(after) - set(before)
    ends: dict[str, list[str]] = defaultdict(list)
    for name in new:
        if name.count(".") >= least_dots:
            ends[last_part(name)].append(name)
    found = {}
    for name in gone:
        candidates = ends.get(last_part(name), ())
        same = [each for each in gone if last_part(each) == last_part(name)]
        if len(candidates) == 1 and len(same) == 1 and name.count(".") >= least_dots:
            found[name] = candidates[0]
    return found
