"""Dispatches that receivers sent in the newest traces."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import Max

from tracing.store.choice import asked
from tracing.store.load import labels_of
from tracing.store.models import (
    Dispatch,
    ReceiverCall,
    ReceiverLabel,
    SenderLabel,
    SignalLabel,
    Trace,
)
from tracing.store.ranges import conditions_on, keys_of, merge_ranges

if TYPE_CHECKING:
    from collections.abc import Collection

_SAMPLE: Final = 60
"""Newest traces that are read for what receivers send on."""
_LARGEST: Final = 400
_NEWEST: Final = 200_000
"""Ids of dispatches and calls in which nested ones are looked for."""
_NESTED: Final = (1_000, 20_000)
"""Nested dispatches in which that many traces are looked for: at first, and if those are too few."""


class SentOn(NamedTuple):
    """A receiver of a signal from a sender, and what it sent while it ran."""

    signal: str
    sender: str
    receiver: str
    sent_signal: str
    sent_sender: str


@asked
def sent_on() -> dict[SentOn, int]:
    """Return how often receivers sent what in the newest traces."""
    newest = Dispatch.objects.aggregate(last=Max("pk"))["last"] or 0
    # Bounded by ids: no index says which dispatches were sent from inside a receiver.
    nested = Dispatch.objects.filter(pk__gt=newest - _NEWEST, parent_number__isnull=False)
    newest_first = nested.order_by("-pk").values_list("trace_id", flat=True)
    keys: list[int] = []
    for most in _NESTED:
        keys = list(dict.fromkeys(newest_first[:most]))
        if len(keys) >= _SAMPLE:
            break
    small = Trace.objects.filter(pk__in=keys[:_SAMPLE], dispatch_count__lte=_LARGEST)
    return _with_names(_sent_within(list(keys_of(small.order_by()))))


def _sent_within(traces: Collection[int]) -> Counter[tuple[int, ...]]:
    """Return how often each receiver sent what within *traces*, by labels.

    Loading the traces whole would take twice as long.
    """
    rows = list(
        Dispatch.objects.filter(trace__in=traces)
        .order_by("pk")
        .values_list(
            "pk", "trace_id", "parent_number", "signal_id", "sender_id", "receiver_call_count"
        )
    )
    senders = {(trace, parent) for _, trace, parent, *_ in rows if parent is not None}
    numbers = {number for _, number in senders}
    above = {row[0]: row for row in rows}
    calls: dict[tuple[int, int], tuple[int, int, int]] = {}
    for wanted in conditions_on(merge_ranges([(row[0], row[5]) for row in rows])):
        for owner, number, receiver in (
            ReceiverCall.objects.filter(wanted)
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
    return counted


def _with_names(counted: Counter[tuple[int, ...]]) -> dict[SentOn, int]:
    """Return *counted* by names instead of the ids of labels."""
    models: tuple[Any, ...] = (SignalLabel, SenderLabel, ReceiverLabel, SignalLabel, SenderLabel)
    names = [
        labels_of(model.objects, {key[place] for key in counted}, "name")
        for place, model in enumerate(models)
    ]
    found: Counter[SentOn] = Counter()
    for key, count in counted.items():
        # Labels of one name may be several: a receiver with and without a dispatch_uid.
        found[SentOn(*(each.get(one, ("",))[0] for each, one in zip(names, key, strict=True)))] += (
            count
        )
    return found
