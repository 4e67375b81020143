"""Help for typing a query: completions, and mistakes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tracing.search.query import KEYS, Key, Match, QueryError


@dataclass(frozen=True, slots=True)
class WordAtCursor:
    """The word that is being typed in a query."""

    start: int
    """Where the word begins that a completion replaces."""
    end: int
    typed: str
    """What of it stands before the cursor."""
    key: Key | None = None
    """The key whose value it is; None where a key may stand."""


def place_at(text: str, cursor: int) -> WordAtCursor:
    """Return the word typed at *cursor* of the query *text*."""
    cursor = min(max(cursor, 0), len(text))
    before = text[:cursor]
    match = re.search(r'(?:^|[\s(-])([a-z]+)(>=|<=|[:=<>])("?[^\s"]*)$', before)
    if match is not None and match[1] in KEYS:
        start = match.start(3)
        return WordAtCursor(start, _word_end(text, cursor), match[3].lstrip('"'), KEYS[match[1]])
    match = re.search(r'[^\s()"-]*$', before)
    start = match.start() if match is not None else cursor
    return WordAtCursor(start, _word_end(text, cursor), before[start:])


def _word_end(text: str, cursor: int) -> int:
    match = re.match(r'[^\s()"]*', text[cursor:])
    return cursor + (match.end() if match is not None else 0)


@dataclass(frozen=True, slots=True)
class Completion:
    """Something that may be typed at a place."""

    text: str
    """What replaces the word."""
    hint: str = ""


def complete_key(place: WordAtCursor) -> list[Completion]:
    """Return the keys that fit at *place*, those that begin as typed first."""
    typed = place.typed.lower()
    starting = [key for key in KEYS.values() if key.name.startswith(typed)]
    holding = [key for key in KEYS.values() if typed in key.name and key not in starting]
    found = [
        Completion(
            f"{key.name}{'>' if key.match in {Match.NUMBER, Match.DURATION} else ':'}", key.hint
        )
        for key in starting + holding
    ]
    for word, hint in (
        ("OR", "either of two conditions"),
        ("NOT", "the condition does not hold"),
        (">>", "the right one ran below the left one"),
    ):
        if typed and word.lower().startswith(typed):
            found.append(Completion(f"{word} ", hint))
    return found


@dataclass(slots=True)
class Problem:
    """A mistake in a query, cut up for showing."""

    message: str
    before: str
    wrong: str
    after: str
    suggestion: str = ""
    corrected: str = ""
    """The whole query with the suggestion in place; empty without one."""
    hints: list[str] = field(default_factory=list)


def problem_of(text: str, error: QueryError) -> Problem:
    """Return *error* with the query *text* cut up around it."""
    wrong = text[error.start : error.end]
    corrected = ""
    if error.suggestion:
        corrected = text[: error.start] + error.suggestion + text[error.end :]
    return Problem(
        error.message,
        text[: error.start],
        wrong or " ",
        text[error.end :],
        error.suggestion,
        corrected,
    )
