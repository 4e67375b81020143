"""What a list of traces is asked for, and a page of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.models import Q

    from tracing.store.generics import Trace


PAGE_SIZE = 50
PAGE_SECONDS = 0.1
"""How long one page may search; the check is between batches, so a page takes a little more."""
_LONGEST_ID = 19
_LARGEST_ID = 2**62


@dataclass(frozen=True, slots=True)
class TraceSearch:
    """What a trace must have to be listed; an empty condition is none.

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
    condition: Q | None = None
    """Anything further about the trace's own row, in SQL."""

    @property
    def asks_for_dispatches(self) -> bool:
        """Return whether any condition is about a dispatch."""
        return any((self.signal, self.sender, self.receiver, self.outcome, self.instance))


@dataclass(slots=True)
class TracePage:
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


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a walk stands: the row it examined last, and the trace it gave last."""

    row: int
    trace: int = 0

    def __str__(self) -> str:
        return f"{self.row}-{self.trace}" if self.trace else str(self.row)


def read_cursor(text: str) -> Cursor | None:
    """Return what *text* says, None if it is no cursor."""
    row, _, trace = text.partition("-")
    number = _id(row)
    return None if number is None else Cursor(number, _id(trace) or 0)


def _id(text: str) -> int | None:
    if not text.isascii() or not text.isdecimal() or len(text) > _LONGEST_ID:
        return None
    number = int(text)
    return None if number > _LARGEST_ID else number
