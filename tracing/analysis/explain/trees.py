"""Trees of sums by path, and their form in a row of the store."""

from __future__ import annotations

import operator
import zlib
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from msgspec import MsgspecError, Struct, json, to_builtins

from tracing.analysis.explain.steps import Bypassed, Key, Step, plus
from tracing.analysis.histogram import WrittenHistogram
from tracing.instrumentation.assembly.repair import clean_text
from tracing.spans.labels import ReceiverLabel
from tracing.spans.words import TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_PATHS: Final = 10_000
"""Paths of an hour that a process keeps, all trees together; what is beyond is counted above it."""
MOST_TOLD: Final = 300
"""Steps that an explanation has, and paths that a tree of a whole day keeps: the commonest."""
_VERSION: Final = 1
_COMPRESSION: Final = 1
"""Of zlib: the fastest makes the histograms small already."""

Root = tuple[str, str, str]
"""(signal, sender, "") of a dispatch, or ("", "", name) of traces."""


class Path(Struct, gc=False):
    """A step of a tree of sums, and the steps below it."""

    # A process keeps thousands, which the garbage collector need not look at.

    step: Step
    level: int
    """0 for a root."""
    shares: tuple[int, ...]
    """In how many of the steps above it happened, from the nearest on."""
    below: dict[Key, Path] = {}
    cut: int = 0
    """Spans below it that are not kept."""
    traces: int = 0
    """Of a root; and when the first and the last of them began (wall clock, ns)."""
    first_ns: int = 0
    last_ns: int = 0

    @classmethod
    def of(cls, key: Key, level: int) -> Path:
        """Return the path of a key, without anything counted."""
        return cls(Step(*key), level, (0,) * level)

    def add(self, step: Step, shares: Sequence[int], cut: int) -> None:
        """Add sums; of *shares*, those of what is above it in this tree."""
        self.step.add(step)
        self.cut += cut
        self.shares = (*map(operator.add, self.shares, shares),)

    def spans(self) -> int:
        """Return how many spans it and those below count."""
        return self.step.count + self.cut + sum(each.spans() for each in self.below.values())

    def see(self, traces: int, first_ns: int, last_ns: int) -> None:
        """Add traces; without any the times are 0."""
        self.traces += traces
        self.first_ns = min(filter(None, (self.first_ns, first_ns)), default=0)
        self.last_ns = max(self.last_ns, last_ns)


class Tree:
    """The sums of one signal and sender, by action, or of one name of traces."""

    __slots__ = ("nested", "roots")

    def __init__(self) -> None:
        self.roots: dict[Key, Path] = {}
        self.nested = 0
        """Dispatches inside another one of the same action."""

    def trim(self, most: int = MOST_TOLD) -> None:
        """Keep the *most* commonest paths; what goes is counted above it."""
        place = count()
        waiting = [(0, next(place), root, root) for root in self.roots.values()]
        while waiting:
            _, _, above, path = heappop(waiting)
            if most <= 0 and path is not above:
                del above.below[_key(path.step)]
                above.cut += path.spans()
                continue
            most -= 1
            for below in path.below.values():
                heappush(waiting, (-below.shares[-1], next(place), path, below))

    def encode(self) -> bytes:
        """Return it as compressed JSON."""
        document = _TreeDocument(_VERSION, self.nested, tuple(map(_document, self.roots.values())))
        try:
            text = json.encode(document)
        except UnicodeEncodeError:
            text = json.encode(_cleaned(to_builtins(document)))
        return zlib.compress(text, _COMPRESSION)

    @classmethod
    def decode(cls, *documents: bytes) -> Tree:
        """Return the sum of what ``encode`` returned, as ``read`` does."""
        total = cls()
        total.nested, roots = read(*documents)
        total.roots = {key: _path(key, alike, 0) for key, alike in roots.items()}
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
            found = tree.roots[key] = Path.of(key, 0)
        return found

    def step(self, hour: int, above: Path, key: Key, count: int) -> Path | None:
        """Return a step below another one; without room its *count* is left out."""
        found = above.below.get(key)
        if found is None:
            if not self._takes_room(hour):
                above.cut += count
                return None
            found = above.below[key] = Path.of(key, above.level + 1)
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


# Records without a part in garbage collection, and tuples: that many lists would have it run, which
# took most of the time.


