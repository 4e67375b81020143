"""Sums by path of what follows each signal and sender."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """One table more."""

    dependencies = [("tracing", "0005_tasks")]

    operations = [
        migrations.CreateModel(
            name="PathRollup",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("hour", models.PositiveIntegerField(help_text="Hours since the epoch, UTC.")),
                (
                    "writer",
                    models.CharField(help_text="Random id of the writing worker.", max_length=16),
                ),
                (
                    "signal",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tracing.signallabel",
                    ),
                ),
                (
                    "sender",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tracing.senderlabel",
                    ),
                ),
                (
                    "label",
                    models.PositiveBigIntegerField(
                        db_column="label_id",
                        help_text="Id of the label of the traces' name; 0 for none.",
                    ),
                ),
                ("tree", models.BinaryField()),
            ],
            options={
                "ordering": ["-hour"],
                "indexes": [
                    models.Index(fields=["sender", "hour"], name="tracing_path_sender"),
                    models.Index(fields=["hour"], name="tracing_path_hour"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["signal", "sender", "label", "hour", "writer"],
                        name="tracing_path_once",
                    ),
                ],
            },
        ),
    ]
