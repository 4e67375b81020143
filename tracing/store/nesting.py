"""Dispatches that receivers sent in the newest traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Max

from tracing.store.choice import asked
from tracing.store.load import SentOn
from tracing.store.models import Dispatch, Trace

if TYPE_CHECKING:
    from tracing.store.load import DispatchQuerySet

__all__ = ["SentOn", "sent_on"]

_SAMPLE: Final = 60
"""Newest traces that are read for what receivers send on."""
_LARGEST: Final = 400
_NEWEST: Final = 200_000
"""Ids of dispatches and calls in which nested ones are looked for."""
_NESTED: Final = (1_000, 20_000)
"""Nested dispatches in which that many traces are looked for: at first, and if those are too few."""


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
    dispatches: DispatchQuerySet = Dispatch.objects.get_queryset()  # type: ignore[assignment]
    return dispatches.sent_by_receivers(list(small.order_by().values_list("pk", flat=True)))
