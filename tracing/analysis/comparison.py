"""Two traces compared: trees aligned, and the changes at each place."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

from tracing.analysis.mine import spans_of_mine
from tracing.analysis.names import short_receiver, short_signal
from tracing.analysis.tree import Node, fold
from tracing.spans.records import ReceiverCall, Trace

Path: TypeAlias = tuple[tuple[str, ...], ...]
"""The keys of nodes from the top down."""
_Pair: TypeAlias = tuple[Node | None, Node | None, Path]


@dataclass(slots=True)
class Change:
    """One place of two aligned trees."""

    label: str
    depth: int
    path: Path
    before: Node | None
    after: Node | None
    verdicts: list[str] = field(default_factory=list)
    """appeared, vanished, moved, reordered, slower, faster, more SQL, less SQL, more calls, fewer
    calls, more errors, fewer errors; empty if nothing changed."""
    moved_from: str = ""
    """For a receiver that moved: under what it was before."""
    mine: bool = False
    """Whether a receiver of the project took part, in either trace."""

    @property
    def difference_ns(self) -> int:
        """Return by how much longer it took, negative if it took less."""
        return (self.after.total_ns if self.after else 0) - (
            self.before.total_ns if self.before else 0
        )

    @property
    def difference_queries(self) -> int:
        """Return how many more queries it ran."""
        return (self.after.query_count if self.after else 0) - (
            self.before.query_count if self.before else 0
        )


@dataclass(slots=True)
class Comparison:
    """Two traces, aligned."""

    before: Trace
    after: Trace
    changes: list[Change]
    """Every place of either tree, in the order of the tree; also those where nothing changed."""

    @property
    def changed(self) -> list[Change]:
        """Return the places where something changed."""
        return [change for change in self.changes if change.verdicts]


SLOWER_RATIO: Final = 1.5
"""How many times longer a place must take to be called slower."""
SLOWER_NS: Final = 1_000_000
"""And by how much, in nanoseconds: under a millisecond a ratio is noise."""


def compare(before: Trace, after: Trace) -> Comparison:
    """Return the trees of two traces aligned, with what changed at each place.

    Siblings are aligned by what they are (signal and sender, or receiver), not by where they stand,
    after folding repetitions. Two single durations are no statistics: ``tracing compare`` asks
    whether a receiver became slower over many.
    """
    changes: list[Change] = []
    older = fold(before, split_failed=False)
    newer = fold(after, split_failed=False)
    mine_before, mine_after = spans_of_mine(before), spans_of_mine(after)
    stack: list[_Pair] = []
    _push(stack, older, newer, ())
    while stack:
        old, new, above = stack.pop()
        node = new or old
        if node is None:  # pragma: no cover - a pair has at least one side.
            continue
        path = (*above, node.key)
        change = Change(node.label, node.depth, path, old, new)
        change.verdicts = _verdicts(old, new)
        change.mine = _any_in(old, mine_before) or _any_in(new, mine_after)
        changes.append(change)
        _push(stack, old.children if old else [], new.children if new else [], path)
    _mark_moved(changes)
    _mark_reordered(changes)
    return Comparison(before, after, changes)


def _push(
    stack: list[_Pair],
    older: list[Node],
    newer: list[Node],
    path: Path,
) -> None:
    by_key = {node.key: node for node in older}
    pairs: list[_Pair] = [(by_key.pop(node.key, None), node, path) for node in newer]
    pairs.extend((node, None, path) for node in by_key.values())
    stack.extend(reversed(pairs))


def _any_in(node: Node | None, numbers: frozenset[int]) -> bool:
    return node is not None and not numbers.isdisjoint(node.numbers)


def _verdicts(old: Node | None, new: Node | None) -> list[str]:
    if old is None:
        return ["appeared"]
    if new is None:
        return ["vanished"]
    found = []
    difference = new.total_ns - old.total_ns
    if difference >= SLOWER_NS and new.total_ns >= old.total_ns * SLOWER_RATIO:
        found.append("slower")
    elif -difference >= SLOWER_NS and old.total_ns >= new.total_ns * SLOWER_RATIO:
        found.append("faster")
    for attribute, more, less in (
        ("query_count", "more SQL", "less SQL"),
        ("count", "more calls", "fewer calls"),
        ("error_count", "more errors", "fewer errors"),
    ):
        grown = getattr(new, attribute) - getattr(old, attribute)
        if grown:
            found.append(more if grown > 0 else less)
    return found


def _mark_moved(changes: list[Change]) -> None:
    """Turn a vanished and an appeared receiver that are one into a moved one."""
    vanished: dict[tuple[str, ...], list[Change]] = defaultdict(list)
    for change in changes:
        if change.verdicts == ["vanished"]:
            vanished[change.path[-1]].append(change)
    gone: set[int] = set()
    for change in changes:
        if change.verdicts != ["appeared"] or not vanished[change.path[-1]]:
            continue
        origin = vanished[change.path[-1]].pop(0)
        # Below something that moved as a whole, saying so again for each child is noise.
        change.verdicts = ["moved"]
        change.before = origin.before
        change.mine = change.mine or origin.mine
        change.moved_from = " > ".join(_key_label(key) for key in origin.path[:-1])
        gone.add(id(origin))
    changes[:] = [change for change in changes if id(change) not in gone]


def _key_label(key: tuple[str, ...]) -> str:
    if key[0] == "receiver":
        return short_receiver(key[1])
    return " ".join(part for part in (short_signal(key[1]), key[3], key[2]) if part)


def _mark_reordered(changes: list[Change]) -> None:
    """Mark receivers of one dispatch whose calling order changed."""
    siblings: dict[Path, list[Change]] = defaultdict(list)
    for change in changes:
        if change.before is None or change.after is None or change.after.is_dispatch:
            continue
        if "moved" not in change.verdicts:
            siblings[change.path[:-1]].append(change)
    for group in siblings.values():
        # In the order of the newer tree; a receiver now after one that it stood before has moved.
        positions = [_position(change.before) for change in group]
        for (first, second), change in zip(pairwise(positions), group[1:], strict=True):
            if second < first:
                change.verdicts.append("reordered")


def _position(node: Node | None) -> int:
    span = node.span if node is not None else None
    return span.position if isinstance(span, ReceiverCall) else 0
