"""What is kept beside traces: sums by hour, what the recorder does, searches."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from tracing.store.models.labels import SenderLabel, SignalLabel
from tracing.store.statistics import RollupQuerySet


class Rollup(models.Model):
    """An hour of one signal from one sender, or of one receiver of it, as one process saw it.

    The worker of each process owns its rows, so that no two writers ever wait for one another;
    readers add the parts together. ``receiver`` is 0 for the dispatch itself. ``histogram`` is
    explained in ``tracing.analysis.histogram``.

    Dispatches nest: the rows of a signal's senders share moments and queries. How much is too often in
    the sum over them stands in a row of that signal whose ``sender`` is 0, of that sender whose ``signal``
    is 0 and, for the sum over everything, in one where both are: to be subtracted.
    """

    id = models.BigAutoField(primary_key=True)
    hour = models.PositiveIntegerField(help_text=_("Hours since the epoch, UTC."))
    part = models.CharField(max_length=16, help_text=_("Random id of the writing worker."))
    signal = models.ForeignKey(
        SignalLabel, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    sender = models.ForeignKey(
        SenderLabel, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    # No foreign key: MariaDB's backend refuses a reference to 0.
    receiver = models.PositiveBigIntegerField(
        default=0,
        db_column="receiver_id",
        help_text=_("Id of the receiver's label; 0 for the dispatch as a whole."),
    )
    count = models.PositiveBigIntegerField(default=0)
    error_count = models.PositiveBigIntegerField(default=0)
    total_ns = models.BigIntegerField(default=0)
    query_count = models.PositiveBigIntegerField(default=0)
    query_ns = models.BigIntegerField(default=0)
    histogram = models.TextField(blank=True)

    objects = RollupQuerySet.as_manager()

    class Meta:
        ordering = ["-hour"]
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "signal", "sender", "receiver", "part"],
                name="tracing_rollup_once",
            ),
        ]
        indexes = [
            # All that is summed, so that no histogram is read for rows that are not shown.
            models.Index(
                fields=[
                    "receiver",
                    "hour",
                    "signal",
                    "sender",
                    "count",
                    "error_count",
                    "total_ns",
                    "query_count",
                    "query_ns",
                ],
                name="tracing_rollup_sums",
            ),
        ]

    def __str__(self) -> str:
        return f"hour {self.hour}: {self.count} x {self.signal_id}/{self.sender_id}"


class RecorderControl(models.Model):
    """What every recording process obeys: one row, with id 1."""

    id = models.BigAutoField(primary_key=True)
    paused = models.BooleanField(default=False)
    changed_ns = models.BigIntegerField(default=0)
    changed_by = models.CharField(max_length=150, blank=True)

    def __str__(self) -> str:
        return "paused" if self.paused else "recording"


class RecorderState(models.Model):
    """How the recorder of one process is doing: written every few seconds by its worker."""

    id = models.BigAutoField(primary_key=True)
    host = models.CharField(max_length=100)
    process = models.PositiveIntegerField()
    started_ns = models.BigIntegerField(help_text=_("When its worker started."))
    seen_ns = models.BigIntegerField(help_text=_("When it last wrote this row."), db_index=True)
    recorded = models.PositiveBigIntegerField(default=0, help_text=_("Traces taken."))
    dropped = models.PositiveBigIntegerField(default=0, help_text=_("Traces lost, all causes."))
    queued = models.PositiveIntegerField(default=0, help_text=_("Traces waiting."))
    exporters = models.TextField(
        blank=True, help_text=_("JSON object: exported, dropped, failures, error by exporter.")
    )
    version = models.CharField(max_length=30, blank=True)

    class Meta:
        ordering = ["-seen_ns"]
        constraints = [
            models.UniqueConstraint(
                fields=["host", "process", "started_ns"], name="tracing_recorder_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.process}"


class SavedSearch(models.Model):
    """A search of the viewer under a name, seen by everybody who may see traces."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=100, unique=True)
    query = models.CharField(
        max_length=4_000, blank=True, help_text=_("Parameters of the list's address.")
    )
    created_ns = models.BigIntegerField(help_text=_("Wall clock, nanoseconds since the epoch."))
    created_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "saved searches"

    def __str__(self) -> str:
        return self.name