class Seen(Struct, array_like=True, gc=False):
    """Of a root: in how many traces, and when the first and last began."""

    traces: int
    first_ns: int
    last_ns: int
    cut: int
    """Spans below any path that are not kept."""


class Counts(Struct, array_like=True, gc=False):
    """The counts of a step."""

    count: int
    queries: int
    errors: int
    skipped: int
    detached: int


class Document(Struct, array_like=True, gc=False):
    """A path as it is written, with all below."""

    kind: str
    name: str
    sender: str
    action: str
    receiver: ReceiverLabel | None
    seen: Seen
    counts: Counts
    shares: tuple[int, ...]
    errors: dict[str, int]
    transactions: dict[TransactionOutcome, int]
    effects: tuple[tuple[str, str, int], ...]
    bypasses: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], int], ...]
    histogram: str
    below: tuple[Document, ...]


class _TreeDocument(Struct, array_like=True, gc=False):
    version: int
    nested: int
    roots: tuple[Document, ...]


_decoder: Final = json.Decoder(_TreeDocument)
Alike = dict[Key, list[Document]]
"""Documents of several trees by what they are of."""


def _document(path: Path) -> Document:
    step = path.step
    return Document(
        *_key(step),
        step.receiver,
        Seen(path.traces, path.first_ns, path.last_ns, path.cut),
        Counts(
            step.count, step.query_count, step.error_count, step.skipped_count, step.detached_count
        ),
        path.shares,
        {**step.errors},
        {**step.transactions},
        tuple((*effect, count) for effect, count in step.effects.items()),
        tuple(
            (each.operation, each.model, each.signals, each.receivers, each.count)
            for each in step.bypasses
        ),
        step.histogram.encode(),
        tuple(map(_document, path.below.values())),
    )


def _cleaned(value: Any) -> Any:
    """Return a document without what no text in UTF-8 can have."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(each) for key, each in value.items()}
    return [*map(_cleaned, value)] if isinstance(value, list | tuple) else value


def read(*trees: bytes) -> tuple[int, Alike]:
    """Return how many dispatches were nested, and the roots of trees.

    What a newer release wrote, or what cannot be read, adds nothing.
    """
    nested, roots = 0, Alike()
    for data in trees:
        try:
            found = _decoder.decode(zlib.decompress(data))
        except (zlib.error, MsgspecError, ValueError):
            continue
        if found.version == _VERSION:
            nested += found.nested
            sort(found.roots, roots)
    return nested, roots


def sort(documents: Iterable[Document], alike: Alike) -> None:
    """Put *documents* beside those of the same path."""
    for each in documents:
        alike.setdefault((each.kind, each.name, each.sender, each.action), []).append(each)


def add_up(key: Key, documents: list[Document]) -> tuple[Step, list[int], int]:
    """Return the step, shares and cuts of documents of the same path.

    It is without what is below.
    """
    step = Step(*key)
    for each in documents:
        counts = each.counts
        step.count += counts.count
        step.query_count += counts.queries
        step.error_count += counts.errors
        step.skipped_count += counts.skipped
        step.detached_count += counts.detached
        step.receiver = each.receiver or step.receiver
        for end, more in each.transactions.items():
            step.transactions = plus(step.transactions, end, more)
        for error, more in each.errors.items():
            step.errors = plus(step.errors, error, more)
        for kind, target, more in each.effects:
            step.effects = plus(step.effects, (kind, target), more)
        for bypassed in each.bypasses:
            step.bypass(Bypassed(*bypassed))
    step.histogram = WrittenHistogram([each.histogram for each in documents])
    shares = [*map(sum, zip(*[each.shares for each in documents], strict=True))]
    return step, shares, sum([each.seen.cut for each in documents])


def _path(key: Key, documents: list[Document], level: int) -> Path:
    """Return the sum of documents of the same path, with all below."""
    step, shares, cut = add_up(key, documents)
    path = Path(step, level, (*shares,), cut=cut)
    path.traces, path.first_ns, path.last_ns = span_of(documents)
    below = Alike()
    for each in documents:
        sort(each.below, below)
    path.below = {key: _path(key, alike, level + 1) for key, alike in below.items()}
    return path


def span_of(documents: Iterable[Document]) -> tuple[int, int, int]:
    """Return how many traces roots have, and when the first and last began."""
    seen = [each.seen for each in documents]
    first_ns = min([each.first_ns for each in seen if each.first_ns], default=0)
    return sum([each.traces for each in seen]), first_ns, max([each.last_ns for each in seen])
