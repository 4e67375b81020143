"""Hazards: rules that name a bug in a trace, with evidence and remedy.

``diagnose(trace)`` applies the rules to one trace, ``diagnose_across(traces)`` to what only several
traces show together. docs/hazards has a page for each rule, and says how to add one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.hazards.facts import Calls, Facts
from tracing.analysis.hazards.known import known_reason
from tracing.analysis.hazards.rule import SEVERITIES, Rule, finding, rule
from tracing.analysis.hazards.rules.cost import unfiltered, unfiltered_receiver
from tracing.analysis.hazards.rules.repetition import OF_CALLBACKS
from tracing.analysis.hazards.ruleset import (
    BUILT_IN,
    OF_PROCESSES,
    RuleSet,
    active_rules,
    configure,
    current,
)
from tracing.instrumentation.failures import failed
from tracing.spans.records import span_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.hazards.ruleset import Active
    from tracing.spans.records import Hazard, ReceiverLabel, Trace

__all__ = [
    "BUILT_IN",
    "OF_PROCESSES",
    "SEVERITIES",
    "Calls",
    "Facts",
    "Rule",
    "active_rules",
    "as_dict",
    "configure",
    "current",
    "diagnose",
    "diagnose_across",
    "find",
    "find_again",
    "finding",
    "rule",
]


def diagnose(trace: Trace) -> list[Hazard]:
    """Return the hazards of *trace*, worst first, and store them in it.

    What the project marked as known the trace gets apart from the rest.

    Args:
        trace: A finished trace, or one segment of it.
    """
    found = find(trace)
    trace.hazards = [hazard for hazard in found if not hazard.known]
    trace.known_hazards = [hazard for hazard in found if hazard.known]
    trace.hazard_count = len(trace.hazards)
    return trace.hazards


def find(trace: Trace, chosen: RuleSet | None = None) -> list[Hazard]:
    """Return all hazards of *trace*, known ones too; it stays as it is.

    Args:
        trace: A finished trace, or one segment of it.
        chosen: Other rules and options than those of the settings.
    """
    using = chosen if chosen is not None else current()
    facts = Facts(
        trace,
        slow_ns=using.slow_ns,
        repeated=using.repeated,
        queries=using.queries,
        models=using.models,
    )
    found: list[Hazard] = []
    for active in using.rules:
        if getattr(facts, active.rule.wants):
            _apply(active, facts, found)
    if not found:
        return found
    for hazard in found:
        hazard.trace_id, hazard.root_span_id = trace.trace_id, trace.root_span_id
        hazard.known = known_reason(hazard, using.marks, trace.name)
    found.sort(key=_order)
    return found


_FROM_STATEMENTS: Final = frozenset({"n-plus-one"})
"""Rules that compare statements, which the store keeps only where a project asks for them."""
_BY_STATEMENTS: Final = frozenset({"raw-query"})
"""Rules that find too much without statements: they take a savepoint for a query."""


def find_again(trace: Trace) -> list[Hazard]:
    """Return all hazards of a trace that was stored, the worst first.

    They are found anew, as the settings are now. What only the statements showed is taken from what
    was found when the trace was recorded, if they were not kept; those of callbacks never are.
    """
    found = find(trace)
    kept = any(call.statements for each in trace.dispatches for call in each.receiver_calls)
    using = current()
    if not kept:
        found = [each for each in found if each.known or each.hazard not in _BY_STATEMENTS]
    active = {each.rule.id: each for each in using.rules}
    recorded = (_FROM_STATEMENTS | _BY_STATEMENTS) & active.keys()
    seen = {hazard.fingerprint for hazard in found}
    for hazard in (*trace.hazards, *trace.known_hazards):
        if kept and OF_CALLBACKS not in hazard.message:
            continue
        if hazard.hazard in recorded and hazard.fingerprint not in seen:
            seen.add(hazard.fingerprint)
            hazard.severity = ""  # As the settings are now.
            active[hazard.hazard].sign(hazard)
            hazard.known = known_reason(hazard, using.marks, trace.name)
            found.append(hazard)
    return sorted(found, key=_order)


def _apply(active: Active, facts: Facts, found: list[Hazard]) -> None:
    """Add what one rule finds to *found*; if it fails, its findings are lost."""
    try:
        for hazard in active.rule.find(facts, active.options):
            active.sign(hazard)
            found.append(hazard)
    except Exception as error:  # noqa: BLE001 - a rule may be anybody's.
        failed(f"hazard rule {active.rule.id}", error)


def _order(hazard: Hazard) -> tuple[int, str]:
    return SEVERITIES.index(hazard.severity), hazard.hazard


def diagnose_across(traces: Iterable[Trace]) -> list[Hazard]:
    """Return findings that only several traces show together, known ones too.

    A receiver without sender may hear one model in each of many requests.
    """
    using = current()
    by_label: dict[ReceiverLabel, Calls] = {}
    alone: set[ReceiverLabel] = set()
    for trace in traces:
        for calls in Facts(trace, models=1).unfiltered:
            if list(unfiltered(calls, using.models)):
                alone.add(calls.label)
            together = by_label.setdefault(calls.label, Calls(calls.label))
            together.calls += calls.calls
            together.dispatches += calls.dispatches
    together_only = (
        hazard
        for label, calls in by_label.items()
        if label not in alone
        for hazard in unfiltered(calls, using.models)
    )
    found = list(using.judge(unfiltered_receiver.id, together_only))
    for hazard in found:
        hazard.numbers = []  # Numbers mean something within one trace only.
    return found


def as_dict(hazard: Hazard) -> dict[str, Any]:
    """Return *hazard* as the JSON object of the command and the log."""
    return {
        "hazard": hazard.hazard,
        "trace_id": hazard.trace_id,
        "root_span_id": hazard.root_span_id or None,
        "severity": hazard.severity,
        "message": hazard.message,
        "signal": hazard.signal,
        "sender": hazard.sender,
        "receiver": hazard.receiver,
        "file": hazard.file,
        "line": hazard.line,
        "span_ids": (
            [span_id(hazard.root_span_id, number) for number in hazard.numbers]
            if hazard.trace_id
            else []
        ),
        "evidence": hazard.evidence,
        "remedy": hazard.remedy,
        "known": hazard.known,
    }
