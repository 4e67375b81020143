"""The tables of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management import CommandError
from django.db import migrations, models

from tracing.store.fields import CodeField, NewestFirstIndex, RowIdField, reference

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import StateApps


def refuse_earlier_tables(_apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Raise CommandError where there are tables that nothing brings up to date."""
    connection = editor.connection
    if "tracing_trace" in connection.introspection.table_names():
        raise CommandError(
            f"The database {connection.alias!r} has tables from before the first release of tracing. Drop "
            "those that begin with tracing_, or move its SQLite file aside, and migrate again."
        )


def _table(name: str, options: dict[str, Any] | None = None, /, **columns: models.Field) -> Any:
    return migrations.CreateModel(name, list(columns.items()), options)


def _label() -> dict[str, models.Field]:
    """Return the columns that the tables of names have in common."""
    return {
        "id": models.BigAutoField(primary_key=True, serialize=False),
        "key": models.CharField(
            max_length=32, editable=False, unique=True, help_text="Hash of all the other fields."
        ),
        "name": models.CharField(max_length=255, db_index=True),
    }


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.RunPython(refuse_earlier_tables, migrations.RunPython.noop),
        _table(
            "Sequence",
            name=models.CharField(max_length=30, primary_key=True, serialize=False),
            value=models.BigIntegerField(default=0, help_text="Last id given away."),
        ),
        _table("SignalLabel", **_label()),
        _table("SenderLabel", **_label()),
        _table("TraceLabel", **_label()),
        _table(
            "ReceiverLabel",
            **_label(),
            file=models.CharField(max_length=500, blank=True),
            line=models.PositiveIntegerField(default=0),
            dispatch_uid=models.CharField(max_length=255, blank=True),
            weak=models.BooleanField(default=True),
            is_async=models.BooleanField(default=False),
            app=models.CharField(max_length=100, blank=True),
            any_sender=models.BooleanField(default=False),
            mine=models.BooleanField(
                default=False,
                help_text="The project's own, as was decided last; no part of the key.",
            ),
        ),
        _table(
            "CallsiteLabel",
            **_label(),
            file=models.CharField(max_length=500),
            line=models.PositiveIntegerField(),
        ),
        _table(
            "StatementLabel",
            id=models.BigAutoField(primary_key=True, serialize=False),
            key=models.CharField(max_length=32, unique=True, help_text="Hash of the statement."),
            statement=models.TextField(),
        ),
        _table(
            "SharedAttributes",
            id=models.BigAutoField(primary_key=True, serialize=False),
            key=models.CharField(max_length=32, unique=True, help_text="Hash of the attributes."),
            shared=models.TextField(help_text="JSON object without what has its default."),
        ),
        _table(
            "Trace",
            {
                "ordering": ["-id"],
                "permissions": [
                    ("prune_trace", "Can prune traces"),
                    ("pause_recorder", "Can pause and resume recording"),
                    ("annotate_trace", "Can pin and annotate traces"),
                    ("view_source", "Can see source code in the trace viewer"),
                ],
                "indexes": [
                    models.Index(fields=["trace_id"], name="tracing_trace_w3c"),
                    NewestFirstIndex(fields=["label", "id"], name="tracing_trace_label"),
                    NewestFirstIndex(fields=["kind", "id"], name="tracing_trace_kind"),
                    NewestFirstIndex(fields=["failed", "id"], name="tracing_trace_failed"),
                    NewestFirstIndex(fields=["mine", "id"], name="tracing_trace_mine"),
                    NewestFirstIndex(fields=["started_ns", "id"], name="tracing_trace_started"),
                    NewestFirstIndex(fields=["duration_ns", "id"], name="tracing_trace_duration"),
                    NewestFirstIndex(
                        fields=["dispatch_count", "id"], name="tracing_trace_dispatches"
                    ),
                    NewestFirstIndex(fields=["query_count", "id"], name="tracing_trace_queries"),
                    NewestFirstIndex(fields=["error_count", "id"], name="tracing_trace_errors"),
                    NewestFirstIndex(fields=["hazard_count", "id"], name="tracing_trace_hazards"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("root_span_id",), name="tracing_trace_once")
                ],
            },
            id=RowIdField(primary_key=True, serialize=False),
            trace_id=models.CharField(
                max_length=32, help_text="W3C trace id, 32 hex digits; others may have the same."
            ),
            root_span_id=models.CharField(
                max_length=16, help_text="Id of the span that encloses it, 16 hex digits: its own."
            ),
            label=reference("tracing.tracelabel"),
            kind=CodeField(codes=("request", "command", "task", "test", "block", "dispatch")),
            status=CodeField(codes=("ok", "error", "running", "cancelled")),
            failed=models.BooleanField(
                default=False, help_text="It ended with an error, or a receiver raised."
            ),
            started_ns=models.BigIntegerField(help_text="Wall clock, nanoseconds since the epoch."),
            duration_ns=models.BigIntegerField(),
            parent_span_id=models.CharField(max_length=16, blank=True),
            parent_trace_id=models.CharField(max_length=32, blank=True),
            http_method=models.CharField(max_length=10, blank=True),
            http_path=models.CharField(max_length=500, blank=True),
            http_status=models.PositiveSmallIntegerField(null=True),
            user_id=models.CharField(max_length=64, blank=True),
            host=models.CharField(max_length=100, blank=True),
            process=models.PositiveIntegerField(default=0),
            thread=models.CharField(max_length=100, blank=True),
            release=models.CharField(max_length=100, blank=True),
            error=models.CharField(max_length=500, blank=True),
            attributes=models.TextField(blank=True, help_text="JSON object; empty for none."),
            extra=models.TextField(
                blank=True,
                help_text="JSON object: side effects and lost receivers; empty for none.",
            ),
            dispatch_count=models.PositiveIntegerField(default=0),
            receiver_call_count=models.PositiveIntegerField(default=0),
            query_count=models.PositiveIntegerField(default=0),
            query_ns=models.BigIntegerField(default=0),
            signal_ns=models.BigIntegerField(default=0),
            error_count=models.PositiveIntegerField(default=0),
            hazard_count=models.PositiveIntegerField(default=0),
            dropped_count=models.PositiveIntegerField(default=0),
            orphan_count=models.PositiveIntegerField(default=0),
            overhead_ns=models.BigIntegerField(default=0),
            segment=models.PositiveIntegerField(default=0, help_text="Number of the last segment."),
            final=models.BooleanField(default=True),
            mine=models.BooleanField(default=True, help_text="A receiver that is mine was in it."),
            pinned=models.BooleanField(default=False, help_text="Kept by pruning."),
            note=models.CharField(max_length=500, blank=True),
        ),
        _table(
            "Dispatch",
            {
                "ordering": ["id"],
                "indexes": [
                    NewestFirstIndex(fields=["signal", "id"], name="tracing_dispatch_signal"),
                    NewestFirstIndex(fields=["sender", "id"], name="tracing_dispatch_sender"),
                ],
            },
            id=RowIdField(primary_key=True, serialize=False),
            trace=reference("tracing.trace", related_name="dispatches", db_index=True),
            number=models.IntegerField(help_text="Span number within the trace."),
            parent_number=models.IntegerField(null=True),
            depth=models.SmallIntegerField(default=0),
            signal=reference("tracing.signallabel"),
            sender=reference("tracing.senderlabel"),
            callsite=reference("tracing.callsitelabel", null=True),
            shared=reference("tracing.sharedattributes"),
            method=CodeField(codes=("send", "send_robust", "asend", "asend_robust")),
            transaction=CodeField(
                codes=(
                    "none",
                    "committed",
                    "rolled_back",
                    "savepoint_rolled_back",
                    "test",
                    "unknown",
                )
            ),
            start_ns=models.BigIntegerField(help_text="From the start of the trace."),
            duration_ns=models.BigIntegerField(),
            instance=models.CharField(
                max_length=255,
                blank=True,
                help_text="As orders.Order:42; only :42 when the sender is orders.Order.",
            ),
            receiver_call_count=models.IntegerField(default=0),
            query_count=models.IntegerField(default=0),
            query_ns=models.BigIntegerField(default=0),
            extra=models.TextField(null=True, help_text="JSON object of what is rare."),
        ),
        _table(
            "ReceiverCall",
            {
                "ordering": ["id"],
                "indexes": [
                    NewestFirstIndex(fields=["receiver", "id"], name="tracing_call_receiver")
                ],
            },
            id=RowIdField(primary_key=True, serialize=False),
            dispatch=reference("tracing.dispatch", related_name="receiver_calls"),
            number=models.IntegerField(help_text="Span number within the trace."),
            position=models.SmallIntegerField(),
            receiver=reference("tracing.receiverlabel"),
            outcome=CodeField(
                codes=("returned", "raised", "skipped", "cancelled", "running", "unknown")
            ),
            start_ns=models.BigIntegerField(help_text="From the start of the dispatch."),
            duration_ns=models.BigIntegerField(),
            nested_ns=models.BigIntegerField(
                default=0, help_text="What the dispatches sent from inside it took of its duration."
            ),
            query_count=models.IntegerField(default=0),
            query_ns=models.BigIntegerField(default=0),
            extra=models.TextField(null=True, help_text="JSON object of what is rare."),
        ),
        _table(
            "FailedCall",
            {
                "ordering": ["-id"],
                "indexes": [
                    NewestFirstIndex(fields=["receiver", "id"], name="tracing_failed_receiver")
                ],
            },
            id=RowIdField(primary_key=True, serialize=False, help_text="Id of the receiver call."),
            dispatch=reference("tracing.dispatch"),
            receiver=reference("tracing.receiverlabel"),
            exception_type=models.CharField(max_length=255),
        ),
        _table(
            "Bypass",
            {"ordering": ["id"], "verbose_name_plural": "bypasses"},
            id=RowIdField(primary_key=True, serialize=False),
            trace=reference("tracing.trace", related_name="bypasses", db_index=True),
            operation=models.CharField(max_length=20),
            model=models.CharField(max_length=255),
            rows=models.PositiveBigIntegerField(null=True),
            start_ns=models.BigIntegerField(),
            parent_number=models.PositiveIntegerField(null=True),
            callsite=reference("tracing.callsitelabel", null=True),
            signals=models.TextField(help_text="JSON array of dotted paths."),
            receivers=models.TextField(help_text="JSON array of ids of receiver labels."),
        ),
        _table(
            "Orphan",
            {"ordering": ["id"]},
            id=RowIdField(primary_key=True, serialize=False),
            trace=reference("tracing.trace", related_name="orphans", db_index=True),
            signal=reference("tracing.signallabel"),
            sender=reference("tracing.senderlabel"),
            count=models.PositiveIntegerField(),
        ),
        _table(
            "Hazard",
            {"ordering": ["-last_seen_ns"]},
            id=models.BigAutoField(primary_key=True, serialize=False),
            fingerprint=models.CharField(
                max_length=32, unique=True, help_text="Hash of the rule and of what it is about."
            ),
            hazard=models.CharField(max_length=50, help_text="Id of the rule, as slow-receiver."),
            severity=CodeField(codes=("warning", "error", "info")),
            signal=models.CharField(max_length=255, blank=True),
            sender=models.CharField(max_length=255, blank=True),
            receiver=models.CharField(max_length=255, blank=True),
            file=models.CharField(max_length=500, blank=True),
            line=models.PositiveIntegerField(default=0),
            message=models.TextField(help_text="As it was seen last."),
            remedy=models.TextField(blank=True),
            evidence=models.TextField(blank=True, help_text="JSON array of lines, as seen last."),
            count=models.PositiveBigIntegerField(default=0),
            first_seen_ns=models.BigIntegerField(),
            last_seen_ns=models.BigIntegerField(db_index=True),
            trace=reference(
                "tracing.trace",
                null=True,
                help_text="The trace that showed it last; it may have been pruned.",
            ),
            known=models.BooleanField(
                default=False, help_text="Accepted: shown apart from the rest."
            ),
            reason=models.CharField(max_length=500, blank=True, help_text="Why it was accepted."),
        ),
        _table(
            "HazardOccurrence",
            {"ordering": ["id"]},
            id=RowIdField(primary_key=True, serialize=False),
            hazard=reference("tracing.hazard", related_name="occurrences", db_index=True),
            trace=reference("tracing.trace", related_name="occurrences", db_index=True),
            data=models.TextField(help_text="JSON object: the finding."),
        ),
        _table(
            "Rollup",
            {
                "ordering": ["-hour"],
                "indexes": [
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
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("hour", "signal", "sender", "receiver", "writer"),
                        name="tracing_rollup_once",
                    )
                ],
            },
            id=models.BigAutoField(primary_key=True, serialize=False),
            hour=models.PositiveIntegerField(help_text="Hours since the epoch, UTC."),
            writer=models.CharField(max_length=16, help_text="Random id of the writing worker."),
            signal=reference("tracing.signallabel"),
            sender=reference("tracing.senderlabel"),
            receiver=models.PositiveBigIntegerField(
                default=0,
                db_column="receiver_id",
                help_text="Id of the receiver's label; 0 for the dispatch as a whole.",
            ),
            count=models.PositiveBigIntegerField(default=0),
            error_count=models.PositiveBigIntegerField(default=0),
            total_ns=models.BigIntegerField(default=0),
            query_count=models.PositiveBigIntegerField(default=0),
            query_ns=models.BigIntegerField(default=0),
            histogram=models.TextField(blank=True),
            cpu_ns=models.BigIntegerField(
                null=True,
                help_text="Own CPU time of a receiver's calls; null where it was not read.",
            ),
        ),
        _table(
            "PathRollup",
            {
                "ordering": ["-hour"],
                "indexes": [
                    models.Index(fields=["sender", "hour"], name="tracing_path_sender"),
                    models.Index(fields=["hour"], name="tracing_path_hour"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("signal", "sender", "label", "hour", "writer"),
                        name="tracing_path_once",
                    )
                ],
            },
            id=models.BigAutoField(primary_key=True, serialize=False),
            hour=models.PositiveIntegerField(help_text="Hours since the epoch, UTC."),
            writer=models.CharField(max_length=16, help_text="Random id of the writing worker."),
            signal=reference("tracing.signallabel"),
            sender=reference("tracing.senderlabel"),
            label=models.PositiveBigIntegerField(
                db_column="label_id", help_text="Id of the label of the traces' name; 0 for none."
            ),
            tree=models.BinaryField(),
        ),
        _table(
            "TaskLink",
            {
                "ordering": ["id"],
                "indexes": [models.Index(fields=["task_id", "ran"], name="tracing_task_link")],
            },
            id=RowIdField(primary_key=True, serialize=False),
            task_id=models.CharField(
                max_length=200, help_text="As the traces of its runs have it."
            ),
            ran=models.BooleanField(help_text="It ran the task; else it enqueued it."),
            trace=reference("tracing.trace", null=True, db_index=True),
        ),
        _table(
            "RecorderControl",
            id=models.BigAutoField(primary_key=True, serialize=False),
            paused=models.BooleanField(default=False),
            changed_ns=models.BigIntegerField(default=0),
            changed_by=models.CharField(max_length=150, blank=True),
        ),
        _table(
            "RecorderState",
            {
                "ordering": ["-seen_ns"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("host", "process", "started_ns"), name="tracing_recorder_once"
                    )
                ],
            },
            id=models.BigAutoField(primary_key=True, serialize=False),
            host=models.CharField(max_length=100),
            process=models.PositiveIntegerField(),
            started_ns=models.BigIntegerField(help_text="When its worker started."),
            seen_ns=models.BigIntegerField(db_index=True, help_text="When it last wrote this row."),
            recorded=models.PositiveBigIntegerField(default=0, help_text="Traces taken."),
            dropped=models.PositiveBigIntegerField(default=0, help_text="Traces lost, all causes."),
            queued=models.PositiveIntegerField(default=0, help_text="Traces waiting."),
            exporters=models.TextField(
                blank=True, help_text="JSON object: exported, dropped, failures, error by exporter."
            ),
            version=models.CharField(max_length=30, blank=True),
            wiring=models.TextField(
                null=True, help_text="JSON object: what it has connected, and what happened before."
            ),
        ),
        _table(
            "WiringVersion",
            {
                "ordering": ["-last_seen_ns"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("kind", "release", "fingerprint"), name="tracing_wiring_once"
                    )
                ],
            },
            id=models.BigAutoField(primary_key=True, serialize=False),
            kind=models.CharField(
                max_length=100, help_text="As web, worker celery, command migrate."
            ),
            release=models.CharField(max_length=100, blank=True),
            fingerprint=models.CharField(max_length=32, help_text="Hash of what was connected."),
            first_seen_ns=models.BigIntegerField(),
            last_seen_ns=models.BigIntegerField(db_index=True),
            started_ns=models.BigIntegerField(
                help_text="When the process began that told of it last."
            ),
            connections=models.TextField(
                help_text="JSON array: each with the line that connected it."
            ),
        ),
        _table(
            "SavedSearch",
            {"ordering": ["name"], "verbose_name_plural": "saved searches"},
            id=models.BigAutoField(primary_key=True, serialize=False),
            name=models.CharField(max_length=100, unique=True),
            query=models.CharField(
                max_length=4000, blank=True, help_text="Parameters of the list's address."
            ),
            created_ns=models.BigIntegerField(help_text="Wall clock, nanoseconds since the epoch."),
            created_by=models.CharField(max_length=150, blank=True),
        ),
    ]
