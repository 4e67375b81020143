"""Receiver calls of many traces, to compare, without loading those."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db.models import ExpressionWrapper, F, IntegerField

from tracing.analysis.regression import Sample, samples
from tracing.spans.words import ASYNC_METHODS, TIMED, Outcome
from tracing.store import deadlines
from tracing.store.choice import asked
from tracing.store.generics import all_of
from tracing.store.load import receivers_of
from tracing.store.models import Dispatch, ReceiverCall
from tracing.store.models.traces import METHOD_CODES, OUTCOME_CODES
from tracing.store.queries import readable_at_once
from tracing.store.ranges import conditions_on, merge_ranges
from tracing.store.traces import load_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.spans.summary import TraceSummary

_RAISED: Final = OUTCOME_CODES.index(Outcome.RAISED)
_SKIPPED: Final = OUTCOME_CODES.index(Outcome.SKIPPED)
_TIMED: Final = frozenset(map(OUTCOME_CODES.index, TIMED))
_CONCURRENT: Final = frozenset(map(METHOD_CODES.index, ASYNC_METHODS))


def _number(name: str) -> Any:
    """Return a column of codes as numbers.

    A word for each row costs as much as the row.
    """
    return ExpressionWrapper(F(name), output_field=IntegerField())


@asked
def receiver_samples(many: Iterable[TraceSummary]) -> dict[str, Sample]:
    """Return what ``samples`` makes of *many* traces, in less time.

    Only those with async dispatches are loaded: their receivers share the moments in which they waited.
    """
    found: dict[str, Sample] = {}
    shared: list[TraceSummary] = []
    for some in readable_at_once(many):
        rows = list(
            Dispatch.objects.filter(trace__in=[one.row for one in some])
            .order_by("pk")
            .values_list("pk", "receiver_call_count", "trace_id", _number("method"))
        )
        concurrent = {trace for _, _, trace, method in rows if method in _CONCURRENT}
        shared += [one for one in some if one.row in concurrent]
        _add_calls(
            found, [(key, calls) for key, calls, trace, _ in rows if trace not in concurrent]
        )
    for sample in samples(load_all(shared)).values():
        _add(found, sample)
    return found


def _add_calls(found: dict[str, Sample], dispatches: list[tuple[int, int]]) -> None:
    """Add the calls of *dispatches* (id, calls) to the samples *found*."""
    calls: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for wanted in conditions_on(merge_ranges(dispatches)):
        rows = list(
            ReceiverCall.objects.filter(wanted)
            .order_by()
            .values_list(
                "receiver_id", _number("outcome"), "duration_ns",
                F("duration_ns") - F("nested_ns"), "query_count",
            )
        )  # fmt: skip
        for row in deadlines.minded(rows):
            calls[row[0]].append(row)
    labels = receivers_of(calls, partial(all_of, using=ReceiverCall.objects.db))
    for key, label in labels.items():
        made = [call for call in calls[key] if call[1] != _SKIPPED]
        if made:
            sample = Sample(label.name, label.file, label.line, label.mine, count=len(made))
            sample.error_count = sum(call[1] == _RAISED for call in made)
            sample.total_ns = sum(call[3] for call in made)
            sample.queries = Counter([call[4] for call in made])
            sample.durations.add([call[3] for call in made if call[2] > 0 or call[1] in _TIMED])
            _add(found, sample)


def _add(found: dict[str, Sample], sample: Sample) -> None:
    """Add *sample* to that of its receiver, which may have several labels."""
    if (known := found.setdefault(sample.receiver, sample)) is not sample:
        known.add(sample)
