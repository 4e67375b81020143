"""The statistics by hour, which outlive their traces.

A *subject* is what they are by: ``receiver``, ``signal``, ``sender``, ``dispatch`` (signal and sender)
or ``call`` (all three).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db.models import Max, Sum

from tracing.analysis.histogram import HOUR_NS, Histogram, Statistics
from tracing.analysis.mine import NONE_OF_MINE, hidden_text
from tracing.clocks import time
from tracing.store.choice import asked
from tracing.store.models import ReceiverLabel, Rollup, SenderLabel, SignalLabel
from tracing.store.rollups import SUBJECTS, RollupQuerySet

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

_LABELS: Final[dict[str, Any]] = {
    "receiver": ReceiverLabel,
    "signal": SignalLabel,
    "sender": SenderLabel,
}


class Shown(NamedTuple):
    """Statistics, and the words about the others."""

    rows: list[Statistics]
    heading: str = ""
    """That nothing is mine, though only that was asked for: all of it is there."""
    note: str = ""
    """How many rows are hidden, in one line; empty if none is."""


def _between(since_ns: int | None, until_ns: int | None = None) -> RollupQuerySet:
    rollups: RollupQuerySet = Rollup.objects.get_queryset()  # type: ignore[assignment]
    return rollups.between(since_ns, until_ns)


def _of_subject(rollups: RollupQuerySet, subject: str) -> RollupQuerySet:
    return rollups.filter(receiver__gt=0) if subject == "receiver" else rollups.filter(receiver=0)


@asked
def by(
    subject: str,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    order_by: str = "-total_ns",
    limit: int = 100,
    everything: bool = True,
) -> Shown:
    """Return the statistics by *subject* of the hours of a time.

    Args:
        subject: What they are by.
        since_ns: Wall clock, ns; None from the first hour on.
        until_ns: Wall clock, ns; None up to now.
        order_by: A field of ``Statistics`` that is a column, with ``-`` for descending.
        limit: At most so many; percentiles are read for these alone.
        everything: Not only what is mine.
    """
    rollups = _between(since_ns, until_ns)
    if everything:
        return Shown(rollups.by(subject, order_by, limit))
    rows, hidden = rollups.by_mine(subject, order_by, limit)
    if not rows:
        return Shown(rollups.by(subject, order_by, limit), NONE_OF_MINE)
    one = subject if SUBJECTS[subject] == (subject,) else "row"
    return Shown(rows, note=hidden_text(hidden, one) if hidden else "")


@asked
def totals(subject: str, since_ns: int | None = None) -> dict[str, int]:
    """Return the sums over all of *subject*, and the time of all dispatches."""
    rollups = _between(since_ns)
    dispatches = rollups.of_all()
    found = {name: getattr(dispatches, name) for name in ("count", "error_count", "query_count")}
    if subject == "receiver":
        calls = rollups.filter(receiver__gt=0).order_by()
        sums = calls.aggregate(**{f"{name}_sum": Sum(name) for name in found})
        found = {name: sums[f"{name}_sum"] or 0 for name in found}
    return found | {"total_ns": dispatches.total_ns}


def names_of(subject: str, row: Statistics) -> tuple[str, ...]:
    """Return the names of what *row* is about."""
    return tuple(getattr(row, key) for key in SUBJECTS[subject])


@asked
def counts_by_hour(
    subject: str, rows: Sequence[Statistics], most_hours: int, since_ns: int | None = None
) -> dict[tuple[str, ...], dict[int, int]]:
    """Return the counts of each of *rows* by hour, by its names."""
    rollups, keys = _between(since_ns), SUBJECTS[subject]
    chosen = _of_subject(rollups, subject)
    ids: dict[str, dict[int, str]] = {}
    for key in keys:
        wanted = {getattr(row, key) for row in rows}
        ids[key] = dict(_LABELS[key].objects.filter(name__in=wanted).values_list("pk", "name"))
        chosen = chosen.filter(**{f"{key}__in": list(ids[key])})
    newest = rollups.filter(receiver=0).order_by().aggregate(last=Max("hour"))["last"] or 0
    chosen = chosen.filter(hour__gt=newest - most_hours)
    counts: dict[tuple[str, ...], dict[int, int]] = {names_of(subject, row): {} for row in rows}
    by_labels: dict[tuple[int, ...], dict[int, int]] = {}
    for labels in product(*ids.values()):
        names = tuple(ids[key][label] for key, label in zip(keys, labels, strict=True))
        if names in counts:
            by_labels[labels] = counts[names]
    for hour, *labels, count in (
        chosen.order_by().values_list("hour", *keys).annotate(calls=Sum("count"))
    ):
        # Of several keys the store has other pairs, too.
        if (by_hour := by_labels.get(tuple(labels))) is not None:
            by_hour[hour] = by_hour.get(hour, 0) + count
    return {names: by_hour for names, by_hour in counts.items() if by_hour}


@asked
def durations_by_hour(
    subject: str,
    most_hours: int,
    *,
    name: str = "",
    since_ns: int | None = None,
    everything: bool = True,
) -> tuple[list[tuple[int, Histogram]], str]:
    """Return durations by hour, oldest first, and a heading.

    Args:
        subject: Calls of receivers, or dispatches.
        most_hours: How many hours back.
        name: Only what has this name.
        since_ns: Wall clock, ns.
        everything: Not only what is mine.
    """
    rollups = _between(since_ns).filter(hour__gt=time.time_ns() // HOUR_NS - most_hours)
    chosen, heading = _of_subject(rollups, subject), ""
    if name and subject in _LABELS:
        labels = _LABELS[subject].objects.filter(name=name).values_list("pk", flat=True)
        chosen = chosen.filter(**{f"{subject}__in": list(labels)})
    elif not everything:
        mine = rollups.of_mine(subject)
        chosen, heading = (mine, "") if mine.exists() else (chosen, NONE_OF_MINE)
    texts: dict[int, list[str]] = {}
    for hour, text in chosen.order_by("hour").values_list("hour", "histogram"):
        texts.setdefault(hour, []).append(text)
    return [(hour, Histogram.decode(*found)) for hour, found in texts.items()], heading


@asked
def busiest_calls(limit: int, since_ns: int | None = None) -> tuple[list[Statistics], bool]:
    """Return the receivers called most, and whether there are more.

    Of what is mine as many are returned as of all. Without percentiles: they are most of the work.
    """
    rollups = _between(since_ns)
    rows = rollups.by("call", "-count", limit, percentiles=False)
    is_cut = len(rows) == limit
    if is_cut:
        found = {(row.signal, row.sender, row.receiver_id) for row in rows}
        mine = rollups.of_mine("call").by("call", "-count", limit, percentiles=False)
        rows += [row for row in mine if (row.signal, row.sender, row.receiver_id) not in found]
    return rows, is_cut


@asked
def calls_of_receivers() -> dict[str, int]:
    """Return how often each receiver was called, by name."""
    rows = _between(None).by("receiver", "-count", None, percentiles=False)
    counted: dict[str, int] = {}
    for row in rows:
        counted[row.receiver] = counted.get(row.receiver, 0) + row.count
    return counted


@asked
def calls_of_pairs(
    pairs: Collection[tuple[str, str]], since_ns: int | None = None, until_ns: int | None = None
) -> dict[tuple[str, str, str], int]:
    """Return how often *pairs* were sent, and each receiver called for it.

    By signal, sender and receiver; without a receiver it is the count of the dispatches.
    """
    chosen, names = _between(since_ns, until_ns), []
    for place, key in enumerate(("signal", "sender")):
        labels = _LABELS[key].objects.filter(name__in={pair[place] for pair in pairs})
        names.append(dict(labels.values_list("pk", "name")))
        chosen = chosen.filter(**{f"{key}__in": list(names[-1])})
    keys = ("signal", "sender", "receiver")
    sums = [*chosen.order_by().values_list(*keys).annotate(calls=Sum("count"))]
    receivers = {0: "", **dict(ReceiverLabel.objects.order_by().values_list("pk", "name"))}
    counted: dict[tuple[str, str, str], int] = {}
    for signal, sender, receiver, count in sums:
        of = (names[0][signal], names[1][sender], receivers.get(receiver, ""))
        if of[:2] in pairs:
            counted[of] = counted.get(of, 0) + count
    return counted
