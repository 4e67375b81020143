"""The questions that are asked of the store: one trace whole, a page of traces, statistics.

A list of traces over millions of dispatches must neither sort nor count them. ``search`` walks one
index from the newest entry back until the page is full or its time is up, and then says how far it
came: whatever is asked for, a page takes a bounded time.
"""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.apps import apps
from django.db import DatabaseError, connections, models
from django.db.models import ExpressionWrapper, F, Max, Min, Q, Sum
from django.db.models.functions import Coalesce

from tracing.analysis.histogram import HOUR_NS, RELATIVE_ERROR, Histogram
from tracing.instrumentation.attributes.redaction import known_as
from tracing.spans import records
from tracing.store import deadlines
from tracing.store.columns import (
    decode_details,
    decode_facts,
    decode_trace_details,
    full_instance,
    label_key,
)
from tracing.store.wildcards import FitsWildcard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tracing.store.models import Dispatch, ReceiverCall, Rollup, Trace
else:
    # The bases are generic for the type checker only; see tracing.store.models.
    Dispatch = ReceiverCall = Rollup = Trace = models.Model

PAGE_SIZE = 50
PAGE_SECONDS = 0.1
"""How long one page may search; the check is between batches, so a page takes a little more."""

_OVERLAP = 1_000
_KEYS_AT_ONCE = 900
"""Parameters of a statement; SQLite had a limit of 999 for long."""
_ROWS_AT_ONCE = 200
_MOST_AT_ONCE = 20_000
"""Dispatches of the traces that are read together; one trace may have more."""
_SMALLEST_BATCH = 150
_FIRST_BATCH = 500
_LARGEST_BATCH = 4_000
_LONGEST_ID = 19
_LARGEST_ID = 2**62
_TRACE_DIGITS = 32
_ROOT_DIGITS = 16
_LEAST_DIGITS = 6
"""A shorter beginning is one of a trace id alone: every root span id would soon begin so."""
HIDDEN_COUNTED = 1_000
"""Up to so many traces that are not mine are counted beside a page."""
_HIDDEN_SECONDS = 0.05
_HIDDEN_STEP = 10_000
_RARE = 2_000
"""Up to so many matches of an index are fetched at once instead of walked."""


@dataclass(frozen=True, slots=True)
class TraceSearch:
    """What a trace must have to be listed; an empty condition is none.

    The conditions from ``signal`` to ``instance`` must all hold for one and the same dispatch.
    """

    kind: str = ""
    failed: bool | None = None
    """Ended with an error, or a receiver raised."""
    hazardous: bool = False
    pinned: bool = False
    mine: bool = False
    """Only what is mine; ``TracePage.hidden`` says how many others there are."""
    name: str = ""
    """Exactly this route, command ..."""
    text: str = ""
    """Part of the name or the path, or the beginning of the trace id; case does not matter."""
    trace_id: str = ""
    """Beginning of the trace id or of the root span id, in small letters."""
    user_id: str = ""
    slower_than_ns: int = 0
    since_ns: int | None = None
    until_ns: int | None = None
    signal: str = ""
    """Dotted path, or the last part of it; with ``*`` for any characters, the whole path."""
    sender: str = ""
    receiver: str = ""
    """Dotted path, or the end of it after a dot."""
    outcome: str = ""
    """Outcome of a receiver call (of *receiver*, if that is given)."""
    instance: str = ""
    """As ``orders.Order:42``."""
    condition: Q | None = None
    """Anything further about the trace's own row, in SQL."""

    @property
    def asks_for_dispatches(self) -> bool:
        """Return whether any condition is about a dispatch."""
        return any((self.signal, self.sender, self.receiver, self.outcome, self.instance))


@dataclass(slots=True)
class TracePage:
    """A page of traces, newest first."""

    traces: list[Trace]
    older: str = ""
    """Cursor of the next page; empty when there is nothing further back."""
    newer: str = ""
    """Cursor of the page before; empty when nothing newer was there."""
    complete: bool = True
    """False if the time was up before the page was full: ``older`` goes on from there."""
    hidden: int = 0
    """Traces that fit and are not mine, from where the page begins to where the next one does."""
    hidden_more: bool = False
    """There are more than ``hidden``."""


def _digits_conditions(first: str) -> tuple[Q, Q | None]:
    """Return the conditions that the trace id, and that the root span id begins with *first*.

    Ranges, and not LIKE, which only some collations answer from an index. An address,
    ``<trace id>/<root span id>``, is one condition.
    """
    trace_id, slash, root = first.lower().partition("/")
    if slash:
        return Q(trace_id=trace_id, root_span_id__gte=root, root_span_id__lt=f"{root}g"), None
    digits = trace_id[:_TRACE_DIGITS]
    by_trace_id = Q(trace_id__gte=digits, trace_id__lt=f"{digits}g")
    if not _LEAST_DIGITS <= len(digits) <= _ROOT_DIGITS:
        return by_trace_id, None
    return by_trace_id, Q(root_span_id__gte=digits, root_span_id__lt=f"{digits}g")


def begins_with_digits(first: str) -> Q:
    """Return the condition that the trace id or the root span id begins with *first*."""
    by_trace_id, by_root = _digits_conditions(first)
    return by_trace_id if by_root is None else by_trace_id | by_root


