"""The search language: what a query is made of, parsed with exact positions of its mistakes.

``signal:post_save duration>50ms (user:3 OR NOT kind:request) receiver:a >> receiver:b``

Terms side by side are joined by AND. Terms about a dispatch or a receiver call that stand side by
side are about one and the same call; ``>>`` asks for a call below another. docs/viewer.md has the
whole language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from tracing.analysis.hazards import BUILT_IN
from tracing.spans.records import Kind, Method, Outcome, Status, TransactionOutcome
from tracing.units import parse_duration, parse_moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_QUERY: Final = 2_000
"""Characters of a query; more is refused."""
MAX_DEPTH: Final = 30
"""Open parentheses and NOTs; more is refused, so that nothing recurses without bound."""

MAX_CONDITIONS: Final = 200
"""Conditions of a query; more is refused, as SQLite refuses an expression of a thousand parts."""

_CHOICES_SHOWN: Final = 8


class Match(StrEnum):
    """How the value of a key is compared."""

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
    "unheard": "dispatches without receiver",
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
    value_start: int = 0

    @property
    def of_span(self) -> bool:
        """Return whether it is about a dispatch or receiver call."""
        return self.key.of_span


@dataclass(frozen=True, slots=True)
class Words:
    """Free text: part of the name, of the path, or the beginning of the trace id."""

    text: str

    of_span = False


@dataclass(frozen=True, slots=True)
class Both:
    """All the parts hold."""

    parts: tuple[Query, ...]
    is_group: bool = False
    """Written in parentheses: also what is denied in it is about one and the same call."""

    @property
    def of_span(self) -> bool:
        """Return whether everything in it is about dispatches."""
        return bool(self.parts) and all(part.of_span for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of the parts holds."""

    parts: tuple[Query, ...]

    @property
    def of_span(self) -> bool:
        """Return whether everything in it is about dispatches."""
        return all(part.of_span for part in self.parts)


@dataclass(frozen=True, slots=True)
class Negation:
    """The part does not hold."""

    part: Query

    @property
    def of_span(self) -> bool:
        """Return whether what is denied is about dispatches."""
        return self.part.of_span


@dataclass(frozen=True, slots=True)
class Under:
    """A call that fits each part but the first, below one that fits the part before."""

    chain: tuple[Query, ...]

    of_span = False


Query: TypeAlias = Term | Words | Both | Either | Negation | Under

EVERYTHING: Final = Both(())
"""The query that every trace fits."""


def terms(query: Query) -> Iterator[Term]:
    """Yield every term of *query*, wherever it stands."""
    stack: list[Query] = [query]
    while stack:
        part = stack.pop()
        if isinstance(part, Term):
            yield part
        elif isinstance(part, Negation):
            stack.append(part.part)
        elif isinstance(part, Both | Either):
            stack.extend(part.parts)
        elif isinstance(part, Under):
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
    """Return the one of *words* that *word* was probably meant to be; empty if none is near."""
    lowered = word.lower()
    for candidate in words:
        if lowered and candidate.lower().startswith(lowered):
            return candidate
    close = get_close_matches(lowered, words, n=1, cutoff=0.6)
    return close[0] if close else ""


