"""Conditions of a query: on traces as SQL, on calls over spans."""

from __future__ import annotations

from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Final

from django.db.models import Exists, OuterRef, Q

from tracing.instrumentation.attributes.redaction import known_as
from tracing.search.query import And, Descendant, Match, Not, Or, Query, Term, Text, terms
from tracing.spans.records import Outcome, Status
from tracing.store import deadlines
from tracing.store.conditions import flag_is
from tracing.store.digits import begins_with_digits
from tracing.store.models import HazardOccurrence, Trace
from tracing.store.occurrences import occurrences
from tracing.store.ranges import KEYS_AT_ONCE, chunks, keys_of
from tracing.store.wildcards import FitsWildcard, fits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tracing.spans import records

_NUMBER_COLUMNS: Final = {
    "duration": "duration_ns",
    "dispatches": "dispatch_count",
    "receivers": "receiver_call_count",
    "queries": "query_count",
    "errors": "error_count",
    "hazards": "hazard_count",
    "dropped": "dropped_count",
    "orphans": "orphan_count",
}
_TEXT_COLUMNS: Final = {
    "name": "label__name",
    "path": "http_path",
    "http": "http_method",
    "host": "host",
    "release": "release",
    "error": "error",
}
_LOOKUPS: Final = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", ":": "exact", "=": "exact"}
_COMPARE: Final = {">": gt, ">=": ge, "<": lt, "<=": le}
LARGEST: Final = 2**62


def is_of_trace(query: Query) -> bool:
    """Return whether *query* is about the trace as a whole, which SQL answers."""
    if isinstance(query, Term):
        return not query.of_span
    if isinstance(query, Text):
        return True
    if isinstance(query, Not):
        return is_of_trace(query.part)
    if isinstance(query, And | Or):
        return all(is_of_trace(part) for part in query.parts)
    return False


# --- conditions on the trace ---------------------------------------------------------------------


def trace_condition(query: Query) -> Q:
    """Return the condition on the rows of traces that *query* means."""
    if isinstance(query, Term):
        return _term_condition(query)
    if isinstance(query, Text):
        return occurrences(query.text, Trace.objects.db).condition
    if isinstance(query, Not):
        return ~trace_condition(query.part)
    condition = Q()
    if isinstance(query, And | Or):
        for part in query.parts:
            if isinstance(query, And):
                condition &= trace_condition(part)
            else:
                condition |= trace_condition(part)
    return condition


def _term_condition(term: Term) -> Q:
    name = term.key.name
    if column := _NUMBER_COLUMNS.get(name):
        return Q(**{f"{column}__{_LOOKUPS[term.operator]}": min(term.number, LARGEST)})
    if condition := _CONDITIONS.get(name):
        return condition(term)
    return _text_condition(_TEXT_COLUMNS[name], term)


def _flag_condition(term: Term) -> Q:
    return flag_is(term.key.name, term.value == "yes")


def _hazard_condition(term: Term) -> Q:
    # Asked row by row: a list of all that ever had a common hazard would be very long.
    found = HazardOccurrence.objects.filter(
        _text_condition("hazard__hazard", term), trace=OuterRef("pk")
    )
    return Q(hazard_count__gt=0) & Q(Exists(found))


def _status_condition(term: Term) -> Q:
    value = term.value
    if value in set(Status):
        return Q(status=value)
    first = int(value[0]) * 100 if value[:1].isdecimal() else 0
    return Q(http_status__gte=first, http_status__lt=first + 100)


def _user_condition(term: Term) -> Q:
    if "*" in term.value:
        return _text_condition("user_id", term)
    return Q(user_id__in=[form.removeprefix(":") for form in known_as(f":{term.value}")])


def _text_condition(column: str, term: Term) -> Q:
    if "*" in term.value:
        return Q(FitsWildcard(column, term.value))
    if term.key.match is Match.PART and term.operator == ":":
        return Q(**{f"{column}__icontains": term.value})
    return Q(**{column: term.value})


_CONDITIONS: Final[dict[str, Callable[[Term], Q]]] = {
    "since": lambda term: Q(started_ns__gte=term.number),
    "until": lambda term: Q(started_ns__lt=term.number),
    "failed": _flag_condition,
    "pinned": _flag_condition,
    "hazard": _hazard_condition,
    "status": _status_condition,
    "trace": lambda term: begins_with_digits(term.value),
    "kind": lambda term: Q(kind__in=[word for word in term.key.choices if fits(term.value, word)]),
    "user": _user_condition,
}
"""By the keys whose conditions are neither numbers nor texts."""


# --- conditions on dispatches and calls ----------------------------------------------------------


def text_fits(term: Term, text: str) -> bool:
    """Return whether *text* fits *term*, as its key is compared."""
    value = term.value
    if "*" in value:
        return fits(value, text)
    if term.operator == ":" and term.key.match is Match.PART:
        return value.lower() in text.lower()
    if term.operator == ":" and term.key.match is Match.DOTTED:
        return text == value or text.endswith(f".{value}")
    return text == value


