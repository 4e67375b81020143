"""Models beside traces: sums by hour and path, tasks, recorders, searches."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from tracing.store.fields import RowIdField, reference
from tracing.store.models.labels import SenderLabel, SignalLabel
from tracing.store.models.traces import Trace
from tracing.store.rollups import RollupQuerySet
from tracing.units import format_bytes


class Rollup(models.Model):
    """An hour of a pair of signal and sender, or of a receiver of it.

    The worker of each process owns its rows, so that no two writers ever wait for one another;
    readers add the writers together. ``receiver`` is 0 for the dispatch itself. ``histogram`` is
    explained in ``tracing.analysis.histogram``.

    Dispatches nest: the rows of a signal's senders share moments and queries. How much is too often in
    the sum over them stands in a row of that signal whose ``sender`` is 0, of that sender whose ``signal``
    is 0 and, for the sum over everything, in one where both are: to be subtracted.
    """

    id = models.BigAutoField(primary_key=True)
    hour = models.PositiveIntegerField(help_text=_("Hours since the epoch, UTC."))
    writer = models.CharField(max_length=16, help_text=_("Random id of the writing worker."))
    signal = reference(SignalLabel)
    sender = reference(SenderLabel)
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
    cpu_ns = models.BigIntegerField(
        null=True, help_text=_("Own CPU time of a receiver's calls; null where it was not read.")
    )
    histogram = models.TextField(blank=True)

    objects = RollupQuerySet.as_manager()

    class Meta:
        ordering = ["-hour"]
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "signal", "sender", "receiver", "writer"],
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
                    "cpu_ns",
                ],
                name="tracing_rollup_sums",
            ),
        ]

    def __str__(self) -> str:
        return f"hour {self.hour}: {self.count} x {self.signal_id}/{self.sender_id}"


class PathRollup(models.Model):
    """An hour of what follows a signal and sender, by path.

    It may be of the traces of a name, too: ``label`` is that name, and 0 for a signal and sender, which are
    0 for a name. ``tree`` is written by ``tracing.analysis.explain.trees``; writers, and the hours of a day,
    are as a ``Rollup``'s.
    """

    id = models.BigAutoField(primary_key=True)
    hour = models.PositiveIntegerField(help_text=_("Hours since the epoch, UTC."))
    writer = models.CharField(max_length=16, help_text=_("Random id of the writing worker."))
    signal = reference(SignalLabel)
    sender = reference(SenderLabel)
    # No foreign key, which would keep the label: the tree goes with the last trace of its name.
    label = models.PositiveBigIntegerField(
        db_column="label_id", help_text=_("Id of the label of the traces' name; 0 for none.")
    )
    tree = models.BinaryField()

    class Meta:
        ordering = ["-hour"]
        constraints = [
            models.UniqueConstraint(
                fields=["signal", "sender", "label", "hour", "writer"], name="tracing_path_once"
            ),
        ]
        indexes = [
            models.Index(fields=["sender", "hour"], name="tracing_path_sender"),
            models.Index(fields=["hour"], name="tracing_path_hour"),
        ]

    def __str__(self) -> str:
        return f"hour {self.hour}: {self.signal_id}/{self.sender_id}/{self.label}"


class ObjectIndex(models.Model):
    """Places of the dispatches about some objects, in a block of their ids.

    ``tracing.store.objects`` writes and reads it.
    """

    id = RowIdField(primary_key=True)
    entries = models.BinaryField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.pk}: {format_bytes(len(self.entries))}"


class TaskLink(models.Model):
    """A trace that enqueued a task or ran it, by the id of the task.

    Of a trace that was pruned the row stays, without the trace, while another of the task is stored.
    """

    id = RowIdField(primary_key=True)
    task_id = models.CharField(max_length=200, help_text=_("As the traces of its runs have it."))
    ran = models.BooleanField(help_text=_("It ran the task; else it enqueued it."))
    trace = reference(Trace, null=True, db_index=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["task_id", "ran"], name="tracing_task_link")]

    def __str__(self) -> str:
        return f"{'ran' if self.ran else 'enqueued'} {self.task_id}"


class RecorderControl(models.Model):
    """The one row, with id 1, that every recording process obeys."""

    id = models.BigAutoField(primary_key=True)
    paused = models.BooleanField(default=False)
    changed_ns = models.BigIntegerField(default=0)
    changed_by = models.CharField(max_length=150, blank=True)

    def __str__(self) -> str:
        return "paused" if self.paused else "recording"


class RecorderState(models.Model):
    """The state of one process's recorder, written every few seconds."""

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
    wiring = models.TextField(  # noqa: DJ001 - written apart from the rest, and later.
        null=True, help_text=_("JSON object: what it has connected, and what happened before.")
    )

    class Meta:
        ordering = ["-seen_ns"]
        constraints = [
            models.UniqueConstraint(
                fields=["host", "process", "started_ns"], name="tracing_recorder_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.process}"


class WiringVersion(models.Model):
    """The connections of one kind and release, while they were the same."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=100, help_text=_("As web, worker celery, command migrate."))
    release = models.CharField(max_length=100, blank=True)
    fingerprint = models.CharField(max_length=32, help_text=_("Hash of what was connected."))
    first_seen_ns = models.BigIntegerField()
    last_seen_ns = models.BigIntegerField(db_index=True)
    started_ns = models.BigIntegerField(help_text=_("When the process began that told of it last."))
    connections = models.TextField(help_text=_("JSON array: each with the line that connected it."))

    class Meta:
        ordering = ["-last_seen_ns"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "release", "fingerprint"], name="tracing_wiring_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.release}".strip()


class SavedSearch(models.Model):
    """A search of the viewer under a name, for all who may see traces."""

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
