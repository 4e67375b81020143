"""What enqueued each task, and what ran it."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

import tracing.store.fields


class Migration(migrations.Migration):
    """One table more."""

    dependencies = [("tracing", "0004_wiring_versions")]

    operations = [
        migrations.CreateModel(
            name="TaskLink",
            fields=[
                ("id", tracing.store.fields.RowIdField(primary_key=True, serialize=False)),
                (
                    "task_id",
                    models.CharField(
                        help_text="As the traces of its runs have it.", max_length=200
                    ),
                ),
                ("ran", models.BooleanField(help_text="It ran the task; else it enqueued it.")),
                (
                    "trace",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tracing.trace",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "indexes": [models.Index(fields=["task_id", "ran"], name="tracing_task_link")],
            },
        ),
    ]