def call_fits(query: Query, dispatch: records.Dispatch, call: records.ReceiverCall | None) -> bool:
    """Return whether a call of *dispatch*, or None without any, fits *query*."""
    if isinstance(query, Term):
        if query.key.name in _OF_DISPATCH:
            return _dispatch_fits(query, dispatch)
        return _call_fits(query, dispatch, call)
    if isinstance(query, And):
        return all(call_fits(part, dispatch, call) for part in query.parts)
    if isinstance(query, Or):
        return any(call_fits(part, dispatch, call) for part in query.parts)
    return isinstance(query, Not) and not call_fits(query.part, dispatch, call)


def _dispatch_fits(term: Term, dispatch: records.Dispatch) -> bool:
    key = term.key.name
    if key == "instance" and "*" not in term.value:
        return dispatch.instance in known_as(term.value)
    if key == "created":
        return dispatch.created is (term.value == "yes")
    return any(text_fits(term, text) for text in _DISPATCH_TEXTS[key](dispatch))


def _call_fits(term: Term, dispatch: records.Dispatch, call: records.ReceiverCall | None) -> bool:
    key = term.key.name
    if key == "file" and dispatch.callsite and text_fits(term, dispatch.callsite.file):
        return True
    if call is None:
        return False
    if key == "took":
        return call.outcome is not Outcome.SKIPPED and _number_fits(term, call.duration_ns)
    if key == "sql":
        return _number_fits(term, call.query_count)
    return any(text_fits(term, text) for text in _CALL_TEXTS[key](call))


def _number_fits(term: Term, number: int) -> bool:
    compare = _COMPARE.get(term.operator)
    return number == term.number if compare is None else bool(compare(number, term.number))


_DISPATCH_TEXTS: Final[dict[str, Callable[[records.Dispatch], tuple[str, ...]]]] = {
    "signal": lambda dispatch: (dispatch.signal,),
    "sender": lambda dispatch: (dispatch.sender,),
    "instance": lambda dispatch: (dispatch.instance,),
    "action": lambda dispatch: (dispatch.action,),
    "using": lambda dispatch: (dispatch.using,),
    "method": lambda dispatch: (str(dispatch.method),),
    "transaction": lambda dispatch: (str(dispatch.transaction),),
}
_OF_DISPATCH: Final = frozenset(_DISPATCH_TEXTS) | {"created"}
"""Keys that are about a dispatch alone."""
_CALL_TEXTS: Final[dict[str, Callable[[records.ReceiverCall], tuple[str, ...]]]] = {
    "receiver": lambda call: (call.receiver.name,),
    "app": lambda call: (call.receiver.app,),
    "uid": lambda call: (call.receiver.dispatch_uid,),
    "outcome": lambda call: (str(call.outcome),),
    "exception": lambda call: (call.exception_type, call.exception_message),
    "file": lambda call: (call.receiver.file,),
}


def _calls(
    trace: records.Trace,
) -> Iterator[tuple[records.Dispatch, records.ReceiverCall | None]]:
    for dispatch in trace.dispatches:
        if not dispatch.receiver_calls:
            yield dispatch, None
        for call in dispatch.receiver_calls:
            yield dispatch, call


def matching_calls(query: Query, trace: records.Trace) -> list[int]:
    """Return the numbers of the spans that *query* finds in *trace*.

    A receiver call's own number, or the dispatch's where only dispatches are asked for; of a plain word
    that of what is called so. Empty if the query asks for none.
    """
    wanted = [part for part in _positive(query) if part.of_span]
    found: dict[int, None] = {}
    asks_for_calls = any(
        term.key.name not in _OF_DISPATCH for part in wanted for term in terms(part)
    )
    sought = [part.text.lower() for part in words(query)]
    for dispatch, call in _calls(trace) if wanted or sought else ():
        if any(word in name.lower() for word in sought for name in _names(dispatch)):
            found[dispatch.number] = None
        if call is not None and any(word in call.receiver.name.lower() for word in sought):
            found[call.number] = None
        if any(call_fits(part, dispatch, call) for part in wanted):
            found[call.number if call is not None and asks_for_calls else dispatch.number] = None
    return list(found)


def _names(dispatch: records.Dispatch) -> tuple[str, ...]:
    """Return the names that a plain word is looked for in."""
    sent_by = (dispatch.callsite.function,) if dispatch.callsite else ()
    return (dispatch.signal, dispatch.sender, *sent_by)


def words(query: Query) -> Iterator[Text]:
    """Yield the plain words that *query* looks for."""
    if isinstance(query, Text):
        yield query
    elif isinstance(query, And | Or):
        for part in query.parts:
            yield from words(part)


