"""Explanations from the stored traces, the statistics and this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps

from tracing.analysis.explain.merging import Merging
from tracing.analysis.explain.question import Known, resolve
from tracing.analysis.explain.wired import add_connected, wired_pairs
from tracing.analysis.histogram import HOUR_NS
from tracing.analysis.wiring import ANY, known_signals, read_wiring
from tracing.clocks import time
from tracing.instrumentation.attributes.names import sender_name
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.spans import records
from tracing.store.models import ReceiverLabel, SenderLabel, SignalLabel, Trace, TraceLabel
from tracing.store.pages import TraceSearch
from tracing.store.path_rollups import explain_by_sums
from tracing.store.statistics import calls_of_pairs
from tracing.store.traces import count_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.dispatch import Signal

    from tracing.analysis.explain.question import Question
    from tracing.analysis.explain.steps import Explanation
    from tracing.analysis.wiring import Route

MOST_TRACES: Final = 500
"""Newest traces that are read unless more are asked for."""
_MOST_SPANS: Final = 2_500
"""Dispatches and receiver calls of these traces together, some 50 ms."""
_SEARCH_SECONDS: Final = 0.15
_LONG_SEARCH_SECONDS: Final = 30.0
"""Where somebody said how many traces to read."""
_SUMS_FROM_NS: Final = 12 * HOUR_NS
"""The first hour of a shorter time would be too much of it."""
_MOST_NAMES: Final = 1_000
"""Names of a kind among which the meant one is looked for, besides those that hold what was written."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question to the store."""

    what: str
    """A sender, a signal, a receiver, or the name of traces; in full or its end."""
    signal: str = ""
    since_ns: int | None = None
    """When traces started, at the earliest (wall clock, ns)."""
    until_ns: int | None = None
    limit: int | None = None
    """How many of the newest traces are read; None for the sums, or for as many as are read in a moment."""

    @property
    def is_of_sums(self) -> bool:
        """Return whether sums by hour can tell.

        They cannot for a number of traces, nor for a few hours.
        """
        return (
            self.limit is None
            and self.until_ns is None
            and (self.since_ns is None or time.time_ns() - self.since_ns >= _SUMS_FROM_NS)
        )


def explain(wanted: Wanted) -> Explanation:
    """Return what follows *wanted*, from all traces that were recorded.

    Those are in the sums by path. For a number of traces, for some hours, for a time that is over, and where
    the sums have nothing, the newest traces that hold it are read; where none does, it is what this
    process has connected.

    Raises:
        UnknownNameError: Nothing is called so, or several things are.
    """
    signals = known_signals()
    routes = read_wiring(signals, with_holders=False)
    models = frozenset(map(sender_name, apps.get_models(include_auto_created=True)))
    question = resolve(wanted.what, wanted.signal, _known(wanted, routes, models, signals))
    found = explain_by_sums(question, wanted.since_ns) if wanted.is_of_sums else None
    if found is None:
        found = _from_traces(question, wanted)
    pairs = wired_pairs(found, routes, models)
    recorded = calls_of_pairs(pairs, wanted.since_ns, wanted.until_ns)
    add_connected(found, routes, models=models, recorded=recorded)
    if question.name and found.roots and wanted.since_ns is None and wanted.until_ns is None:
        found.roots[0].recorded = count_named(question.name)
    return found


def _from_traces(question: Question, wanted: Wanted) -> Explanation:
    """Return what the newest traces have."""
    merging = Merging(question)
    rows, has_more, passed_over = _rows(question, wanted)
    for trace in Trace.objects.load_rows(rows):
        merging.add(trace)
    found = merging.explanation()
    found.has_more, found.passed_over = has_more, passed_over
    return found


def _rows(question: Question, wanted: Wanted) -> tuple[list[Trace], bool, int]:
    """Return the newest traces that hold it, if more, and too large ones."""
    limit = wanted.limit or MOST_TRACES
    search = TraceSearch(
        name=question.name,
        signal=question.signal,
        sender=question.sender,
        receiver=question.receiver.name if question.receiver is not None else "",
        since_ns=wanted.since_ns,
        until_ns=wanted.until_ns,
    )
    seconds = _LONG_SEARCH_SECONDS if wanted.limit else _SEARCH_SECONDS
    page = Trace.objects.search(search, size=limit, seconds=seconds)
    if wanted.limit:
        return page.traces, bool(page.older), 0
    return _readable(page.traces, is_whole=not page.older)


def _readable(rows: Sequence[Trace], *, is_whole: bool) -> tuple[list[Trace], bool, int]:
    """Return those of *rows* that are read in a moment, at least one."""
    kept: list[Trace] = []
    room, passed_over = _MOST_SPANS, 0
    for row in rows:
        spans = row.dispatch_count + row.receiver_call_count
        if spans > _MOST_SPANS:
            passed_over += 1
            continue
        room -= spans
        if kept and room < 0:
            return kept, True, passed_over
        kept.append(row)
    if not kept and rows:
        return [rows[0]], not is_whole or len(rows) > 1, 0
    return kept, not is_whole, passed_over


def _known(
    wanted: Wanted, routes: Iterable[Route], models: Iterable[str], signals: Iterable[Signal]
) -> Known:
    """Return the names that *wanted* may mean: recorded, or of this process."""
    leaf = wanted.what.strip().removesuffix("()").rpartition(".")[2].rpartition(":")[2]
    signal = wanted.signal.strip().rpartition(".")[2] or leaf
    wired = [route.sender for route in routes if route.sender != ANY]
    connections = [each for route in routes for each in route.connections if each.alive]
    labels = _stored(ReceiverLabel, leaf, "name", "file", "line", "dispatch_uid")
    return Known(
        senders=[*_names(SenderLabel, leaf), *wired, *models],
        signals=[*_names(SignalLabel, signal), *map(signal_name, signals)],
        receivers=[
            *(each.receiver for each in connections),
            *(records.ReceiverLabel(*fields) for fields in labels),
        ],
        names=_names(TraceLabel, leaf),
    )


def _names(model: Any, text: str) -> list[str]:
    return [name for (name,) in _stored(model, text, "name") if name != ANY]


def _stored(model: Any, text: str, *fields: str) -> list[tuple[Any, ...]]:
    """Return fields of the labels whose names hold *text*, and of some others."""
    labels = model.objects.order_by().values_list(*fields)
    return [*labels.filter(name__icontains=text)[:_MOST_NAMES], *labels[:_MOST_NAMES]]
