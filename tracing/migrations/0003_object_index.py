"""The index that leads from an object to the dispatches about it."""

from __future__ import annotations

from django.db import migrations, models

from tracing.store.fields import RowIdField


class Migration(migrations.Migration):
    dependencies = [("tracing", "0002_incremental_vacuum")]

    operations = [
        migrations.CreateModel(
            "ObjectIndex",
            [
                ("id", RowIdField(primary_key=True, serialize=False)),
                ("entries", models.BinaryField()),
            ],
            {"ordering": ["id"]},
        ),
    ]
