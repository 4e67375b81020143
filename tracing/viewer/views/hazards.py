"""Hazards: findings in groups, with evidence and remedy; known ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tracing.analysis.hazards import BUILT_IN, OF_PROCESSES, active_rules
from tracing.analysis.names import in_library
from tracing.store import hazards as stored
from tracing.store.hazards import hazard_document
from tracing.viewer.access import Permission
from tracing.viewer.forms import ReasonForm
from tracing.viewer.views.base import Page

if TYPE_CHECKING:
    from django.http import HttpRequest

    from tracing.store.hazards import StoredHazard

MOST: Final = 300
MOST_TRACES: Final = 30
SEVERITIES: Final = ("error", "warning", "info")


def _rules() -> dict[str, Any]:
    """Return the rules in force and the switched-off ones, by id."""
    rules = {rule.id: rule for rule in (*BUILT_IN, *OF_PROCESSES)}
    for active in active_rules():
        rule = getattr(active, "rule", active)
        rules[rule.id] = rule
    return rules


class HazardList(Page):
    """The hazards, by rule."""

    template_name = "tracing/hazards.html"
    section = "hazards"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the open hazards; with ``?known=yes``, the accepted ones."""
        rule, severity = request.GET.get("rule", ""), request.GET.get("severity", "")
        shows_known = request.GET.get("known") == "yes"
        found = stored.find(
            MOST, known=shows_known, rule=rule, severity=severity if severity in SEVERITIES else ""
        )
        if self.wants_json:
            return self.json({"hazards": [hazard_document(hazard) for hazard in found.hazards]})
        rules = _rules()
        groups: dict[str, list[StoredHazard]] = {}
        for hazard in found.hazards:
            groups.setdefault(hazard.hazard, []).append(hazard)
        for group in groups.values():
            # Those in the project's own code first: a package's are seldom for its users to mend.
            group.sort(key=lambda hazard: in_library(hazard.file))
        ranked = sorted(
            groups.items(),
            key=lambda group: (
                min(SEVERITIES.index(hazard.severity) for hazard in group[1]),
                in_library(group[1][0].file),
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
                "known_count": found.known_count,
                "open_count": found.open_count,
                "shows_known": shows_known,
                "rules": sorted(rules),
                "rule": rule,
                "severity": severity,
                "severities": SEVERITIES,
                "is_cut": len(found.hazards) == MOST,
            }
        )


class HazardDetail(Page):
    """One hazard: evidence, explanation, remedy, the traces that showed it."""

    template_name = "tracing/hazard.html"
    section = "hazards"
    changing: ClassVar[Permission] = Permission.ANNOTATE

    def hazard(self, fingerprint: str) -> StoredHazard:
        """Return the hazard of that fingerprint."""
        found = stored.of_fingerprint(fingerprint)
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
            stored.accept(hazard, known=False)
        else:
            form = ReasonForm(request.POST)
            if not form.is_valid():
                return self._shown(hazard, form, status=400)
            stored.accept(hazard, known=True, reason=form.cleaned_data["reason"])
        if self.wants_json:
            return self.json(hazard_document(self.hazard(fingerprint)))
        return HttpResponseRedirect(reverse("tracing:hazard", args=[hazard.fingerprint]))

    def _shown(self, hazard: StoredHazard, form: ReasonForm, status: int = 200) -> HttpResponse:
        if self.wants_json:
            return self.json(hazard_document(hazard), status=status)
        return self.page(
            {
                "hazard": hazard,
                "is_accepted": hazard.is_by_project,
                "evidence": hazard.evidence,
                "rule": _rules().get(hazard.hazard),
                "traces": stored.showing(hazard, MOST_TRACES),
                "is_of_processes": hazard.hazard in {rule.id for rule in OF_PROCESSES},
                "form": form,
            },
            status=status,
        )
