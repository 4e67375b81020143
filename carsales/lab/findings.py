"""The findings of an experiment: a small table of texts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Findings:
    """A table of what was seen; the first cell of a row says what the row is about."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row; truth values read as yes and no, None and "" as none."""
        self.rows.append(tuple(_text(cell) for cell in cells))


def _text(cell: object) -> str:
    """Return how *cell* is written in the table."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "none" if cell is None or cell == "" else str(cell)
