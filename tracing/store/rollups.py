"""Questions about the sums by hour."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from django.db import models
from django.db.models import ExpressionWrapper, F, Q, Sum
from django.db.models.functions import Coalesce

from tracing.analysis.histogram import HOUR_NS, Histogram, Statistics
from tracing.store.conditions import flag_is
from tracing.store.generics import Rollup, all_of
from tracing.store.ranges import KEYS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable


class RollupQuerySet(models.QuerySet[Rollup]):
    """Statistics by hour, which outlive the traces that they were made of."""

    def between(self, since_ns: int | None = None, until_ns: int | None = None) -> RollupQuerySet:
        """Return the hours in [*since_ns*, *until_ns*), wall clock."""
        found = self
        if since_ns is not None:
            found = found.filter(hour__gte=since_ns // HOUR_NS)
        if until_ns is not None:
            found = found.filter(hour__lt=-(-until_ns // HOUR_NS))
        return found

    def of_mine(self, subject: str) -> RollupQuerySet:
        """Return those of mine, for statistics by *subject*.

        A receiver is mine by its label; a signal, a sender or both, if such a receiver ran for it.
        """
        labels = all_of("ReceiverLabel", self.db)
        calls = self.filter(receiver__in=labels.filter(flag_is("mine", True)).values("pk"))
        keys = SUBJECTS[subject]
        if "receiver" in keys:
            return calls
        if len(keys) == 1:
            found = calls.order_by().values_list(keys[0], flat=True).distinct()
            # PostgreSQL would ask that again for each of thousands of rows.
            few = list(found[: KEYS_AT_ONCE + 1])
            wanted: Iterable[int] = few if len(few) <= KEYS_AT_ONCE else found
            return self.filter(receiver=0, **{f"{keys[0]}__in": wanted})
        senders: dict[int, list[int]] = {}
        for signal, sender in calls.order_by().values_list("signal", "sender").distinct():
            senders.setdefault(signal, []).append(sender)
        pairs = Q(pk__in=())
        for signal, of_signal in senders.items():
            # Too many for the parameters of a statement are classes made while running: all of them.
            some = Q(sender__in=of_signal) if len(of_signal) <= KEYS_AT_ONCE else Q()
            pairs |= Q(signal=signal) & some
        return self.filter(pairs, receiver=0)

    def by_mine(self, subject: str, order_by: str, limit: int) -> tuple[list[Statistics], int]:
        """Return the statistics of what is mine, and how many others there are.

        The sums are made of all: telling the database which ones takes longer than the others do.
        """
        keys = SUBJECTS[subject]
        mine = set(
            all_of("ReceiverLabel", self.db).filter(flag_is("mine", True)).values_list("pk")
            if keys == ("receiver",)
            else self.of_mine("call").order_by().values_list(*keys).distinct()
        )
        every = self._sums(subject, order_by, None)
        found = {key: sums for key, sums in every.items() if key in mine}
        shown = dict(islice(found.items(), limit))
        return _described(self._each(keys), keys, shown), len(every) - len(found)

    def by(
        self,
        subject: str,
        order_by: str = "-total_ns",
        limit: int | None = 100,
        *,
        percentiles: bool = True,
    ) -> list[Statistics]:
        """Return the statistics of each *subject*, a key of ``SUBJECTS``.

        Args:
            subject: What they are grouped by.
            order_by: A field of ``Statistics`` that is a column, with ``-`` for descending.
            limit: At most so many; None for all. Percentiles are read for these alone.
            percentiles: Without them no histogram is read, which is most of the work.
        """
        keys, found = SUBJECTS[subject], self._sums(subject, order_by, limit)
        return _described(self._each(keys), keys, found, percentiles=percentiles)

    def _sums(
        self, subject: str, order_by: str, limit: int | None
    ) -> dict[tuple[int, ...], Statistics]:
        keys = SUBJECTS[subject]
        repeats = {"signal": "sender", "sender": "signal"}.get(subject, "")
        return _sums_of(self._each(keys), keys, order_by, limit, repeats=repeats)

    def _each(self, keys: tuple[str, ...]) -> RollupQuerySet:
        """Return the rows that statistics by *keys* are made of."""
        if "receiver" in keys:
            return self.filter(receiver__gt=0)
        return self.filter(receiver=0, **{f"{key}__gte": 1 for key in keys})

    def of_all(self) -> Statistics:
        """Return the sum over all dispatches, without percentiles."""
        pairs = Q(signal__gte=1, sender__gte=1)
        sums = (
            self.filter(pairs | Q(signal__lt=1, sender__lt=1), receiver=0)
            .order_by()
            .aggregate(**{f"{name}__sum": _sum_once(name, "sender") for name in SUMS})
        )
        found = Statistics("", "", "", 0, 0, 0, 0, 0)
        for name in SUMS:
            setattr(found, name, sums[f"{name}__sum"] or 0)
        return found


SUBJECTS: Final[dict[str, tuple[str, ...]]] = {
    "receiver": ("receiver",),
    "call": ("signal", "sender", "receiver"),
    "dispatch": ("signal", "sender"),
    "signal": ("signal",),
    "sender": ("sender",),
}
"""What statistics are grouped by."""

SUMS = ("count", "error_count", "total_ns", "query_count", "query_ns")


def _sum_once(column: str, repeats: str) -> ExpressionWrapper[Any]:
    """Return the sum of *column* less what rows without *repeats* say."""
    # A key of 0 is asked for as "less than 1": MariaDB's backend refuses it. Two sums: an unsigned
    # column has no negative.
    all_of_them = Sum(column, filter=Q(**{f"{repeats}__gte": 1}))
    too_often = Coalesce(Sum(column, filter=Q(**{f"{repeats}__lt": 1})), 0)
    return ExpressionWrapper(all_of_them - too_often, output_field=models.BigIntegerField())


def statistics(
    rollups: RollupQuerySet,
    keys: tuple[str, ...],
    order_by: str,
    limit: int | None,
    *,
    percentiles: bool = True,
) -> list[Statistics]:
    """Return the statistics of *rollups* by *keys*."""
    found = _sums_of(rollups, keys, order_by, limit)
    return _described(rollups, keys, found, percentiles=percentiles)


def _sums_of(
    rollups: RollupQuerySet,
    keys: tuple[str, ...],
    order_by: str,
    limit: int | None,
    *,
    repeats: str = "",
) -> dict[tuple[int, ...], Statistics]:
    """Return the sums of *rollups* by *keys*, repeats subtracted."""
    direction, column = order_by[:1] == "-", order_by.lstrip("-")
    ordering = F(f"{column}__sum")
    groups = (
        rollups.order_by()
        .values(*keys)
        .annotate(
            **{f"{name}__sum": _sum_once(name, repeats) if repeats else Sum(name) for name in SUMS},
            # Of receivers alone: the rows of dispatches have none.
            cpu_ns__sum=Sum("cpu_ns"),
        )
        .order_by(
            ordering.desc(nulls_last=True) if direction else ordering.asc(nulls_first=True), *keys
        )[:limit]
    )
    found: dict[tuple[int, ...], Statistics] = {}
    for group in groups:
        key = tuple(group[name] for name in keys)
        found[key] = Statistics("", "", "", *(group[f"{name}__sum"] for name in SUMS))
        found[key].cpu_ns = group["cpu_ns__sum"]
    return found


def _described(
    rollups: RollupQuerySet,
    keys: tuple[str, ...],
    found: dict[tuple[int, ...], Statistics],
    *,
    percentiles: bool = True,
) -> list[Statistics]:
    """Return what is *found*, with names and, if wanted, percentiles."""
    if not found:
        return []
    if percentiles:
        _read_histograms(rollups, keys, found)
    for place, name in enumerate(keys):
        columns = ("name", "app", "mine") if name == "receiver" else ("name",)
        every = all_of(f"{name.title()}Label", rollups.db)
        labels = every.filter(pk__in={key[place] for key in found})
        rows = {row[0]: row[1:] for row in labels.values_list("pk", *columns)}
        for key, each in found.items():
            if name == "receiver":
                each.receiver_id = key[place]
                each.receiver, each.app, each.mine = rows.get(key[place], ("", "", False))
            else:
                setattr(each, name, rows.get(key[place], ("",))[0])
    return list(found.values())


def _read_histograms(
    rollups: RollupQuerySet, keys: tuple[str, ...], found: dict[tuple[int, ...], Statistics]
) -> None:
    """Add up the histograms of each of *found*."""
    # What is to be subtracted from the sums has none.
    chosen = Q(signal__gte=1, sender__gte=1)
    for place, name in enumerate(keys):
        chosen &= Q(**{f"{name}__in": {key[place] for key in found}})
    texts: dict[tuple[int, ...], list[str]] = {key: [] for key in found}
    for *parts, histogram in rollups.filter(chosen).values_list(*keys, "histogram").order_by():
        # Other pairs of the same signals and senders come along.
        if (key := tuple(parts)) in texts:
            texts[key].append(histogram)
    for key, statistics in found.items():
        statistics.histogram = Histogram.decode(*texts[key])
