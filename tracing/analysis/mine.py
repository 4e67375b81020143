"""*Mine* in a trace: the spans that the project's receivers took part in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from tracing.analysis.index import Index, Span, failed, walk
from tracing.analysis.names import in_library
from tracing.spans.records import Bypass, SideEffect
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tracing.spans.records import Trace

NONE_OF_MINE: Final = "No receiver of yours ran"
"""Heads what is shown whole because nothing in it is mine."""


def spans_of_mine(trace: Trace) -> frozenset[int]:
    """Return the numbers of the spans of *trace* that are mine.

    A receiver call is, if its receiver is or a dispatch that was sent from inside it; a dispatch is,
    if one of its receiver calls is. One that was skipped counts: it was to run.
    """
    found: set[int] = set()
    # Parents come before their children, so from the end on all that is below has been seen.
    for dispatch in reversed(trace.dispatches):
        own = [
            call.number
            for call in dispatch.receiver_calls
            if call.receiver.mine or call.number in found
        ]
        if own:
            found.update(own, (dispatch.number,))
            if dispatch.parent_number is not None:
                found.add(dispatch.parent_number)
    return frozenset(found)


def hidden_text(count: int, one: str, *, more: bool = False, failures: int = 0) -> str:
    """Return a count, as ``3 spans that are not yours are hidden``.

    Args:
        count: How many are.
        one: What one of them is called.
        more: There are more than *count*.
        failures: How many of them failed.
    """
    is_one = count == 1 and not more
    line = (
        f"{'more than ' if more else ''}{plural(count, one)} that {'is' if is_one else 'are'} not"
    )
    line = f"{line} yours {'is' if is_one else 'are'} hidden"
    return f"{line}, {plural(failures, 'failure')} among them" if failures else line


class _OfReceiver(Protocol):
    """A line about a receiver."""

    @property
    def mine(self) -> bool: ...


_Line = TypeVar("_Line", bound=_OfReceiver)


class Listed(NamedTuple, Generic[_Line]):
    """The shown lines of a list, and the words about the others."""

    rows: list[_Line]
    heading: str = ""
    """That nothing is mine, though only that was asked for: all of it is there."""
    note: str = ""
    """How many lines are hidden, in one line; empty if none is."""


def listed(lines: Sequence[_Line], one: str, *, everything: bool = False) -> Listed[_Line]:
    """Return the shown ones of *lines*: mine, or *everything*.

    Where nothing is mine all of it is shown, too.

    Args:
        lines: Of a receiver each.
        one: What one of them is called.
        everything: Show also what is not mine.
    """
    own = list(lines) if everything else [line for line in lines if line.mine]
    if not own:
        return Listed(list(lines), NONE_OF_MINE if lines else "")
    hidden = len(lines) - len(own)
    return Listed(own, note=hidden_text(hidden, one) if hidden else "")


@dataclass(frozen=True, slots=True)
class MineView:
    """The shown part of a trace, and the words about the rest."""

    shown: Collection[int] | None
    """Numbers of the spans; None for all."""
    heading: str = ""
    """What to head it with: that nothing is mine, though only that was asked for."""
    hidden: int = 0
    """Spans that are not shown."""
    hidden_failures: int = 0
    """Of them, those that failed."""
    only_mine: bool = False
    """What is not mine is left out, if there is any."""

    @property
    def note(self) -> str:
        """Return what is hidden, in one line; empty if nothing is."""
        if not self.hidden:
            return ""
        return hidden_text(self.hidden, "span", failures=self.hidden_failures)


def view_of(
    trace: Trace, *, everything: bool = False, root: Span | None = None, opened: Span | None = None
) -> MineView:
    """Return the shown part of *trace*: mine, or *everything*.

    Where nothing is mine all of it is shown, too.

    Args:
        trace: The trace.
        everything: Show also what is not mine.
        root: Only it and what is below it is in view; None for the whole trace.
        opened: A span that is shown though it may not be mine, with what is above it.
    """
    if everything or not trace.dispatches:
        return MineView(None)
    mine = spans_of_mine(trace)
    if not mine or (root is not None and root.number not in mine):
        return MineView(None, NONE_OF_MINE)
    shown = set(mine)
    if opened is not None and opened.number not in mine:
        shown.update(span.number for span in (opened, *Index(trace).above(opened)))
    in_view = walk(trace, root=root)
    hidden = [visit.span for visit in in_view if visit.span.number not in shown]
    failures = sum(map(failed, hidden))
    return MineView(
        shown if hidden else None, hidden=len(hidden), hidden_failures=failures, only_mine=True
    )


def notes_of_mine(trace: Trace) -> Callable[[Any], bool]:
    """Return a function that says whether a note of *trace* is mine."""
    calls = {call.number: call for each in trace.dispatches for call in each.receiver_calls}

    def is_mine(note: Any) -> bool:
        if not isinstance(note, Bypass | SideEffect):
            return bool(note.receiver.mine)
        if isinstance(note, Bypass) and any(label.mine for label in note.receivers):
            return True
        if (call := calls.get(note.parent_number or 0)) is not None:
            return call.receiver.mine
        return note.callsite is None or not in_library(note.callsite.file)

    return is_mine


def beside_tree(trace: Trace, view: MineView, *more: str) -> tuple[Trace, str]:
    """Return *trace* with the notes that *view* shows, and what is hidden.

    Notes are bypasses, missed and lost receivers. What was written or caused in a receiver is mine if the
    receiver is; a bypass also, if code of mine wrote past the receivers of others.

    Args:
        trace: The trace.
        view: The shown part of it.
        *more: Further lists of the trace that count as notes.
    """
    if not view.only_mine:
        return trace, ""
    is_mine = notes_of_mine(trace)
    names = ("bypasses", "missed_receivers", "lost_receivers", *more)
    kept = {name: [*filter(is_mine, getattr(trace, name))] for name in names}
    hidden = sum(len(getattr(trace, name)) - len(notes) for name, notes in kept.items())
    return replace(trace, **kept), hidden_text(hidden, "note") if hidden else ""
