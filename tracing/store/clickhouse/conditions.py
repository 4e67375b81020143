"""Searches as conditions in SQL; their values are parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.attributes.redaction import known_as
from tracing.search.query import And, Descendant, Match, Not, Or, Query, Term, Text
from tracing.spans.words import Outcome, Status
from tracing.store.choice import NotAnsweredError
from tracing.store.clickhouse.asking import Binder, table
from tracing.store.digits import LEAST_DIGITS, ROOT_DIGITS
from tracing.store.matching import is_of_trace, split
from tracing.store.models import Trace
from tracing.store.wildcards import fits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.store.pages import TraceSearch

_DIGITS: Final = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},32}}", re.IGNORECASE)
_MOST_PINS: Final = 1_000
_NUMBERS: Final = {
    "duration": "Duration",
    "dispatches": "Dispatches",
    "receivers": "Calls",
    "queries": "Queries",
    "errors": "Errors",
    "hazards": "Hazards",
    "dropped": "Dropped",
    "orphans": "Orphans",
    "took": "Duration",
    "sql": "Queries",
}
_TEXTS: Final = {
    "name": ("Name",),
    "path": ("HttpPath",),
    "http": ("HttpMethod",),
    "host": ("Host",),
    "release": ("Release",),
    "error": ("Error",),
    "signal": ("Signal",),
    "sender": ("Sender",),
    "receiver": ("Receiver",),
    "app": ("App",),
    "uid": ("Uid",),
    "outcome": ("Outcome",),
    # Of a span the message has the type before it.
    "exception": ("ExceptionType", "substring(ExceptionMessage, length(ExceptionType) + 3)"),
    "action": ("Action",),
    "using": ("Using",),
    "method": ("Method",),
    "transaction": ("Transaction",),
    "file": ("File", "SentIn"),
}
_OPERATORS: Final = {">": ">", ">=": ">=", "<": "<", "<=": "<=", ":": "=", "=": "="}


def within(
    bind: Binder, since_ns: int | None, until_ns: int | None, column: str = "Timestamp"
) -> list[str]:
    """Return the conditions on the moment of a row; None for no limit."""
    parts = [] if since_ns is None else [f"{column} >= {bind.moment(since_ns)}"]
    return parts if until_ns is None else [*parts, f"{column} < {bind.moment(until_ns)}"]


class Conditions:
    """The conditions of one statement about the table of traces.

    Args:
        bind: The values of the statement.
    """

    def __init__(self, bind: Binder) -> None:
        self.bind = bind
        self.asks_for_calls = False
        """It looks into receiver calls, of which there are many: ``window`` narrows them."""
        self.chains: list[Descendant] = []
        """What is left to be looked for in the spans of the traces that fit."""
        self._special: dict[str, Callable[[Term], str]] = {
            "since": lambda term: f"Timestamp >= {bind.moment(term.number)}",
            "until": lambda term: f"Timestamp < {bind.moment(term.number)}",
            "failed": lambda term: f"Failed = {term.value == 'yes':d}",
            "pinned": lambda term: ("" if term.value == "yes" else "NOT ") + self.pinned(),
            "hazard": self._hazard,
            "status": self._status,
            "trace": lambda term: self.digits(term.value),
            "kind": self._kind,
            "user": self._user,
            "created": lambda term: f"Created = '{'true' if term.value == 'yes' else 'false'}'",
            "instance": self._instance,
        }

    # -- Of a search -------------------------------------------------------------------------

    def of_search(self, wanted: TraceSearch) -> list[str]:
        """Return the conditions of *wanted*, all but ``mine``."""
        bind = self.bind
        given: dict[str, Callable[[], str]] = {
            "kind": lambda: f"Kind = {bind(wanted.kind)}",
            "hazardous": lambda: "Hazards > 0",
            "pinned": self.pinned,
            "name": lambda: f"Name = {bind(wanted.name)}",
            "text": lambda: self._text_of_trace(wanted.text),
            "word": lambda: self.word(wanted.word),
            "trace_id": lambda: self.digits(wanted.trace_id),
            "user_id": lambda: f"UserId = {bind(wanted.user_id)}",
            "slower_than_ns": lambda: f"Duration >= {bind(wanted.slower_than_ns)}",
            "asks_for_dispatches": lambda: self._of_one_call(wanted),
        }
        found = [make() for name, make in given.items() if getattr(wanted, name)]
        if wanted.failed is not None:
            found.append(f"Failed = {wanted.failed:d}")
        return found + within(bind, wanted.since_ns, wanted.until_ns)

    def _text_of_trace(self, text: str) -> str:
        value = self.bind(text)
        found = [self._holds(column, value) for column in ("Name", "HttpPath")]
        found += [f"startsWith({column}, lower({value}))" for column in ("TraceId", "SpanId")]
        return self._joined(found, " OR ")

    def _of_one_call(self, wanted: TraceSearch) -> str:
        bind, parts = self.bind, []
        for column in ("signal", "sender", "receiver"):
            name = getattr(wanted, column)
            parts += [self._named(column.title(), name)] if name else []
        if wanted.outcome:
            self._refuse_skipped(wanted.outcome)
            parts.append(f"Outcome = {bind(wanted.outcome)}")
        if wanted.instance:
            parts.append(f"Instance IN {bind(known_as(wanted.instance))}")
        return self._calls(" AND ".join(parts))

    # -- Of a query --------------------------------------------------------------------------

    def of_query(self, query: Query) -> list[str]:
        """Return conditions that all must hold, with ``chains``."""
        parts = query.parts if isinstance(query, And) and not query.is_group else (query,)
        rest = []
        found = []
        for part in parts:
            if isinstance(part, Descendant):
                self.chains.append(part)
                found += [self._calls(self._of_call(each)) for each in part.chain]
            else:
                rest.append(part)
        if rest:
            found.append(self._of(rest[0] if len(parts) == 1 else And(tuple(rest))))
        return found

    def _of(self, query: Query) -> str:  # noqa: PLR0911 - one answer for each kind.
        if isinstance(query, Text):
            return self.word(query.text)
        if isinstance(query, Descendant):
            raise NotAnsweredError(
                "ClickHouse does not answer >> inside of OR or NOT: search for each side by itself."
            )
        if is_of_trace(query) and isinstance(query, Term):
            return self._term(query)
        if isinstance(query, Not):
            return f"NOT ({self._of(query.part)})"
        if isinstance(query, And) and not query.is_group:
            joint, others = split(query)
            found = [self._of(part) for part in others]
            if joint:
                found.append(self._calls(self._of_call(And(tuple(joint)))))
            return self._joined(found, " AND ")
        if isinstance(query, Or):
            return self._joined([self._of(part) for part in query.parts], " OR ")
        if is_of_trace(query) and isinstance(query, And):
            return self._joined([self._of(part) for part in query.parts], " AND ")
        return self._calls(self._of_call(query))

    def _of_call(self, query: Query) -> str:
        """Return the condition on a row of the receiver calls."""
        if isinstance(query, Term):
            if query.key.name == "outcome":
                self._refuse_skipped(query.value)
            return self._term(query)
        if isinstance(query, Not):
            return f"NOT ({self._of_call(query.part)})"
        if isinstance(query, And | Or):
            word = " AND " if isinstance(query, And) else " OR "
            return self._joined([self._of_call(part) for part in query.parts], word)
        raise NotAnsweredError("ClickHouse answers no such question about one call.")

    def _calls(self, condition: str) -> str:
        self.asks_for_calls = True
        return (
            f"Root IN (SELECT Root FROM {table('_calls')} WHERE ({condition}) "  # noqa: S608 - values are bound.
            "AND Timestamp >= fromUnixTimestamp64Nano({calls_since:Int64}) "
            "AND Timestamp < fromUnixTimestamp64Nano({calls_until:Int64}))"
        )

    @staticmethod
    def _joined(parts: list[str], word: str) -> str:
        return f"({word.join(parts)})" if parts else "1"

    @staticmethod
    def _refuse_skipped(value: str) -> None:
        if fits(value, Outcome.SKIPPED):
            raise NotAnsweredError(
                "ClickHouse does not answer outcome:skipped: a receiver that was not called has no span."
            )

    # -- Of a term ---------------------------------------------------------------------------

    def _term(self, term: Term) -> str:
        name = term.key.name
        if column := _NUMBERS.get(name):
            return f"{column} {_OPERATORS[term.operator]} {self.bind(term.number)}"
        special = self._special.get(name)
        if special is not None and not (name == "instance" and "*" in term.value):
            return special(term)
        columns = _TEXTS.get(name, ("Instance",))
        return self._joined([self._text(column, term) for column in columns], " OR ")

    def _text(self, column: str, term: Term) -> str:
        if "*" in term.value:
            return self._wild(column, term.value)
        if term.operator == ":" and term.key.match is Match.DOTTED:
            return self._named(column, term.value)
        value = self.bind(term.value)
        if term.operator == ":" and term.key.match is Match.PART:
            return self._holds(column, value)
        return f"{column} = {value}"

    def _named(self, column: str, name: str) -> str:
        if "*" in name:
            return self._wild(column, name)
        value = self.bind(name)
        return f"({column} = {value} OR endsWith({column}, concat('.', {value})))"

    def _wild(self, column: str, pattern: str) -> str:
        escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
        return f"{column} ILIKE {self.bind(escaped.replace('*', '%'))}"

    @staticmethod
    def _holds(column: str, value: str) -> str:
        return f"positionCaseInsensitiveUTF8({column}, {value}) > 0"

    def _hazard(self, term: Term) -> str:
        rule: Any = self._text("rule", term)
        return f"arrayExists(rule -> {rule}, Rules)"

    def _status(self, term: Term) -> str:
        if term.value in set(Status):
            return f"Status = {self.bind(term.value)}"
        first = int(term.value[0]) * 100 if term.value[:1].isdecimal() else 0
        return f"HttpStatus BETWEEN {first} AND {first + 99}"

    def _kind(self, term: Term) -> str:
        kinds = [word for word in term.key.choices if fits(term.value, word)]
        return f"Kind IN {self.bind(kinds)}"

    def _user(self, term: Term) -> str:
        if "*" in term.value:
            return self._wild("UserId", term.value)
        forms = [form.removeprefix(":") for form in known_as(f":{term.value}")]
        return f"UserId IN {self.bind(forms)}"

    def _instance(self, term: Term) -> str:
        return f"Instance IN {self.bind(known_as(term.value))}"

    def pinned(self) -> str:
        """Return the condition that it is pinned in Django's database."""
        pinned = Trace.objects.pinned().order_by("-pk").values_list("root_span_id", flat=True)
        return f"SpanId IN {self.bind([*pinned[:_MOST_PINS]])}"

    def digits(self, first: str) -> str:
        """Return the condition that an id or an address begins so."""
        trace_id, slash, root = first.lower().partition("/")
        if slash:
            return f"(TraceId = {self.bind(trace_id)} AND startsWith(SpanId, {self.bind(root)}))"
        digits = self.bind(trace_id)
        # Whole ones are equal to it, for the sake of the index.
        if len(trace_id) == 2 * ROOT_DIGITS:
            return f"TraceId = {digits}"
        if len(trace_id) == ROOT_DIGITS:
            return f"(SpanId = {digits} OR startsWith(TraceId, {digits}))"
        if len(trace_id) < LEAST_DIGITS:
            return f"startsWith(TraceId, {digits})"
        return f"(startsWith(TraceId, {digits}) OR startsWith(SpanId, {digits}))"

    def word(self, text: str) -> str:
        """Return the condition that a name in it, or its path, holds *text*."""
        value = self.bind(text)
        own = [self._holds("Name", value), self._holds("HttpPath", value)]
        if _DIGITS.fullmatch(text):
            own.append(self.digits(text))
        columns = ("Signal", "Sender", "Receiver", "SentBy")
        own.append(self._calls(" OR ".join(self._holds(column, value) for column in columns)))
        return self._joined(own, " OR ")
