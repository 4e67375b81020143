"""Histograms that add up and give percentiles within two percent.

The buckets grow by a constant factor, as in DDSketch (Masson, Rim and Lee, VLDB 2019): bucket *i*
holds the values in ``[GAMMA ** (i - 1), GAMMA ** i)``. Answering with the point of the bucket from
which both ends are equally far in proportion is wrong by at most ``(GAMMA - 1) / (GAMMA + 1)``.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections import Counter
from itertools import repeat
from operator import floordiv
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Sequence

GAMMA = 1.04
RELATIVE_ERROR = (GAMMA - 1) / (GAMMA + 1)
"""1.96 %."""

HOUR_NS = 3_600_000_000_000

_STEP = math.log(GAMMA)
_MIDDLE = 2 / (GAMMA + 1)


class Histogram:
    """Counts of nanoseconds in widening buckets; only those in use are kept.

    Args:
        buckets: Count by bucket number; values below 1 ns are in bucket 0.
    """

    __slots__ = ("buckets",)

    def __init__(self, buckets: dict[int, int] | None = None) -> None:
        self.buckets = {} if buckets is None else buckets

    def add(self, values: Sequence[int]) -> None:
        """Count each of *values* (ns)."""
        buckets = self.buckets
        positive: Sequence[int] = values
        if values and min(values) <= 0:
            positive = [value for value in values if value > 0]
            buckets[0] = buckets.get(0, 0) + len(values) - len(positive)
        # All of this runs in C; a loop of our own takes twice as long.
        places = Counter(map(floordiv, map(math.log, positive), repeat(_STEP)))
        for place, count in places.items():
            number = int(place) + 1
            buckets[number] = buckets.get(number, 0) + count

    def merge(self, other: Histogram) -> None:
        """Count what *other* has, too."""
        for number, count in other.buckets.items():
            self.buckets[number] = self.buckets.get(number, 0) + count

    @property
    def count(self) -> int:
        """Return how many values were counted."""
        return sum(self.buckets.values())

    def quantile(self, fraction: float) -> int | None:
        """Return the value (ns) below which *fraction* of them lie, or None.

        The rank is that of the sorted list's element ``floor(fraction * (count - 1))``.
        """
        buckets = self.buckets
        rank = math.floor(fraction * (sum(buckets.values()) - 1))
        for number in sorted(buckets):
            rank -= buckets[number]
            if rank < 0:
                return round(GAMMA**number * _MIDDLE) if number else 0
        return None

    def mean(self) -> float:
        """Return the mean of the values (ns), within two percent; 0 if empty."""
        points = (
            GAMMA**number * _MIDDLE * count for number, count in self.buckets.items() if number
        )
        return sum(points) / (self.count or 1)

    def encode(self) -> str:
        """Return a text for a column: width of a count, first bucket, counts.

        As ``B137:01001f``: the width is a letter of the module ``array``, the counts are hexadecimal
        in the order of its bytes on common machines. Reading them is most of what statistics take.
        """
        if not self.buckets:
            return ""
        first, last = min(self.buckets), max(self.buckets)
        counts = [*map(self.buckets.get, range(first, last + 1), repeat(0))]
        largest = max(counts)
        width = next(code for code, bits in _WIDTHS.items() if largest < 1 << bits)
        return f"{width}{first}:{_bytes(array(width, counts)).hex()}"

    @classmethod
    def decode(cls, *texts: str) -> Histogram:
        """Return the sum of all that ``encode`` made *texts* of."""
        total: dict[int, int] = {}
        for start in range(0, len(texts), _MANY):
            _add_up(total, texts[start : start + _MANY])
        return cls(total)


class WrittenHistogram(Histogram):
    """The sum of written histograms, read when it is asked for.

    Args:
        texts: What ``encode`` made.
    """

    __slots__ = ("_read", "_texts")

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._read: dict[int, int] | None = None

    @property
    def buckets(self) -> dict[int, int]:  # type: ignore[override]
        """Return count by bucket number."""
        if self._read is None:
            self._read = Histogram.decode(*self._texts).buckets
        return self._read


_WIDTHS = {"B": 8, "H": 16, "I": 32, "Q": 64}
"""Bits of a count by the letter of the module ``array``."""
_SLOT = 32
"""Bits of a count while many are added up."""
_MANY = 1 << 16
"""So many counts of 16 bits fit into a slot without spilling into the next."""


def _bytes(counts: array[int]) -> bytes:
    if sys.byteorder == "big":
        counts.byteswap()
    return counts.tobytes()


def _add_up(total: dict[int, int], texts: Sequence[str]) -> None:
    """Add what ``encode`` made *texts* of, at most ``_MANY``, to *total*.

    Each text is read as one large number with a slot for each bucket, and the numbers are added:
    that takes a third of the time of adding the counts one by one.
    """
    # Of counts of one byte and of two.
    narrow = 0
    for text in texts:
        if text[:1] == "B":
            start, _, content = text[1:].partition(":")
            data = bytes.fromhex(content)
            slots = bytearray(4 * len(data))
            slots[::4] = data
        elif text[:1] == "H":
            start, _, content = text[1:].partition(":")
            data = bytes.fromhex(content)
            slots = bytearray(2 * len(data))
            slots[::4], slots[1::4] = data[::2], data[1::2]
        elif text:
            first, counts = _counts(text)
            for number, count in enumerate(counts, first):
                if count:
                    total[number] = total.get(number, 0) + count
            continue
        else:
            continue
        narrow += int.from_bytes(slots, "little") << _SLOT * int(start)
    found = array("I")
    found.frombytes(narrow.to_bytes(-(-narrow.bit_length() // _SLOT) * 4, "little"))
    if sys.byteorder == "big":
        found.byteswap()
    for number, count in enumerate(found):
        if count:
            total[number] = total.get(number, 0) + count


def _counts(text: str) -> tuple[int, Sequence[int]]:
    """Return the first bucket in use and the counts from there on."""
    start, _, content = text[1:].partition(":")
    found = array(text[0])
    found.frombytes(bytes.fromhex(content))
    if sys.byteorder == "big":
        found.byteswap()
    return int(start), found


class Statistics(Struct):
    """Totals of one signal from one sender, or of one receiver."""

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
    cpu_ns: int | None = None
    """Own CPU time of a receiver, of the calls in which it was read; None without any."""
    receiver_id: int | None = None
    app: str = ""
    """Application of the receiver."""
    mine: bool = False
    """The receiver is the project's own."""

    @property
    def mean_ns(self) -> int:
        """Return the mean duration, within 2 % where calls shared moments."""
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
