"""The steps of an explanation, each added up from many trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar

from msgspec import to_builtins
from msgspec.structs import replace

from tracing.analysis.histogram import Histogram
from tracing.analysis.names import short_receiver, signal_of
from tracing.spans.fields import Record
from tracing.spans.labels import ReceiverLabel
from tracing.spans.words import TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracing.analysis.explain.question import Question

TRACE, DISPATCH, RECEIVER = "trace", "dispatch", "receiver"
TRACES, SUMS, WIRING = "traces", "sums", "wiring"
"""What an explanation is from: traces that were read, sums of all, or what is connected."""
Key: TypeAlias = tuple[str, str, str, str]
"""Kind, name, sender and action: what makes spans the same step below one parent."""
_T = TypeVar("_T")
_NONE: Final[Mapping[Any, int]] = MappingProxyType({})
_UNTIMED: Final = Histogram()
"""Without durations, as most steps are while they are made."""


def plus(counts: Mapping[_T, int], key: _T, more: int = 1) -> Mapping[_T, int]:
    """Return *counts* with *more* of a key; most steps have none."""
    if counts is _NONE:
        return {key: more}
    counts[key] = counts.get(key, 0) + more  # type: ignore[index]
    return counts


def ranked(counts: Mapping[_T, int], most: int | None = None) -> list[tuple[_T, int]]:
    """Return the *most* highest of *counts*, or all."""
    return sorted(counts.items(), key=itemgetter(1), reverse=True)[:most]


class Bypassed(Record):
    """Writes of one kind that went past receivers."""

    operation: str
    model: str
    signals: tuple[str, ...]
    receivers: tuple[str, ...]
    count: int = 0

    def is_like(self, other: Bypassed) -> bool:
        """Return whether the other is of the same kind."""
        return (self.model, self.operation, self.signals, self.receivers) == (
            other.model,
            other.operation,
            other.signals,
            other.receivers,
        )


class Step(Record):
    """A unit of work, a dispatch or a receiver in the merged trees."""

    unshown: ClassVar[frozenset[str]] = frozenset({"durations", "histogram", "children"})

    kind: str
    """``trace``, ``dispatch`` or ``receiver``."""
    name: str
    """Of a trace or a receiver; of a dispatch the signal's dotted path."""
    sender: str = ""
    action: str = ""
    """m2m_changed: pre_add, post_add ..."""
    receiver: ReceiverLabel | None = None
    count: int = 0
    """How often it happened; calls that were skipped are none."""
    asked_count: int = 0
    """What was asked about, and in how many of those it happened at least once."""
    parent_count: int = 0
    """Steps directly above, in how many of those it happened at least once."""
    durations: list[int] | None = None
    """Nanoseconds of each that was timed; empty where it is of sums."""
    histogram: Histogram = _UNTIMED
    """Those of sums."""
    query_count: int = 0
    """Own queries of a receiver; of a dispatch or a trace with all that is below."""
    error_count: int = 0
    skipped_count: int = 0
    detached_count: int = 0
    """Sent on commit, in a thread or in a task: the step above did not wait."""
    errors: Mapping[str, int] = _NONE
    """Types of exceptions."""
    transactions: Mapping[TransactionOutcome, int] = _NONE
    """Of dispatches."""
    heard: Mapping[tuple[str, str], int] = _NONE
    """Of a receiver that is asked about: how often it was called for which signal and sender."""
    effects: Mapping[tuple[str, str], int] = _NONE
    """Mails, tasks and sockets by kind and target."""
    bypasses: Sequence[Bypassed] = ()
    recorded: int | None = None
    """How often the statistics have it, which outlive traces; of its signal and sender wherever those
    were sent. None if they were not asked."""
    is_connected: bool | None = None
    """In this process, now; None for what is not connected and where that is not known."""
    is_cut: bool = False
    """There was more below it than is merged."""
    children: list[Step] = []

    @property
    def label(self) -> str:
        """Return its name for people."""
        if self.kind == RECEIVER:
            return short_receiver(self.name)
        if self.kind == TRACE:
            return self.name
        text = signal_of(self.name, self.sender or "None")
        return f"{text} ({self.action})" if self.action else text

    @property
    def is_unseen(self) -> bool:
        """Return whether no trace that was read has it: it is connected."""
        return not self.count and not self.skipped_count

    @property
    def queries_each(self) -> float:
        """Return the mean of its queries."""
        return self.query_count / self.count if self.count else 0.0

    def quantile(self, fraction: float) -> int | None:
        """Return the duration (ns) below which *fraction* of them lie, or None.

        It is the sorted list's element ``floor(fraction * (count - 1))``, as in the statistics; of sums
        within 2 %.
        """
        if not self.durations:
            return self.histogram.quantile(fraction)
        return sorted(self.durations)[floor(fraction * (len(self.durations) - 1))]

    def bypass(self, other: Bypassed) -> None:
        """Count writes that went past receivers."""
        for each in self.bypasses:
            if each.is_like(other):
                each.count += other.count
                return
        self.bypasses = (*self.bypasses, replace(other))

    def add(self, other: Step) -> None:
        """Add what another step of the same key has, but for what is below."""
        self.receiver = other.receiver or self.receiver
        self.count += other.count
        self.query_count += other.query_count
        self.error_count += other.error_count
        self.skipped_count += other.skipped_count
        self.detached_count += other.detached_count
        for end, count in other.transactions.items():
            self.transactions = plus(self.transactions, end, count)
        for error, count in other.errors.items():
            self.errors = plus(self.errors, error, count)
        for effect, count in other.effects.items():
            self.effects = plus(self.effects, effect, count)
        for each in other.bypasses:
            self.bypass(each)
        if other.histogram is not _UNTIMED:
            self.timed().merge(other.histogram)

    def timed(self) -> Histogram:
        """Return its histogram, to be added to."""
        if self.histogram is _UNTIMED:
            self.histogram = Histogram()
        return self.histogram


