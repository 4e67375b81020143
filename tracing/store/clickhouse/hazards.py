"""The hazards of all stored traces, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tracing.analysis.hazards import OF_PROCESSES, current
from tracing.analysis.hazards.known import known_reason
from tracing.store import models
from tracing.store.clickhouse.asking import Binder, rows, table
from tracing.store.clickhouse.spans import hazards_of
from tracing.store.clickhouse.traces import listed
from tracing.store.hazards import MOST_JUDGED, Found, StoredHazard, accept_stored, of_processes

if TYPE_CHECKING:
    from tracing.spans.summary import TraceSummary

_OF_PROCESSES: Final = {rule.id for rule in OF_PROCESSES}


class _Row(msgspec.Struct, array_like=True, gc=False):
    fingerprint: str
    count: int
    first_ns: int
    last_ns: int
    finding: str
    trace_name: str


def _stored(bind: Binder, condition: str = "1") -> list[StoredHazard]:
    """Return the hazards seen last, each once."""
    sql = (
        "SELECT Fingerprint, sum(Traces), toUnixTimestamp64Nano(min(First)), "  # noqa: S608 - values are bound.
        "toUnixTimestamp64Nano(max(Last)) AS last, argMaxMerge(Finding), argMaxMerge(Name) "
        f"FROM {table('_hazards')} WHERE {condition} GROUP BY Fingerprint "
        f"ORDER BY last DESC LIMIT {MOST_JUDGED}"
    )
    found = rows(_Row, sql, bind)
    said = models.Hazard.objects.filter(
        known=True, fingerprint__in=[row.fingerprint for row in found]
    )
    reasons = dict(said.values_list("fingerprint", "reason"))
    marks = current().marks
    hazards = []
    for row in found:
        for hazard in hazards_of([row.finding]):
            by_project = known_reason(hazard, marks, row.trace_name) or ""
            hazards.append(
                StoredHazard(
                    row.fingerprint, hazard.hazard, hazard.severity, hazard.signal, hazard.sender,
                    hazard.receiver, hazard.file, hazard.line, hazard.message, hazard.remedy,
                    hazard.evidence, row.count, row.first_ns, row.last_ns,
                    known=bool(by_project) or row.fingerprint in reasons,
                    reason=by_project or reasons.get(row.fingerprint, ""),
                    is_by_project=bool(by_project),
                )
            )  # fmt: skip
    return hazards


def find(most: int, *, known: bool, rule: str = "", severity: str = "") -> Found:
    """Return the hazards seen last, *known* or open."""
    every = [*_stored(Binder()), *of_processes()]
    every.sort(key=lambda hazard: -hazard.last_seen_ns)
    chosen = [
        each
        for each in every
        if each.known == known and rule in {"", each.hazard} and severity in {"", each.severity}
    ]
    known_count = sum(each.known for each in every)
    return Found(chosen[:most], known_count, len(every) - known_count)


def of_fingerprint(fingerprint: str) -> StoredHazard | None:
    """Return the hazard of that fingerprint."""
    bind = Binder()
    wanted = bind(fingerprint.lower())
    found = _stored(bind, f"Fingerprint = {wanted}")
    others = (each for each in of_processes() if each.fingerprint == fingerprint.lower())
    return found[0] if found else next(others, None)


def accept(hazard: StoredHazard, *, known: bool, reason: str = "") -> None:
    """Mark *hazard* as *known*, or take the mark away."""
    accept_stored(hazard, known=known, reason=reason, is_kept=True)


def showing(hazard: StoredHazard, most: int) -> list[TraceSummary]:
    """Return the newest traces that have *hazard*."""
    bind = Binder()
    return listed(bind, [f"has(Fingerprints, {bind(hazard.fingerprint)})"], most)
