"""What is mine: the project's own receivers, and the traces in which one of them was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import migrations, models

import tracing.store.fields
from tracing.instrumentation.attributes.callsites import is_foreign

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def fill(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Say of the receivers that are stored whether their file is of an installed package."""
    labels: Any = apps.get_model("tracing", "ReceiverLabel")
    receivers = labels.objects.using(editor.connection.alias).exclude(file="")
    own = [pk for pk, file in receivers.values_list("pk", "file") if not is_foreign(file)]
    for start in range(0, len(own), 500):
        receivers.filter(pk__in=own[start : start + 500]).update(mine=True)


class Migration(migrations.Migration):
    """Traces that are stored count as mine: to read all of them again would take minutes."""

    dependencies = [("tracing", "0007_root_span_id")]

    operations = [
        migrations.AddField(
            model_name="receiverlabel",
            name="mine",
            field=models.BooleanField(
                default=False,
                help_text="The project's own, as was decided last; no part of the key.",
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AddField(
            model_name="trace",
            name="mine",
            field=models.BooleanField(default=True, help_text="A receiver that is mine was in it."),
        ),
        migrations.AddIndex(
            model_name="trace",
            index=tracing.store.fields.NewestFirstIndex(
                fields=["mine", "id"], name="tracing_trace_mine"
            ),
        ),
    ]