@dataclass(slots=True)
class Explanation:
    """The answer to a question: a tree for each thing that was asked about."""

    question: Question
    roots: list[Step]
    source: str = WIRING
    """``traces``, ``sums`` or ``wiring``."""
    trace_count: int | None = 0
    """Traces that were read or added up; None where that is not known."""
    has_more: bool = False
    """There are older traces that it is not from."""
    passed_over: int = 0
    """Newer traces that were not read because they are too large."""
    oldest_ns: int | None = None
    """When the first trace that was read started (wall clock, ns); None if none was."""
    newest_ns: int | None = None
    left_out: int = 0
    """Spans whose steps were too many to be kept."""
    nested_count: int = 0
    """Dispatches or calls that were asked about and ran inside another one: no roots of their own."""
    connected: list[tuple[str, str]] = field(default_factory=list)
    """Signals and senders to which the receiver that is asked about is connected here."""

    @property
    def asked_count(self) -> int:
        """Return how many of what was asked about were read."""
        return sum(step.count for step in self.roots)

    @property
    def is_recorded(self) -> bool:
        """Return whether it is from records; else it is from the wiring alone."""
        return self.source != WIRING


def with_parents(steps: Iterable[Step]) -> Iterator[tuple[Step, tuple[Step, ...]]]:
    """Yield all steps, each with those above it, the outermost first."""
    stack: list[tuple[Step, tuple[Step, ...]]] = [(step, ()) for step in steps]
    stack.reverse()
    while stack:
        step, above = stack.pop()
        yield step, above
        stack.extend((child, (*above, step)) for child in reversed(step.children))


