"""Trees of sums by path, and their form in a row of the store."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from msgspec import MsgspecError, convert, json, to_builtins

from tracing.analysis.explain.steps import Bypassed, Key, Step
from tracing.analysis.histogram import Histogram
from tracing.instrumentation.assembly.repair import clean_text
from tracing.spans.labels import ReceiverLabel
from tracing.spans.words import TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_PATHS: Final = 10_000
"""Paths of an hour that a process keeps, all trees together; what is beyond is counted above it."""
_VERSION: Final = 1
_COMPRESSION: Final = 1
"""Of zlib: the fastest makes the histograms small already."""

Root = tuple[str, str, str]
"""(signal, sender, "") of a dispatch, or ("", "", name) of traces."""


class Path:
    """A step of a tree of sums, and the steps below it."""

    __slots__ = ("below", "cut", "first_ns", "last_ns", "level", "shares", "step", "traces")

    def __init__(self, key: Key, level: int) -> None:
        self.step = Step(*key)
        self.level = level
        """0 for a root."""
        self.below: dict[Key, Path] = {}
        self.shares = [0] * level
        """In how many of the steps above it happened, from the nearest on."""
        self.cut = 0
        """Spans below it that are not kept."""
        self.traces = self.first_ns = self.last_ns = 0
        """Of a root: traces, and when the first and the last of them began (wall clock, ns)."""

    def add(self, step: Step, shares: Sequence[int], cut: int) -> None:
        """Add sums; of *shares*, those of what is above it in this tree."""
        self.step.add(step)
        self.cut += cut
        for place in range(self.level):
            self.shares[place] += shares[place]

    def see(self, traces: int, first_ns: int, last_ns: int) -> None:
        """Add traces; without any the times are 0."""
        self.traces += traces
        self.first_ns = min(filter(None, (self.first_ns, first_ns)), default=0)
        self.last_ns = max(self.last_ns, last_ns)

    def merge(self, other: Path) -> None:
        """Add another tree's path of the same key, with all that is below."""
        stack = [(self, other)]
        while stack:
            mine, others = stack.pop()
            mine.add(others.step, others.shares, others.cut)
            mine.see(others.traces, others.first_ns, others.last_ns)
            for key, below in others.below.items():
                found = mine.below.get(key)
                if found is None:
                    found = mine.below[key] = Path(key, below.level)
                stack.append((found, below))

    @property
    def left_out(self) -> int:
        """Return the spans that it and those below leave out."""
        total, stack = 0, [self]
        while stack:
            path = stack.pop()
            total += path.cut
            stack.extend(path.below.values())
        return total

    def steps(self, level: int = 0) -> Step:
        """Return its step with those below.

        A *level* is that of what is asked about.
        """
        top = self._counted(self.step.count, self.step.count, level)
        stack = [(self, top)]
        while stack:
            path, step = stack.pop()
            for below in path.below.values():
                child = below._counted(step.count, top.count, level)  # noqa: SLF001 - its own kind.
                step.children.append(child)
                stack.append((below, child))
        return top

    def _counted(self, parents: int, asked: int, level: int) -> Step:
        """Return a copy of its step that tells what it follows."""
        above = self.level - level
        step = replace(self.step, children=[], is_cut=self.cut > 0)
        if above:
            # A span that several segments of a trace have below it is counted in each.
            step.parent_count = min(self.shares[0], parents)
            step.asked_count = min(self.shares[above - 1], asked)
        else:
            step.asked_count = step.count
        return step


class Tree:
    """The sums of one signal and sender, by action, or of one name of traces."""

    __slots__ = ("nested", "roots")

    def __init__(self) -> None:
        self.roots: dict[Key, Path] = {}
        self.nested = 0
        """Dispatches inside another one of the same action."""

    def merge(self, other: Tree) -> None:
        """Add another's sums."""
        self.nested += other.nested
        for key, root in other.roots.items():
            self.roots.setdefault(key, Path(key, 0)).merge(root)

    def encode(self) -> bytes:
        """Return it as compressed JSON."""
        documents = [_document(root) for root in self.roots.values()]
        try:
            text = json.encode([_VERSION, self.nested, documents])
        except UnicodeEncodeError:
            text = json.encode([_VERSION, self.nested, _cleaned(to_builtins(documents))])
        return zlib.compress(text, _COMPRESSION)

    @classmethod
    def decode(cls, *documents: bytes) -> Tree:
        """Return the sum of what ``encode`` returned.

        What a newer release wrote, or what cannot be read, adds nothing.
        """
        total = cls()
        for data in documents:
            try:
                version, nested, roots = json.decode(zlib.decompress(data))
                if version != _VERSION:
                    continue
                found = cls()
                found.nested = nested
                for path in (_path(document, 0) for document in roots):
                    found.roots[_key(path.step)] = path
            except (zlib.error, MsgspecError, ValueError, TypeError, LookupError):
                continue
            total.merge(found)
        return total


