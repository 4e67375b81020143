"""The minimap above the tree of a trace: the whole of it in small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tracing.analysis.index import failed
from tracing.presentation.colours import app_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.presentation.rows import Row, Tree

HEIGHT: Final = 28
_MAX_BARS: Final = 40
_LEVELS: Final = 6


class MinimapBar(Struct, frozen=True):
    """A stretch of time in the minimap."""

    x: str
    width: str
    y: str
    """0 to ``HEIGHT``."""
    colour: int
    failed: bool


def minimap(tree: Tree, rows: Sequence[Row]) -> list[MinimapBar]:
    """Return *tree* in small: its rows, or of very many the upper levels."""
    if tree.next_start is None and not tree.start:
        high = HEIGHT / max(len(rows), 12)
        return [
            MinimapBar(bar.x, bar.width, f"{at * high:.2f}", row.colour, row.failed)
            for at, row in enumerate(rows)
            for bar in row.bars[:_MAX_BARS]
        ]
    found: list[MinimapBar] = []
    spans = tree.roots
    for level in range(_LEVELS):
        stretches: dict[tuple[int, bool], list[tuple[int, int]]] = {}
        for span in spans:
            look = (tree.colours.get(app_of(span), 0), failed(span))
            ends = (span.start_ns, span.start_ns + span.duration_ns)
            stretches.setdefault(look, []).append(ends)
        y = f"{level * HEIGHT / _LEVELS:.2f}"
        found += [
            MinimapBar(bar.x, bar.width, y, colour, has_failed)
            for (colour, has_failed), ends in sorted(stretches.items())
            for bar in tree.bars(ends)
        ]
        spans = tree.below(spans)
    return found
