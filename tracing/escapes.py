"""Characters that a reader does not see but a terminal obeys: escaped wherever text is written out.

Controls (C0, DEL, C1), what turns the direction of text, and what has no width. Names, paths and
messages come from the traced application, and with them whatever a visitor put into a URL.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

# The categories Cc, Cf, Cs, Zl and Zp of Unicode, without the C0 controls.
_UNSEEN: Final = (
    "\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f"
)
_IN_JSON: Final = re.compile(f"[{_UNSEEN}]")
_IN_CELL: Final = re.compile(f"[\x00-\x08\x0b-\x1f{_UNSEEN}]")
_FORMAT: Final = re.compile(
    "[\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f]"
)


def json_text(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return *value* as JSON in which everything that is seen is itself and all else is escaped."""
    return escape_json(json.dumps(value, indent=indent, ensure_ascii=ascii_only, default=str))


def escape_json(text: str) -> str:
    """Return a JSON text with unseen characters escaped, which stand in its strings alone."""
    return text if text.isascii() and "\x7f" not in text else _IN_JSON.sub(_as_json, text)


def _as_json(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if match[0] != "\x7f" else "\\u007f"


def escape_json_bytes(text: bytes) -> bytes:
    """Return the same of JSON in UTF-8."""
    if text.isascii() and b"\x7f" not in text:
        return text
    return escape_json(text.decode()).encode()


def escape_cell(text: str) -> str:
    """Return *text* with unseen characters escaped as Python writes them; lines stay lines."""
    return text if text.isprintable() else _IN_CELL.sub(_as_python, text)


def _as_python(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]


def escape_control(text: object) -> str:
    """Return *text* as one line that cannot command a terminal; what only formats text goes."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        character
        if character.isprintable()
        else " "
        if character in "\n\t"
        else f"\\x{ord(character):02x}"
        for character in _FORMAT.sub("", shown)
    )
