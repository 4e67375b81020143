"""Traces go with all that belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Q

from tracing.store.ranges import chunks, merge_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence


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
