"""Two trees of one test, aligned: which group of dispatches is which."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.analysis.review.sides import Node, Tree


class NodePair(NamedTuple):
    """The same dispatches before and after."""

    before: Node
    after: Node
    is_moved: bool = False
    """Sent from elsewhere now: how often is no matter of the receivers above."""


class Alignment:
    """The groups of two trees that are the same, and those left over."""

    def __init__(self, before: Tree, after: Tree) -> None:
        self.pairs: list[NodePair] = []
        self._before, self._after = before, after
        self._waiting: list[tuple[Sequence[Node], Sequence[Node]]] = [(before.roots, after.roots)]
        self._align()
        # What is sent from elsewhere now was neither added nor removed.
        while (moved := self._moved()) is not None:
            self._pair(*moved, is_moved=True)
            self._align()

    @property
    def removed(self) -> list[Node]:
        """Return the groups that are sent no more by what could send them still."""
        return [node for node in self._before.nodes if node.is_loose and not node.is_paired]

    @property
    def added(self) -> list[Node]:
        """Return the groups that are sent by what did not send them before."""
        return [node for node in self._after.nodes if node.is_loose and not node.is_paired]

    def _align(self) -> None:
        while self._waiting:
            olds, news = self._waiting.pop()
            by_key = {node.key: node for node in news if not node.is_paired}
            loose = []
            for old in olds:
                if old.is_paired:
                    continue
                new = by_key.pop(old.key, None)
                if new is None:
                    loose.append(old)
                else:
                    self._pair(old, new)
            left = list(by_key.values())
            for old in loose:
                new = next((each for each in left if self._is_resent(old, each)), None)
                if new is not None:
                    left.remove(new)
                    self._pair(old, new)
                else:
                    old.is_loose = True
            for new in left:
                new.is_loose = True

    def _pair(self, old: Node, new: Node, *, is_moved: bool = False) -> None:
        self.pairs.append(NodePair(old, new, is_moved))
        old.is_paired = new.is_paired = True
        for receiver in old.receivers:
            if receiver in new.receivers:
                below = old.children.get(receiver, ()), new.children.get(receiver, ())
                self._waiting.append(below)

    def _is_resent(self, old: Node, new: Node) -> bool:
        """Return whether *new* is *old* with another signal or another sender."""
        if (old.place[0] == new.place[0]) == (old.place[1] == new.place[1]):
            return False
        own = set(old.own_receivers)
        return (
            bool(own)
            and own == set(new.own_receivers)
            and not self._after.sent(old.place)
            and not self._before.sent(new.place)
        )

    def _moved(self) -> tuple[Node, Node] | None:
        """Return two groups equal but for what sends them; None if there are none."""
        news: dict[tuple[str, str, str], Node] = {}
        for node in self._after.nodes:
            if not node.is_paired:
                news.setdefault(node.key, node)
        for old in self._before.nodes:
            if not old.is_paired and old.key in news:
                return old, news[old.key]
        return None
