"""Hazards, by fingerprint and by trace."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from tracing.store.fields import CodeField, RowIdField, reference
from tracing.store.models.traces import Trace

# Only ever append, as with the codes of ``traces``.
SEVERITY_CODES = ("warning", "error", "info")


class Hazard(models.Model):
    """A diagnosis: one row for the same thing, however often it was seen."""

    id = models.BigAutoField(primary_key=True)
    fingerprint = models.CharField(
        max_length=32, unique=True, help_text=_("Hash of the rule and of what it is about.")
    )
    hazard = models.CharField(max_length=50, help_text=_("Id of the rule, as slow-receiver."))
    severity = CodeField(codes=SEVERITY_CODES)
    signal = models.CharField(max_length=255, blank=True)
    sender = models.CharField(max_length=255, blank=True)
    receiver = models.CharField(max_length=255, blank=True)
    file = models.CharField(max_length=500, blank=True)
    line = models.PositiveIntegerField(default=0)
    message = models.TextField(help_text=_("As it was seen last."))
    remedy = models.TextField(blank=True)
    evidence = models.TextField(blank=True, help_text=_("JSON array of lines, as seen last."))
    count = models.PositiveBigIntegerField(default=0)
    first_seen_ns = models.BigIntegerField()
    last_seen_ns = models.BigIntegerField(db_index=True)
    trace = reference(
        Trace, null=True, help_text=_("The trace that showed it last; it may have been pruned.")
    )
    known = models.BooleanField(default=False, help_text=_("Accepted: shown apart from the rest."))
    reason = models.CharField(max_length=500, blank=True, help_text=_("Why it was accepted."))

    class Meta:
        ordering = ["-last_seen_ns"]

    def __str__(self) -> str:
        return f"{self.hazard}: {self.message}"


class HazardOccurrence(models.Model):
    """A hazard as one trace showed it."""

    id = RowIdField(primary_key=True)
    hazard = reference(Hazard, related_name="occurrences", db_index=True)
    trace = reference(Trace, related_name="occurrences", db_index=True)
    data = models.TextField(help_text=_("JSON object: the finding."))

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"hazard {self.hazard_id} in trace {self.trace_id}"
