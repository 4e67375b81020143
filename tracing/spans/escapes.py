"""Characters that a terminal obeys unseen: escaped wherever text goes.

Controls (C0, DEL, C1), what turns the direction of text, and what has no width. Names, paths and
messages come from the traced application, and with them whatever a visitor put into a URL.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from django.utils.html import conditional_escape
from django.utils.safestring import mark_safe

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

_UNUSUAL: Final = re.compile(r"[^\n\x20-\x7e]+")
"""What is looked at closely; most text holds none of it."""
_UNUSUAL_IN_CELL: Final = re.compile(r"[^\n\t\x20-\x7e]+")


def json_text(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return *value* as JSON in which all that is not seen is escaped."""
    return escape_json(json.dumps(value, indent=indent, ensure_ascii=ascii_only, default=str))


def escape_json(text: str) -> str:
    """Return a JSON text with unseen characters escaped."""
    return _UNUSUAL.sub(_as_json, text)


def escape_json_bytes(text: bytes) -> bytes:
    """Return the same of JSON in UTF-8."""
    if text.isascii() and b"\x7f" not in text:
        return text
    decoded = text.decode()
    # A line with an arrow or a micro sign: ten times as quick as to search it.
    return text if decoded.isprintable() else escape_json(decoded).encode()


def _as_json(match: re.Match[str]) -> str:
    found = match[0]
    if found.isprintable():
        return found
    # DEL is the one that JSON takes for a character like any other.
    return "".join(
        each if each.isprintable() else "\\u007f" if each == "\x7f" else json.dumps(each)[1:-1]
        for each in found
    )


def escape_cell(text: str) -> str:
    """Return *text* with unseen characters escaped; lines stay lines."""
    return _UNUSUAL_IN_CELL.sub(lambda match: repr(match[0])[1:-1], text)


def escape_control(text: object) -> str:
    """Return *text* as one line that cannot command a terminal."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        character
        if character.isprintable()
        else " "
        if character in "\n\t"
        else f"\\x{ord(character):02x}"
        for character in shown
        if unicodedata.category(character) != "Cf"
    )


def in_any_charset(text: str) -> SafeString:
    """Return *text* as HTML with character references for all but ASCII.

    For what goes into a page of the project: that may be in a charset which lacks our characters,
    and Django raises where it encodes such a page.
    """
    html = conditional_escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")
    return mark_safe(html)  # noqa: S308 - it is escaped.
