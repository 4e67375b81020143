"""Which traces fit a query: conditions on the trace as SQL, those on its calls over its spans."""

from __future__ import annotations

from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Final

from django.db.models import Exists, OuterRef, Q

from tracing.instrumentation.attributes.redaction import known_as
from tracing.search.query import Both, Either, Match, Negation, Query, Term, Under, Words
from tracing.spans.records import Outcome, Status
from tracing.store import deadlines
from tracing.store.conditions import begins_with_digits
from tracing.store.models import HazardSighting, Trace
from tracing.store.stored import all_traces
from tracing.store.wildcards import FitsWildcard, fits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tracing.spans import records

COUNT_COLUMNS: Final = {
    "dispatches": "dispatch_count",
    "receivers": "receiver_call_count",
    "queries": "query_count",
    "errors": "error_count",
    "hazards": "hazard_count",
    "dropped": "dropped_count",
    "unheard": "unheard_count",
}
_TEXT_COLUMNS: Final = {
    "name": "label__name",
    "path": "http_path",
    "http": "http_method",
    "user": "user_id",
    "host": "host",
    "release": "release",
    "error": "error",
}
_LOOKUPS: Final = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", ":": "exact", "=": "exact"}
_COMPARE: Final = {">": gt, ">=": ge, "<": lt, "<=": le}
_LARGEST: Final = 2**62


def is_of_trace(query: Query) -> bool:
    """Return whether *query* can be answered by the trace's own row."""
    if isinstance(query, Term):
        return not query.of_span
    if isinstance(query, Words):
        return True
    if isinstance(query, Negation):
        return is_of_trace(query.part)
    if isinstance(query, Both | Either):
        return all(is_of_trace(part) for part in query.parts)
    return False


# --- conditions on the trace ---------------------------------------------------------------------


def trace_condition(query: Query) -> Q:
    """Return the condition on the rows of ``Trace`` that *query*, all of the trace, means."""
    if isinstance(query, Term):
        return _term_condition(query)
    if isinstance(query, Words):
        return (
            Q(label__name__icontains=query.text)
            | Q(http_path__icontains=query.text)
            | Q(trace_id__startswith=query.text.lower())
            | Q(root_span_id__startswith=query.text.lower())
        )
    if isinstance(query, Negation):
        return ~trace_condition(query.part)
    condition = Q()
    if isinstance(query, Both | Either):
        for part in query.parts:
            if isinstance(query, Both):
                condition &= trace_condition(part)
            else:
                condition |= trace_condition(part)
    return condition


def _term_condition(term: Term) -> Q:  # noqa: C901, PLR0911 - one answer for each kind.
    key, value = term.key.name, term.value
    if key in COUNT_COLUMNS:
        number = min(term.number, _LARGEST)
        return Q(**{f"{COUNT_COLUMNS[key]}__{_LOOKUPS[term.operator]}": number})
    if key == "duration":
        lookup = _LOOKUPS[term.operator]
        return Q(**{f"duration_ns__{lookup}": min(term.number, _LARGEST)})
    if key == "since":
        return Q(started_ns__gte=term.number)
    if key == "until":
        return Q(started_ns__lt=term.number)
    if key == "pinned":
        return Q(pinned=value == "yes")
    if key == "hazard":
        # Asked row by row: a list of all that ever had a common hazard would be very long.
        sightings = HazardSighting.objects.filter(
            _text_condition("hazard__hazard", term), trace=OuterRef("pk")
        )
        return Q(hazard_count__gt=0) & Q(Exists(sightings))
    if key == "status":
        return _status_condition(value)
    if key == "trace":
        return begins_with_digits(value)
    if key == "kind":
        words = [word for word in term.key.choices if fits(value, word)]
        return Q(kind__in=words)
    if key == "user" and "*" not in value:
        return Q(user_id__in=[form.removeprefix(":") for form in known_as(f":{value}")])
    return _text_condition(_TEXT_COLUMNS[key], term)


def _status_condition(value: str) -> Q:
    if value in set(Status):
        return Q(status=value)
    first = int(value[0]) * 100 if value[:1].isdecimal() else 0
    return Q(http_status__gte=first, http_status__lt=first + 100)


def _text_condition(column: str, term: Term) -> Q:
    if "*" in term.value:
        return Q(FitsWildcard(column, term.value))
    if term.key.match is Match.PART and term.operator == ":":
        return Q(**{f"{column}__icontains": term.value})
    return Q(**{column: term.value})


# --- conditions on dispatches and calls ----------------------------------------------------------


def text_fits(term: Term, text: str) -> bool:
    """Return whether *text* fits the value of *term* in the way its key is compared."""
    value = term.value
    if "*" in value:
        return fits(value, text)
    if term.operator == ":" and term.key.match is Match.PART:
        return value.lower() in text.lower()
    if term.operator == ":" and term.key.match is Match.DOTTED:
        return text == value or text.endswith(f".{value}")
    return text == value


