"""Suggestions for a search, from the names in the statistics."""

from __future__ import annotations

from typing import Final

from tracing.search.completion import Completion, WordAtCursor, complete_key
from tracing.search.parser import quoted
from tracing.search.query import Match, Query, Term, nearest, terms
from tracing.store.clickhouse.asking import Binder, rows, table
from tracing.store.matching import words
from tracing.store.suggestions import EXAMPLES, LONGEST_NAME, MOST_KNOWN

_COLUMNS: Final = {
    "signal": ("_by_hour", "Signal"),
    "sender": ("_by_hour", "Sender"),
    "receiver": ("_by_hour", "Receiver"),
    "app": ("_by_hour", "App"),
    "name": ("_django", "Name"),
}


def _names(key: str, holding: str = "", most: int = MOST_KNOWN) -> list[str]:
    suffix, column = _COLUMNS[key]
    bind = Binder()
    held = f"positionCaseInsensitiveUTF8({column}, {bind(holding)}) > 0" if holding else "1"
    sql = (
        f"SELECT DISTINCT {column} FROM {table(suffix)} WHERE {column} != '' AND {held} "  # noqa: S608 - values are bound.
        f"ORDER BY {column} LIMIT {most:d}"
    )
    return [found[0] for found in rows(tuple[str], sql, bind)]


def _nearest_name(wanted: str, key: str) -> str:
    known = _names(key)
    shorts = [name.rpartition(".")[2] for name in known]
    return nearest(wanted[:LONGEST_NAME], [*shorts, *known])


def unknown_names(query: Query) -> list[tuple[Term, str]]:
    """Return terms whose name no trace ever had, with the nearest name."""
    found = []
    for term in terms(query):
        key, value = term.key.name, term.value
        if key not in _COLUMNS or term.key.match is not Match.DOTTED or "*" in value:
            continue
        held = _names(key, value)
        if not any(name == value or name.endswith(f".{value}") for name in held):
            found.append((term, _nearest_name(value, key)))
    return found


def unknown_words(query: Query) -> list[tuple[str, str]]:
    """Return plain words that no name holds, with the nearest name."""
    return [
        (part.text, _nearest_name(part.text, "receiver") or _nearest_name(part.text, "signal"))
        for part in words(query)
        if "/" not in part.text
        and not any(_names(key, part.text, 1) for key in ("name", "signal", "sender", "receiver"))
    ]


def complete(place: WordAtCursor, size: int = 12) -> list[Completion]:
    """Return the keys, or the values of a key, that fit at *place*."""
    if place.key is None:
        return complete_key(place)[:size]
    key, typed = place.key, place.typed
    if key.choices:
        found = [word for word in key.choices if typed in word]
    elif key.match in EXAMPLES:
        found = [] if typed else EXAMPLES[key.match]
    else:
        found = _names(key.name, typed, 200) if key.name in _COLUMNS else []
    found.sort(key=lambda name: (not name.rpartition(".")[2].startswith(typed), name))
    return [Completion(quoted(value)) for value in found[:size]]
