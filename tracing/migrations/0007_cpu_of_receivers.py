"""CPU time in the statistics of receivers."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """One column more, in the table and in the index over all sums."""

    dependencies = [("tracing", "0006_path_rollups")]

    operations = [
        migrations.AddField(
            model_name="rollup",
            name="cpu_ns",
            field=models.BigIntegerField(
                help_text="Own CPU time of a receiver's calls; null where it was not read.",
                null=True,
            ),
        ),
        migrations.RemoveIndex(model_name="rollup", name="tracing_rollup_sums"),
        migrations.AddIndex(
            model_name="rollup",
            index=models.Index(
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
        ),
    ]
