"""Parsing: a search to its query, with exact positions of mistakes.

``signal:post_save duration>50ms (user:3 OR NOT kind:request) receiver:a >> receiver:b``

Terms side by side are joined by AND. Terms about a dispatch or a receiver call that stand side by
side are about one and the same call; ``>>`` asks for a call below another. docs/reference/search.md has the
whole language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tracing.search.query import (
    CHOICES_SHOWN,
    EVERYTHING,
    KEYS,
    RENAMED,
    And,
    Descendant,
    Key,
    Match,
    Not,
    Or,
    Query,
    QueryError,
    Term,
    Text,
    nearest,
)
from tracing.units import parse_duration, parse_timestamp

MAX_QUERY: Final = 2_000
"""Characters of a query; more is refused."""
MAX_DEPTH: Final = 30
"""Open parentheses and NOTs; more is refused, so that nothing recurses without bound."""

MAX_CONDITIONS: Final = 200
"""Conditions of a query; more is refused, as SQLite refuses an expression of a thousand parts."""


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
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self, depth: int) -> Query:
        parts = [self.under(depth)]
        while True:
            joined = self._keyword("AND")
            token = self.reader.peek()
            ends = token is None or token.kind == "close" or self._is_keyword(token, "OR")
            if ends and not joined:
                break
            parts.append(self.under(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

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
        return Descendant(tuple(chain))

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
            return Not(self._operand(depth + 1))
        if token.kind == "word" and token.text.startswith("-") and len(token.text) > 1:
            self.reader.at = token.start + 1
            return Not(self._operand(depth + 1))
        if token.kind == "open":
            self.reader.take(token)
            inner = self.either(depth + 1)
            closing = self.reader.peek()
            if closing is None or closing.kind != "close":
                raise QueryError("This parenthesis is not closed.", token.start, token.end, "")
            self.reader.take(closing)
            return And(inner.parts, is_group=True) if isinstance(inner, And) else inner
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
            return Text(_unquoted(token) if token.kind == "text" else token.text)
        key = KEYS.get(token.text)
        if key is None:
            raise QueryError(
                f"There is no key “{token.text}”.",
                token.start,
                token.end,
                RENAMED.get(token.text) or nearest(token.text, list(KEYS)),
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
                words = ", ".join(key.choices[:CHOICES_SHOWN])
                words += " …" if len(key.choices) > CHOICES_SHOWN else ""
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
                number = parse_timestamp(text, self.now_ns)
            except ValueError as error:
                raise wrong(str(error)) from None
        return Term(key, operator, text, number, token.start, value.end)


def quoted(value: str) -> str:
    """Return *value* as it must stand in a query."""
    if value and _VALUE.fullmatch(value) and not value.startswith('"'):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
