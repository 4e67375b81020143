"""Budgets of a project: what it says a trace may cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.hazards.rule import Options, finding, rule, who
from tracing.spans.records import Kind, ReceiverLabel
from tracing.units import format_count

if TYPE_CHECKING:
    from tracing.analysis.hazards.facts import Facts
    from tracing.spans.records import Hazard, Trace

_MS: Final = 1_000_000

MEASURES: Final[Mapping[str, tuple[str, Callable[[Trace], float]]]] = {
    "dispatches": ("dispatches", lambda trace: trace.dispatch_count),
    "receiver_calls": ("receiver calls", lambda trace: trace.receiver_call_count),
    "receiver_ms": ("ms in receivers", lambda trace: trace.signal_ns / _MS),
    "queries": ("queries", lambda trace: trace.query_count),
    "receiver_queries": (
        "queries in receivers",
        lambda trace: (
            (trace.diagnosis_context.receiver_queries if trace.diagnosis_context is not None else 0)
            + sum(
                call.query_count
                for dispatch in trace.dispatches
                for call in dispatch.receiver_calls
            )
        ),
    ),
    "duration_ms": ("ms in all", lambda trace: trace.duration_ns / _MS),
}
"""What a budget can limit: how it is read and how it is taken from a trace."""


def parse_budgets(entries: Iterable[Any]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the valid entries of ``BUDGETS``, and the problems of the others."""
    budgets, problems = [], []
    for entry in entries:
        wrong = _wrong_with(entry)
        if wrong:
            problems.append(f"BUDGETS: {entry!r} {wrong}")
        else:
            budgets.append(entry)
    return budgets, problems


def _wrong_with(entry: object) -> str:
    """Return what keeps *entry* from being a budget; empty if it is one."""
    if not isinstance(entry, Mapping):
        return "is no dictionary"
    known = ("kind", "name", *MEASURES)
    for key in entry:
        if key not in known:
            near = get_close_matches(str(key).lower(), known, n=1)
            what = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            return f"has an unknown key {key!r} ({what})"
    if entry.get("kind", Kind.REQUEST) not in tuple(Kind):
        return f"is for the kind {entry['kind']!r}; there are {', '.join(Kind)}"
    if not isinstance(entry.get("name", ""), str):
        return f"has the name {entry['name']!r}, which is no string"
    limits = {key: entry[key] for key in MEASURES if key in entry}
    for key, limit in limits.items():
        if not isinstance(limit, int | float) or isinstance(limit, bool) or limit < 0:
            return f"limits {key} to {limit!r}, which is no number from 0 up"
    return "" if limits else f"limits nothing: it needs one of {', '.join(MEASURES)}"


def applies(budget: Mapping[str, Any], trace: Trace) -> bool:
    """Return whether *budget* is for *trace*, by kind and name or path."""
    if budget.get("kind", trace.kind) != trace.kind:
        return False
    pattern = budget.get("name", "*")
    return fnmatchcase(trace.name, pattern) or bool(
        trace.http_path and fnmatchcase(trace.http_path, pattern)
    )


@rule(
    "budget-exceeded",
    severity="warning",
    summary="A budget that the project set for a route, command or test is exceeded.",
    why="It was set because more than that is known to hurt here.",
    remedy="Look at what grew, in the trace's totals; then spend less or raise the budget.",
    budgets=(),
)
def budget_exceeded(facts: Facts, options: Options) -> Iterator[Hazard]:
    """Yield one finding per limit that the trace exceeds."""
    trace = facts.trace
    if not options["budgets"] or not trace.final:
        return
    for budget in options["budgets"]:
        if not applies(budget, trace):
            continue
        for measure, (unit, taken) in MEASURES.items():
            limit = budget.get(measure)
            used = taken(trace) if limit is not None else 0
            if limit is not None and used > limit:
                spent, allowed = _amounts(used, limit)
                hazard = finding(
                    f"{trace.name} used {spent} {unit}, more than its budget of "
                    f"{allowed}{_most(trace, measure)}.",
                    spans=trace.roots,
                    evidence=[f"budget: {measure} {limit}", f"used: {used:g}"],
                )
                yield hazard


def _amounts(used: float, limit: float) -> tuple[str, str]:
    """Return used and allowed with the decimals that tell them apart."""
    if isinstance(used, int):
        return format_count(used), format_count(limit)
    for places in range(3):
        texts = f"{used:,.{places}f}", f"{limit:,.{places}f}"
        if texts[0] != texts[1] and round(limit, places) == limit:
            return texts
    return f"{used:,.3f}", f"{limit:,.3f}"


def _most(trace: Trace, measure: str) -> str:
    """Return the receiver that had more than half of the use, or nothing."""
    by_identity: defaultdict[int, float] = defaultdict(float)
    labels: dict[int, ReceiverLabel] = {}
    for dispatch in trace.dispatches:
        for call in dispatch.receiver_calls:
            taken = call.query_count if "queries" in measure else call.self_ns
            labels[id(call.receiver)] = call.receiver
            by_identity[id(call.receiver)] += (
                1 if "_ms" not in measure and "queries" not in measure else taken
            )
    takers: defaultdict[ReceiverLabel, float] = defaultdict(float)
    for identity, label in labels.items():
        takers[label] += by_identity[identity]
    if not takers:
        return ""
    label = max(takers, key=lambda receiver: takers[receiver])
    return f"; most of it by {who(label)}" if takers[label] * 2 > sum(takers.values()) else ""
