"""Two periods or releases compared, receiver by receiver.

A difference is only reported when a test says that chance alone does not explain it:

- time: the Mann-Whitney U test on the durations of the calls, two-sided, normal approximation with
  correction for ties and for continuity; durations are compared in buckets 4 % wide;
- queries: the same test on the number of queries of each call;
- errors: Fisher's exact test on failed and successful calls, two-sided.

The p-values of all tests of a comparison are corrected together by Holm's method. Because many
calls make even a nanosecond significant, a receiver is called slower only if its median also grew
by a ratio and an amount that matter.

Sources: Mann and Whitney, Annals of Mathematical Statistics 18 (1947); Holm, Scandinavian Journal
of Statistics 6 (1979); the tie correction is that of Lehmann, Nonparametrics (1975), chapter 1.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tracing.analysis.critical_path import self_times
from tracing.analysis.histogram import Histogram
from tracing.spans.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracing.spans.records import Trace

ALPHA: Final = 0.01
"""Probability, over a whole comparison, of reporting a difference that is none."""
RATIO: Final = 1.2
"""Times by which a median must have grown to be worth a word."""
FLOOR_NS: Final = 20_000
"""And by how many nanoseconds."""
FEWEST_CALLS: Final = 8
"""With fewer calls on a side no test can tell anything."""


@dataclass(slots=True)
class Sample:
    """The calls of one receiver on one side of a comparison."""

    receiver: str
    file: str = ""
    line: int = 0
    mine: bool = False
    """It is the project's own."""
    count: int = 0
    error_count: int = 0
    total_ns: int = 0
    durations: Histogram = field(default_factory=Histogram)
    queries: Counter[int] = field(default_factory=Counter)
    """Calls by how many queries they ran."""

    def add(self, other: Sample) -> None:
        """Add the calls of *other*."""
        self.mine |= other.mine
        self.count += other.count
        self.error_count += other.error_count
        self.total_ns += other.total_ns
        self.queries += other.queries
        self.durations = Histogram(dict(self._buckets + other._buckets))

    @property
    def _buckets(self) -> Counter[int]:
        return Counter(self.durations.buckets)

    @property
    def median_ns(self) -> int:
        """Return the median duration of a call, within 2 %."""
        return self.durations.quantile(0.5) or 0

    @property
    def p95_ns(self) -> int:
        """Return the duration that 95 % of the calls stay under, within 2 %."""
        return self.durations.quantile(0.95) or 0

    @property
    def query_count(self) -> int:
        """Return the queries of all calls."""
        return sum(queries * calls for queries, calls in self.queries.items())

    @property
    def queries_per_call(self) -> float:
        """Return the mean number of queries of a call."""
        return self.query_count / self.count if self.count else 0.0

    @property
    def error_share(self) -> float:
        """Return the share of the calls that raised, 0 to 1."""
        return self.error_count / self.count if self.count else 0.0


@dataclass(slots=True)
class Regression:
    """One receiver on both sides."""

    receiver: str
    before: Sample | None
    after: Sample | None
    verdicts: list[str] = field(default_factory=list)
    """appeared, vanished, slower, faster, more queries, fewer queries, more errors, fewer errors,
    too few calls; empty if nothing changed that chance does not explain."""
    p_time: float | None = None
    """Corrected p-values; None where nothing was tested."""
    p_queries: float | None = None
    p_errors: float | None = None

    @property
    def mine(self) -> bool:
        """Return whether the receiver is the project's own, on either side."""
        return any(sample.mine for sample in (self.before, self.after) if sample is not None)

    @property
    def is_changed(self) -> bool:
        """Return whether anything changed, or it was called on one side only."""
        return bool({*self.verdicts} - {"too few calls"})

    @property
    def is_worse(self) -> bool:
        """Return whether it became slower, or has more queries or errors."""
        return bool({"slower", "more queries", "more errors"} & set(self.verdicts))


def samples(traces: Iterable[Trace]) -> dict[str, Sample]:
    """Return the calls of each receiver in *traces* that were not skipped.

    The time of a call is its own: without what the receivers of nested dispatches took. In the sum, async
    receivers that waited at the same time share that time.
    """
    found: dict[str, Sample] = {}
    times: dict[str, list[int]] = {}
    for trace in traces:
        own = self_times(trace)
        for dispatch in trace.dispatches:
            for call in dispatch.receiver_calls:
                if not call.was_called:
                    continue
                label = call.receiver
                sample = found.get(label.name)
                if sample is None:
                    sample = found[label.name] = Sample(
                        label.name, label.file, label.line, label.mine
                    )
                    times[label.name] = []
                sample.count += 1
                sample.error_count += call.outcome is Outcome.RAISED
                sample.total_ns += own[call.number]
                sample.queries[call.query_count] += 1
                if call.is_timed:
                    times[label.name].append(call.self_ns)
    for name, sample in found.items():
        sample.durations.add(times[name])
    return found


