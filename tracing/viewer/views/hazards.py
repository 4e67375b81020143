"""Hazards: what the rules found, grouped, with evidence and remedy; and marking them as known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db.models import Q
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tracing.analysis.hazards import BUILT_IN, active_rules, current
from tracing.analysis.hazards.known import known_reason
from tracing.spans import records
from tracing.store.models import Hazard, HazardSighting
from tracing.viewer.access import Permission
from tracing.viewer.forms import ReasonForm
from tracing.viewer.views.base import Page

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

MOST: Final = 300
MOST_JUDGED: Final = 5_000
"""Of so many hazards, the newest, it is asked whether the project accepts them."""
_JUDGED: Final = ("hazard", "severity", "message", "signal", "sender", "receiver", "file", "line")
SEVERITIES: Final = ("error", "warning", "info")


def _rules() -> dict[str, Any]:
    """Return the rules by id: those in force, and the built-in ones that are switched off."""
    rules = {rule.id: rule for rule in BUILT_IN}
    for active in active_rules():
        rule = getattr(active, "rule", active)
        rules[rule.id] = rule
    return rules


def _accepted(rows: QuerySet[Hazard]) -> dict[int, str]:
    """Return why the project's settings and sources accept which of *rows*, by primary key.

    As they are now: what was found before it was marked counts as known, as it does for the command.
    """
    marks = current().marks
    found = {}
    for pk, name, *values in rows.values_list("pk", "trace__label__name", *_JUDGED):
        hazard = records.Hazard(**dict(zip(_JUDGED, values, strict=True)))
        if reason := known_reason(hazard, marks, name or ""):
            found[pk] = reason
    return found


def hazard_document(hazard: Hazard) -> dict[str, Any]:
    """Return a hazard as JSON."""
    return {
        "fingerprint": hazard.fingerprint,
        "hazard": hazard.hazard,
        "severity": hazard.severity,
        "signal": hazard.signal,
        "sender": hazard.sender,
        "receiver": hazard.receiver,
        "file": hazard.file,
        "line": hazard.line,
        "message": hazard.message,
        "remedy": hazard.remedy,
        "evidence": _lines(hazard),
        "count": hazard.count,
        "first_seen_ns": hazard.first_seen_ns,
        "last_seen_ns": hazard.last_seen_ns,
        "known": hazard.known,
        "reason": hazard.reason,
    }


def _lines(hazard: Hazard) -> list[str]:
    try:
        return [str(line) for line in json.loads(hazard.evidence or "[]")]
    except ValueError:
        return []


class HazardList(Page):
    """The hazards, by rule."""

    template_name = "tracing/hazards.html"
    section = "hazards"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the hazards: open ones, or with ``?known=yes`` those that are accepted."""
        rule, severity = request.GET.get("rule", ""), request.GET.get("severity", "")
        shows_known = request.GET.get("known") == "yes"
        accepted = _accepted(Hazard.objects.filter(known=False)[:MOST_JUDGED])
        known = Q(known=True) | Q(pk__in=list(accepted))
        hazards = Hazard.objects.filter(known if shows_known else ~known)
        if rule:
            hazards = hazards.filter(hazard=rule.replace("\0", ""))
        if severity in SEVERITIES:
            hazards = hazards.filter(severity=severity)
        found = list(hazards.order_by("-last_seen_ns")[:MOST])
        for hazard in found:
            if hazard.pk in accepted:
                hazard.known, hazard.reason = True, accepted[hazard.pk]
        if self.wants_json:
            return self.json({"hazards": [hazard_document(hazard) for hazard in found]})
        rules = _rules()
        groups: dict[str, list[Hazard]] = {}
        for hazard in found:
            groups.setdefault(hazard.hazard, []).append(hazard)
        ranked = sorted(
            groups.items(),
            key=lambda group: (
                min(SEVERITIES.index(hazard.severity) for hazard in group[1]),
                -sum(hazard.count for hazard in group[1]),
            ),
        )
        return self.page(
            {
                "groups": [
                    {
                        "id": name,
                        "rule": rules.get(name),
                        "hazards": members,
                        "severity": members[0].severity,
                    }
                    for name, members in ranked
                ],
                "known_count": Hazard.objects.filter(known).count(),
                "open_count": Hazard.objects.exclude(known).count(),
                "shows_known": shows_known,
                "rules": sorted(rules),
                "rule": rule,
                "severity": severity,
                "severities": SEVERITIES,
                "is_cut": len(found) == MOST,
            }
        )


class HazardDetail(Page):
    """One hazard: evidence, explanation, remedy, the traces that showed it."""

    template_name = "tracing/hazard.html"
    section = "hazards"
    changing: ClassVar[Permission] = Permission.ANNOTATE

    def hazard(self, fingerprint: str) -> Hazard:
        """Return the hazard of that fingerprint."""
        found = Hazard.objects.filter(fingerprint=fingerprint.lower()).first()
        if found is None:
            raise Http404(f"No hazard {fingerprint} is stored.")
        return found

    def get(self, _request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Return the page of the hazard."""
        return self._shown(self.hazard(fingerprint), ReasonForm())

    def post(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Mark the hazard as known, with a reason, or take the mark away."""
        hazard = self.hazard(fingerprint)
        if "forget" in request.POST:
            hazard.known, hazard.reason = False, ""
        else:
            form = ReasonForm(request.POST)
            if not form.is_valid():
                return self._shown(hazard, form, status=400)
            hazard.known, hazard.reason = True, form.cleaned_data["reason"]
        hazard.save(update_fields=["known", "reason"])
        if self.wants_json:
            return self.json(hazard_document(hazard))
        return HttpResponseRedirect(reverse("tracing:hazard", args=[hazard.fingerprint]))

    def _shown(self, hazard: Hazard, form: ReasonForm, status: int = 200) -> HttpResponse:
        accepted = _accepted(Hazard.objects.filter(pk=hazard.pk, known=False))
        if accepted:
            hazard.known, hazard.reason = True, accepted[hazard.pk]
        if self.wants_json:
            return self.json(hazard_document(hazard), status=status)
        sightings = (
            HazardSighting.objects.filter(hazard=hazard)
            .select_related("trace__label")
            .order_by("-pk")[:30]
        )
        traces = {}
        for sighting in sightings:
            # The trace may have been pruned: there is no constraint that would have kept it.
            if sighting.trace is not None:
                traces[sighting.trace.pk] = sighting.trace
        return self.page(
            {
                "hazard": hazard,
                "is_accepted": bool(accepted),
                "evidence": _lines(hazard),
                "rule": _rules().get(hazard.hazard),
                "traces": list(traces.values()),
                "form": form,
            },
            status=status,
        )