class TraceQuerySet(models.QuerySet[Trace]):
    """Questions about traces."""

    def of_kind(self, kind: str) -> TraceQuerySet:
        """Return those of *kind*, a word of ``records.Kind``."""
        return self.filter(kind=kind)

    def failed(self) -> TraceQuerySet:
        """Return those that ended with an error or in which a receiver raised."""
        return self.filter(_is("failed", True))

    def of_mine(self) -> TraceQuerySet:
        """Return those in which a receiver that is mine was."""
        return self.filter(_is("mine", True))

    def pinned(self) -> TraceQuerySet:
        """Return those that pruning keeps."""
        return self.filter(pinned=True)

    def slower_than(self, duration_ns: int) -> TraceQuerySet:
        """Return those that took *duration_ns* or longer."""
        return self.filter(duration_ns__gte=duration_ns)

    def between(self, since_ns: int | None = None, until_ns: int | None = None) -> TraceQuerySet:
        """Return those that started from *since_ns* on and before *until_ns* (wall clock, ns)."""
        found = self
        if since_ns is not None:
            found = found.filter(started_ns__gte=since_ns)
        if until_ns is not None:
            found = found.filter(started_ns__lt=until_ns)
        return found

    def with_trace_id(self, trace_id: str) -> TraceQuerySet:
        """Return the rows of one W3C trace id: several if the caller sent it along repeatedly."""
        return self.filter(trace_id=trace_id)

    def called(self, name: str) -> TraceQuerySet:
        """Return the rows that *name* is for: a trace id, a root span id or an address."""
        trace_id, slash, root = name.lower().partition("/")
        if slash:
            return self.filter(root_span_id=root, trace_id=trace_id)
        if len(trace_id) == _ROOT_DIGITS:
            return self.filter(root_span_id=trace_id)
        return self.with_trace_id(trace_id)

    def with_digits(self, first: str) -> TraceQuerySet:
        """Return those whose trace id or root span id begins with these digits."""
        return self.filter(begins_with_digits(first))

    def keys_with_digits(self, first: str, most: int) -> list[int]:
        """Return the keys of those ``with_digits``, at most *most* of each id.

        Each from its own index, in the order of that.
        """
        by_trace_id, by_root = _digits_conditions(first)
        keys = list(_keys(self.filter(by_trace_id).order_by("trace_id")[:most]))
        if by_root is not None:
            keys += _keys(self.filter(by_root).order_by("root_span_id")[:most])
        return list(dict.fromkeys(keys))

    # -- One trace ---------------------------------------------------------------------------

    def load(self, wanted: str) -> records.Trace:
        """Return the finished spans of the trace *wanted*, a trace id, a root span id or an address.

        If several have the trace id, it is the newest.

        Raises:
            Trace.DoesNotExist: No such trace is stored.
        """
        row = self.called(wanted).select_related("label").order_by("-id").first()
        if row is None:
            raise self.model.DoesNotExist(f"No trace {wanted}.")
        return self.load_row(row)

    def load_row(self, row: Trace) -> records.Trace:
        """Return the finished spans of the trace that *row* is about."""
        return next(self.load_rows([row]))

    def load_rows(self, rows: Iterable[Trace]) -> Iterator[records.Trace]:
        """Yield the finished spans of each of *rows*, a few hundred read at a time."""
        using = self.db
        waiting: list[Trace] = []
        dispatches = 0
        for row in rows:
            if waiting and (
                len(waiting) >= _ROWS_AT_ONCE or dispatches + row.dispatch_count > _MOST_AT_ONCE
            ):
                yield from _load(waiting, using)
                waiting, dispatches = [], 0
            waiting.append(row)
            dispatches += row.dispatch_count
        if waiting:
            yield from _load(waiting, using)

    # -- A page of traces --------------------------------------------------------------------

    def search(
        self,
        wanted: TraceSearch,
        *,
        before: str = "",
        after: str = "",
        size: int = PAGE_SIZE,
        seconds: float = PAGE_SECONDS,
    ) -> TracePage:
        """Return a page of the traces that have what is *wanted*, newest recorded first.

        Args:
            wanted: The conditions.
            before: ``older`` of a page, to get the next; an unreadable cursor is the first page.
            after: ``newer`` of a page, to get the one before it.
            size: Traces on a page.
            seconds: How long to search before giving what was found.
        """
        walk = _Walk(self, wanted, _cursor(after or before), backwards=bool(after))
        return walk.page(size, time.monotonic() + seconds)

    def newer_than(self, row_id: int, size: int = 1_000) -> list[Trace]:
        """Return up to *size* traces recorded after the row *row_id*, oldest first."""
        return list(self.filter(pk__gt=row_id).order_by("pk")[:size])

    def last_row_id(self) -> int:
        """Return the id of the newest row; 0 for an empty store."""
        return self.aggregate(last=Max("pk"))["last"] or 0

    # -- Deleting ----------------------------------------------------------------------------

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the traces with all that belongs to them; return counts as Django does.

        Django's own way would look for the receiver calls of each dispatch, for which there is no
        index: their ids follow the dispatch's.
        """
        deleted: dict[str, int] = {}
        keys = list(self.order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(keys), 500):
            for label, count in delete_traces(keys[start : start + 500], self.db).items():
                deleted[label] = deleted.get(label, 0) + count
        return sum(deleted.values()), deleted

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class TraceManager(models.Manager[Trace]):
    """Traces with their names: nearly everything that shows a trace shows its name."""

    def get_queryset(self) -> TraceQuerySet:
        """Return all traces."""
        return super().get_queryset().select_related("label")  # type: ignore[return-value]

    def counts_between(self, marks: Sequence[int]) -> list[int]:
        """Return how many traces started between each two of *marks* (wall clock, ns).

        One statement: of sixty, making them took ten times as long as the store's counting.
        """
        connection = connections[self.db]
        table = connection.ops.quote_name(self.model._meta.db_table)  # noqa: SLF001 - documented.
        count = f"(SELECT COUNT(*) FROM {table} WHERE started_ns >= %s AND started_ns < %s)"  # noqa: S608 - a name of ours.
        between = list(pairwise(marks))
        if not between:
            return []
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {', '.join([count] * len(between))}",
                [moment for pair in between for moment in pair],
            )
            return list(cursor.fetchone())


class SentOn(NamedTuple):
    """A receiver of a signal from a sender, and what it sent while it ran."""

    signal: str
    sender: str
    receiver: str
    sent_signal: str
    sent_sender: str


class DispatchQuerySet(models.QuerySet[Dispatch]):
    """Questions about dispatches."""

    def named(self) -> DispatchQuerySet:
        """Return them with their labels, for showing."""
        return self.select_related("signal", "sender", "callsite", "facts")

    def about(self, instance: str) -> DispatchQuerySet:
        """Return those whose instance is *instance*, as ``orders.Order:42``; no index serves it."""
        condition = Q()
        for form in known_as(instance):
            label, colon, key = form.partition(":")
            condition |= Q(instance=form) | Q(instance=colon + key, sender__key=label_key(label))
        return self.filter(condition)

    def sent_by_receivers(self, traces: Sequence[int]) -> dict[SentOn, int]:
        """Return how often each receiver sent what, within *traces* (row ids).

        Loading the traces whole would take twice as long.
        """
        rows = list(
            self.filter(trace__in=traces)
            .order_by("pk")
            .values_list(
                "pk", "trace_id", "parent_number", "signal_id", "sender_id", "receiver_call_count"
            )
        )
        senders = {(trace, parent) for _, trace, parent, *_ in rows if parent is not None}
        numbers = {number for _, number in senders}
        above = {row[0]: row for row in rows}
        ranges = merge_ranges([(row[0], row[5]) for row in rows])
        calls: dict[tuple[int, int], tuple[int, int, int]] = {}
        receiver_calls = apps.get_model("tracing", "ReceiverCall").objects.using(self.db)
        for wanted in _narrow(ranges):
            for owner, number, receiver in (
                receiver_calls.filter(wanted)
                .order_by()
                .values_list("dispatch_id", "number", "receiver_id")
            ):
                # Most numbers are some trace's sender: the first question spares most of the second.
                if number not in numbers or (dispatch := above.get(owner)) is None:
                    continue
                if (dispatch[1], number) in senders:
                    calls[dispatch[1], number] = (dispatch[3], dispatch[4], receiver)
        counted: Counter[tuple[int, ...]] = Counter()
        for _, trace, parent, signal, sender, _ in rows:
            if parent is not None and (call := calls.get((trace, parent))) is not None:
                counted[*call, signal, sender] += 1
        return self._with_names(counted)

    def _with_names(self, counted: dict[tuple[int, ...], int]) -> dict[SentOn, int]:
        """Return *counted* by names instead of the ids of labels."""
        names: dict[str, dict[int, str]] = {}
        for model, places in (("Signal", (0, 3)), ("Sender", (1, 4)), ("Receiver", (2,))):
            labels = apps.get_model("tracing", f"{model}Label").objects.using(self.db)
            keys = {key[place] for key in counted for place in places}
            names[model] = {key: name for key, (name,) in _labels(labels, keys, "name").items()}
        found: dict[SentOn, int] = {}
        for (signal, sender, receiver, sent, sent_from), count in counted.items():
            sent_on = SentOn(
                names["Signal"].get(signal, ""),
                names["Sender"].get(sender, ""),
                names["Receiver"].get(receiver, ""),
                names["Signal"].get(sent, ""),
                names["Sender"].get(sent_from, ""),
            )
            # Labels of one name may be several: a receiver with and without a dispatch_uid.
            found[sent_on] = found.get(sent_on, 0) + count
        return found


class ReceiverCallQuerySet(models.QuerySet[ReceiverCall]):
    """Questions about receiver calls."""

    def named(self) -> ReceiverCallQuerySet:
        """Return them with their receivers, for showing."""
        return self.select_related("receiver")

    def of_dispatch(self, dispatch: Dispatch) -> ReceiverCallQuerySet:
        """Return the calls of *dispatch* in calling order: their ids follow its own."""
        first = dispatch.pk + 1
        return self.filter(pk__range=(first, dispatch.pk + dispatch.receiver_call_count))


# -- Statistics ------------------------------------------------------------------------------


@dataclass(slots=True)
class Statistics:
    """What an hour or more of one signal from one sender came to, or of one receiver."""

    signal: str
    sender: str
    receiver: str
    """Empty for the dispatch as a whole; signal and sender are empty for a receiver's sum."""
    count: int
    error_count: int
    total_ns: int
    """Each moment of a trace once, though a receiver ran inside itself or several times at once."""
    query_count: int
    query_ns: int
    histogram: Histogram = field(default_factory=Histogram)
    receiver_id: int | None = None

    @property
    def mean_ns(self) -> int:
        """Return the mean duration; within 2 % where calls shared moments, which the total has once."""
        mean = self.total_ns // self.count if self.count else 0
        about = self.histogram.mean()
        return round(about) if mean < about * (1 - RELATIVE_ERROR) else mean

    @property
    def p50_ns(self) -> int:
        """Return the median duration, within 2 %."""
        return self.histogram.quantile(0.5) or 0

    @property
    def p95_ns(self) -> int:
        """Return the duration that 95 % stay under, within 2 %."""
        return self.histogram.quantile(0.95) or 0

    @property
    def p99_ns(self) -> int:
        """Return the duration that 99 % stay under, within 2 %."""
        return self.histogram.quantile(0.99) or 0


