"""What each kind of process has connected, and since which release."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """One table more."""

    dependencies = [("tracing", "0003_wiring")]

    operations = [
        migrations.CreateModel(
            name="WiringVersion",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        help_text="As web, worker celery, command migrate.", max_length=100
                    ),
                ),
                ("release", models.CharField(blank=True, max_length=100)),
                (
                    "fingerprint",
                    models.CharField(help_text="Hash of what was connected.", max_length=32),
                ),
                ("first_seen_ns", models.BigIntegerField()),
                ("last_seen_ns", models.BigIntegerField(db_index=True)),
                (
                    "started_ns",
                    models.BigIntegerField(
                        help_text="When the process began that told of it last."
                    ),
                ),
                (
                    "connections",
                    models.TextField(help_text="JSON array: each with the line that connected it."),
                ),
            ],
            options={
                "ordering": ["-last_seen_ns"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("kind", "release", "fingerprint"), name="tracing_wiring_once"
                    )
                ],
            },
        ),
    ]
