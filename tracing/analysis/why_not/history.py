"""The connections of one receiver in one process, in order of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec import structs

from tracing.analysis.why_not.syntax import ends_with
from tracing.spans.processes import (
    CONNECTED,
    DIED,
    DISCONNECTED,
    IGNORED,
    MUTED,
    UNMUTED,
    WiringEvent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.why_not.target import Target
    from tracing.spans.labels import ReceiverLabel
    from tracing.spans.processes import Connected, ProcessWiring, Waiting
    from tracing.spans.records import Trace

FOREVER: Final = 2**62


def is_of_many(sender: str) -> bool:
    """Return whether other senders may have the same name."""
    return sender.startswith("'") or sender.endswith(" instance") or "<locals>" in sender


@dataclass(slots=True)
class Link:
    """A connection of the receiver, from when to when it stood."""

    signal: str
    sender: str
    receiver: ReceiverLabel
    since_ns: int = 0
    """Wall clock; 0 for the start of the process."""
    until_ns: int = FOREVER
    file: str = ""
    """Where it was connected."""
    line: int = 0
    ended: WiringEvent | None = None
    is_replaced: bool = False
    is_sender_replaced: bool = False
    is_stale: bool = False

    def covers(self, begin_ns: int, end_ns: int) -> bool:
        """Return whether it stood all the time from one moment to another."""
        return self.since_ns <= begin_ns and self.until_ns > end_ns

    def reaches(self, signal: str, sender: str) -> bool:
        """Return whether a sending calls the receiver while it stands."""
        if signal != self.signal or signal.endswith("(unnamed)"):
            return False  # Many signals are called so.
        if self.sender == "None":
            return True
        # Django asks for the very object: of strings and instances the name does not tell which.
        return self.sender == sender and not is_of_many(sender) and not self.is_sender_replaced


@dataclass(slots=True)
class History:
    """All that is known of one receiver in one process."""

    links: list[Link] = field(default_factory=list)
    ignored: list[WiringEvent] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    muted: list[tuple[int, int, WiringEvent]] = field(default_factory=list)
    """(from, until, event) on the wall clock."""

    @property
    def is_empty(self) -> bool:
        """Return whether the receiver was never connected there."""
        return not (self.links or self.ignored or self.waiting)

    def mute_at(self, moment_ns: int) -> WiringEvent | None:
        """Return what muted the receiver at a moment of the wall clock."""
        return next((each for start, end, each in self.muted if start <= moment_ns <= end), None)


def of_target(target: Target, wiring: ProcessWiring) -> ProcessWiring:
    """Return what *wiring* has of *target* alone, for each of many traces."""
    return structs.replace(
        wiring,
        connections=[each for each in wiring.connections if target.is_of(each.receiver)],
        events=[each for each in wiring.events if target.is_of(each.receiver)],
        waiting=[each for each in wiring.waiting if target.is_of(each.receiver)],
    )


def history_of(
    target: Target,
    wiring: ProcessWiring,
    trace: Trace | None,
    signal: str = "",
    *,
    is_another: bool = False,
) -> History:
    """Return what a process did to the connections of *target*.

    Args:
        target: The receiver.
        wiring: What the process has written down, of the target alone.
        trace: A trace of it, which has seen changes of its own.
        signal: Only connections to the signal of this name, or that ends with it.
        is_another: It is another process, which is taken for one that has written nothing down: what
            it has connected counts, when it did so does not.
    """
    history = History()

    def is_wanted(name: str) -> bool:
        return not signal or ends_with(name, signal)

    events: list[WiringEvent] = []
    events += [each for each in wiring.events if not is_another or each.change == IGNORED]
    for each in wiring.connections:
        if is_wanted(each.signal):
            history.links.append(_link(each, is_another=is_another))
    history.waiting = [each for each in wiring.waiting if is_wanted(each.signal)]
    if trace is not None:
        events += _of_trace(target, trace, events)
    for event in sorted(events, key=lambda event: event.at_ns):
        if is_wanted(event.signal):
            _apply(event, history)
    return history


def _of_trace(target: Target, trace: Trace, known: list[WiringEvent]) -> Iterator[WiringEvent]:
    """Yield what a trace saw of connections that no journal has."""
    if not known:
        for change in trace.connection_changes:
            if target.is_of(change.receiver):
                site = change.callsite
                yield WiringEvent(
                    change.change,
                    change.signal,
                    change.sender,
                    change.receiver,
                    max(trace.started_ns + change.start_ns, 0),
                    site.file if site is not None else "",
                    site.line if site is not None else 0,
                )
    if not any(event.change == DIED for event in known):
        for lost in trace.lost_receivers:
            if target.is_of(lost.receiver):
                # It was found dead when it was sent to: it had died before.
                yield WiringEvent(DIED, lost.signal, lost.sender, lost.receiver, trace.started_ns)


def _link(each: Connected, *, is_another: bool) -> Link:
    link = Link(each.signal, each.sender, each.receiver, 0 if is_another else each.at_ns)
    link.file, link.line, link.is_replaced = each.file, each.line, each.is_replaced
    link.is_sender_replaced = each.is_sender_replaced
    link.is_stale = each.is_stale and not is_another
    if not each.is_alive:
        _end(link, WiringEvent(DIED, each.signal, each.sender, each.receiver), 1)
    return link


def _end(link: Link, event: WiringEvent, at_ns: int) -> None:
    link.until_ns, link.ended = at_ns, event


def _apply(event: WiringEvent, history: History) -> None:
    key = event.signal, event.sender
    beside = [link for link in history.links if (link.signal, link.sender) == key]
    if event.change == CONNECTED:
        if not any(link.since_ns == event.at_ns for link in beside):
            link = Link(event.signal, event.sender, event.receiver, event.at_ns)
            link.file, link.line = event.file, event.line
            history.links.append(link)
    elif event.change in {DISCONNECTED, DIED}:
        open_ones = [link for link in beside if link.ended is None and link.since_ns <= event.at_ns]
        if open_ones:
            _end(open_ones[-1], event, event.at_ns)
        else:
            link = Link(event.signal, event.sender, event.receiver)
            _end(link, event, event.at_ns)
            history.links.insert(0, link)
    elif event.change == IGNORED:
        history.ignored.append(event)
    elif event.change == MUTED:
        history.muted.append((event.at_ns, FOREVER, event))
    elif event.change == UNMUTED and history.muted:
        start, _, muting = history.muted.pop()
        history.muted.append((start, event.at_ns, muting))
