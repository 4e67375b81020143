"""The receivers of a trace: called, not called, connected meanwhile."""

from __future__ import annotations

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


class ListedChange(Struct):
    """A receiver that was connected or disconnected."""

    change: ConnectionChange
    label: str
    """Of the receiver call inside which it was; empty outside any."""


class Receivers(Struct):
    """The receivers of a trace, for its tab."""

    called: list[CalledReceiver]
    skipped: list[ReceiverTotal]
    bypassed: list[BypassedReceiver]
    lost: list[tuple[LostReceiver, int]]
    notes: list[Note]
    changes: list[ListedChange]
    changes_left_out: int
    has_cpu: bool
    """Whether the CPU clock was read for any of them."""
    orphans: list[tuple[str, str, int]]
    hidden: str
    """How many receivers are not among them, in one line; empty if none is missing."""


def receivers_of(
    trace: Trace, shown: Shown = None, mine: Collection[int] | None = None
) -> Receivers:
    """Return what is said of the receivers of *trace* whose calls are *shown*.

    Args:
        trace: The trace.
        shown: Numbers of the spans that are shown; None for all.
        mine: Numbers of the spans that are mine; None for all.
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
            entry = bypassed.setdefault(receiver.name, BypassedReceiver(receiver, []))
            entry.bypasses.append(bypass)
    index = Index(trace)
    changes = sorted(trace.connection_changes, key=lambda change: change.start_ns)
    return Receivers(
        called=[
            CalledReceiver(
                total,
                colours.get(total.app, 0),
                f"{total.share * 100:.2f}",
                (total.name, total.file, total.line) in names,
            )
            for total in found
            if total.calls
        ],
        has_cpu=any(total.cpu_ns is not None for total in found),
        skipped=[total for total in found if total.skipped_count],
        bypassed=list(bypassed.values()),
        lost=lost_receivers(trace),
        notes=notes(trace),
        changes=[
            ListedChange(change, label(span) if span is not None else "")
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
