"""Charts as numbers: columns over time, points, lines and heat maps."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tracing.units import SECOND_NS, format_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tracing.analysis.histogram import Histogram
    from tracing.spans.summary import TraceSummary

HEIGHT: Final = 40
"""Units of height of a chart; its width is 100."""
BUCKETS: Final = 60
_STEPS: Final = tuple(
    seconds * SECOND_NS
    for seconds in (
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
        86_400, 172_800, 604_800, 2_592_000, 31_536_000,
    )
)  # fmt: skip
"""Widths of a column that people can think in, in nanoseconds."""


def number(value: float) -> str:
    """Return a coordinate as an attribute, without a comma in any language."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def step_for(low_ns: int, high_ns: int) -> int:
    """Return the width (ns) of a column of which ``BUCKETS`` cover the range."""
    wanted = max(1, (high_ns - low_ns) // BUCKETS)
    place = bisect_right(_STEPS, wanted - 1)
    return _STEPS[min(place, len(_STEPS) - 1)]


def edges(low_ns: int, high_ns: int) -> list[int]:
    """Return the round times (ns) between which columns count."""
    step = step_for(low_ns, high_ns)
    first = low_ns // step * step
    last = max(high_ns, first + 1)
    return [first + place * step for place in range((last - first) // step + 2)]


@dataclass(slots=True, frozen=True)
class Column:
    """One column of a histogram over time."""

    x: str
    width: str
    y: str
    height: str
    bad_y: str
    bad_height: str
    count: int
    failed: int
    since_ns: int
    until_ns: int

    @property
    def since(self) -> str:
        """Return its beginning for the search language, µs since the epoch."""
        return str(self.since_ns // 1_000)

    @property
    def until(self) -> str:
        """Return its end in the same way."""
        return str(self.until_ns // 1_000)


def columns(marks: Sequence[int], counts: Sequence[int], failed: Sequence[int]) -> list[Column]:
    """Return the columns between *marks* with their heights."""
    highest = max(counts, default=0) or 1
    width = 100 / max(1, len(counts))
    found = []
    for place, count in enumerate(counts):
        height = max(count / highest * HEIGHT, 1.0) if count else 0.0
        bad = min(max(failed[place] / highest * HEIGHT, 1.0), height) if failed[place] else 0.0
        found.append(
            Column(
                number(place * width + width * 0.06),
                number(width * 0.88),
                number(HEIGHT - height),
                number(height),
                number(HEIGHT - bad),
                number(bad),
                count,
                failed[place],
                marks[place],
                marks[place + 1],
            )
        )
    return found


def count_between(marks: Sequence[int], moments: Iterable[int]) -> list[int]:
    """Return how many of *moments* lie between each two *marks*."""
    counts = [0] * (len(marks) - 1)
    for moment in moments:
        place = bisect_right(marks, moment) - 1
        if 0 <= place < len(counts):
            counts[place] += 1
    return counts


@dataclass(slots=True, frozen=True)
class Point:
    """One trace of a scatter chart."""

    row: TraceSummary
    x: str
    """Percent of the width."""
    y: str
    """Percent of the height."""
    address: str


@dataclass(slots=True)
class Scatter:
    """Durations over time, on a logarithmic scale."""

    points: list[Point] = field(default_factory=list)
    grid: list[tuple[str, str]] = field(default_factory=list)
    """(percent of the height, label) of the horizontal lines."""


MAX_POINTS: Final = 400


def _label(power_of_ten: int) -> str:
    """Return a duration without decimals, as ``10 ms``."""
    return format_ns(power_of_ten).replace(".00", "").replace(".0", "")


def scatter(
    rows: Sequence[TraceSummary],
    low_ns: int,
    high_ns: int,
    address: Callable[[TraceSummary], str],
) -> Scatter:
    """Return *rows* as points; of very many, the slowest and a choice."""
    if not rows:
        return Scatter()
    chosen = list(rows)
    if len(chosen) > MAX_POINTS:
        slowest = sorted(chosen, key=lambda row: -row.duration_ns)[: MAX_POINTS // 4]
        every = len(chosen) / (MAX_POINTS - len(slowest))
        even = [chosen[int(place * every)] for place in range(MAX_POINTS - len(slowest))]
        chosen = list({row.row: row for row in [*even, *slowest]}.values())
    durations = [max(row.duration_ns, 1) for row in chosen]
    bottom = math.floor(math.log10(min(durations)))
    top = max(math.ceil(math.log10(max(durations))), bottom + 1)
    span = max(1, high_ns - low_ns)

    def height(duration: float) -> float:
        return 96 - (math.log10(duration) - bottom) / (top - bottom) * 92

    return Scatter(
        [
            Point(
                row,
                number(min(max((row.started_ns - low_ns) / span * 98 + 1, 0), 100)),
                number(height(max(row.duration_ns, 1))),
                address(row),
            )
            for row in chosen
        ],
        [(number(height(10**power)), _label(10**power)) for power in range(bottom, top + 1)],
    )


@lru_cache(maxsize=8)
def _steps(count: int) -> list[str]:
    """Return *count* coordinates from 0 to 100, which all lines share."""
    step = 100 / max(1, count - 1)
    return [number(place * step) for place in range(count)]


def line(values: Sequence[float]) -> str:
    """Return the points of a line through *values*, 100 wide and 20 high."""
    if not values:
        return ""
    highest = max(values) or 1
    points = [
        f"{x},{number(19 - value / highest * 18)}"
        for x, value in zip(_steps(len(values)), values, strict=True)
    ]
    if len(points) == 1:
        points.append(f"100,{points[0].partition(',')[2]}")
    return " ".join(points)


# --- heat map ------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Cell:
    """A cell of a heat map: durations of one hour and one length."""

    x: str
    y: str
    width: str
    height: str
    heat: int
    """1 to ``HEATS``: how many, on a logarithmic scale."""
    title: str


@dataclass(slots=True)
class HeatMap:
    """Latency over time: columns are hours, rows are durations."""

    cells: list[Cell] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)
    """(percent of the height, duration) beside it."""
    first_hour: int = 0
    """Its left edge, in hours since the epoch."""


HEATS: Final = 6
_ROWS_PER_DECADE: Final = 3


def heat_map(hours: Sequence[tuple[int, str, Histogram]], gamma: float, least: int = 1) -> HeatMap:
    """Return the heat map of hours, each (hour, name, histogram).

    Args:
        hours: Oldest first; the hour counts from the epoch.
        gamma: By which factor the histograms' buckets grow.
        least: Columns that are drawn at least, up to the last hour: so that one hour of the
            chosen day does not look like all of it.
    """
    counted: dict[tuple[int, int], int] = {}
    names: dict[int, str] = {}
    for hour, name, histogram in hours:
        names[hour] = name
        for bucket, count in histogram.buckets.items():
            row = math.floor(bucket * math.log10(gamma) * _ROWS_PER_DECADE)
            counted[hour, row] = counted.get((hour, row), 0) + count
    if not counted:
        return HeatMap()
    last = max(names)
    first = min(*names, last - least + 1)
    low = min(row for _, row in counted)
    high = max(row for _, row in counted)
    hottest = math.log1p(max(counted.values()))
    width, height = 100 / (last - first + 1), 100 / (high - low + 1)
    cells = []
    for (hour, row), count in sorted(counted.items()):
        begin = format_ns(round(10 ** (row / _ROWS_PER_DECADE)))
        end = format_ns(round(10 ** ((row + 1) / _ROWS_PER_DECADE)))
        cells.append(
            Cell(
                number((hour - first) * width),
                number((high - row) * height),
                number(width * 0.96),
                number(height * 0.92),
                max(1, math.ceil(math.log1p(count) / hottest * HEATS)),
                f"{names[hour]}: {count:,} of {begin} to {end}",
            )
        )
    labels = [
        (number((high - row) * height), _label(round(10 ** ((row + 1) / _ROWS_PER_DECADE))))
        for row in range(low, high + 1)
        if (row + 1) % _ROWS_PER_DECADE == 0
    ]
    return HeatMap(cells, labels, first)
