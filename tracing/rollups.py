"""Histograms that can be added up and give any percentile within two percent.

The buckets grow by a constant factor, as in DDSketch (Masson, Rim and Lee, VLDB 2019): bucket *i*
holds the values in ``[GAMMA ** (i - 1), GAMMA ** i)``. Answering with the point of the bucket from
which both ends are equally far in proportion is wrong by at most ``(GAMMA - 1) / (GAMMA + 1)``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GAMMA = 1.04
RELATIVE_ERROR = (GAMMA - 1) / (GAMMA + 1)
"""1.96 %."""

HOUR_NS = 3_600_000_000_000

_SCALE = 1 / math.log(GAMMA)
_MIDDLE = 2 / (GAMMA + 1)


class Histogram:
    """Counts of nanoseconds in buckets of growing width; only those in use are kept.

    Args:
        buckets: Count by bucket number; values below 1 ns are in bucket 0.
    """

    __slots__ = ("buckets",)

    def __init__(self, buckets: dict[int, int] | None = None) -> None:
        self.buckets = {} if buckets is None else buckets

    def add(self, values: Sequence[int]) -> None:
        """Count each of *values* (ns)."""
        buckets, scale = self.buckets, _SCALE
        # log, int and Counter all run in C; a loop of our own takes twice as long.
        numbers = [
            int(logarithm * scale) + 1
            for logarithm in map(math.log, [value for value in values if value > 0])
        ]
        for number, count in Counter(numbers).items():
            buckets[number] = buckets.get(number, 0) + count
        if zeros := len(values) - len(numbers):
            buckets[0] = buckets.get(0, 0) + zeros

    def merge(self, other: Histogram) -> None:
        """Add the counts of *other*."""
        buckets = self.buckets
        for number, count in other.buckets.items():
            buckets[number] = buckets.get(number, 0) + count

    @property
    def count(self) -> int:
        """Return how many values were counted."""
        return sum(self.buckets.values())

    def quantile(self, fraction: float) -> int | None:
        """Return the value (ns) below which *fraction* (0 to 1) of them lie; None if empty.

        The rank is that of the sorted list's element ``floor(fraction * (count - 1))``.
        """
        rank = math.floor(fraction * (self.count - 1))
        for number in sorted(self.buckets):
            rank -= self.buckets[number]
            if rank < 0:
                return round(GAMMA**number * _MIDDLE) if number else 0
        return None

    def encode(self) -> str:
        """Return a JSON array: the first bucket in use, then the count of each from there on."""
        if not self.buckets:
            return ""
        first, last = min(self.buckets), max(self.buckets)
        get = self.buckets.get
        counts = [get(number, 0) for number in range(first, last + 1)]
        return json.dumps([first, *counts], separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """Return what ``encode`` made *text* of."""
        histogram = cls()
        histogram.merge_encoded(text)
        return histogram

    def merge_encoded(self, text: str) -> None:
        """Add the counts of an encoded histogram: quicker than decoding it first."""
        if not text:
            return
        first, *counts = json.loads(text)
        buckets = self.buckets
        get = buckets.get
        for number, count in enumerate(counts, first):
            if count:
                buckets[number] = get(number, 0) + count