def _positive(query: Query) -> list[Query]:
    """Return what *query* looks for in calls, conjunctions together."""
    if isinstance(query, And) and not query.is_group:
        joint, others = split(query)
        found: list[Query] = [And(tuple(joint), is_group=True)] if joint else []
        return found + [part for other in others for part in _positive(other)]
    if isinstance(query, Or):
        return [part for side in query.parts for part in _positive(side)]
    if isinstance(query, Descendant):
        return list(query.chain)
    return [query] if query.of_span and not isinstance(query, Not) else []


def split(query: And) -> tuple[list[Query], list[Query]]:
    """Return the parts that one and the same call must fit, and the others."""
    joint: list[Query] = [
        part for part in query.parts if part.of_span and not isinstance(part, Not)
    ]
    return joint, [part for part in query.parts if part not in joint]


def ran_under(query: Descendant, trace: records.Trace) -> bool:
    """Return whether calls that fit the chain of *query* nest so."""
    # (dispatch, how much of the chain the calls above it fit): the earliest fit is as good as any.
    sent = trace.sent_by()
    stack = [(root, 0) for root in trace.dispatches if root.parent_number is None]
    while stack:
        dispatch, reached = stack.pop()
        for call in dispatch.receiver_calls:
            here = reached
            if call_fits(query.chain[reached], dispatch, call):
                here += 1
                if here == len(query.chain):
                    return True
            stack.extend((child, here) for child in sent.get(call.number, ()))
    return False


# --- batches -------------------------------------------------------------------------------------


class Matcher:
    """Decides for batches of trace rows which fit a query.

    Args:
        query: What they must fit.
    """

    def __init__(self, query: Query) -> None:
        self.query = query
        self._conditions: dict[Query, Q] = {}

    def fitting(self, rows: Sequence[Trace]) -> list[Trace]:
        """Return those of *rows* that fit; spans are read only if needed."""
        if not rows:
            return []
        accepted = self._by_row(self.query, rows)
        undecided = [row for row in rows if accepted.get(row.pk) is None]
        traces = dict(
            zip(
                (row.pk for row in undecided),
                Trace.objects.load_rows(undecided) if undecided else (),
                strict=True,
            )
        )
        if undecided:
            leaves = self._leaves(undecided)
            for row in undecided:
                deadlines.check()
                accepted[row.pk] = self._fits(self.query, row.pk, traces[row.pk], leaves)
        return [row for row in rows if accepted[row.pk]]

    def _by_row(self, query: Query, rows: Sequence[Trace]) -> dict[int, bool | None]:
        """Return what the rows alone decide: False for those that cannot fit."""
        if is_of_trace(query):
            fitting = self._fitting(query, rows)
            return {row.pk: row.pk in fitting for row in rows}
        if isinstance(query, And) and not query.is_group:
            own = [part for part in query.parts if is_of_trace(part)]
            if own:
                fitting = self._fitting(And(tuple(own)), rows)
                return {row.pk: None if row.pk in fitting else False for row in rows}
        return {}

    def _leaves(self, rows: Sequence[Trace]) -> dict[Query, set[int]]:
        """Return for each part about the trace alone which of *rows* fit it."""
        found: dict[Query, set[int]] = {}
        stack = [self.query]
        while stack:
            part = stack.pop()
            if is_of_trace(part):
                found[part] = self._fitting(part, rows)
            elif isinstance(part, Not):
                stack.append(part.part)
            elif isinstance(part, And | Or):
                stack.extend(part.parts)
        return found

    def _fits(  # noqa: PLR0911 - one answer for each kind.
        self, query: Query, key: int, trace: records.Trace, leaves: dict[Query, set[int]]
    ) -> bool:
        if query in leaves:
            return key in leaves[query]
        if isinstance(query, Descendant):
            return ran_under(query, trace)
        if isinstance(query, Not):
            return not self._fits(query.part, key, trace, leaves)
        if isinstance(query, Or):
            return any(self._fits(part, key, trace, leaves) for part in query.parts)
        if isinstance(query, And) and not query.is_group:
            joint, others = split(query)
            if not all(self._fits(part, key, trace, leaves) for part in others):
                return False
            query = And(tuple(joint))
            if not joint:
                return True
        return any(call_fits(query, dispatch, call) for dispatch, call in _calls(trace))

    def _fitting(self, query: Query, rows: Iterable[Trace]) -> set[int]:
        """Return the ids of those of *rows* that fit a *query* of the trace."""
        condition = self._conditions.get(query)
        if condition is None:
            condition = self._conditions[query] = trace_condition(query)
        traces = Trace.objects.select_related(None).filter(condition).order_by()
        found: set[int] = set()
        for keys in chunks([row.pk for row in rows], KEYS_AT_ONCE // 2):
            found.update(keys_of(traces.filter(pk__in=keys)))
        return found
