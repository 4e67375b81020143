"""A word more for how a trace ended: cancelled."""

from __future__ import annotations

from django.db import migrations

import tracing.store.fields


class Migration(migrations.Migration):
    """Only Python sees the word."""

    dependencies = [("tracing", "0005_rollup_sums")]

    operations = [
        migrations.AlterField(
            model_name="trace",
            name="status",
            field=tracing.store.fields.CodeField(codes=("ok", "error", "running", "cancelled")),
        ),
    ]
