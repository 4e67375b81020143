"""What each recording process has connected."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """One column more."""

    dependencies = [("tracing", "0002_incremental_vacuum")]

    operations = [
        migrations.AddField(
            model_name="recorderstate",
            name="wiring",
            field=models.TextField(
                null=True, help_text="JSON object: what it has connected, and what happened before."
            ),
        ),
    ]
