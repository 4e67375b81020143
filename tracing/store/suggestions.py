"""Suggestions for a search: names that were meant, and what may be typed."""

from __future__ import annotations

from typing import Any, Final

from tracing.search.completion import Completion, WordAtCursor, complete_key
from tracing.search.parser import quoted
from tracing.search.query import Key, Match, Query, Term, nearest, terms
from tracing.store.choice import asked
from tracing.store.matching import words
from tracing.store.models import ReceiverLabel, SenderLabel, SignalLabel, Trace, TraceLabel
from tracing.store.occurrences import occurrences

MOST_KNOWN: Final = 2_000
"""Names among which the nearest one is looked for."""
_SHORTEST_WORD: Final = 2
LONGEST_NAME: Final = 100
"""Characters that are compared with other names: that takes the square of them."""
LABELS: Final[dict[str, Any]] = {
    "signal": SignalLabel,
    "sender": SenderLabel,
    "receiver": ReceiverLabel,
    "name": TraceLabel,
}
"""The names that are values of a key."""


@asked
def unknown_names(query: Query) -> list[tuple[Term, str]]:
    """Return terms whose name no trace ever had, with the nearest name."""
    found = []
    for term in terms(query):
        model = LABELS.get(term.key.name)
        if model is None or term.key.match is not Match.DOTTED or "*" in term.value:
            continue
        names = model.objects.all()
        if not (
            names.filter(name=term.value).exists()
            or names.filter(name__endswith=f".{term.value}").exists()
        ):
            found.append((term, _nearest_name(term.value, model)))
    return found


@asked
def unknown_words(query: Query) -> list[tuple[str, str]]:
    """Return plain words that no name holds, with the nearest name."""
    return [
        (
            part.text,
            _nearest_name(part.text, ReceiverLabel) or _nearest_name(part.text, SignalLabel),
        )
        for part in words(query)
        if "/" not in part.text and not occurrences(part.text, Trace.objects.db).in_names
    ]


def _nearest_name(wanted: str, model: Any) -> str:
    known = list(model.objects.values_list("name", flat=True)[:MOST_KNOWN])
    shorts = [name.rpartition(".")[2] for name in known]
    return nearest(wanted[:LONGEST_NAME], [*shorts, *known])


_WORD_TABLES: Final = (
    (ReceiverLabel, "receiver"),
    (SignalLabel, "signal"),
    (SenderLabel, "sender"),
    (TraceLabel, "name"),
)


def _complete_word(typed: str, size: int) -> list[Completion]:
    """Return names that hold *typed*; first, if it begins their last part."""
    if len(typed) < _SHORTEST_WORD or "\0" in typed:
        return []
    found = []
    for model, key in _WORD_TABLES:
        names = model.objects.filter(name__icontains=typed).values_list("name", flat=True)
        for name in dict.fromkeys(names[:200]):
            begins = name.rpartition(".")[2].startswith(typed)
            found.append((not begins, name, Completion(f"{key}:{quoted(name)}", key)))
    found.sort(key=lambda entry: entry[:2])
    return [completion for *_, completion in found[:size]]


@asked
def complete(place: WordAtCursor, size: int = 12) -> list[Completion]:
    """Return the keys, or the values of a key, that fit at *place*."""
    if place.key is None:
        keys = complete_key(place)[:size]
        return keys + _complete_word(place.typed, size - len(keys))
    return [Completion(quoted(value)) for value in _values(place.key, place.typed)[:size]]


EXAMPLES: Final = {
    Match.DURATION: ["1ms", "10ms", "50ms", "100ms", "1s"],
    Match.TIME: ["5m", "1h", "2h", "1d", "7d"],
}
"""Values that are offered before anything is typed."""


def _values(key: Key, typed: str) -> list[str]:
    """Return the values of *key* that hold *typed*, the likeliest first."""
    if key.choices:
        starting = [word for word in key.choices if word.startswith(typed)]
        return starting + [word for word in key.choices if typed in word and word not in starting]
    if key.match in EXAMPLES:
        return [] if typed else EXAMPLES[key.match]
    if key.name == "app":
        rows, column = ReceiverLabel.objects.exclude(app=""), "app"
    elif key.name in LABELS:
        rows, column = LABELS[key.name].objects.all(), "name"
    else:
        return []
    if "\0" in typed:
        return []
    names = rows.filter(**{f"{column}__icontains": typed}).order_by(column)
    # A name that begins with it, or whose last part does, is more likely meant.
    return sorted(
        names.values_list(column, flat=True).distinct()[:200],
        key=lambda name: (
            not name.rpartition(".")[2].startswith(typed),
            not name.startswith(typed),
            name,
        ),
    )
