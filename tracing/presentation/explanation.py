"""Explanations as lines of a tree, with what is worth saying under each."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.utils import timezone
from msgspec import Struct

from tracing.analysis.explain.steps import (
    DISPATCH,
    RECEIVER,
    TRACE,
    Step,
    commonest,
    only_mine,
    ranked,
    with_parents,
)
from tracing.analysis.mine import NONE_OF_MINE, hidden_text
from tracing.analysis.names import place, short_receiver, short_signal, signal_of, write_text
from tracing.spans.records import TransactionOutcome
from tracing.units import format_count, format_ns, format_percent, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.explain.steps import Explanation

MOST_NAMED: Final = 4
"""Targets, exceptions, receivers and the like that a note names."""
_ENDS: Final = {
    TransactionOutcome.COMMITTED: "committed",
    TransactionOutcome.ROLLED_BACK: "rolled back",
    TransactionOutcome.SAVEPOINT_ROLLED_BACK: "savepoint rolled back",
    TransactionOutcome.NONE: "in no transaction",
    TransactionOutcome.TEST: "in a test's transaction",
    TransactionOutcome.UNKNOWN: "transaction not over",
}
_UNDONE: Final = (TransactionOutcome.ROLLED_BACK, TransactionOutcome.SAVEPOINT_ROLLED_BACK)
_NOUNS: Final = {
    DISPATCH: ("dispatch", "dispatches"),
    RECEIVER: ("call", "calls"),
    TRACE: ("trace", "traces"),
}


class Note(Struct, frozen=True):
    """A sentence under a line."""

    text: str = ""
    bad: str = ""
    """What tells of a failure, or of what did not happen, after the rest."""


class Line(Struct):
    """A step of an explanation, ready to be shown."""

    step: Step
    level: int
    """0 for what was asked about."""
    number: int
    """Of its line, from 1."""
    parent: int
    """Number of the line above it in the tree; 0 for none."""
    share: str
    """Of what was asked about, in how much it happened; empty for that itself and what was not seen."""
    parent_share: str
    """The same of the step above."""
    notes: list[Note]

    @property
    def label(self) -> str:
        """Return its name."""
        return self.step.label

    @property
    def is_dispatch(self) -> bool:
        """Return whether it is a dispatch."""
        return self.step.kind == DISPATCH

    @property
    def is_receiver(self) -> bool:
        """Return whether it is a receiver."""
        return self.step.kind == RECEIVER

    @property
    def is_failed(self) -> bool:
        """Return whether one of them raised."""
        return self.step.error_count > 0

    @property
    def times(self) -> str:
        """Return how often it happened; empty for what was not seen."""
        return "" if self.step.is_unseen else format_count(self.step.count)

    @property
    def p50(self) -> str:
        """Return the median of its durations; empty without any."""
        return _duration(self.step.quantile(0.5))

    @property
    def p95(self) -> str:
        """Return the 95th percentile of its durations; empty without any."""
        return _duration(self.step.quantile(0.95))

    @property
    def queries(self) -> str:
        """Return its queries each time, as ``2.5``; empty for what was not seen."""
        step = self.step
        if not step.count:
            return ""
        return format_count(step.query_count) if step.count == 1 else f"{step.queries_each:.3g}"

    @property
    def numbers(self) -> tuple[str, str, str, str]:
        """Return how often it happened, both durations and its queries."""
        return (self.times, self.p50, self.p95, self.queries)

    @property
    def source(self) -> tuple[str, int]:
        """Return file and line of a receiver; without a file it is empty."""
        receiver = self.step.receiver
        return (receiver.file, receiver.line) if receiver is not None else ("", 0)

    @property
    def where(self) -> str:
        """Return the place of a receiver, relative to the project."""
        return place(*self.source)


class Told(Struct):
    """An explanation as it is shown."""

    title: str
    lines: list[Line]
    sentences: list[str]
    """What it was made from."""
    is_recorded: bool
    hidden: str = ""
    """How many steps are not shown, in one line; empty if all are."""


def tell(found: Explanation, *, everything: bool = True, most: int | None = None) -> Told:
    """Return *found* as it is shown: what is mine, or *everything*.

    Of more than *most* steps, those that happened most often.
    """
    steps, hidden = (found.roots, 0) if everything else only_mine(found)
    steps, rare = (steps, 0) if most is None else commonest(steps, most)
    sentences = [*_sentences(found)]
    is_foreign = not any(
        step.receiver is not None and step.receiver.mine for step, _ in with_parents(steps)
    )
    if not everything and is_foreign and found.is_recorded:
        sentences.append(f"{NONE_OF_MINE}.")
    if rare:
        verb = "is" if rare == 1 else "are"
        sentences.append(f"{plural(rare, 'rarer step')} {verb} not shown.")
    return Told(
        title=found.question.text,
        lines=[*_lines(steps, is_recorded=found.is_recorded)],
        sentences=sentences,
        is_recorded=found.is_recorded,
        hidden=hidden_text(hidden, "step") if hidden else "",
    )


def _lines(steps: list[Step], *, is_recorded: bool) -> Iterator[Line]:
    numbers: dict[int, int] = {}
    for number, (step, above) in enumerate(with_parents(steps), 1):
        numbers[id(step)] = number
        is_seen = bool(above) and not step.is_unseen
        yield Line(
            step=step,
            level=len(above),
            number=number,
            parent=numbers[id(above[-1])] if above else 0,
            share=_share(step.asked_count, above[0].count) if is_seen else "",
            parent_share=_share(step.parent_count, above[-1].count) if is_seen else "",
            notes=[*_notes(step, is_asked=not above, is_recorded=is_recorded)],
        )


def _share(count: int, of: int) -> str:
    if not of:
        return ""
    # What was left out once in a thousand times did not happen always.
    return ">99 %" if count < of and count / of > 0.99 else format_percent(count / of)  # noqa: PLR2004 - as <1 %.


def _duration(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else format_ns(nanoseconds)


# --- sentences -----------------------------------------------------------------------------------


def _sentences(found: Explanation) -> Iterator[str]:
    """Yield what *found* was made from."""
    if found.connected:
        pairs = [signal_of(*pair) for pair in found.connected]
        more = ", …" if len(pairs) > MOST_NAMED else ""
        yield f"Connected in this process to {', '.join(pairs[:MOST_NAMED])}{more}."
    if not found.is_recorded:
        none = (
            "No trace that holds it was found in a moment"
            if found.has_more
            else "No trace holds it"
        )
        yield f"{none}: this is what is connected in this process, in calling order."
        return
    parts = []
    if found.trace_count is not None:
        parts.append(plural(found.trace_count, "trace"))
    if not found.question.name:
        one, many = _NOUNS[found.roots[0].kind]
        parts.append(plural(found.asked_count, one, many))
    newest = "the newest " if found.has_more else ""
    yield f"From {newest}{' with '.join(parts)}, {_period(found)}."
    recorded = sum(step.recorded or 0 for step in found.roots)
    if recorded > found.asked_count + found.nested_count:
        one, many = _NOUNS[found.roots[0].kind]
        yield f"In all, {plural(recorded, one, many)} were recorded."
    elif found.has_more:
        yield "Older traces hold it, too."
    if found.nested_count:
        word = "is" if found.nested_count == 1 else "are"
        yield f"{format_count(found.nested_count)} more {word} inside one of these, and shown there."
    if found.passed_over:
        word = "was" if found.passed_over == 1 else "were"
        yield f"{plural(found.passed_over, 'trace')} {word} passed over for being too large."
    if found.left_out:
        yield f"{plural(found.left_out, 'span')} are left out: there were too many steps."


def _period(found: Explanation) -> str:
    first, last = (_local(ns) for ns in (found.oldest_ns or 0, found.newest_ns or 0))
    if first == last:
        return f"of {first}"
    same_day = first[:10] == last[:10]
    return f"{first} to {last[11:] if same_day else last}"


def _local(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds / 1e9, tz=timezone.get_current_timezone())
    return moment.strftime("%Y-%m-%d %H:%M")


def _notes(step: Step, *, is_asked: bool, is_recorded: bool) -> Iterator[Note]:
    """Yield what is worth saying of *step*."""
    if is_asked and step.kind == RECEIVER:
        for (signal, sender), count in ranked(step.heard):
            yield Note(f"called for {signal_of(signal, sender)}: {format_count(count)}")
    yield from _end_notes(step)
    if step.detached_count:
        yield Note(f"{format_count(step.detached_count)} sent on commit, in a thread or in a task")
    if step.receiver is not None and step.receiver.is_async:
        yield Note("async")
    for (kind, target), count in ranked(step.effects, MOST_NAMED):
        yield Note(f"{kind}: {target}, {_times(count)}")
    for each in step.bypasses[:MOST_NAMED]:
        signals = " or ".join(map(short_signal, each.signals))
        names = ", ".join(map(short_receiver, each.receivers[:MOST_NAMED]))
        verb = "is" if len(each.receivers) == 1 else "are"
        what = f"{write_text(each.operation)} of {each.model} ({_times(each.count)})"
        yield Note(bad=f"{what} sends no {signals}: {names} {verb} not called")
    yield from _connection_notes(step, is_recorded=is_recorded)
    if step.is_cut:
        yield Note("goes on: what is below is not merged")


def _end_notes(step: Step) -> Iterator[Note]:
    """Yield how what *step* is of ended."""
    if step.error_count:
        names = ", ".join(name.rpartition(".")[2] for name, _ in ranked(step.errors, MOST_NAMED))
        named = f": {names}" if names else ""
        yield Note(bad=f"raised {_times(step.error_count)}{named}")
    if step.skipped_count:
        yield Note(bad=f"skipped {_times(step.skipped_count)}, because an earlier receiver raised")
    if set(step.transactions) - {TransactionOutcome.NONE}:
        well, bad = (
            ", ".join(
                f"{format_count(count)} {_ENDS[end]}"
                for end, count in ranked(step.transactions)
                if (end in _UNDONE) is is_undone
            )
            for is_undone in (False, True)
        )
        yield Note(f"{well}, " if well and bad else well, bad)


def _connection_notes(step: Step, *, is_recorded: bool) -> Iterator[Note]:
    if step.kind == RECEIVER and step.is_connected is False:
        yield Note("not connected in this process")
    if not step.is_unseen:
        return
    if step.kind == DISPATCH:
        if not step.children:
            yield Note("no receiver is connected")
        return
    if step.recorded:
        yield Note(f"connected, called {_times(step.recorded)} in all and in none of these traces")
    elif is_recorded:
        yield Note("connected, not called")


def _times(count: int) -> str:
    return "once" if count == 1 else plural(count, "time")