def compare_samples(
    before: Mapping[str, Sample],
    after: Mapping[str, Sample],
    *,
    alpha: float = ALPHA,
    ratio: float = RATIO,
) -> list[Regression]:
    """Return every receiver of either side, the worst first.

    Args:
        before: Calls by receiver name, earlier.
        after: The same, later.
        alpha: Significance level of the whole comparison.
        ratio: By how many times a median must have grown or shrunk.
    """
    found = [
        Regression(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
    ]
    tests: list[tuple[float, Regression, str]] = []
    for regression in found:
        old, new = regression.before, regression.after
        if old is None or new is None:
            regression.verdicts.append("appeared" if old is None else "vanished")
        elif min(old.count, new.count) < FEWEST_CALLS:
            regression.verdicts.append("too few calls")
        else:
            tests += [
                (mann_whitney(old.durations.buckets, new.durations.buckets), regression, "p_time"),
                (mann_whitney(old.queries, new.queries), regression, "p_queries"),
                (_errors(old, new), regression, "p_errors"),
            ]
    for p, (_, regression, name) in zip(holm([p for p, _, _ in tests]), tests, strict=True):
        setattr(regression, name, p)
    for regression in found:
        _judge(regression, alpha, ratio)
    found.sort(key=_badness)
    return found


def _judge(regression: Regression, alpha: float, ratio: float) -> None:
    old, new = regression.before, regression.after
    if old is None or new is None or regression.p_time is None:
        return
    grown = new.median_ns - old.median_ns
    if regression.p_time < alpha and abs(grown) >= FLOOR_NS:
        if grown > 0 and new.median_ns >= old.median_ns * ratio:
            regression.verdicts.append("slower")
        elif grown < 0 and old.median_ns >= new.median_ns * ratio:
            regression.verdicts.append("faster")
    for p, difference, more, fewer in (
        (
            regression.p_queries,
            new.queries_per_call - old.queries_per_call,
            "more queries",
            "fewer queries",
        ),
        (regression.p_errors, new.error_share - old.error_share, "more errors", "fewer errors"),
    ):
        if p is not None and p < alpha and difference:
            regression.verdicts.append(more if difference > 0 else fewer)


def _badness(regression: Regression) -> tuple[int, int, str]:
    old, new = regression.before, regression.after
    cost = (new.total_ns if new else 0) - (old.total_ns if old else 0)
    if regression.is_worse:
        return 0, -cost, regression.receiver
    return 1 if regression.is_changed else 2, -abs(cost), regression.receiver


# --- tests ---------------------------------------------------------------------------------------


def mann_whitney(first: Mapping[int, int], second: Mapping[int, int]) -> float:
    """Return the two-sided p-value of the Mann-Whitney U test for counts.

    Args:
        first: How often each value occurs on one side; only the order of the values matters.
        second: The same on the other side.

    Returns:
        The probability of a difference at least as large by chance; 1.0 if either side is empty
        or all values are equal.
    """
    sizes = sum(first.values()), sum(second.values())
    if not all(sizes):
        return 1.0
    total = sizes[0] + sizes[1]
    below = 0.0
    u = 0.0
    ties = 0.0
    for value in sorted({*first, *second}):
        mine, other = first.get(value, 0), second.get(value, 0)
        # Every call of the first side beats those of the second that took less; a tie is a half.
        u += mine * (below + other / 2)
        below += other
        tied = mine + other
        ties += tied**3 - tied
    variance = sizes[0] * sizes[1] / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    distance = abs(u - sizes[0] * sizes[1] / 2)
    z = max(0.0, distance - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def _errors(old: Sample, new: Sample) -> float:
    return fisher(
        old.error_count,
        old.count - old.error_count,
        new.error_count,
        new.count - new.error_count,
    )


def fisher(a: int, b: int, c: int, d: int) -> float:
    """Return the two-sided p-value of Fisher's exact test for a table.

    The probabilities of all tables with the same margins that are no likelier than this one.
    """
    first, second, column = a + b, c + d, a + c
    if not first or not second or not column or column == first + second:
        return 1.0
    total = _log_choose(first + second, column)

    def log_probability(x: int) -> float:
        return _log_choose(first, x) + _log_choose(second, column - x) - total

    # What differs by rounding alone is equally likely.
    limit = log_probability(a) + 1e-7
    chances = (log_probability(x) for x in range(max(0, column - second), min(first, column) + 1))
    return min(1.0, sum(math.exp(chance) for chance in chances if chance <= limit))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def holm(p_values: list[float]) -> list[float]:
    """Return *p_values* corrected by Holm's method, in their order."""
    corrected = [1.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, p_values[at] * (len(p_values) - rank)))
        corrected[at] = highest
    return corrected
