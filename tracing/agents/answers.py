"""Answers that fit into what an agent can take: no empty values, in parts.

The JSON is the command's own; nothing is named or computed anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracing.agents.tools import ArgumentsError
from tracing.clocks import time
from tracing.spans.escapes import escape_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.agents.tools import Tool

MOST_TOKENS: Final = 2_000
"""Of one answer."""
BYTES_PER_TOKEN: Final = 2.5
"""Fewer than tokenizers make of lists of ids, 2.57 at the worst: an answer is rather too short."""
_CUTS: Final = ((300, 8, 50), (150, 5, 20), (100, 3, 10), (50, 1, 3))
"""(characters of one value, values of a list, keys of an inner object) of too large an entry, in turn."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in an answer, and the moment that the answer goes up to."""

    start: int = 0
    until_ms: int = 0

    @classmethod
    def of(cls, text: object) -> Cursor:
        """Return the cursor that *text* is; a new one for None.

        Raises:
            ArgumentsError: It is no cursor.
        """
        if not text:
            return cls(0, time.time_ns() // 1_000_000)
        if not isinstance(text, str) or not (
            found := re.fullmatch(r"([0-9]{1,6})\.([0-9]{13})", text)
        ):
            raise ArgumentsError(
                f"{text!r} is no cursor: give the one of the answer that is to go on."
            )
        return cls(int(found[1]), int(found[2]))

    def after(self, count: int) -> str:
        """Return the text of the cursor behind *count* more entries."""
        return f"{self.start + count}.{self.until_ms}"


def read(text: str) -> Any:
    """Return the JSON that the command wrote, after the project's output.

    Raises:
        ValueError: There is none.
    """
    decoder = json.JSONDecoder()
    for found in re.finditer(r"^[\[{]", text, re.MULTILINE):
        try:
            value, end = decoder.raw_decode(text, found.start())
        except ValueError:
            continue
        if not text[end:].strip():
            return value
    raise ValueError("no JSON")


def bounded(document: Any, tool: Tool, cursor: Cursor, tokens: int = MOST_TOKENS) -> str:
    """Return *document*, from the cursor on, in at most so many tokens.

    The answer is one JSON object: ``entries`` holds a part of the list that *tool* names, ``total``
    how many there are, ``cursor`` what asks for the next; it is absent where nothing follows.
    """
    room = int(tokens * BYTES_PER_TOKEN)
    entries, head = document, {}
    if tool.entries:
        entries = document[tool.entries]
        head = {name: value for name, value in document.items() if name != tool.entries}
    found: dict[str, Any] = {}
    # What is said of the whole is said once.
    if not cursor.start:
        found |= _fitting(_compact(head, tool.leave_out), room * 3 // 5)
    flat = list(_flat(entries, tool.below))
    part: list[Any] = []
    left = room - _size(found) - _size({"entries": [], "total": len(flat), "cursor": "0" * 20})
    for entry in flat[cursor.start :]:
        short = _fitting(_compact(entry, tool.leave_out), room // 3)
        left -= _size(short) + 1
        if part and left < 0:
            break
        part.append(short)
    found |= {"entries": part, "total": len(flat)}
    if cursor.start + len(part) < len(flat):
        found["cursor"] = cursor.after(len(part))
    return _text(found)


def _text(value: Any) -> str:
    return escape_json(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))


def _flat(entries: list[Any], below: str) -> Iterator[Any]:
    """Yield the entries and, after each, what hangs below it."""
    if not below:
        yield from entries
        return
    stack = [(entry, 0) for entry in reversed(entries)]
    while stack:
        entry, level = stack.pop()
        children = entry.get(below) or []
        yield {name: value for name, value in entry.items() if name != below} | {"level": level}
        stack += [(child, level + 1) for child in reversed(children)]


def _compact(value: Any, leave_out: frozenset[str]) -> Any:
    """Return *value* without what is empty, false or 0, and without some keys."""
    if isinstance(value, dict):
        each = {
            name: _compact(item, leave_out) for name, item in value.items() if name not in leave_out
        }
        return {name: item for name, item in each.items() if item}
    if isinstance(value, list):
        return [_compact(item, leave_out) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def _size(value: Any) -> int:
    return len(_text(value).encode())


def _fitting(value: Any, room: int) -> Any:
    """Return *value*, what is long in it cut if it is too large."""
    found = value
    for limits in _CUTS:
        if _size(found) <= room:
            break
        found = _cut(value, *limits)
    return found


def _cut(value: Any, longest: int, listed: int, keys: int, level: int = 0) -> Any:
    if isinstance(value, dict):
        kept = [*value.items()][: keys if level else None]
        found = {name: _cut(item, longest, listed, keys, level + 1) for name, item in kept}
        return found | ({"…": f"{more} more"} if (more := len(value) - len(kept)) else {})
    if isinstance(value, list):
        some = [_cut(item, longest, listed, keys, level + 1) for item in value[:listed]]
        more = len(value) - len(some)
        return [*some, f"… {more} more"] if more else some
    if isinstance(value, str) and len(value) > longest:
        return f"{value[:longest]}…"
    return value