def call_fits(query: Query, dispatch: records.Dispatch, call: records.ReceiverCall | None) -> bool:  # noqa: C901, PLR0911 - one answer for each kind.
    """Return whether one receiver call of *dispatch* (None: it has none) fits *query*."""
    if isinstance(query, Both):
        return all(call_fits(part, dispatch, call) for part in query.parts)
    if isinstance(query, Either):
        return any(call_fits(part, dispatch, call) for part in query.parts)
    if isinstance(query, Negation):
        return not call_fits(query.part, dispatch, call)
    if not isinstance(query, Term):
        return False
    key = query.key.name
    if key == "instance" and "*" not in query.value:
        return dispatch.instance in known_as(query.value)
    texts = _DISPATCH_TEXTS.get(key)
    if texts is not None:
        return any(text_fits(query, text) for text in texts(dispatch))
    if key == "created":
        return dispatch.created is (query.value == "yes")
    if key == "file" and dispatch.callsite and text_fits(query, dispatch.callsite.file):
        return True
    if call is None:
        return False
    if key == "took":
        return call.outcome is not Outcome.SKIPPED and _number_fits(query, call.duration_ns)
    if key == "sql":
        return _number_fits(query, call.query_count)
    return any(text_fits(query, text) for text in _CALL_TEXTS[key](call))


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
    """Return the span numbers in *trace* that the conditions of *query* on calls find.

    A receiver call's own number, or the dispatch's where only dispatches are asked for; empty if
    the query asks for none.
    """
    wanted = [part for part in _positive(query) if part.of_span]
    found: dict[int, None] = {}
    asks_for_calls = any(term.key.name not in _OF_DISPATCH for term in _span_terms(wanted))
    for dispatch, call in _calls(trace) if wanted else ():
        if any(call_fits(part, dispatch, call) for part in wanted):
            found[call.number if call is not None and asks_for_calls else dispatch.number] = None
    return list(found)


_OF_DISPATCH: Final = frozenset(_DISPATCH_TEXTS) | {"created"}


def _span_terms(parts: Sequence[Query]) -> Iterator[Term]:
    stack = list(parts)
    while stack:
        part = stack.pop()
        if isinstance(part, Term):
            yield part
        elif isinstance(part, Negation):
            stack.append(part.part)
        elif isinstance(part, Both | Either):
            stack.extend(part.parts)


def _positive(query: Query) -> list[Query]:
    """Return what *query* looks for: its parts about calls, those of one conjunction together."""
    if isinstance(query, Both) and not query.is_group:
        joint, others = split(query)
        found: list[Query] = [Both(tuple(joint), is_group=True)] if joint else []
        return found + [part for other in others for part in _positive(other)]
    if isinstance(query, Either):
        return [part for side in query.parts for part in _positive(side)]
    if isinstance(query, Under):
        return list(query.chain)
    return [query] if query.of_span and not isinstance(query, Negation) else []


def split(query: Both) -> tuple[list[Query], list[Query]]:
    """Return the parts of *query* that one and the same call must fit, and the others."""
    joint: list[Query] = [
        part for part in query.parts if part.of_span and not isinstance(part, Negation)
    ]
    return joint, [part for part in query.parts if part not in joint]


def ran_under(query: Under, trace: records.Trace) -> bool:
    """Return whether calls that fit the chain of *query* ran each under the one before."""
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

    def fitting(self, rows: Sequence[Trace]) -> list[Trace]:
        """Return those of *rows* that fit, in their order; spans are read only where needed."""
        if not rows:
            return []
        accepted = self._by_row(self.query, rows)
        undecided = [row for row in rows if accepted.get(row.pk) is None]
        traces = dict(
            zip(
                (row.pk for row in undecided),
                all_traces().load_rows(undecided) if undecided else (),
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
            fitting = _fitting(query, rows)
            return {row.pk: row.pk in fitting for row in rows}
        if isinstance(query, Both) and not query.is_group:
            own = [part for part in query.parts if is_of_trace(part)]
            if own:
                fitting = _fitting(Both(tuple(own)), rows)
                return {row.pk: None if row.pk in fitting else False for row in rows}
        return {}

    def _leaves(self, rows: Sequence[Trace]) -> dict[Query, set[int]]:
        """Return for each part about the trace alone which of *rows* fit it."""
        found: dict[Query, set[int]] = {}
        stack = [self.query]
        while stack:
            part = stack.pop()
            if is_of_trace(part):
                found[part] = _fitting(part, rows)
            elif isinstance(part, Negation):
                stack.append(part.part)
            elif isinstance(part, Both | Either):
                stack.extend(part.parts)
        return found

    def _fits(  # noqa: PLR0911 - one answer for each kind.
        self, query: Query, key: int, trace: records.Trace, leaves: dict[Query, set[int]]
    ) -> bool:
        if query in leaves:
            return key in leaves[query]
        if isinstance(query, Under):
            return ran_under(query, trace)
        if isinstance(query, Negation):
            return not self._fits(query.part, key, trace, leaves)
        if isinstance(query, Either):
            return any(self._fits(part, key, trace, leaves) for part in query.parts)
        if isinstance(query, Both) and not query.is_group:
            joint, others = split(query)
            if not all(self._fits(part, key, trace, leaves) for part in others):
                return False
            query = Both(tuple(joint))
            if not joint:
                return True
        return any(call_fits(query, dispatch, call) for dispatch, call in _calls(trace))


def _fitting(query: Query, rows: Iterable[Trace]) -> set[int]:
    keys = [row.pk for row in rows]
    found: set[int] = set()
    for start in range(0, len(keys), 500):
        matching = (
            all_traces()
            .select_related(None)
            .filter(trace_condition(query), pk__in=keys[start : start + 500])
        )
        found.update(matching.values_list("pk", flat=True))
    return found
