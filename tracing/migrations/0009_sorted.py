"""Indexes by which the list of traces is sorted."""

from __future__ import annotations

from django.db import migrations

from tracing.store.fields import NewestFirstIndex


class Migration(migrations.Migration):
    """One index for each column that had none."""

    dependencies = [("tracing", "0008_mine")]

    operations = [
        migrations.AddIndex(
            model_name="trace",
            index=NewestFirstIndex(fields=[column, "id"], name=f"tracing_trace_{name}"),
        )
        for column, name in (
            ("dispatch_count", "dispatches"),
            ("query_count", "queries"),
            ("error_count", "errors"),
            ("hazard_count", "hazards"),
        )
    ]
