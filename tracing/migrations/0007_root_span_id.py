"""An id of its own for each trace: several may have one W3C trace id."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from django.db import migrations, models

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_ROWS_AT_ONCE = 2_000


def fill(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Give the traces that are stored the ids that the lines of the log have for them."""
    connection = editor.connection
    traces: Any = apps.get_model("tracing", "Trace")
    last = 0
    while True:
        rows = list(
            traces.objects.using(connection.alias)
            .filter(pk__gt=last)
            .order_by("pk")
            .values_list("trace_id", "started_ns", "pk")[:_ROWS_AT_ONCE]
        )
        if not rows:
            return
        last = rows[-1][2]
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE tracing_trace SET root_span_id = %s WHERE id = %s",
                [(_root_span_id(trace_id, started_ns), pk) for trace_id, started_ns, pk in rows],
            )


def _root_span_id(trace_id: str, started_ns: int) -> str:
    return blake2b(f"{trace_id}:{started_ns}:0".encode(), digest_size=8).hexdigest()


class Migration(migrations.Migration):
    """Lets a trace be found by either id."""

    dependencies = [("tracing", "0006_cancelled")]

    operations = [
        migrations.AddField(
            model_name="trace",
            name="root_span_id",
            field=models.CharField(
                default="",
                help_text="Id of the span that encloses it, 16 hex digits: its own.",
                max_length=16,
            ),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="trace",
            name="trace_id",
            field=models.CharField(
                help_text="W3C trace id, 32 hex digits; others may have the same.", max_length=32
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RemoveConstraint(model_name="trace", name="tracing_trace_once"),
        migrations.AddConstraint(
            model_name="trace",
            constraint=models.UniqueConstraint(fields=["root_span_id"], name="tracing_trace_once"),
        ),
        migrations.AddIndex(
            model_name="trace",
            index=models.Index(fields=["trace_id"], name="tracing_trace_w3c"),
        ),
    ]
