"""The interface of a store, in searches, records and plain values.

A module of ``tracing.store`` is Django's answer, its namesake in ``tracing.store.clickhouse`` that of
ClickHouse; the functions of the former say what each does. ``tracing.store.choice`` chooses. Notes,
pins, saved searches, the state of the recorder, sums by path and links of tasks are Django's alone.
"""

# ruff: noqa: D102 - each is described where Django answers it.

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from tracing.analysis.histogram import Histogram, Statistics
    from tracing.analysis.regression import Sample
    from tracing.search.completion import Completion, WordAtCursor
    from tracing.search.query import Query, Term
    from tracing.spans import records
    from tracing.spans.summary import TraceSummary
    from tracing.store import (
        finding,
        hazards,
        nesting,
        receiver_samples,
        redirects,
        statistics,
        suggestions,
        traces,
    )
    from tracing.store.nesting import SentOn
    from tracing.store.pages import TraceSearch


class Finding(Protocol):
    """Pages of traces that fit a query."""

    def find(
        self,
        query: Query,
        *,
        before: str = ...,
        after: str = ...,
        size: int = ...,
        seconds: float | None = ...,
        wanted: TraceSearch = ...,
        order: str = ...,
    ) -> finding.Found: ...

    def sample(self, query: Query, size: int, seconds: float, *, mine: bool) -> finding.Found: ...

    def fitting_newer(
        self, query: Query, row_id: int, size: int = ..., *, mine: bool = ...
    ) -> tuple[list[TraceSummary], int]: ...


class Suggestions(Protocol):
    """Names for a search."""

    def unknown_names(self, query: Query) -> list[tuple[Term, str]]: ...

    def unknown_words(self, query: Query) -> list[tuple[str, str]]: ...

    def complete(self, place: WordAtCursor, size: int = ...) -> list[Completion]: ...


class Traces(Protocol):
    """Traces by name, the newest, whole ones, and their numbers."""

    def called(self, name: str, most: int = ...) -> list[TraceSummary]: ...

    def beginning_with(self, digits: str, most: int = ...) -> list[TraceSummary]: ...

    def sharing_id(self, one: TraceSummary, most: int) -> list[TraceSummary]: ...

    def before(self, one: TraceSummary) -> TraceSummary | None: ...

    def is_empty(self) -> bool: ...

    def last_row(self) -> int: ...

    def newest(
        self,
        most: int,
        *,
        skip: int = ...,
        failed: bool = ...,
        method: str = ...,
        since_ns: int | None = ...,
        until_ns: int | None = ...,
        kind: str = ...,
        name: str = ...,
        release: str | None = ...,
    ) -> list[TraceSummary]: ...

    def started_within(
        self, since_ns: int | None, until_ns: int | None, most: int, *, seconds: float
    ) -> list[TraceSummary]: ...

    def follow(
        self,
        *,
        failed: bool = ...,
        after: int | None = ...,
        poll_seconds: float = ...,
        keep_on: Callable[[], bool] = ...,
        wait: Callable[[float], object] = ...,
    ) -> Iterator[TraceSummary]: ...

    def load(self, one: TraceSummary) -> records.Trace: ...

    def load_all(self, many: Iterable[TraceSummary]) -> Iterator[records.Trace]: ...

    def request_count(self, method: str) -> int: ...

    def count_named(self, name: str) -> int: ...

    def counts(self) -> traces.Counts: ...

    def oldest_ns(self) -> int | None: ...

    def failed_count(self) -> int: ...

    def dispatch_count(self) -> int: ...

    def started_between(self, marks: Sequence[int]) -> list[int]: ...

    def failed_starts(self) -> list[int]: ...

    def overhead(self, most: int) -> traces.Overhead: ...

    def is_release(self, name: str) -> bool: ...

    def releases(self, *, recent: bool = ...) -> list[str]: ...

    def of_release(self, name: str, most: int) -> list[TraceSummary]: ...

    def annotate(self, one: TraceSummary, *, pinned: bool, note: str) -> None: ...


class StatisticsByHour(Protocol):
    """The statistics by hour."""

    def by(
        self,
        subject: str,
        *,
        since_ns: int | None = ...,
        until_ns: int | None = ...,
        order_by: str = ...,
        limit: int = ...,
        everything: bool = ...,
    ) -> statistics.Shown: ...

    def totals(self, subject: str, since_ns: int | None = ...) -> dict[str, int]: ...

    def counts_by_hour(
        self, subject: str, rows: Sequence[Statistics], most_hours: int, since_ns: int | None = ...
    ) -> dict[tuple[str, ...], dict[int, int]]: ...

    def durations_by_hour(
        self,
        subject: str,
        most_hours: int,
        *,
        name: str = ...,
        since_ns: int | None = ...,
        everything: bool = ...,
    ) -> tuple[list[tuple[int, Histogram]], str]: ...

    def busiest_calls(
        self, limit: int, since_ns: int | None = ...
    ) -> tuple[list[Statistics], bool]: ...

    def calls_of_receivers(self) -> dict[str, int]: ...

    def calls_of_pairs(
        self,
        pairs: Collection[tuple[str, str]],
        since_ns: int | None = ...,
        until_ns: int | None = ...,
    ) -> dict[tuple[str, str, str], int]: ...


class Nesting(Protocol):
    """Dispatches sent by receivers."""

    def sent_on(self) -> dict[SentOn, int]: ...


class Hazards(Protocol):
    """Hazards, each once."""

    def find(
        self, most: int, *, known: bool, rule: str = ..., severity: str = ...
    ) -> hazards.Found: ...

    def of_fingerprint(self, fingerprint: str) -> hazards.StoredHazard | None: ...

    def accept(self, hazard: hazards.StoredHazard, *, known: bool, reason: str = ...) -> None: ...

    def showing(self, hazard: hazards.StoredHazard, most: int) -> list[TraceSummary]: ...


class Redirects(Protocol):
    """Requests that a redirect joins."""

    def redirected_from(self, row: TraceSummary) -> TraceSummary | None: ...

    def redirected_to(self, row: TraceSummary) -> TraceSummary | None: ...


class Samples(Protocol):
    """Receiver calls to compare."""

    def receiver_samples(self, many: Iterable[TraceSummary]) -> dict[str, Sample]: ...


if TYPE_CHECKING:
    from tracing.store.clickhouse import finding as clickhouse_finding
    from tracing.store.clickhouse import hazards as clickhouse_hazards
    from tracing.store.clickhouse import nesting as clickhouse_nesting
    from tracing.store.clickhouse import receiver_samples as clickhouse_samples
    from tracing.store.clickhouse import redirects as clickhouse_redirects
    from tracing.store.clickhouse import statistics as clickhouse_statistics
    from tracing.store.clickhouse import suggestions as clickhouse_suggestions
    from tracing.store.clickhouse import traces as clickhouse_traces

    # Both keep it, or the type checker says where not.
    _finding: tuple[Finding, Finding] = (finding, clickhouse_finding)
    _suggestions: tuple[Suggestions, Suggestions] = (suggestions, clickhouse_suggestions)
    _traces: tuple[Traces, Traces] = (traces, clickhouse_traces)
    _statistics: tuple[StatisticsByHour, StatisticsByHour] = (statistics, clickhouse_statistics)
    _nesting: tuple[Nesting, Nesting] = (nesting, clickhouse_nesting)
    _hazards: tuple[Hazards, Hazards] = (hazards, clickhouse_hazards)
    _redirects: tuple[Redirects, Redirects] = (redirects, clickhouse_redirects)
    _samples: tuple[Samples, Samples] = (receiver_samples, clickhouse_samples)
