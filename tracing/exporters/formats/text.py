"""Text outputs, and the log lines that `tracing import` reads back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tracing.spans.codec import Clock, lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.spans.records import Trace


class TextOut(Protocol):
    """An output of text: an open file, or the stdout of a command."""

    def write(self, content: str, /) -> Any:
        """Take *content* as it is."""


# -- JSON lines ------------------------------------------------------------------------------


def write_jsonl(traces: Iterable[Trace], file: TextOut) -> None:
    """Write *traces* as lines of the log, which can be imported."""
    clock = Clock()
    for trace in traces:
        for _level, _event, line in lines(trace, clock):
            file.write(line.decode() + "\n")