# --- tokens --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """word, text (quoted), operator, open, close, under."""
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<under>>>)
      | (?P<operator>>=|<=|[:=<>])
      | (?P<open>\()
      | (?P<close>\))
      | "(?P<text>(?:[^"\\]|\\.)*)"
      | (?P<word>[^\s:=<>()"]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
# A value may hold colons, as orders.Order:42 and 2026-11-22T10:00 do, and parentheses that belong
# to the name: functools.partial(a.b).
_VALUE = re.compile(
    r"""
        "(?P<text>(?:[^"\\]|\\.)*)"
      | (?P<word>(?:[^\s()"<>]|(?<!\s)\([^\s()]*\)|<locals>|<lambda>)+)
    """,
    re.VERBOSE | re.DOTALL,
)


class _Reader:
    """The tokens of a query, one after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> _Token | None:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            rest = self.text[self.at :]
            if not rest.strip():
                return None
            start = self.at + len(rest) - len(rest.lstrip())
            raise QueryError("This quotation is not closed.", start, len(self.text), "")
        kind = match.lastgroup or ""
        start = match.start(kind) - (kind == "text")
        return _Token(kind, match[kind], start, match.end())

    def take(self, token: _Token) -> None:
        self.at = token.end

    def value(self) -> _Token | None:
        match = _VALUE.match(self.text, self.at)
        if match is None:
            if self.text[self.at : self.at + 1] == '"':
                raise QueryError("This quotation is not closed.", self.at, len(self.text), "")
            return None
        kind = match.lastgroup or ""
        self.at = match.end()
        return _Token(kind, match[kind], match.start(), match.end())


def _unquoted(token: _Token) -> str:
    return re.sub(r"\\(.)", r"\1", token.text, flags=re.DOTALL)


# --- parsing -------------------------------------------------------------------------------------


def parse(text: str, *, now_ns: int) -> Query:
    """Return what the query *text* means.

    Args:
        text: The query, as typed; empty for everything.
        now_ns: What relative times count back from (wall clock, ns since the epoch).

    Raises:
        QueryError: It is no query; the error says where and why.
    """
    if "\0" in text:
        place = text.index("\0")
        raise QueryError("A query cannot hold this character.", place, place + 1)
    if len(text) > MAX_QUERY:
        raise QueryError(f"A query has at most {MAX_QUERY:,} characters.", MAX_QUERY, len(text))
    parser = _Parser(text, now_ns)
    if parser.reader.peek() is None:
        return EVERYTHING
    query = parser.either(0)
    token = parser.reader.peek()
    if token is not None:
        raise QueryError("Nothing is open that this could close.", token.start, token.end)
    return query


class _Parser:
    def __init__(self, text: str, now_ns: int) -> None:
        self.reader = _Reader(text)
        self.now_ns = now_ns
        self.conditions = 0

    def either(self, depth: int) -> Query:
        parts = [self.both(depth)]
        while self._keyword("OR"):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def both(self, depth: int) -> Query:
        parts = [self.under(depth)]
        while True:
            joined = self._keyword("AND")
            token = self.reader.peek()
            ends = token is None or token.kind == "close" or self._is_keyword(token, "OR")
            if ends and not joined:
                break
            parts.append(self.under(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def under(self, depth: int) -> Query:
        chain = [self._operand(depth)]
        starts = []
        while (token := self.reader.peek()) is not None and token.kind == "under":
            self.reader.take(token)
            starts.append(token)
            chain.append(self._operand(depth))
        if len(chain) == 1:
            return chain[0]
        for place, part in enumerate(chain):
            if not part.of_span:
                mark = starts[max(place - 1, 0)]
                raise QueryError(
                    "Only conditions on dispatches and receiver calls can stand beside >>.",
                    mark.start,
                    mark.end,
                )
        return Under(tuple(chain))

    def _operand(self, depth: int) -> Query:
        token = self.reader.peek()
        if depth > MAX_DEPTH:
            start = self.reader.at
            raise QueryError("This is nested too deeply.", start, len(self.reader.text))
        if token is None:
            end = len(self.reader.text)
            raise QueryError("Something must follow here.", max(end - 1, 0), end)
        if self._is_keyword(token, "NOT"):
            self.reader.take(token)
            return Negation(self._operand(depth + 1))
        if token.kind == "word" and token.text.startswith("-") and len(token.text) > 1:
            self.reader.at = token.start + 1
            return Negation(self._operand(depth + 1))
        if token.kind == "open":
            self.reader.take(token)
            inner = self.either(depth + 1)
            closing = self.reader.peek()
            if closing is None or closing.kind != "close":
                raise QueryError("This parenthesis is not closed.", token.start, token.end, "")
            self.reader.take(closing)
            return Both(inner.parts, is_group=True) if isinstance(inner, Both) else inner
        if token.kind in {"word", "text"}:
            return self._term(token)
        if token.kind == "close":
            raise QueryError("Something must stand before this.", token.start, token.end)
        if token.kind == "under":
            raise QueryError("A condition must stand before >>.", token.start, token.end)
        raise QueryError("A key must stand before this.", token.start, token.end)

    def _keyword(self, word: str) -> bool:
        token = self.reader.peek()
        if token is not None and self._is_keyword(token, word):
            self.reader.take(token)
            return True
        return False

    @staticmethod
    def _is_keyword(token: _Token, word: str) -> bool:
        return token.kind == "word" and token.text == word

    def _term(self, token: _Token) -> Query:
        self.reader.take(token)
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            end = len(self.reader.text)
            raise QueryError(f"A query has at most {MAX_CONDITIONS} conditions.", token.start, end)
        if token.text in {"AND", "OR"} and token.kind == "word":
            raise QueryError(f"A condition must stand before {token.text}.", token.start, token.end)
        following = self.reader.peek() if self._touches() else None
        if token.kind == "text" or following is None or following.kind != "operator":
            return Words(_unquoted(token) if token.kind == "text" else token.text)
        key = KEYS.get(token.text)
        if key is None:
            raise QueryError(
                f"There is no key “{token.text}”.",
                token.start,
                token.end,
                nearest(token.text, list(KEYS)),
            )
        self.reader.take(following)
        if following.text not in key.operators:
            raise QueryError(
                f"“{key.name}” cannot be compared: write {key.name}:value.",
                following.start,
                following.end,
                ":",
            )
        value = self.reader.value()
        if value is None:
            raise QueryError(
                f"A value must follow {key.name}{following.text}", token.start, following.end
            )
        text = _unquoted(value) if value.kind == "text" else value.text
        return self._checked(key, following.text, text, token, value)

    def _touches(self) -> bool:
        return (
            self.reader.at < len(self.reader.text)
            and not self.reader.text[self.reader.at].isspace()
        )

    def _checked(self, key: Key, operator: str, text: str, token: _Token, value: _Token) -> Term:
        def wrong(message: str, suggestion: str = "") -> QueryError:
            return QueryError(message, value.start, value.end, suggestion)

        number = 0
        if key.match in {Match.CHOICE, Match.FLAG}:
            if text not in key.choices and "*" not in text:
                words = ", ".join(key.choices[:_CHOICES_SHOWN])
                words += " …" if len(key.choices) > _CHOICES_SHOWN else ""
                raise wrong(
                    f"“{text}” is no {key.name}: {words}.", nearest(text, list(key.choices))
                )
        elif key.match is Match.NUMBER:
            if not re.fullmatch(r"[0-9]{1,15}", text):
                raise wrong(f"“{key.name}” is compared with a whole number.")
            number = int(text)
        elif key.match is Match.DURATION:
            try:
                number = parse_duration(text)
            except ValueError as error:
                suggestion = f"{text}ms" if re.fullmatch(r"[0-9.]{1,9}", text) else ""
                raise wrong(str(error), suggestion) from None
        elif key.match is Match.TIME:
            try:
                number = parse_moment(text, self.now_ns)
            except ValueError as error:
                raise wrong(str(error)) from None
        return Term(key, operator, text, number, token.start, value.end, value.start)


# --- completion ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """What is being typed at a place of a query."""

    start: int
    """Where the word begins that a completion replaces."""
    end: int
    typed: str
    """What of it stands before the cursor."""
    key: Key | None = None
    """The key whose value it is; None where a key may stand."""


def place_at(text: str, cursor: int) -> Place:
    """Return what is being typed at *cursor* of the query *text*, finished or not."""
    cursor = min(max(cursor, 0), len(text))
    before = text[:cursor]
    match = re.search(r'(?:^|[\s(-])([a-z]+)(>=|<=|[:=<>])("?[^\s"]*)$', before)
    if match is not None and match[1] in KEYS:
        start = match.start(3)
        return Place(start, _word_end(text, cursor), match[3].lstrip('"'), KEYS[match[1]])
    match = re.search(r'[^\s()"-]*$', before)
    start = match.start() if match is not None else cursor
    return Place(start, _word_end(text, cursor), before[start:])


def _word_end(text: str, cursor: int) -> int:
    match = re.match(r'[^\s()"]*', text[cursor:])
    return cursor + (match.end() if match is not None else 0)


@dataclass(frozen=True, slots=True)
class Completion:
    """Something that may be typed at a place."""

    text: str
    """What replaces the word."""
    hint: str = ""


def complete_key(place: Place) -> list[Completion]:
    """Return the keys that may stand at *place*, those that begin as typed first."""
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


def quoted(value: str) -> str:
    """Return *value* as it must stand in a query."""
    if value and _VALUE.fullmatch(value) and not value.startswith('"'):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


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
