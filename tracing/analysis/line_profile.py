"""The profile of one receiver: which of its lines took the time."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from difflib import get_close_matches
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, Self

from tracing.analysis.names import place
from tracing.analysis.why_not.syntax import ends_with
from tracing.analysis.why_not.target import plain_name
from tracing.analysis.wiring import all_signals
from tracing.instrumentation.attributes import names
from tracing.instrumentation.connections.registry import entries_of, receiver_of
from tracing.instrumentation.line_times import LineTimes
from tracing.units import format_count, format_ns, format_percent, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST: Final = 20
"""Wrappers around a receiver that are followed."""
_MOST_CANDIDATES: Final = 10


@dataclass(frozen=True, slots=True)
class ProfiledLine:
    """A line of the source."""

    line: int
    source: str
    hits: int = 0
    time_ns: int = 0
    """Until the next line, with what it calls."""
    share: float = 0.0
    """Of the time of all calls, 0 to 1."""


class ReceiverProfile:
    """The lines of the connected receiver *name* while a ``with`` block runs.

    ``print(profile)`` shows them.

    Raises:
        LookupError: No connected receiver is called so, or several are.
        ProfilingError: Python is older than 3.12.
    """

    def __init__(self, name: str) -> None:
        self.receiver, code = _find(name)
        self.file, self.line = code.co_filename, code.co_firstlineno
        self._times = LineTimes(code)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._times.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Watch no longer."""
        self._times.__exit__(*error)

    @property
    def calls(self) -> int:
        """Return how often the receiver was called."""
        return self._times.calls

    @property
    def total_ns(self) -> int:
        """Return the time of all calls, those inside one another once."""
        return self._times.total_ns

    def lines(self) -> list[ProfiledLine]:
        """Return the lines of the receiver in order, or only those that ran."""
        times = self._times
        ran = {line for line in times.hits if line}
        try:
            source, first = inspect.getsourcelines(times.code)
        except OSError:
            source, first = [], 0
        texts = {first + number: text.rstrip() for number, text in enumerate(source)}
        return [
            ProfiledLine(
                line,
                texts.get(line, ""),
                times.hits[line],
                times.spent_ns[line],
                times.spent_ns[line] / (times.total_ns or 1),
            )
            for line in sorted({*texts, *ran})
        ]

    def document(self) -> dict[str, Any]:
        """Return the profile as JSON; its keys are the interface."""
        return {
            "receiver": self.receiver,
            "file": self.file,
            "line": self.line,
            "calls": self.calls,
            "total_ns": self.total_ns,
            "lines": [
                {
                    "line": each.line,
                    "hits": each.hits,
                    "time_ns": each.time_ns,
                    "share": round(each.share, 4),
                    "source": each.source,
                }
                for each in self.lines()
            ],
        }

    def __str__(self) -> str:
        return "\n".join(self.text())

    def text(self) -> Iterator[str]:
        """Yield the profile in aligned lines."""
        yield f"{self.receiver}  {place(self.file, self.line)}"
        yield f"{plural(self.calls, 'call')}, {format_ns(self.total_ns)}"
        yield ""
        rows = [("line", "hits", "time", "%", "")]
        for each in self.lines():
            numbers = ("", "", "")
            if each.hits:
                share = format_percent(each.share)
                numbers = (format_count(each.hits), format_ns(each.time_ns), share)
            rows.append((str(each.line), *numbers, each.source))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for *cells, source in rows:
            shown = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            yield f"{shown}  {source}".rstrip()


def _find(name: str) -> tuple[str, CodeType]:
    """Return name and code of the connected receiver *name*, or its end."""
    wanted = plain_name(name.strip())
    known: dict[str, CodeType] = {}
    for signal in all_signals():
        for entry in entries_of(signal):
            receiver = receiver_of(entry)
            code = _code_of(receiver) if receiver is not None else None
            if code is not None:
                known[plain_name(names.receiver_label(receiver).name)] = code
    found = {each: code for each, code in known.items() if wanted and ends_with(each, wanted)}
    if wanted in found:
        found = {wanted: found[wanted]}
    if not found:
        leaves: dict[str, list[str]] = {}
        for each in known:
            leaves.setdefault(each.rpartition(".")[2], []).append(each)
        near = get_close_matches(wanted.rpartition(".")[2], leaves, n=5)
        told = [f"  {each}" for leaf in near for each in sorted(leaves[leaf])]
        message = f"No receiver that is connected in this process is called {name}."
        raise LookupError("\n".join([message, *(["Is it one of these?", *told] if told else [])]))
    if len(found) > 1:
        listed = "\n".join(f"  {each}" for each in sorted(found)[:_MOST_CANDIDATES])
        raise LookupError(f"Several receivers are called {name}:\n{listed}")
    return next(iter(found.items()))


def _code_of(receiver: Any) -> CodeType | None:
    """Return the code of the function behind *receiver*; None for one in C."""
    for _ in range(_DEEPEST):
        kind = type(receiver)
        if kind is FunctionType:
            inner = receiver.__dict__.get("__wrapped__")
            if inner is None:
                code: CodeType = receiver.__code__
                return code
            receiver = inner
        elif issubclass(kind, functools.partial):
            receiver = receiver.func
        elif kind is MethodType:
            receiver = receiver.__func__
        else:
            receiver = names._class_attribute(kind, "__call__")  # noqa: SLF001 - no public name.
    return None
