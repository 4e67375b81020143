"""Styled text and tables, laid out for a terminal of so many columns."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ELLIPSIS: Final = "…"
GAP: Final = "  "
"""Between two columns of a table."""
_LEAST_ROOM: Final = 20
"""Columns that a sentence needs; with fewer it may begin at the left edge."""


class Text:
    """Pieces of text, each in a style.

    Args:
        parts: (content, style), a style in rich's words: ``bold red``, ``dim``, or empty.
    """

    __slots__ = ("parts",)

    def __init__(self, *parts: tuple[str, str]) -> None:
        self.parts = [part for part in parts if part[0]]

    def __str__(self) -> str:
        return self.plain

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def plain(self) -> str:
        """Return the text without its styles."""
        return "".join(content for content, _ in self.parts)

    def append(self, other: Text) -> None:
        """Add *other* at the end."""
        self.parts += other.parts

    def between(self, start: int, end: int) -> Text:
        """Return the characters from *start* to before *end*."""
        found = []
        for content, style in self.parts:
            found.append((content[max(start, 0) : max(end, 0)], style))
            start, end = start - len(content), end - len(content)
        return Text(*found)

    def lines(self) -> Iterator[Text]:
        """Yield the lines, at least one."""
        start = 0
        for line in self.plain.split("\n"):
            yield self.between(start, start + len(line))
            start += len(line) + 1


@dataclass(slots=True)
class Table:
    """Rows under headings.

    Args:
        columns: The headings.
        right: Those whose cells are aligned to the right.
        flexible: The one that gives way where there is too little room.
    """

    columns: tuple[str, ...]
    right: tuple[str, ...] = ()
    flexible: str = ""
    rows: list[tuple[Text, ...]] = field(default_factory=list)

    def add_row(self, *cells: Text) -> None:
        """Add a row; columns that have no cell in it stay empty."""
        self.rows.append(cells)


def width_of(text: str) -> int:
    """Return how many columns of a terminal *text* takes.

    A wide character takes two, a combining one none.
    """
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(text: Text, width: int) -> Iterator[Text]:
    """Yield *text* in lines within *width*, indented as they began."""
    for line in text.lines():
        plain = line.plain
        indent = len(plain) - len(plain.lstrip(" "))
        if width - indent < _LEAST_ROOM:
            indent = 0
        start = 0
        while width_of(plain[start:]) > width - (indent if start else 0):
            end = _break(plain, start, width - (indent if start else 0), indent)
            yield _indented(line.between(start, end), indent if start else 0)
            start = end + (len(plain[end:]) - len(plain[end:].lstrip(" ")))
        if start < len(plain) or not start:
            yield _indented(line.between(start, len(plain)), indent if start else 0)


def _break(plain: str, start: int, room: int, indent: int) -> int:
    """Return where a line from *start* on ends, if possible after a word."""
    end = start + len(_fitting(plain[start:], room))
    if plain[end : end + 1] == " ":
        return end
    space = plain.rfind(" ", start or indent, end)
    return space if space > (start or indent) else max(end, start + 1)


def _fitting(text: str, room: int) -> str:
    """Return the beginning of *text* that takes at most *room* columns."""
    if text.isascii():
        return text[:room]
    taken = 0
    for place, character in enumerate(text):
        taken += _columns_of(character)
        if taken > room:
            return text[:place]
    return text


def _indented(line: Text, indent: int) -> Text:
    return Text((" " * indent, ""), *line.parts)


def rows_of(table: Table, width: int) -> Iterator[Text]:
    """Yield the lines of *table*; its flexible column gets what is left."""
    headings = tuple(Text((heading, "bold")) for heading in table.columns)
    rows = [headings, *table.rows]
    widths = [
        max(width_of(row[place].plain) if place < len(row) else 0 for row in rows)
        for place in range(len(headings))
    ]
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    if over > 0:
        flexible = table.columns.index(table.flexible)
        widths[flexible] = max(widths[flexible] - over, 1)
    for row in rows:
        line = Text()
        for place, cell in enumerate(row):
            shown = _cut(cell, widths[place])
            padding = " " * (widths[place] - width_of(shown.plain))
            is_right = table.columns[place] in table.right
            line.append(Text((GAP if place else "", ""), (padding if is_right else "", "")))
            line.append(shown)
            if not is_right and place < len(row) - 1:
                line.append(Text((padding, "")))
        yield line


def _cut(cell: Text, width: int) -> Text:
    plain = cell.plain
    if width_of(plain) <= width:
        return cell
    kept = cell.between(0, len(_fitting(plain, width - 1)))
    kept.append(Text((ELLIPSIS, cell.parts[-1][1])))
    return kept
