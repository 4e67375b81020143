"""Row ids, range by range: those of calls follow their dispatch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Q

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


KEYS_AT_ONCE = 900
"""Parameters of a statement; SQLite had a limit of 999 for long."""


def keys_of(rows: Any) -> Any:
    """Return the row ids of *rows*, a queryset."""
    return rows.values_list("pk", flat=True)


def ends_of(rows: Any) -> tuple[int, int]:
    """Return the first and the last id of *rows*; (1, 0) without any.

    Two statements: SQLite looks through all rows for both at once, and for each at one end of the index.
    """
    first = keys_of(rows.order_by("pk")).first()
    return (1, 0) if first is None else (first, keys_of(rows.order_by("-pk"))[0])


def conditions_on(ranges: list[tuple[int, int]]) -> Iterator[Q]:
    """Yield conditions on ids that each database answers from its primary key.

    Not one of many ranges: SQLite reads a whole table in the order of its key rather than join the
    rows of five ranges.
    """
    keys: list[int] = []
    for first, last in ranges:
        if last - first >= KEYS_AT_ONCE // 2:
            yield Q(pk__range=(first, last))
            continue
        keys += range(first, last + 1)
        if len(keys) >= KEYS_AT_ONCE // 2:
            yield Q(pk__in=keys)
            keys = []
    if keys:
        yield Q(pk__in=keys)


def merge_ranges(dispatches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges of ids of sorted dispatches (id, calls)."""
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
