"""Values in the bytes of RowBinary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "RowBinaryWithNamesAndTypes"
"""The names and types of the columns once, then rows: no text is read but the values."""

_LEAST_LONG: Final = 0x80
_SHORT: Final = [bytes((length,)) for length in range(_LEAST_LONG)]


def size(number: int) -> bytes:
    """Return a length as LEB128."""
    if number < _LEAST_LONG:
        return _SHORT[number]
    return bytes((number & 0x7F | 0x80,)) + size(number >> 7)


def text(value: str) -> bytes:
    """Return a text with its length."""
    data = value.encode()
    length = len(data)
    return (_SHORT[length] if length < _LEAST_LONG else size(length)) + data


def head(columns: Mapping[str, str]) -> bytes:
    """Return what stands before the rows of a block, from types by name."""
    return size(len(columns)) + b"".join(map(text, (*columns, *columns.values())))
