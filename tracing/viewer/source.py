"""Source code for showing: lines around a place, in tokens."""

from __future__ import annotations

import ast
import io
import keyword
import linecache
import sys
import token
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINES: Final = 80
_AROUND: Final = 6
_LARGEST_FILE: Final = 2_000_000


@dataclass(slots=True, frozen=True)
class Piece:
    """Text of one kind: keyword, string, comment, number; or of none."""

    text: str
    kind: str = ""


@dataclass(slots=True, frozen=True)
class SourceLine:
    """One line of source code."""

    number: int
    pieces: tuple[Piece, ...]
    is_marked: bool


def source_lines(file: str, line: int) -> list[SourceLine]:
    """Return the source around a line; empty if it cannot be read.

    A function that begins there is shown whole, up to ``MAX_LINES``; else a few lines around.
    Only modules that this process has imported are shown: a recorded path is no permission to read
    any file.
    """
    if not line or not _is_imported(file):
        return []
    try:
        if Path(file).stat().st_size > _LARGEST_FILE:
            return []
    except OSError:
        return []
    linecache.checkcache(file)
    lines = linecache.getlines(file)
    if not 0 < line <= len(lines):
        return []
    first, last = _extent(lines, line)
    pieces = _pieces(lines)
    return [
        SourceLine(
            number,
            tuple(pieces.get(number) or [Piece(lines[number - 1].rstrip("\n"))]),
            number == line,
        )
        for number in range(first, last + 1)
    ]


def _is_imported(file: str) -> bool:
    if not file.endswith(".py"):
        return False
    return any(getattr(module, "__file__", None) == file for module in list(sys.modules.values()))


def _extent(lines: list[str], line: int) -> tuple[int, int]:
    """Return the first and last line to show around *line*."""
    try:
        module = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        module = ast.Module([], [])
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        if line in {node.lineno, begin}:
            return begin, min(node.end_lineno or line, begin + MAX_LINES - 1)
    return max(1, line - _AROUND), min(len(lines), line + _AROUND)


def _pieces(lines: list[str]) -> dict[int, list[Piece]]:
    """Return the lines of a file in pieces, by number; empty if unreadable."""
    found: dict[int, list[Piece]] = {}
    reached: dict[int, int] = {}
    try:
        for kind, number, start, end in _tokens(lines):
            text = lines[number - 1]
            pieces = found.setdefault(number, [])
            before = reached.get(number, 0)
            if start > before:
                pieces.append(Piece(text[before:start]))
            pieces.append(Piece(text[start:end], kind))
            reached[number] = end
    except (tokenize.TokenError, SyntaxError, IndexError):
        return {}
    for number, end in reached.items():
        rest = lines[number - 1][end:].rstrip("\n")
        if rest:
            found[number].append(Piece(rest))
    return found


def _tokens(lines: list[str]) -> Iterator[tuple[str, int, int, int]]:
    """Yield (kind, line, start, end) of each token, line by line."""
    for item in tokenize.generate_tokens(io.StringIO("".join(lines)).readline):
        kind = _kind(item)
        if not kind:
            continue
        (first, start), (last, end) = item.start, item.end
        for number in range(first, last + 1):
            begin = start if number == first else 0
            stop = end if number == last else len(lines[number - 1].rstrip("\n"))
            if stop > begin:
                yield kind, number, begin, stop


def _kind(item: tokenize.TokenInfo) -> str:
    if item.type == token.NAME:
        return "keyword" if keyword.iskeyword(item.string) else ""
    if item.type == token.STRING or token.tok_name.get(item.type, "").startswith("FSTRING"):
        return "string"
    if item.type == tokenize.COMMENT:
        return "comment"
    return "number" if item.type == token.NUMBER else ""