class Trees:
    """The trees of an hour each that a process keeps, all of them bounded."""

    def __init__(self) -> None:
        self.hours: dict[int, dict[Root, Tree]] = {}
        self.changed: set[tuple[int, Root]] = set()
        """Hours and roots to which something was added."""
        self._room: dict[int, int] = {}

    def root(self, hour: int, root: Root, key: Key) -> Path | None:
        """Return a root of a tree, made if there is room, else None."""
        tree = self._tree(hour, root)
        if tree is None:
            return None
        found = tree.roots.get(key)
        if found is None and self._takes_room(hour):
            found = tree.roots[key] = Path(key, 0)
        return found

    def step(self, hour: int, above: Path, key: Key, count: int) -> Path | None:
        """Return a step below another one; without room its *count* is left out."""
        found = above.below.get(key)
        if found is None:
            if not self._takes_room(hour):
                above.cut += count
                return None
            found = above.below[key] = Path(key, above.level + 1)
        return found

    def nest(self, hour: int, root: Root, count: int) -> None:
        """Count dispatches inside another one of their tree."""
        tree = self._tree(hour, root)
        if tree is not None:
            tree.nested += count

    def forget(self, hour: int) -> None:
        """Keep nothing more of an hour."""
        self.hours.pop(hour, None)
        self._room.pop(hour, None)
        self.changed = {each for each in self.changed if each[0] != hour}

    def _tree(self, hour: int, root: Root) -> Tree | None:
        trees = self.hours.setdefault(hour, {})
        tree = trees.get(root)
        if tree is None and self._room.get(hour, 1) > 0:
            tree = trees[root] = Tree()
        if tree is not None:
            self.changed.add((hour, root))
        return tree

    def _takes_room(self, hour: int) -> bool:
        room = self._room.get(hour, MOST_PATHS)
        self._room[hour] = max(room - 1, 0)
        return room > 0


def _key(step: Step) -> Key:
    return (step.kind, step.name, step.sender, step.action)


def _document(path: Path) -> list[Any]:
    step = path.step
    return [
        *_key(step),
        step.receiver,
        [path.traces, path.first_ns, path.last_ns, path.cut],
        [step.count, step.query_count, step.error_count, step.skipped_count, step.detached_count],
        path.shares,
        step.errors,
        step.transactions,
        [(*effect, count) for effect, count in step.effects.items()],
        [
            (each.operation, each.model, each.signals, each.receivers, each.count)
            for each in step.bypasses
        ],
        step.histogram.encode(),
        [_document(below) for below in path.below.values()],
    ]


def _cleaned(value: Any) -> Any:
    """Return a document without what no text in UTF-8 can have."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(each) for key, each in value.items()}
    return [*map(_cleaned, value)] if isinstance(value, list | tuple) else value


def _path(document: list[Any], level: int) -> Path:
    kind, name, sender, action, receiver, seen, counts, shares, *rest = document
    errors, transactions, effects, bypasses, histogram, below = rest
    path = Path((kind, name, sender, action), level)
    path.traces, path.first_ns, path.last_ns, path.cut = seen
    path.shares = shares
    step = path.step
    if receiver is not None:
        step.receiver = convert(receiver, ReceiverLabel)
    (
        step.count, step.query_count, step.error_count, step.skipped_count, step.detached_count,
    ) = counts  # fmt: skip
    step.errors.update(errors)
    step.transactions.update({TransactionOutcome(word): n for word, n in transactions.items()})
    step.effects.update({(kind, target): count for kind, target, count in effects})
    step.bypasses = [
        Bypassed(operation, model, tuple(signals), tuple(receivers), count)
        for operation, model, signals, receivers, count in bypasses
    ]
    step.histogram = Histogram.decode(histogram)
    for each in (_path(child, level + 1) for child in below):
        path.below[_key(each.step)] = each
    return path
