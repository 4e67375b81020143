"""Known hazards: findings that a setting or a comment accepts.

``TRACING["KNOWN_HAZARDS"]`` lists them as ``"slow-receiver"``, as
``"slow-receiver:core.reports.*"`` (a pattern for the receiver) or as a dictionary with ``hazard``
and any of ``receiver``, ``signal``, ``sender``, ``message``, ``trace`` (patterns; the last is for
the name of the trace) and ``reason``. A comment at the receiver, or at the place that a finding
names, does the same for that place::

    # tracing: known slow-receiver (the report is built while the clerk waits)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tracing.spans.records import Hazard

_FIELDS: Final = ("hazard", "receiver", "signal", "sender", "message", "trace")
_COMMENT: Final = re.compile(
    r"#\s*tracing:\s*known\s+(?P<ids>[a-z0-9-]+(?:\s*,\s*[a-z0-9-]+)*)\s*(?:\((?P<reason>[^)]*)\))?"
)
_DEFINITION: Final = re.compile(r"\s*(async\s+def|def|class)\b")
_COSTS: Final = frozenset(
    {
        "init-receiver-cost",
        "n-plus-one",
        "raw-query",
        "repeated-receiver",
        "slow-receiver",
        "unfiltered-receiver",
    }
)
"""What Django's own receivers cost is known from the start: nobody but Django can mend it.

So is what others cost when Django writes down which migrations it has applied, one by one.
"""

_LINES_BELOW: Final = 12
"""How far below the first line (of its decorators) the ``def`` of a receiver is looked for."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One entry of ``KNOWN_HAZARDS``."""

    patterns: tuple[tuple[str, str], ...]
    """(field of a hazard, pattern): all must match."""
    reason: str

    def rules(self) -> list[str]:
        """Return the patterns of rules that this entry names."""
        return [pattern for name, pattern in self.patterns if name == "hazard"]

    def covers(self, hazard: Hazard, trace_name: str) -> bool:
        """Return whether this entry accepts *hazard* in a trace of that name."""
        return all(
            fnmatchcase(trace_name if name == "trace" else getattr(hazard, name), pattern)
            for name, pattern in self.patterns
        )


def parse(entry: object) -> Mark:
    """Return the mark that an entry of ``KNOWN_HAZARDS`` describes.

    Raises:
        ValueError: The entry is none of the three forms; the message says what is wrong.
    """
    if isinstance(entry, str):
        name, _, receiver = entry.partition(":")
        patterns = [("hazard", name.strip())]
        if receiver:
            patterns.append(("receiver", receiver.strip()))
        return Mark(tuple(patterns), "KNOWN_HAZARDS")
    if not isinstance(entry, Mapping):
        raise ValueError(  # noqa: TRY004 - one kind of error for all that is wrong.
            f"{entry!r} is neither a string nor a dictionary"
        )
    unknown = set(entry) - {*_FIELDS, "reason"}
    if unknown or "hazard" not in entry:
        what = f"unknown keys {sorted(map(str, unknown))}" if unknown else "no key 'hazard'"
        raise ValueError(f"{dict(entry)!r} has {what}")
    chosen = tuple((name, entry[name]) for name in _FIELDS if name in entry)
    wrong = [name for name, pattern in chosen if not isinstance(pattern, str)]
    if wrong:
        raise ValueError(f"{dict(entry)!r} has a pattern that is no string: {', '.join(wrong)}")
    return Mark(chosen, str(entry.get("reason") or "KNOWN_HAZARDS"))


def parse_all(entries: Iterable[Any]) -> tuple[list[Mark], list[str]]:
    """Return the marks of all entries, and the problems of the others."""
    marks, problems = [], []
    for entry in entries:
        try:
            marks.append(parse(entry))
        except ValueError as error:
            problems.append(f"KNOWN_HAZARDS: {error}")
    return marks, problems


def known_reason(hazard: Hazard, marks: Sequence[Mark], trace_name: str = "") -> str:
    """Return why *hazard* is accepted; empty if it is not.

    Args:
        hazard: A finding.
        marks: What the settings accept.
        trace_name: The name of the trace it was found in; empty if it belongs to none.
    """
    for mark in marks:
        if mark.covers(hazard, trace_name):
            return mark.reason
    if hazard.hazard in _COSTS:
        if hazard.receiver.startswith("django."):
            return "Django's own receiver"
        if hazard.sender == "migrations.Migration":
            return "Django's own record of migrations"
    return _comment_reason(hazard) if hazard.file and hazard.line else ""


def _comment_reason(hazard: Hazard) -> str:
    try:
        modified = os.stat(hazard.file).st_mtime_ns  # noqa: PTH116 - of each finding: at a third of the cost.
    except (OSError, ValueError):  # ValueError: a null byte in a name that is no file's.
        return ""
    for first, last, ids, reason in _comments(hazard.file, modified):
        if first <= hazard.line <= last and hazard.hazard in ids:
            return reason or "marked in the source"
    return ""


@lru_cache(maxsize=256)
def _comments(
    file: str,
    modified: int,  # noqa: ARG001 - part of the key.
) -> tuple[tuple[int, int, frozenset[str], str], ...]:
    """Return (first line, last line, ids, reason) of each mark in *file*.

    A comment is for its own line; one that stands alone also for the definition or the statement
    below it, with its decorators. *modified* makes a changed file read again.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found = []
    for number, text in enumerate(lines, 1):
        match = _COMMENT.search(text)
        if match is None:
            continue
        ids = frozenset(part.strip() for part in match["ids"].split(","))
        first, last = number, number
        if not text[: match.start()].strip():
            last = _end_of_definition(lines, number)
        elif _DEFINITION.match(text):
            first = _first_decorator(lines, number)
        found.append((first, last, ids, (match["reason"] or "").strip()))
    return tuple(found)


def _end_of_definition(lines: list[str], comment: int) -> int:
    """Return the line of the ``def`` below the comment, else the next line."""
    for number in range(comment + 1, min(comment + 1 + _LINES_BELOW, len(lines) + 1)):
        text = lines[number - 1]
        if _DEFINITION.match(text):
            return number
        if text.strip() and not text.lstrip().startswith(("@", "#", ")")) and text[:1] not in " \t":
            break
    return comment + 1


def _first_decorator(lines: list[str], definition: int) -> int:
    number = definition
    while number > 1 and lines[number - 2].lstrip().startswith("@"):
        number -= 1
    return number
