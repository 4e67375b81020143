"""The hazards of all stored traces and of the processes, each once.

What is connected differently in different processes is found anew whenever it is asked for: of it the store
keeps only which findings a person has accepted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q
from msgspec import Struct
from msgspec.structs import asdict

from tracing.analysis.hazards import OF_PROCESSES, current
from tracing.analysis.hazards.known import known_reason
from tracing.analysis.hazards.processes import diagnose_processes
from tracing.spans.hazard import Hazard
from tracing.store import models
from tracing.store.choice import asked
from tracing.store.processes import compared
from tracing.store.traces import summaries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.spans.summary import TraceSummary

MOST_JUDGED: Final = 5_000
"""Of so many hazards, the newest, it is asked whether the project accepts them."""
_JUDGED: Final = ("hazard", "severity", "message", "signal", "sender", "receiver", "file", "line")
_OF_PROCESSES: Final = tuple(rule.id for rule in OF_PROCESSES)


class StoredHazard(Struct, frozen=True):
    """A hazard, as it was seen last, and how often it was."""

    fingerprint: str
    hazard: str
    """Id of the rule."""
    severity: str
    signal: str
    sender: str
    receiver: str
    file: str
    line: int
    message: str
    remedy: str
    evidence: list[str]
    count: int
    first_seen_ns: int
    last_seen_ns: int
    known: bool
    """Accepted by a person, or by the project's settings or sources."""
    reason: str
    is_by_project: bool = False
    """The settings or sources accept it."""


def hazard_document(hazard: StoredHazard) -> dict[str, Any]:
    """Return *hazard* as JSON."""
    document = asdict(hazard)
    del document["is_by_project"]
    return document


class Found(Struct, frozen=True):
    """The newest hazards of one kind, and the numbers of both."""

    hazards: list[StoredHazard]
    known_count: int
    open_count: int


@asked
def find(most: int, *, known: bool, rule: str = "", severity: str = "") -> Found:
    """Return the hazards seen last, *known* or open.

    As settings and sources are now: what was found before it was marked counts as known, as it does
    for the command.

    Args:
        most: How many.
        known: Those that a person or the project accepts.
        rule: Only of this rule.
        severity: Only of this severity.
    """
    rows = models.Hazard.objects.exclude(hazard__in=_OF_PROCESSES)
    accepted = _accepted(rows.filter(known=False)[:MOST_JUDGED])
    is_known = Q(known=True) | Q(pk__in=list(accepted))
    chosen = rows.filter(is_known if known else ~is_known)
    if rule:
        chosen = chosen.filter(hazard=rule.replace("\0", ""))
    if severity:
        chosen = chosen.filter(severity=severity)
    others = of_processes()
    known_count = sum(each.known for each in others)
    found = [_stored(row, accepted.get(row.pk)) for row in chosen.order_by("-last_seen_ns")[:most]]
    found += [
        each
        for each in others
        if each.known == known and rule in {"", each.hazard} and severity in {"", each.severity}
    ]
    found.sort(key=lambda hazard: -hazard.last_seen_ns)
    return Found(
        found[:most],
        rows.filter(is_known).count() + known_count,
        rows.exclude(is_known).count() + len(others) - known_count,
    )


@asked
def of_fingerprint(fingerprint: str) -> StoredHazard | None:
    """Return the hazard of that fingerprint."""
    rows = models.Hazard.objects.filter(fingerprint=fingerprint.lower())
    row = rows.exclude(hazard__in=_OF_PROCESSES).first()
    if row is None:
        wanted = fingerprint.lower()
        return next((each for each in of_processes() if each.fingerprint == wanted), None)
    return _stored(row, _accepted(rows.filter(known=False)).get(row.pk))


@asked
def accept(hazard: StoredHazard, *, known: bool, reason: str = "") -> None:
    """Mark *hazard* as *known*, or take the mark away."""
    accept_stored(hazard, known=known, reason=reason, is_kept=hazard.hazard in _OF_PROCESSES)


def accept_stored(hazard: StoredHazard, *, known: bool, reason: str, is_kept: bool) -> None:
    """Mark *hazard* in Django's database, in a new row if it *is_kept*."""
    rows = models.Hazard.objects.filter(fingerprint=hazard.fingerprint)
    if not rows.update(known=known, reason=reason) and is_kept:
        models.Hazard.objects.create(
            fingerprint=hazard.fingerprint,
            hazard=hazard.hazard,
            severity=hazard.severity,
            message=hazard.message,
            first_seen_ns=hazard.first_seen_ns,
            last_seen_ns=hazard.last_seen_ns,
            known=known,
            reason=reason,
        )


def of_processes() -> list[StoredHazard]:
    """Return the hazards of processes, with what people said of them."""
    kinds, found = compared()
    if not any(each.is_hazard for each in found):
        return []
    seen_ns = max(kind.newest.last_seen_ns for kind in kinds)
    marks = {
        row.fingerprint: row
        for row in models.Hazard.objects.filter(hazard__in=_OF_PROCESSES, known=True)
    }
    by_key = {(each.signal, each.sender, each.receiver.name): each for each in found}
    hazards = []
    for hazard in diagnose_processes(found):
        difference = by_key[hazard.signal, hazard.sender, hazard.receiver]
        mark = marks.get(hazard.fingerprint)
        values = {name: getattr(hazard, name) for name in (*_JUDGED, "remedy", "evidence")}
        hazards.append(
            StoredHazard(
                **values,
                fingerprint=hazard.fingerprint,
                count=len(difference.missing),
                first_seen_ns=difference.since.since_ns,
                last_seen_ns=seen_ns,
                known=bool(hazard.known) or mark is not None,
                reason=hazard.known or (mark.reason if mark is not None else ""),
                is_by_project=bool(hazard.known),
            )
        )
    return hazards


@asked
def showing(hazard: StoredHazard, most: int) -> list[TraceSummary]:
    """Return the traces of the *most* newest occurrences of *hazard*."""
    occurrences = (
        models.HazardOccurrence.objects.filter(hazard__fingerprint=hazard.fingerprint)
        .select_related("trace__label")
        .order_by("-pk")[:most]
    )
    # The trace may have been pruned: there is no constraint that would have kept it.
    rows: list[models.Trace | None] = [each.trace for each in occurrences]
    traces = {row.pk: row for row in rows if row is not None}
    return summaries(traces.values())


def _accepted(rows: Any) -> dict[int, str]:
    """Return why the project accepts which of *rows*, by primary key."""
    marks = current().marks
    found = {}
    for pk, name, *values in rows.values_list("pk", "trace__label__name", *_JUDGED):
        hazard = Hazard(**dict(zip(_JUDGED, values, strict=True)))
        if reason := known_reason(hazard, marks, name or ""):
            found[pk] = reason
    return found


def _stored(row: models.Hazard, accepted: str | None) -> StoredHazard:
    values = {name: getattr(row, name) for name in StoredHazard.__struct_fields__[:-1]}
    values["evidence"] = list(_lines(row.evidence))
    if accepted:
        values |= {"known": True, "reason": accepted, "is_by_project": True}
    return StoredHazard(**values)


def _lines(text: str) -> Iterable[str]:
    try:
        return map(str, json.loads(text or "[]"))
    except ValueError:
        return ()
