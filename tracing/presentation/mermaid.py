"""Explanations as Mermaid diagrams, for Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.tree import TIMES
from tracing.spans.escapes import escape_control
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.presentation.explanation import Line, Told

MOST_NODES: Final = 150
"""Steps that are drawn; Mermaid refuses much larger diagrams, and nobody reads them."""
_PLAIN: Final = frozenset(f" .,_-/%()+{TIMES}")


def flowchart(told: Told) -> str:
    """Return *told* as a flowchart, from the question on."""
    return "\n".join(_statements(told)) + "\n"


def _statements(told: Told) -> Iterator[str]:
    yield "flowchart LR"
    for line in told.lines[:MOST_NODES]:
        opening, closing = ("([", "])") if line.is_receiver else ("[", "]")
        style = ":::bad" if line.is_failed else ":::unseen" if line.step.is_unseen else ""
        yield f'    s{line.number}{opening}"{_label(line)}"{closing}{style}'
        if line.parent:
            share = f'|"{_escaped(line.share)}"|' if line.share else ""
            arrow = "-->" if line.share else "-.->"
            yield f"    s{line.parent} {arrow}{share} s{line.number}"
    if (left := len(told.lines) - MOST_NODES) > 0:
        yield f'    more["{_escaped(plural(left, "more step"))}"]'
    yield "    classDef bad stroke:#c0262d,stroke-width:2px"
    yield "    classDef unseen stroke-dasharray:4 3"


def _label(line: Line) -> str:
    parts = [_escaped(line.label)]
    numbers = [f"{line.times} {TIMES}" if line.times else "", line.p50]
    if any(numbers):
        parts.append(_escaped(", ".join(filter(None, numbers))))
    return "<br>".join(parts)


def _escaped(text: str) -> str:
    """Return *text* for a label, with codes for all but plain signs."""
    return "".join(
        each if each.isalnum() or each in _PLAIN else f"#{ord(each)};"
        for each in escape_control(text)
    )