class RollupQuerySet(models.QuerySet[Rollup]):
    """Statistics by hour, which outlive the traces that they were made of."""

    def between(self, since_ns: int | None = None, until_ns: int | None = None) -> RollupQuerySet:
        """Return the hours from that of *since_ns* on and before *until_ns* (wall clock, ns)."""
        found = self
        if since_ns is not None:
            found = found.filter(hour__gte=since_ns // HOUR_NS)
        if until_ns is not None:
            found = found.filter(hour__lt=-(-until_ns // HOUR_NS))
        return found

    def of_mine(self, subject: str) -> RollupQuerySet:
        """Return those of what is mine, for statistics by *subject*, which is as in ``by_receiver``.

        A receiver is mine by its label; a signal, a sender or both, if such a receiver ran for it.
        """
        labels = apps.get_model("tracing", "ReceiverLabel").objects.using(self.db)
        calls = self.filter(receiver__in=labels.filter(_is("mine", True)).values("pk"))
        keys = _SUBJECTS[subject]
        if "receiver" in keys:
            return calls
        if len(keys) == 1:
            return self.filter(receiver=0, **{f"{keys[0]}__in": calls.order_by().values(keys[0])})
        senders: dict[int, list[int]] = {}
        for signal, sender in calls.order_by().values_list("signal", "sender").distinct():
            senders.setdefault(signal, []).append(sender)
        pairs = Q(pk__in=())
        for signal, of_signal in senders.items():
            # Too many for the parameters of a statement are classes made while running: all of them.
            few = len(of_signal) <= _KEYS_AT_ONCE
            pairs |= Q(signal=signal, sender__in=of_signal) if few else Q(signal=signal)
        return self.filter(pairs, receiver=0)

    def count_of(self, subject: str) -> int:
        """Return how many rows statistics by *subject* have without a limit."""
        keys = _SUBJECTS[subject]
        each = {"receiver__gt": 0} if "receiver" in keys else {"receiver": 0}
        chosen = self.filter(**each, **{f"{key}__gte": 1 for key in keys})
        rows: int = chosen.order_by().values(*keys).distinct().count()
        return rows

    def by_dispatch(self, order_by: str = "-total_ns", limit: int = 100) -> list[Statistics]:
        """Return the statistics of each signal and sender.

        Args:
            order_by: A field of ``Statistics`` that is a column, with ``-`` for descending.
            limit: At most so many; percentiles are read for these alone.
        """
        pairs = self.filter(receiver=0, signal__gte=1, sender__gte=1)
        return _statistics(pairs, ("signal", "sender"), order_by, limit)

    def by_receiver(self, order_by: str = "-total_ns", limit: int = 100) -> list[Statistics]:
        """Return the statistics of each receiver over all signals and senders; see above."""
        return _statistics(self.filter(receiver__gt=0), ("receiver",), order_by, limit)

    def by_call(
        self, order_by: str = "-total_ns", limit: int = 100, *, percentiles: bool = True
    ) -> list[Statistics]:
        """Return the statistics of each receiver for each signal and sender; see above.

        Without *percentiles* no histogram is read, which is most of the work.
        """
        keys = ("signal", "sender", "receiver")
        return _statistics(
            self.filter(receiver__gt=0), keys, order_by, limit, percentiles=percentiles
        )

    def by_signal(self, order_by: str = "-total_ns", limit: int = 100) -> list[Statistics]:
        """Return the statistics of the dispatches of each signal; see above."""
        each = self.filter(receiver=0, signal__gte=1)
        return _statistics(each, ("signal",), order_by, limit, repeats="sender")

    def by_sender(self, order_by: str = "-total_ns", limit: int = 100) -> list[Statistics]:
        """Return the statistics of the dispatches from each sender; see above."""
        each = self.filter(receiver=0, sender__gte=1)
        return _statistics(each, ("sender",), order_by, limit, repeats="signal")

    def of_all(self) -> Statistics:
        """Return the sum over all dispatches: each moment and each query once. Without percentiles."""
        pairs = Q(signal__gte=1, sender__gte=1)
        sums = (
            self.filter(pairs | Q(signal__lt=1, sender__lt=1), receiver=0)
            .order_by()
            .aggregate(**{f"{name}__sum": _sum_once(name, "sender") for name in _SUMS})
        )
        found = Statistics("", "", "", 0, 0, 0, 0, 0)
        for name in _SUMS:
            setattr(found, name, sums[f"{name}__sum"] or 0)
        return found

    def by_hour(self) -> list[tuple[int, Statistics]]:
        """Return (hour since the epoch, sum over all dispatches in it), oldest first."""
        hours: dict[int, Statistics] = {}
        histograms: dict[int, list[str]] = {}
        pairs = Q(signal__gte=1, sender__gte=1)
        for hour, sender, *sums, histogram in (
            self.filter(pairs | Q(signal__lt=1, sender__lt=1), receiver=0)
            .order_by("hour")
            .values_list("hour", "sender", *_SUMS, "histogram")
        ):
            total = hours.setdefault(hour, Statistics("", "", "", 0, 0, 0, 0, 0))
            sign = 1 if sender else -1
            for name, value in zip(_SUMS, sums, strict=True):
                setattr(total, name, getattr(total, name) + sign * value)
            histograms.setdefault(hour, []).append(histogram)
        for hour, total in hours.items():
            total.histogram = Histogram.decode(*histograms[hour])
        return list(hours.items())


_SUBJECTS: Final[dict[str, tuple[str, ...]]] = {
    "receiver": ("receiver",),
    "call": ("signal", "sender", "receiver"),
    "dispatch": ("signal", "sender"),
    "signal": ("signal",),
    "sender": ("sender",),
}
"""What statistics are grouped by."""

_SUMS = ("count", "error_count", "total_ns", "query_count", "query_ns")


def _sum_once(column: str, repeats: str) -> ExpressionWrapper[Any]:
    """Return the sum of *column* without what rows repeat, which a row with *repeats* 0 has."""
    # A key of 0 is asked for as "less than 1": MariaDB's backend refuses it. Two sums: an unsigned
    # column has no negative.
    all_of_them = Sum(column, filter=Q(**{f"{repeats}__gte": 1}))
    too_often = Coalesce(Sum(column, filter=Q(**{f"{repeats}__lt": 1})), 0)
    return ExpressionWrapper(all_of_them - too_often, output_field=models.BigIntegerField())


def _statistics(
    rollups: RollupQuerySet,
    keys: tuple[str, ...],
    order_by: str,
    limit: int,
    *,
    percentiles: bool = True,
    repeats: str = "",
) -> list[Statistics]:
    """Return the sums of *rollups* by *keys*; rows whose *repeats* is 0 are taken from them."""
    direction, column = order_by[:1] == "-", order_by.lstrip("-")
    ordering = F(f"{column}__sum")
    groups = (
        rollups.order_by()
        .values(*keys)
        .annotate(
            **{f"{name}__sum": _sum_once(name, repeats) if repeats else Sum(name) for name in _SUMS}
        )
        .order_by(ordering.desc() if direction else ordering.asc(), *keys)[:limit]
    )
    found: dict[tuple[int, ...], Statistics] = {}
    for group in groups:
        key = tuple(group[name] for name in keys)
        found[key] = Statistics("", "", "", *(group[f"{name}__sum"] for name in _SUMS))
    if not found:
        return []
    if percentiles:
        _read_histograms(rollups, keys, found)
    for place, name in enumerate(keys):
        model = apps.get_model("tracing", f"{name.title()}Label")
        names = dict(
            model.objects.using(rollups.db)
            .filter(pk__in={key[place] for key in found})
            .values_list("pk", "name")
        )
        for key, statistics in found.items():
            setattr(statistics, name, names.get(key[place], ""))
            if name == "receiver":
                statistics.receiver_id = key[place]
    return list(found.values())


def _read_histograms(
    rollups: RollupQuerySet, keys: tuple[str, ...], found: dict[tuple[int, ...], Statistics]
) -> None:
    """Add up the histograms of each of *found*."""
    chosen = Q()
    for place, name in enumerate(keys):
        chosen &= Q(**{f"{name}__in": {key[place] for key in found}})
    texts: dict[tuple[int, ...], list[str]] = {key: [] for key in found}
    for *parts, histogram in rollups.filter(chosen).values_list(*keys, "histogram").order_by():
        # Other pairs of the same signals and senders come along.
        if (key := tuple(parts)) in texts:
            texts[key].append(histogram)
    for key, statistics in found.items():
        statistics.histogram = Histogram.decode(*texts[key])


# -- Walking an index ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where a walk stands: the row it examined last, and the trace it gave last."""

    row: int
    trace: int = 0

    def __str__(self) -> str:
        return f"{self.row}-{self.trace}" if self.trace else str(self.row)


def _cursor(text: str) -> _Cursor | None:
    row, _, trace = text.partition("-")
    number = _id(row)
    return None if number is None else _Cursor(number, _id(trace) or 0)


def _id(text: str) -> int | None:
    if not text.isascii() or not text.isdecimal() or len(text) > _LONGEST_ID:
        return None
    number = int(text)
    return None if number > _LARGEST_ID else number


class _Walk:
    """One search, from the newest row back or (``backwards``) from a row forward."""

    def __init__(
        self,
        traces: TraceQuerySet,
        wanted: TraceSearch,
        cursor: _Cursor | None,
        *,
        backwards: bool,
    ) -> None:
        self.traces = traces
        self.using = traces.db
        self.wanted = wanted
        self.cursor = cursor
        self.backwards = backwards
        self.low, self.high = self._window()
        self.at = cursor
        """The row examined last, at each batch; None if there is nothing beyond it."""
        self.hidden = 0

    # -- Whole pages

    def page(self, size: int, deadline: float) -> TracePage:
        """Return up to *size* traces, found before *deadline* (monotonic)."""
        found: list[tuple[int, Trace]] = []
        complete, exhausted = True, True
        try:
            for batch in self._batches(size + 1) if self.low <= self.high else ():
                found += self._only_mine(batch, size - len(found))
                if len(found) > size:
                    exhausted = False
                    break
                # A slow machine has not searched in part what it has searched to the end.
                if self.at is not None and time.monotonic() > deadline:
                    complete = exhausted = False
                    break
        except DatabaseError:
            # Stopped in the middle of a batch: what the ones before it gave is a page, too.
            if not deadlines.is_over() or self.at == self.cursor:
                raise
            complete = exhausted = False
        page = self._page(found, size, complete=complete, exhausted=exhausted)
        if self.wanted.mine:
            self._count_hidden(page)
        return page

    def _only_mine(self, batch: list[tuple[int, Trace]], room: int) -> Iterable[tuple[int, Trace]]:
        """Yield those of *batch* that are mine, if only they are wanted; count those between them.

        What comes behind the last one on the page, for which there is *room*, is the next page's.
        """
        if not (self.wanted.mine and self.wanted.asks_for_dispatches):
            yield from batch
            return
        for entry in batch:
            if entry[1].mine:
                room -= 1
                yield entry
            elif room > 0:
                self.hidden += 1

    def _count_hidden(self, page: TracePage) -> None:
        """Say in *page* how many traces fit beside it that are not mine, counting for a moment."""
        page.hidden = self.hidden
        conditions = self._conditions(replace(self.wanted, mine=False))
        if self.wanted.asks_for_dispatches or conditions is None:
            return
        others = self.traces.select_related(None).filter(_is("mine", False), conditions)
        first, position = self._range_of(page)
        give_up_at, step = time.monotonic() + _HIDDEN_SECONDS, _HIDDEN_STEP
        try:
            while position >= first:
                window = Q(pk__lte=position, pk__gt=max(position - step, first - 1))
                room = HIDDEN_COUNTED - page.hidden + 1
                page.hidden += others.filter(window).order_by()[:room].count()
                position, step = position - step, step * 2
                is_late = position >= first and time.monotonic() > give_up_at
                if page.hidden > HIDDEN_COUNTED or is_late:
                    page.hidden, page.hidden_more = min(page.hidden, HIDDEN_COUNTED), True
                    return
        except DatabaseError:
            if not deadlines.is_over():
                raise
            page.hidden_more = True

    def _range_of(self, page: TracePage) -> tuple[int, int]:
        """Return the first and the last row from where *page* begins to where the next one does."""
        first, last = self._filled()
        # The row of a cursor is the last one on its page, or the last one that was looked at.
        older, newer = _cursor(page.older), _cursor(page.newer)
        if self.backwards and self.cursor is not None:
            return max(first, self.cursor.row + 1), min(last, newer.row) if newer else last
        if self.cursor is not None:
            last = min(last, self.cursor.row - 1)
        return max(first, older.row) if older else first, last

    def _page(
        self, found: list[tuple[int, Trace]], size: int, *, complete: bool, exhausted: bool
    ) -> TracePage:
        further = len(found) > size
        found = found[:size]
        end = ""
        if further:
            row, trace = found[-1]
            end = str(_Cursor(row, trace.pk if self.wanted.asks_for_dispatches else 0))
        elif not exhausted:
            end = str(self.at)
        start = ""
        if found:
            row, trace = found[0]
            start = str(_Cursor(row, trace.pk if self.wanted.asks_for_dispatches else 0))
        elif self.cursor is not None:
            start = str(self.cursor)
        traces = [trace for _, trace in found]
        if self.backwards:
            return TracePage(traces[::-1], older=start, newer=end, complete=complete)
        return TracePage(
            traces, older=end, newer=start if self.cursor is not None else "", complete=complete
        )

    def _window(self) -> tuple[int, int]:
        """Return the first and the last trace row that can have started in the wanted time."""
        wanted = self.wanted
        if wanted.since_ns is None and wanted.until_ns is None:
            return 0, 2**62
        span = (
            self.traces.select_related(None)
            .between(wanted.since_ns, wanted.until_ns)
            .aggregate(low=Min("pk"), high=Max("pk"))
        )
        return (1, 0) if span["low"] is None else (span["low"], span["high"])

    def _batches(self, size: int) -> Iterator[list[tuple[int, Trace]]]:
        if self.wanted.asks_for_dispatches:
            return self._by_dispatch()
        return self._by_trace(size)

    # -- By the traces themselves

    def _conditions(self, wanted: TraceSearch) -> Q | None:  # noqa: C901, PLR0912 - one branch for each condition.
        """Return the conditions on the trace row; None if nothing can have what is *wanted*."""
        conditions = Q()
        if wanted.kind:
            if wanted.kind not in set(records.Kind):
                return None
            conditions &= Q(kind=wanted.kind)
        if wanted.failed is not None:
            conditions &= _is("failed", wanted.failed)
        if wanted.mine and not wanted.asks_for_dispatches:
            conditions &= _is("mine", True)
        if wanted.hazardous:
            conditions &= Q(hazard_count__gt=0)
        if wanted.pinned:
            conditions &= Q(pinned=True)
        if wanted.user_id:
            conditions &= Q(user_id=wanted.user_id)
        if wanted.trace_id:
            conditions &= begins_with_digits(wanted.trace_id)
        if wanted.slower_than_ns:
            conditions &= Q(duration_ns__gte=min(wanted.slower_than_ns, 2**62))
        if wanted.since_ns is not None:
            conditions &= Q(started_ns__gte=wanted.since_ns)
        if wanted.until_ns is not None:
            conditions &= Q(started_ns__lt=wanted.until_ns)
        if wanted.condition is not None:
            conditions &= wanted.condition
        names = apps.get_model("tracing", "TraceLabel").objects.using(self.using)
        if wanted.name:
            conditions &= Q(label__in=list(_keys(names.filter(name=wanted.name))))
        if wanted.text:
            labels = list(_keys(names.filter(name__icontains=wanted.text)))
            conditions &= (
                Q(label__in=labels)
                | Q(http_path__icontains=wanted.text)
                | Q(trace_id__startswith=wanted.text.lower())
                | Q(root_span_id__startswith=wanted.text.lower())
            )
        return conditions

    @property
    def _indexed(self) -> bool:
        """Return whether an index gives the wanted traces in the order of their ids."""
        wanted = self.wanted
        if wanted.mine and (wanted.kind or wanted.failed is not None):
            # Of two indexes one is walked, and what the other one has may be far between in it.
            return False
        return replace(wanted, kind="", failed=None, mine=False) == TraceSearch()

    def _by_trace(self, size: int) -> Iterator[list[tuple[int, Trace]]]:
        conditions = self._conditions(self.wanted)
        if conditions is None:
            return
        matching = self.traces.filter(conditions)
        if self.wanted.slower_than_ns:
            rare = self._rare(matching)
            if rare is not None:
                self.at = None
                yield [(trace.pk, trace) for trace in rare]
                return
        step = 2**62 if self._indexed else 10_000
        position = self._start()
        first, last = self._ends()
        while first <= position <= last:
            if self.backwards:
                window = Q(pk__gte=position, pk__lte=min(position + step, last))
                rows = matching.filter(window).order_by("pk")[:size]
            else:
                window = Q(pk__lte=position, pk__gte=max(position - step, first))
                rows = matching.filter(window).order_by("-pk")[:size]
            batch = [(trace.pk, trace) for trace in rows]
            if len(batch) == size:
                position = batch[-1][0] + (1 if self.backwards else -1)
            else:
                position += (step + 1) if self.backwards else -(step + 1)
            self.at = None
            if first <= position <= last:
                self.at = _Cursor(position + (-1 if self.backwards else 1))
            yield batch
            step = min(step * 2, 200_000) if step < 2**61 else step

    def _start(self) -> int:
        if self.cursor is None:
            return min(self.high, self.traces.last_row_id())
        if self.backwards:
            return max(self.cursor.row + 1, self.low)
        return min(self.cursor.row - 1, self.high)

    def _ends(self) -> tuple[int, int]:
        return (self.low, self.high) if self._indexed else self._filled()

    def _filled(self) -> tuple[int, int]:
        """Return the first and the last row that there is in the wanted time."""
        span = self.traces.select_related(None).aggregate(low=Min("pk"), high=Max("pk"))
        return max(self.low, span["low"] or 1), min(self.high, span["high"] or 0)

    def _rare(self, matching: TraceQuerySet) -> list[Trace] | None:
        """Return all slow traces, or those of a trace id, beyond the cursor; None if not few."""
        wanted, candidates = self.wanted, self.traces.select_related(None)
        if wanted.trace_id:
            keys = candidates.keys_with_digits(wanted.trace_id, _RARE + 1)
        else:
            candidates = candidates.filter(duration_ns__gte=min(wanted.slower_than_ns, 2**62))
            keys = list(_keys(candidates.order_by("-duration_ns")[: _RARE + 1]))
        if len(keys) > _RARE:
            return None
        if self.cursor is not None:
            beyond = self.cursor.row
            keys = [key for key in keys if (key > beyond if self.backwards else key < beyond)]
        traces: list[Trace] = []
        for start in range(0, len(keys), 500):
            traces += matching.filter(pk__in=keys[start : start + 500])
        return sorted(traces, key=lambda trace: trace.pk, reverse=not self.backwards)

    # -- By dispatches

    def _by_dispatch(self) -> Iterator[list[tuple[int, Trace]]]:
        conditions = self._conditions(self.wanted)
        source = self._source()
        if conditions is None or source is None:
            return
        latest = self.cursor.trace if self.cursor is not None else 0
        seen = {latest} if latest else set()
        for candidates in source:
            fresh: dict[int, int] = {}
            if candidates:
                latest = candidates[-1][1]
            if self.at is not None:
                # More of the same trace may lie beyond this row.
                self.at = _Cursor(self.at.row, latest)
            for row, trace_key in candidates:
                if trace_key not in seen:
                    seen.add(trace_key)
                    fresh[trace_key] = row
            keys = [key for key in fresh if self.low <= key <= self.high]
            traces: dict[int, Trace] = {}
            for start in range(0, len(keys), 500):
                chunk = keys[start : start + 500]
                traces |= {
                    trace.pk: trace for trace in self.traces.filter(conditions, pk__in=chunk)
                }
            yield [(row, traces[key]) for key, row in fresh.items() if key in traces]

    def _labels(self, model: str, name: str) -> list[int]:
        """Return the ids of the labels that *name* can mean: the whole path or the end of it."""
        manager = apps.get_model("tracing", model).objects.using(self.using)
        if "*" in name:
            return list(_keys(manager.filter(FitsWildcard("name", name))))
        exact = list(_keys(manager.filter(name=name)))
        return exact or list(_keys(manager.filter(name__endswith=f".{name}"))[:200])

    def _source(self) -> Iterator[list[tuple[int, int]]] | None:  # noqa: PLR0911 - guards.
        """Return batches of (row, trace) of the matching dispatches; None if a name is unknown.

        The index of the rarest condition is walked; the others are looked at in its rows, in Python
        and not in SQL, so that the database cannot search on and on for a full batch.
        """
        wanted = self.wanted
        signals = senders = receivers = None
        if wanted.signal and not (signals := self._labels("SignalLabel", wanted.signal)):
            return None
        if wanted.sender and not (senders := self._labels("SenderLabel", wanted.sender)):
            return None
        if wanted.receiver and not (receivers := self._labels("ReceiverLabel", wanted.receiver)):
            return None
        if wanted.outcome and wanted.outcome not in set(records.Outcome):
            return None
        checks = _DispatchChecks(
            signals=frozenset(signals) if signals else None,
            senders=frozenset(senders) if senders else None,
            instances=frozenset(known_as(wanted.instance) if wanted.instance else ()),
        )
        if wanted.outcome == records.Outcome.RAISED:
            return self._calls("FailedCall", receivers, checks, "")
        if receivers or wanted.outcome:
            return self._calls("ReceiverCall", receivers, checks, wanted.outcome)
        drivers = [("signal", signals), ("sender", senders)]
        if wanted.instance and not senders:
            # An instance nearly always has its own model as sender.
            drivers.append(
                ("sender", self._labels("SenderLabel", wanted.instance.partition(":")[0]) or None)
            )
        usable = [(column, keys) for column, keys in drivers if keys]
        if not usable:
            return self._dispatches("", [], checks)
        column, keys = min(usable, key=lambda driver: self._frequency(*driver))
        return self._dispatches(column, keys or [], checks)

    def _frequency(self, column: str, keys: list[int] | None) -> int:
        """Return how many dispatches have one of *keys*, up to a bound."""
        dispatches = apps.get_model("tracing", "Dispatch").objects.using(self.using)
        return sum(
            dispatches.filter(**{column: key}).order_by()[: _RARE * 5].count() for key in keys or []
        )

    def _dispatches(
        self, column: str, keys: list[int], checks: _DispatchChecks
    ) -> Iterator[list[tuple[int, int]]]:
        manager = apps.get_model("tracing", "Dispatch").objects.using(self.using)
        columns = ("id", "trace_id", *checks.columns)
        runs = [manager.filter(**{column: key}) for key in keys] if column else [manager.all()]
        for rows in self._merged([run.values_list(*columns) for run in runs]):
            yield [(row[0], row[1]) for row in rows if checks.accept(*row[2:])]

    def _calls(
        self, model: str, receivers: list[int] | None, checks: _DispatchChecks, outcome: str
    ) -> Iterator[list[tuple[int, int]]]:
        manager = apps.get_model("tracing", model).objects.using(self.using)
        dispatches = apps.get_model("tracing", "Dispatch").objects.using(self.using)
        columns = ("id", "dispatch_id", *(("outcome",) if outcome else ()))
        runs = [manager.filter(receiver=key) for key in receivers] if receivers else [manager.all()]
        for rows in self._merged([run.values_list(*columns) for run in runs]):
            calls = [row for row in rows if not outcome or row[2] == outcome]
            owners: dict[int, tuple[Any, ...]] = {}
            keys = list({row[1] for row in calls})
            for start in range(0, len(keys), 500):
                owners |= {
                    owner[0]: owner[1:]
                    for owner in dispatches.filter(pk__in=keys[start : start + 500]).values_list(
                        "id", "trace_id", *checks.columns
                    )
                }
            yield [
                (row[0], owners[row[1]][0])
                for row in calls
                if row[1] in owners and checks.accept(*owners[row[1]][1:])
            ]

    def _merged(self, runs: Sequence[Any]) -> Iterator[list[tuple[Any, ...]]]:
        """Yield batches of rows in the order of their ids out of *runs*, each in that order."""
        # Many labels are read a little at a time: most of what each gives comes after the page.
        first = max(_FIRST_BATCH // max(len(runs), 1), 50)
        streams = [self._stream(run, first) for run in runs]
        sign = 1 if self.backwards else -1
        merged = heapq.merge(*streams, key=lambda row: sign * row[0])
        size, batch = _SMALLEST_BATCH, []
        for row in merged:
            batch.append(row)
            if len(batch) >= size:
                self.at = _Cursor(row[0])
                yield batch
                size, batch = min(size * 2, _LARGEST_BATCH), []
        if batch:
            self.at = None
            yield batch

    def _stream(self, run: Any, size: int) -> Iterator[tuple[Any, ...]]:
        position = self.cursor.row if self.cursor is not None else None
        while True:
            rows = run
            if position is not None:
                rows = run.filter(**{"pk__gt" if self.backwards else "pk__lt": position})
            batch = list(rows.order_by("pk" if self.backwards else "-pk")[:size])
            yield from batch
            if len(batch) < size:
                return
            position = batch[-1][0]
            size = min(size * 2, _LARGEST_BATCH)


@dataclass(frozen=True, slots=True)
class _DispatchChecks:
    """The conditions on a dispatch that the walked index does not answer."""

    signals: frozenset[int] | None
    senders: frozenset[int] | None
    instances: frozenset[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns to look at; the instance costs a join, so only if it is asked for."""
        plain = ("signal_id", "sender_id")
        return (*plain, "sender__name", "instance") if self.instances else plain

    def accept(self, signal: int, sender: int, sender_name: str = "", instance: str = "") -> bool:
        """Return whether a dispatch with these columns has what is wanted."""
        return (
            (self.signals is None or signal in self.signals)
            and (self.senders is None or sender in self.senders)
            and (not self.instances or full_instance(instance, sender_name) in self.instances)
        )


def _is(name: str, value: bool) -> Q:  # noqa: FBT001 - the value of a column.
    """Return the condition that the flag *name* is *value*, so that SQLite asks the flag's index.

    It does not for ``WHERE mine``, which is what Django makes of ``mine=True``.
    """
    return Q(**{f"{name}__in": [value]})


def _keys(rows: Any) -> Any:
    return rows.values_list("pk", flat=True)


# -- Building spans --------------------------------------------------------------------------

# Columns whose names are also those of the span.
_TRACE_FIELDS = (
    "trace_id",
    "root_span_id",
    "started_ns",
    "duration_ns",
    "parent_span_id",
    "parent_trace_id",
    "http_method",
    "http_path",
    "http_status",
    "user_id",
    "host",
    "process",
    "thread",
    "release",
    "error",
    "dispatch_count",
    "receiver_call_count",
    "query_count",
    "query_ns",
    "signal_ns",
    "error_count",
    "hazard_count",
    "dropped_count",
    "unheard_count",
    "overhead_ns",
    "segment",
    "final",
)


def _load(rows: Sequence[Trace], using: str) -> Iterator[records.Trace]:
    def manager(model: str) -> Any:
        return apps.get_model("tracing", model).objects.using(using)

    traces: dict[int, records.Trace] = {}
    for row in rows:
        trace = records.Trace(
            kind=records.Kind(row.kind),
            name=row.name,
            status=records.Status(row.status),
            attributes=json.loads(row.attributes) if row.attributes else {},
            **decode_trace_details(json.loads(row.details) if row.details else {}),
            **{name: getattr(row, name) for name in _TRACE_FIELDS},
        )
        traces[row.pk] = trace
    dispatches, ranges = _load_dispatches(traces, manager)
    _load_calls(
        {key: one for some in dispatches.values() for key, one in some.items()}, ranges, manager
    )
    for key, trace in traces.items():
        trace.dispatches = sorted(dispatches[key].values(), key=attrgetter("number"))
        senders = {dispatch.parent_number for dispatch in trace.dispatches}
        calls = {
            call.number: call
            for dispatch in trace.dispatches
            for call in dispatch.receiver_calls
            if call.number in senders
        }
        for dispatch in trace.dispatches:
            if (parent := calls.get(dispatch.parent_number or -1)) is not None:
                parent.dispatches.append(dispatch)
    for key, signal, sender, count in (
        manager("Unheard")
        .filter(trace__in=list(traces))
        .order_by("pk")
        .values_list("trace_id", "signal__name", "sender__name", "count")
    ):
        traces[key].unheard.append((signal, sender, count))
    _load_bypasses(traces, manager)
    for key, data in (
        manager("HazardSighting")
        .filter(trace__in=list(traces))
        .order_by("pk")
        .values_list("trace_id", "data")
    ):
        hazard = records.Hazard(**json.loads(data))
        (traces[key].known_hazards if hazard.known else traces[key].hazards).append(hazard)
    yield from traces.values()


_METHODS: Final = {str(member): member for member in records.Method}
_TRANSACTIONS: Final = {str(member): member for member in records.TransactionOutcome}
_OUTCOMES: Final = {str(member): member for member in records.Outcome}


def _load_dispatches(
    traces: dict[int, records.Trace], manager: Any
) -> tuple[dict[int, dict[int, records.Dispatch]], list[tuple[int, int]]]:
    """Return the dispatches, by row id, of each trace row, and in which ids their calls are.

    Labels are read once each instead of joined to each row: a trace of 20,000 dispatches has a few
    dozen of them.
    """
    rows = list(
        manager("Dispatch")
        .filter(trace__in=list(traces))
        .order_by("pk")
        .values_list(
            "id", "trace_id", "number", "parent_number", "depth", "signal_id", "sender_id",
            "method", "transaction", "start_ns", "duration_ns", "instance", "query_count",
            "query_ns", "details", "facts_id", "callsite_id", "receiver_call_count",
        )
    )  # fmt: skip
    signals = _labels(manager("SignalLabel"), {row[5] for row in rows}, "name")
    senders = _labels(manager("SenderLabel"), {row[6] for row in rows}, "name")
    facts = {
        key: decode_facts(text)
        for key, (text,) in _labels(
            manager("FactsLabel"), {row[15] for row in rows}, "facts"
        ).items()
    }
    callsites = {
        key: records.Callsite(*place)
        for key, place in _labels(
            manager("CallsiteLabel"), {row[16] for row in rows}, "file", "line", "name"
        ).items()
    }
    loaded: dict[int, dict[int, records.Dispatch]] = {key: {} for key in traces}
    ranges: list[tuple[int, int]] = []
    for (
        key, trace_key, number, parent, depth, signal, sender, method, transaction, start, duration,
        instance, query_count, query_ns, details, facts_key, callsite, calls,
    ) in deadlines.minded(rows):  # fmt: skip
        try:
            (signal_name,), (sender_name,) = signals[signal], senders[sender]
            rare = {"thread": traces[trace_key].thread, **facts[facts_key]}
        except KeyError:  # Pruned between the two queries.
            continue
        if details is not None:
            rare |= decode_details(details)
        loaded[trace_key][key] = records.Dispatch(
            number=number,
            parent_number=parent,
            depth=depth,
            signal=signal_name,
            sender=sender_name,
            method=_METHODS[method],
            transaction=_TRANSACTIONS[transaction],
            start_ns=start,
            duration_ns=duration,
            instance=full_instance(instance, sender_name),
            query_count=query_count,
            query_ns=query_ns,
            callsite=callsites.get(callsite),
            **rare,
        )
        # Dispatches of one trace mostly follow one another: there is mostly one range.
        if calls and ranges and ranges[-1][1] + 1 >= key:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], key + calls))
        elif calls:
            ranges.append((key + 1, key + calls))
    return loaded, ranges


def _load_calls(
    dispatches: dict[int, records.Dispatch], ranges: list[tuple[int, int]], manager: Any
) -> None:
    """Put the receiver calls, whose ids are in *ranges*, into their dispatches, given by row id."""
    with_statements: list[records.ReceiverCall] = []
    receivers: dict[int, records.ReceiverLabel] = {}
    for wanted in _narrow(ranges):
        rows = list(
            manager("ReceiverCall")
            .filter(wanted)
            .order_by("pk")
            .values_list(
                "dispatch_id", "number", "position", "outcome", "start_ns", "duration_ns",
                "nested_ns", "query_count", "query_ns", "details", "receiver_id",
            )
        )  # fmt: skip
        receivers |= {
            key: records.ReceiverLabel(
                name, file, line, uid, bool(weak), bool(is_async), app, bool(any_sender), bool(mine)
            )
            for key, (name, file, line, uid, weak, is_async, app, any_sender, mine) in _labels(
                manager("ReceiverLabel"), {row[10] for row in rows} - receivers.keys(), "name",
                "file", "line", "dispatch_uid", "weak", "is_async", "app", "any_sender", "mine",
            ).items()
        }  # fmt: skip
        for (
            owner, number, position, outcome, start, duration, nested, query_count, query_ns,
            details, label,
        ) in deadlines.minded(rows):  # fmt: skip
            dispatch = dispatches.get(owner)
            if dispatch is None or label not in receivers:
                continue
            rare = decode_details(details) if details is not None else {}
            call = records.ReceiverCall(
                number=number,
                position=position,
                receiver=receivers[label],
                start_ns=dispatch.start_ns + start,
                duration_ns=duration,
                self_ns=duration - nested,
                outcome=_OUTCOMES[outcome],
                query_count=query_count,
                query_ns=query_ns,
                **rare,
            )
            dispatch.receiver_calls.append(call)
            if call.statements:
                with_statements.append(call)
    _name_statements(with_statements, manager)


def _labels(manager: Any, keys: Iterable[Any], *fields: str) -> dict[Any, tuple[Any, ...]]:
    """Return the *fields* of the labels *keys*, by key; None is no key."""
    found: dict[Any, tuple[Any, ...]] = {}
    for chunk in chunks([key for key in keys if key is not None], 900):
        rows = manager.filter(pk__in=chunk).values_list("pk", *fields)
        found.update((row[0], row[1:]) for row in rows)
    return found


def _name_statements(calls: list[records.ReceiverCall], manager: Any) -> None:
    """Put the texts of the statements of *calls* where their ids are."""
    wanted = list({key for call in calls for key, _, _ in call.statements})
    texts: dict[Any, str] = {}
    for chunk in chunks(wanted, 500):
        labels = manager("StatementLabel").filter(pk__in=chunk)
        texts.update(labels.values_list("pk", "statement"))
    for call in calls:
        call.statements = [(texts.get(key, ""), count, ns) for key, count, ns in call.statements]


def _narrow(ranges: list[tuple[int, int]]) -> Iterator[Q]:
    """Yield conditions on ids that each database answers from its primary key.

    Not one of many ranges: SQLite reads a whole table in the order of its key rather than join the
    rows of five ranges.
    """
    keys: list[int] = []
    for first, last in ranges:
        if last - first >= _KEYS_AT_ONCE // 2:
            yield Q(pk__range=(first, last))
            continue
        keys += range(first, last + 1)
        if len(keys) >= _KEYS_AT_ONCE // 2:
            yield Q(pk__in=keys)
            keys = []
    if keys:
        yield Q(pk__in=keys)


def _load_bypasses(traces: dict[int, records.Trace], manager: Any) -> None:
    labels: dict[int, records.ReceiverLabel] = {}
    for row in (
        manager("Bypass").filter(trace__in=list(traces)).select_related("callsite").order_by("pk")
    ):
        keys = json.loads(row.receivers)
        for label in manager("ReceiverLabel").filter(pk__in=set(keys) - set(labels)):
            labels[label.pk] = records.ReceiverLabel(
                label.name,
                label.file,
                label.line,
                label.dispatch_uid,
                label.weak,
                label.is_async,
                label.app,
                label.any_sender,
                label.mine,
            )
        site = row.callsite
        traces[row.trace_id].bypasses.append(
            records.Bypass(
                operation=row.operation,
                model=row.model,
                signals=tuple(json.loads(row.signals)),
                receivers=tuple(labels[key] for key in keys),
                rows=row.rows,
                start_ns=row.start_ns,
                callsite=None
                if site is None
                else records.Callsite(site.file, site.line, site.name),
                parent_number=row.parent_number,
            )
        )


# -- Deleting --------------------------------------------------------------------------------


def delete_traces(keys: Sequence[int], using: str) -> dict[str, int]:
    """Delete the trace rows *keys* and all that belongs to them; return rows by model label.

    Children go first: when it is cut short, what is left is found by the next attempt.
    """

    def manager(model: str) -> Any:
        return apps.get_model("tracing", model).objects.using(using)

    deleted: dict[str, int] = {}

    def remove(model: str, condition: Q) -> None:
        # One DELETE; delete() would first read the rows to send signals for them.
        count = manager(model).filter(condition)._raw_delete(using)  # noqa: SLF001
        if count:
            label = f"tracing.{model}"
            deleted[label] = deleted.get(label, 0) + count

    dispatches = list(
        manager("Dispatch")
        .filter(trace__in=keys)
        .order_by("pk")
        .values_list("pk", "receiver_call_count")
    )
    for chunk in chunks(merge_ranges(dispatches), 100):
        calls, own = Q(), Q()
        for first, last in chunk:
            calls |= Q(pk__range=(first, last))
            own |= Q(pk__range=(first, last))
        remove("ReceiverCall", calls)
        remove("FailedCall", calls)
        remove("Dispatch", own)
    for model in ("Unheard", "Bypass", "HazardSighting"):
        remove(model, Q(trace__in=keys))
    remove("Trace", Q(pk__in=keys))
    return deleted


def merge_ranges(dispatches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges of ids that the dispatches (id, calls), sorted, take with their calls."""
    ranges: list[list[int]] = []
    for key, count in dispatches:
        if ranges and ranges[-1][1] + 1 >= key:
            ranges[-1][1] = max(ranges[-1][1], key + count)
        else:
            ranges.append([key, key + count])
    return [(first, last) for first, last in ranges]


def chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield *values*, *size* at a time."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


# -- Following -------------------------------------------------------------------------------


def follow(
    traces: TraceQuerySet,
    *,
    after: int | None = None,
    poll_seconds: float = 0.5,
    keep_on: Callable[[], bool] = lambda: True,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[Trace]:
    """Yield traces as they are stored, each once.

    Two processes may commit in another order than they took their ids, so the last thousand ids
    are looked at again each time.

    Args:
        traces: Those to follow, as ``Trace.objects.all()`` or a filtered queryset.
        after: Row id after which to begin; None for what is stored from now on.
        poll_seconds: How often to look.
        keep_on: Asked at each look; the iteration ends when it returns False.
        wait: How to wait, in seconds.
    """
    first = traces.last_row_id() if after is None else after
    seen: dict[int, None] = {}
    if after is None:
        seen = dict.fromkeys(_keys(traces.filter(pk__gt=first - _OVERLAP)))
        first -= _OVERLAP
    while True:
        fresh = [row for row in traces.newer_than(first, _OVERLAP * 2) if row.pk not in seen]
        for row in fresh:
            seen[row.pk] = None
            yield row
        if seen:
            first = max(first, max(seen) - _OVERLAP)
            for key in [key for key in seen if key <= first]:
                del seen[key]
        if not fresh:
            if not keep_on():
                return
            wait(poll_seconds)
