"""Traces in ClickHouse, in the table of the OpenTelemetry collector.

Needs ``pip install django-signal-tracing[clickhouse]``. Grafana and whatever else reads that table shows
our spans beside those of collectors; ``tracing.store.clickhouse`` reads it for our pages.
"""
