"""The search of a list of traces, and a page of it."""

from __future__ import annotations

from msgspec import Struct

from tracing.store.generics import Trace

_LONGEST_ID = 19
_LARGEST_ID = 2**62


class TraceSearch(Struct, frozen=True):
    """The conditions on listed traces; an empty one is none.

    The conditions from ``signal`` to ``instance`` must all hold for one and the same dispatch.
    """

    kind: str = ""
    failed: bool | None = None
    """Ended with an error, or a receiver raised."""
    hazardous: bool = False
    pinned: bool = False
    mine: bool = False
    """Only what is mine; ``TracePage.hidden`` says how many others there are."""
    name: str = ""
    """Exactly this route, command ..."""
    text: str = ""
    """Part of the name or the path, or the beginning of the trace id; case does not matter."""
    word: str = ""
    """Part of any name: of the trace, of its signals, senders and receivers, of those who sent. Where no
    name has it, part of the path."""
    trace_id: str = ""
    """Beginning of the trace id or of the root span id, in small letters."""
    user_id: str = ""
    slower_than_ns: int = 0
    since_ns: int | None = None
    until_ns: int | None = None
    signal: str = ""
    """Dotted path, or the last part of it; with ``*`` for any characters, the whole path."""
    sender: str = ""
    receiver: str = ""
    """Dotted path, or the end of it after a dot."""
    outcome: str = ""
    """Outcome of a receiver call (of *receiver*, if that is given)."""
    instance: str = ""
    """As ``orders.Order:42``."""

    @property
    def asks_for_dispatches(self) -> bool:
        """Return whether any condition is about a dispatch."""
        return any((self.signal, self.sender, self.receiver, self.outcome, self.instance))


class TracePage(Struct):
    """A page of traces, newest first."""

    traces: list[Trace]
    older: str = ""
    """Cursor of the next page; empty when there is nothing further back."""
    newer: str = ""
    """Cursor of the page before; empty when nothing newer was there."""
    complete: bool = True
    """False if the time was up before the page was full: ``older`` goes on from there."""
    hidden: int = 0
    """Traces that fit and are not mine, from where the page begins to where the next one does."""
    hidden_more: bool = False
    """There are more than ``hidden``."""


class Cursor(Struct, frozen=True):
    """The place of a walk: its last row, and the last trace it gave."""

    row: int
    trace: int = 0
    own: int = 0
    """Of a walk along two indexes: the trace that the one of the traces gave last."""

    def __str__(self) -> str:
        if self.own:
            return f"{self.row}-{self.trace}-{self.own}"
        return f"{self.row}-{self.trace}" if self.trace else str(self.row)


def read_cursor(text: str) -> Cursor | None:
    """Return what *text* says, None if it is no cursor."""
    row, trace, own, *_ = [*text.split("-", 2), "", ""]
    number = _id(row)
    return None if number is None else Cursor(number, _id(trace) or 0, _id(own) or 0)


def _id(text: str) -> int | None:
    if not text.isascii() or not text.isdecimal() or len(text) > _LONGEST_ID:
        return None
    number = int(text)
    return None if number > _LARGEST_ID else number
