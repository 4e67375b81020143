"""The coverage of receivers as text, JSON and lcov."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.mine import hidden_text
from tracing.analysis.names import short_receiver, shorten_middle, signal_of
from tracing.analysis.signal_coverage import VERSION, percent
from tracing.analysis.wiring import ANY
from tracing.presentation.documents import fields_of
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracing.analysis.signal_coverage import Connected

_NUMBERS: Final = ("calls", "raised", "rolled back", "raw")
_TEXTS: Final = 2
"""Columns before those of numbers."""
_WIDEST: Final = 48
"""Columns of the terminal for a text."""
_NONE: Final = "-"


def subject(each: Connected) -> str:
    """Return what a receiver is connected to, as ``post_save of auth.User``."""
    return signal_of(each.signal, each.sender)


def place(each: Connected, relative: Callable[[str], str]) -> str:
    """Return the place of a receiver; empty for code without a file."""
    return f"{relative(each.file)}:{each.line}" if each.file else ""


def lines(shown: list[Connected], hidden: int, relative: Callable[[str], str]) -> Iterator[str]:
    """Yield the report for a terminal: those that never ran come first.

    Args:
        shown: The connections to tell of.
        hidden: How many others there are, which are not mine.
        relative: Makes a path relative to the project.
    """
    if not shown:
        yield "No receiver of yours is connected." if hidden else "No receiver is connected."
    left = [each for each in shown if each.never]
    if left:
        yield from _table(sorted(left, key=lambda each: each.calls > 0), relative)
    ran = sum(1 for each in shown if each.calls)
    if shown:
        text = f"{ran} of {plural(len(shown), 'connection')} ran: {percent(shown):.0f} %"
        full = len(shown) - len(left)
        yield f"{text}; {full} in every way, not listed" if full else text
    if hidden:
        yield f"{hidden_text(hidden, 'connection')} (--tracing-coverage-all)"


def _table(left: list[Connected], relative: Callable[[str], str]) -> Iterator[str]:
    """Yield aligned lines; the place comes last, whole, for editors."""
    rows = [
        (
            shorten_middle(short_receiver(each.receiver), _WIDEST),
            shorten_middle(subject(each), _WIDEST),
            *_numbers(each),
            place(each, relative),
        )
        for each in left
    ]
    rows.insert(0, ("receiver", "connected to", *_NUMBERS, ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            text.ljust(width) if at < _TEXTS or at == len(widths) - 1 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _numbers(each: Connected) -> tuple[str, str, str, str]:
    if not each.calls:
        return ("never", "", "", "")
    raw = str(each.raw or _NONE) if each.takes_raw else ""
    return (str(each.calls), str(each.raised or _NONE), str(each.undone or _NONE), raw)


def document(shown: list[Connected], relative: Callable[[str], str]) -> dict[str, Any]:
    """Return it as one JSON object."""
    return {
        "version": VERSION,
        "connections": len(shown),
        "ran": sum(1 for each in shown if each.calls),
        "percent": round(percent(shown), 2),
        "receivers": [
            {
                **fields_of(each, "receiver", "signal"),
                "sender": None if each.sender == ANY else each.sender,
                "file": relative(each.file) if each.file else None,
                "line": each.line or None,
                "dispatch_uid": each.dispatch_uid or None,
                **fields_of(each, "mine", "calls", "raised"),
                "rolled_back": each.undone,
                "raw": each.raw if each.takes_raw else None,
                "senders": dict(sorted(each.senders.items())) if each.sender == ANY else None,
                "never": each.never,
            }
            for each in shown
        ],
    }


def lcov(shown: list[Connected], relative: Callable[[str], str]) -> str:
    """Return it as lcov, each connection as a function of its file.

    Its branches are the ways in which it may end: returned, raised, rolled back, and raw where it asks.
    """
    with_file = [each for each in shown if each.file and each.line]
    text = []
    for file, group in groupby(with_file, key=lambda each: each.file):
        text += ["TN:signals", f"SF:{relative(file)}", *_record(list(group)), "end_of_record"]
    return "".join(f"{line}\n" for line in text)


def _record(receivers: list[Connected]) -> Iterator[str]:
    names = [_function(each) for each in receivers]
    yield from (f"FN:{each.line},{name}" for each, name in zip(receivers, names, strict=True))
    yield from (f"FNDA:{each.calls},{name}" for each, name in zip(receivers, names, strict=True))
    yield f"FNF:{len(receivers)}"
    yield f"FNH:{sum(1 for each in receivers if each.calls)}"
    branches = [branch for block, each in enumerate(receivers) for branch in _branches(each, block)]
    yield from (text for text, _count in branches)
    yield f"BRF:{len(branches)}"
    yield f"BRH:{sum(1 for _text, count in branches if count)}"
    calls: dict[int, int] = {}
    for each in receivers:
        calls[each.line] = calls.get(each.line, 0) + each.calls
    yield from (f"DA:{line},{count}" for line, count in sorted(calls.items()))
    yield f"LF:{len(calls)}"
    yield f"LH:{sum(1 for count in calls.values() if count)}"


def _branches(each: Connected, block: int) -> Iterator[tuple[str, int]]:
    counts = [each.calls - each.raised, each.raised, each.undone]
    counts += [each.raw] if each.takes_raw else []
    for branch, count in enumerate(counts):
        # A dash for what was never reached, as lcov has it.
        yield f"BRDA:{each.line},{block},{branch},{count if each.calls else '-'}", count


def _function(each: Connected) -> str:
    """Return the name of a connection as a function's, without commas."""
    return f"{short_receiver(each.receiver)} on {subject(each)}".replace(",", ";")
