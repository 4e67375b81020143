"""The parts of a query: keys, terms and what joins them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from tracing.analysis.hazards import BUILT_IN
from tracing.spans.records import Kind, Method, Outcome, Status, TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


CHOICES_SHOWN: Final = 8


class Match(StrEnum):
    """The ways in which the value of a key is compared."""

    DOTTED = "dotted"
    """The whole dotted name, or its end after a dot."""
    EXACT = "exact"
    PART = "part"
    """Any part of the text; case does not matter."""
    CHOICE = "choice"
    """One of a few words."""
    FLAG = "flag"
    """yes or no."""
    NUMBER = "number"
    DURATION = "duration"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Key:
    """A word that may stand before a colon."""

    name: str
    match: Match
    hint: str
    """What it is about, in a few words."""
    of_span: bool = False
    """It is about a dispatch or receiver call, not about the trace."""
    choices: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[str, ...]:
        """Return what may stand between the key and its value."""
        if self.match in {Match.NUMBER, Match.DURATION}:
            return (">", ">=", "<", "<=", ":", "=")
        return (":", "=")


_NUMBERS = {
    "dispatches": "dispatches in the trace",
    "receivers": "receiver calls in the trace",
    "queries": "queries in the trace",
    "errors": "receiver calls that raised",
    "hazards": "hazards found in the trace",
    "dropped": "dispatches, queries and other items not recorded",
    "orphans": "dispatches without receivers",
}

KEYS: Final = {
    key.name: key
    for key in (
        Key("kind", Match.CHOICE, "what caused it", choices=tuple(Kind)),
        Key("name", Match.PART, "route, command, task, test or block"),
        Key("path", Match.PART, "path of the request"),
        Key("http", Match.EXACT, "method of the request, as POST"),
        Key("status", Match.CHOICE, "how it ended", choices=(*Status, "2xx", "3xx", "4xx", "5xx")),
        Key("user", Match.EXACT, "id of the user"),
        Key("trace", Match.EXACT, "trace id, root span id or its beginning"),
        Key("host", Match.EXACT, "host that recorded it"),
        Key("release", Match.EXACT, "release of the application"),
        Key("error", Match.PART, "exception that ended the trace"),
        Key("hazard", Match.CHOICE, "a hazard found in it", choices=tuple(r.id for r in BUILT_IN)),
        Key("failed", Match.FLAG, "an error, or a receiver that raised", choices=("yes", "no")),
        Key("pinned", Match.FLAG, "kept by pruning", choices=("yes", "no")),
        Key("duration", Match.DURATION, "of the trace, as 50ms"),
        Key("since", Match.TIME, "started then or later, as 2h or 2026-11-22T10:00"),
        Key("until", Match.TIME, "started before, as 30m"),
        *(Key(name, Match.NUMBER, hint) for name, hint in _NUMBERS.items()),
        Key("signal", Match.DOTTED, "signal, whole path or its end", of_span=True),
        Key("sender", Match.DOTTED, "sender, as orders.Order", of_span=True),
        Key("receiver", Match.DOTTED, "receiver, whole path or its end", of_span=True),
        Key("app", Match.EXACT, "application of the receiver", of_span=True),
        Key("uid", Match.EXACT, "dispatch_uid of the receiver", of_span=True),
        Key("outcome", Match.CHOICE, "of the receiver call", of_span=True, choices=tuple(Outcome)),
        Key("exception", Match.PART, "type or message of what it raised", of_span=True),
        Key("took", Match.DURATION, "duration of the receiver call, as 5ms", of_span=True),
        Key("sql", Match.NUMBER, "queries of the receiver call", of_span=True),
        Key("instance", Match.EXACT, "as orders.Order:42", of_span=True),
        Key("action", Match.EXACT, "of m2m_changed, as post_add", of_span=True),
        Key("created", Match.FLAG, "the instance was new", of_span=True, choices=("yes", "no")),
        Key("using", Match.EXACT, "database alias", of_span=True),
        Key("method", Match.CHOICE, "how it was sent", of_span=True, choices=tuple(Method)),
        Key(
            "transaction", Match.CHOICE, "outcome of the transaction", of_span=True,
            choices=tuple(TransactionOutcome),
        ),
        Key("file", Match.PART, "file of the receiver or callsite", of_span=True),
    )
}  # fmt: skip
"""Every key of the language by name."""

RENAMED: Final = {"unheard": "orphans"}  # retired
"""What a key is called now, by its old name."""


# --- what a query means --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: a key, an operator and a value."""

    key: Key
    operator: str
    """``:`` as the key matches, ``=`` exactly, or a comparison."""
    value: str
    number: int = 0
    """Of a number, a duration (ns) or a time (ns since the epoch)."""
    start: int = 0
    """Where the term begins in the query, in characters."""
    end: int = 0

    @property
    def of_span(self) -> bool:
        """Return whether it is about a dispatch or receiver call."""
        return self.key.of_span


@dataclass(frozen=True, slots=True)
class Text:
    """A plain word: part of a name in the trace, or the start of its id."""

    text: str

    of_span = False


@dataclass(frozen=True, slots=True)
class And:
    """All the parts hold."""

    parts: tuple[Query, ...]
    is_group: bool = False
    """Written in parentheses: also what is denied in it is about one and the same call."""

    @property
    def of_span(self) -> bool:
        """Return whether everything in it is about dispatches."""
        return bool(self.parts) and all(part.of_span for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the parts holds."""

    parts: tuple[Query, ...]

    @property
    def of_span(self) -> bool:
        """Return whether everything in it is about dispatches."""
        return all(part.of_span for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Query

    @property
    def of_span(self) -> bool:
        """Return whether what is denied is about dispatches."""
        return self.part.of_span


@dataclass(frozen=True, slots=True)
class Descendant:
    """A call that fits the last part, below calls that fit those before."""

    chain: tuple[Query, ...]

    of_span = False


Query: TypeAlias = Term | Text | And | Or | Not | Descendant

EVERYTHING: Final = And(())
"""The query that every trace fits."""


def terms(query: Query) -> Iterator[Term]:
    """Yield every term of *query*, wherever it stands."""
    stack: list[Query] = [query]
    while stack:
        part = stack.pop()
        if isinstance(part, Term):
            yield part
        elif isinstance(part, Not):
            stack.append(part.part)
        elif isinstance(part, And | Or):
            stack.extend(part.parts)
        elif isinstance(part, Descendant):
            stack.extend(part.chain)


class QueryError(ValueError):
    """A mistake in a query, with its place and what was probably meant.

    Args:
        message: What is wrong, as a sentence.
        start: Where the mistake begins, in characters of the query.
        end: Where it ends.
        suggestion: What to write in its place; empty if nothing is near.
    """

    def __init__(self, message: str, start: int, end: int, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.suggestion = suggestion


def nearest(word: str, words: Sequence[str]) -> str:
    """Return the nearest of *words* to *word*; empty if none is near."""
    lowered = word.lower()
    for candidate in words:
        if lowered and candidate.lower().startswith(lowered):
            return candidate
    close = get_close_matches(lowered, words, n=1, cutoff=0.6)
    return close[0] if close else ""