def as_dict(found: Explanation) -> dict[str, Any]:
    """Return an explanation as a JSON object."""
    question = found.question
    return {
        "question": {
            "signal": question.signal or None,
            "sender": question.sender or None,
            "receiver": question.receiver.name if question.receiver is not None else None,
            "name": question.name or None,
        },
        "source": found.source,
        "trace_count": found.trace_count,
        "has_more": found.has_more,
        "passed_over": found.passed_over,
        "oldest_ns": found.oldest_ns,
        "newest_ns": found.newest_ns,
        "asked_count": found.asked_count,
        "nested_count": found.nested_count,
        "left_out": found.left_out,
        "connected": [{"signal": signal, "sender": sender} for signal, sender in found.connected],
        "steps": _documents(found),
    }


def _documents(found: Explanation) -> list[dict[str, Any]]:
    top: list[dict[str, Any]] = []
    by_step: dict[int, list[dict[str, Any]]] = {}
    for step, above in with_parents(found.roots):
        parent = above[-1] if above else None
        asked = above[0] if above else step
        document = _document(step, asked.count, parent.count if parent is not None else None)
        (top if parent is None else by_step[id(parent)]).append(document)
        by_step[id(step)] = document["steps"]
    return top


def _document(step: Step, asked: int, parents: int | None) -> dict[str, Any]:
    is_dispatch, receiver = step.kind == DISPATCH, step.receiver
    return {
        "kind": step.kind,
        "name": step.name,
        "sender": step.sender or None,
        "action": step.action or None,
        "file": receiver.file if receiver is not None else None,
        "line": receiver.line if receiver is not None else None,
        "app": receiver.app if receiver is not None else None,
        "count": step.count,
        "share_of_asked": step.asked_count / asked if asked else None,
        "share_of_parent": step.parent_count / parents if parents else None,
        "p50_ns": step.quantile(0.5),
        "p95_ns": step.quantile(0.95),
        "query_count": step.query_count,
        "error_count": step.error_count,
        "errors": dict(ranked(step.errors)),
        "skipped_count": step.skipped_count,
        "detached_count": step.detached_count,
        "transactions": {str(end): count for end, count in ranked(step.transactions)}
        if is_dispatch
        else None,
        "heard": [
            {"signal": signal, "sender": sender, "count": count}
            for (signal, sender), count in ranked(step.heard)
        ],
        "recorded": step.recorded,
        "connected": step.is_connected,
        "bypasses": [to_builtins(each) for each in step.bypasses],
        "effects": [
            {"kind": kind, "target": target, "count": count}
            for (kind, target), count in ranked(step.effects)
        ],
        "is_cut": step.is_cut,
        "steps": [],
    }


def only_mine(found: Explanation) -> tuple[list[Step], int]:
    """Return the steps that lead to mine, and how many are left out.

    A step is mine if its receiver is, or one below it. Where none is, all are returned.
    """
    every = [*with_parents(found.roots)]
    mine: set[int] = set()
    for step, above in every:
        if step.receiver is not None and step.receiver.mine:
            mine.update(map(id, (*above, step)))
    # What was asked about is shown whosever it is.
    return _only(every, mine.union(map(id, found.roots))) if mine else (found.roots, 0)


def commonest(steps: list[Step], most: int) -> tuple[list[Step], int]:
    """Return the *most* commonest steps, and how many are left out.

    What is connected and was not seen counts as its dispatch.
    """
    every = [*with_parents(steps)]
    if len(every) <= most:
        return steps, 0

    def rarity(entry: tuple[Step, tuple[Step, ...]]) -> int:
        step, above = entry
        return -(above[-1] if above and step.is_unseen else step).asked_count

    # Of what happened equally often, the first; a step never happened more often than those above it.
    return _only(every, {id(step) for step, _ in sorted(every, key=rarity)[:most]})


def _only(every: list[tuple[Step, tuple[Step, ...]]], wanted: set[int]) -> tuple[list[Step], int]:
    """Return copies of the steps *wanted*, by id, and how many are left out."""
    top: list[Step] = []
    kept: dict[int, Step] = {}
    for step, above in every:
        if id(step) in wanted and (not above or id(above[-1]) in kept):
            kept[id(step)] = copy = replace(step, children=[])
            (kept[id(above[-1])].children if above else top).append(copy)
    return top, len(every) - len(kept)
