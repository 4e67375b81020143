"""The receivers of a trace: called, not called, connected meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tracing.analysis.index import Index, Shown, lost_receivers
from tracing.analysis.mine import hidden_text
from tracing.analysis.notes import Note, notes
from tracing.analysis.totals import ReceiverTotal, totals
from tracing.analysis.tree import label
from tracing.presentation.colours import apps_of
from tracing.spans.records import Bypass, ConnectionChange, LostReceiver, ReceiverLabel

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracing.spans.records import Trace

MAX_CHANGES: Final = 200
"""Changes of receivers that are listed."""


class CalledReceiver(Struct):
    """A receiver that was called, with what its calls came to."""

    total: ReceiverTotal
    colour: int
    share: str
    """Percent of the self time of all receivers, as the width of a bar."""
    is_mine: bool


class BypassedReceiver(Struct):
    """A receiver that writes went past."""

    receiver: ReceiverLabel
    bypasses: list[Bypass]
    is_mine: bool


class GoneReceiver(Struct):
    """A receiver that was connected weakly, and is gone."""

    lost: LostReceiver
    count: int
    is_mine: bool


class ListedChange(Struct):
    """A receiver that was connected or disconnected."""

    change: ConnectionChange
    label: str
    """Of the receiver call inside which it was; empty outside any."""
    is_mine: bool


class Receivers(Struct):
    """The receivers of a trace, for its tab."""

    called: list[CalledReceiver]
    skipped: list[CalledReceiver]
    bypassed: list[BypassedReceiver]
    lost: list[GoneReceiver]
    notes: list[Note]
    changes: list[ListedChange]
    changes_left_out: int
    has_cpu: bool
    """Whether the CPU clock was read for any of them."""
    orphans: list[tuple[str, str, int]]
    hidden: str
    """How many receivers are not among them, in one line; empty if none is missing."""

    @property
    def hidden_notes(self) -> str:
        """Return how many that were not called or changed are not mine."""
        told: list[BypassedReceiver | GoneReceiver | ListedChange]
        told = [*self.bypassed, *self.lost, *self.changes]
        count = sum(not each.is_mine for each in told) + sum(not note.mine for note in self.notes)
        return hidden_text(count, "note") if count else ""


def receivers_of(
    trace: Trace, shown: Shown = None, mine: Collection[int] | None = None
) -> Receivers:
    """Return what is said of the receivers of *trace* whose calls are *shown*.

    Args:
        trace: The trace.
        shown: Numbers of the spans that are shown; None for all.
        mine: Numbers of the spans that are mine; None where all of it is shown. With numbers, what is
            not mine says so.
    """
    colours, found = apps_of(trace), totals(trace, shown)
    names = {
        (call.receiver.name, call.receiver.file, call.receiver.line)
        for dispatch in trace.dispatches
        for call in dispatch.receiver_calls
        if mine is None or call.number in mine
    }
    bypassed: dict[str, BypassedReceiver] = {}
    for bypass in trace.bypasses:
        for receiver in bypass.receivers:
            is_mine = mine is None or receiver.mine
            entry = bypassed.setdefault(receiver.name, BypassedReceiver(receiver, [], is_mine))
            entry.bypasses.append(bypass)
    index = Index(trace)
    changes = sorted(trace.connection_changes, key=lambda change: change.start_ns)
    entries = [
        CalledReceiver(
            total,
            colours.get(total.app, 0),
            f"{total.share * 100:.2f}",
            (total.name, total.file, total.line) in names,
        )
        for total in found
    ]
    return Receivers(
        called=[entry for entry in entries if entry.total.calls],
        has_cpu=any(total.cpu_ns is not None for total in found),
        skipped=[entry for entry in entries if entry.total.skipped_count],
        bypassed=list(bypassed.values()),
        lost=[
            GoneReceiver(lost, count, mine is None or lost.receiver.mine)
            for lost, count in lost_receivers(trace)
        ],
        notes=[replace(note, mine=mine is None or note.mine) for note in notes(trace)],
        changes=[
            ListedChange(
                change,
                label(span) if span is not None else "",
                mine is None or change.receiver.mine,
            )
            for change in changes[:MAX_CHANGES]
            for span in (index.span(change.parent_number),)
        ],
        changes_left_out=max(0, len(changes) - MAX_CHANGES),
        orphans=sorted(trace.orphans, key=lambda entry: (-entry[2], entry[0], entry[1])),
        hidden=hidden_receivers(len(totals(trace)) - len(found)) if shown is not None else "",
    )


def hidden_receivers(count: int) -> str:
    """Return how many receivers are hidden, in one line; empty if none is."""
    return hidden_text(count, "receiver") if count else ""
