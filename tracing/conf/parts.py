"""The dictionaries inside of ``TRACING``: their keys and defaults."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tracing.conf.shapes import (
    AGE,
    FLAG,
    NUMBER,
    PATH,
    PERIOD,
    POSITIVE,
    RATIO,
    SIZE,
    STRINGS,
    TEXT,
    Options,
    Say,
    Shape,
    choice,
    option,
    part,
)  # fmt: skip

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


class KeepOptions(Options):
    """``KEEP``: which traces are kept, by how they ended."""

    errors: bool = option(True, FLAG)
    """Keep those with an error."""
    hazards: bool = option(True, FLAG)
    """Keep those with a hazard."""
    slow_ms: float | None = option(None, Shape("a number of milliseconds", NUMBER.read))
    """Keep those that took at least so many milliseconds."""
    otherwise: float = option(1.0, RATIO, "else")
    """The share of the others that is kept, 0.0 to 1.0."""

    @property
    def rules(self) -> dict[str, object]:
        """Return the rules in force as written; empty to keep everything."""
        values = {name: value for name, value in vars(self).items() if value is not None}
        values["else"] = values.pop("otherwise")
        return {} if self == KeepOptions() else values


LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class LogOptions(Options):
    """``LOG``: the arguments of the log exporter."""

    path: str | os.PathLike[str] | None = option(None, PATH)
    """The file, by default ``logs/tracing.jsonl`` in the project's folder."""
    logger: str = option("", TEXT)
    """A logger of the standard library to write to instead."""
    level: str = option("info", choice(*LEVELS))
    """Leave out lines below it: ``error`` keeps failed receivers and failed traces."""
    max_bytes: int = option(50_000_000, SIZE, "max_size", "max_bytes")
    """Rotate before it grows larger; 0 for never."""
    every_seconds: float = option(0, PERIOD, "every", "every_seconds")
    """Rotate when another period begins, in UTC: a duration (``"day"``), or seconds; 0 for never."""
    keep: int = option(10, NUMBER)
    """Rotated files to keep."""
    compress: bool = option(True, FLAG)
    """Compress rotated files with gzip."""


class OtlpOptions(Options):
    """``OTLP``: the arguments of the OTLP exporter, which is in an extra."""

    endpoint: str | None = option(None, TEXT)
    """Address of the collector; without it OpenTelemetry's own environment variables decide."""
    protocol: str = option("grpc", choice("grpc", "http"))
    """``grpc`` or ``http``."""
    service: str | None = option(None, TEXT)
    """The name of the service."""
    headers: Mapping[str, str] | None = option(None, STRINGS._replace(is_secret=True))
    """Headers of each request, never shown by checks."""
    timeout: float = option(3, NUMBER)
    """Seconds to wait for it."""
    insecure: bool | None = option(None, FLAG)
    """Speak to it without TLS (gRPC); by default as the scheme of the endpoint says."""
    resource: Mapping[str, str] | None = option(None, STRINGS)
    """Further attributes of the resource."""
    current_spans: bool = option(True, FLAG)
    """Make the spans of receivers current: docs/guides/otel.md#spans-that-are-current."""


class ClickHouseOptions(Options):
    """``CLICKHOUSE``: the exporter to it, which is in an extra."""

    url: str = option("http://localhost:8123", TEXT)
    """Address of its HTTP interface; ``https`` for TLS."""
    user: str = option("default", TEXT)
    """The user."""
    password: str = option("", TEXT._replace(is_secret=True))
    """The user's password, never shown by checks."""
    database: str = option("default", TEXT)
    """The database of the table."""
    table: str = option("otel_traces", TEXT)
    """The table, that of the OpenTelemetry collector."""
    service: str | None = option(None, TEXT)
    """The name of the service; without it ``OTEL_SERVICE_NAME`` says, else it is ``django``."""
    timeout: float = option(10, POSITIVE)
    """Seconds that one attempt may take."""
    rows: int = option(50_000, POSITIVE)
    """Rows that are written at once, if so many come in time."""
    seconds: float = option(5, NUMBER)
    """How long the first waits for the others."""
    keep: timedelta | None = option(None, AGE)
    """How long ClickHouse keeps them, as ``"30d"``; put into the table by ``clickhouse-schema``."""


class PipelineOptions(Options):
    """``PIPELINE``: how queue and worker work, by default for the web."""

    queue_limit: int = option(100_000, NUMBER)
    """Dispatches and calls that may wait, for the worker and for a failing exporter; beyond it the
    oldest go, and are counted."""
    batch_seconds: float = option(0.2, NUMBER)
    """Seconds that the first trace of a batch waits for others."""
    retry_seconds: float = option(60.0, NUMBER)
    """Seconds that a failing exporter keeps a batch."""
    exit_seconds: float = option(5.0, NUMBER)
    """Seconds that the exit of the process may wait for the exporters."""
    synchronous: bool = option(False, FLAG)
    """Export on the traced thread: for tests and short commands."""


class SpoolOptions(Options):
    """``SPOOL``: where processes leave what they recorded for the collector."""

    path: str | os.PathLike[str] | None = option(None, PATH)
    """The folder, on a local disk, by default ``tracing-spool`` in ``BASE_DIR``."""
    max_bytes: int = option(500_000_000, SIZE, "max_size", "max_bytes")
    """What it may hold; beyond it the oldest file goes, and is counted."""


class Retention(Options):
    """``PRUNE``: what is kept. With no limit given, everything is."""

    older_than: timedelta | None = option(None, AGE)
    """Prune traces that started longer ago, as ``"7d"``."""
    max_rows: int | None = option(None, NUMBER)
    """Keep at most so many dispatches."""
    max_size: int | None = option(None, SIZE)
    """Keep the store within this size, as ``"2GB"``."""
    keep_failed: bool = option(False, FLAG)
    """Keep traces in which a receiver raised."""
    keep_pinned: bool = option(True, FLAG)
    """Keep pinned traces."""
    keep_rollups: timedelta | None = option(None, AGE)
    """Prune statistics and sums by path older than this; without it they stay."""
    every_seconds: float = option(600, NUMBER)
    """Seconds between two turns of all processes."""
    is_default: bool = option(False)
    """Nobody asked for it."""
    written: Mapping[str, object] = option({})
    """The limits as they were written."""


class ViewerOptions(Options):
    """``VIEWER``."""

    editor: str = option("", TEXT)
    """Links that open a file: docs/guides/viewer.md#setting-up."""
    max_seconds: float = option(5.0, POSITIVE)
    """Seconds that an answer may take, else 503."""


class PanelOptions(Options):
    """``PANEL``."""

    editor: str = option("", TEXT)
    """In place of that of ``VIEWER``."""


_DEFAULT_LIMITS: Final = {"older_than": "7d", "max_size": "1GB"}
DEFAULT_RETENTION: Final = Retention(
    older_than=timedelta(days=7), max_size=10**9, is_default=True, written=_DEFAULT_LIMITS
)
"""What the embedded store keeps; {} keeps everything."""
_RETENTION: Final = part(Retention, whole=True)


def _retention(value: Any, say: Say) -> Retention:
    found: Retention = _RETENTION.read(value, say)
    written = {str(key).lower(): limit for key, limit in value.items()}
    return Retention(**{**vars(found), "written": written})


KEEP: Final = part(KeepOptions, whole=True)
LOG: Final = part(LogOptions)
OTLP: Final = part(OtlpOptions)
CLICKHOUSE: Final = part(ClickHouseOptions)
PIPELINE: Final = part(PipelineOptions)
SPOOL: Final = part(SpoolOptions)
PRUNE: Final = _RETENTION._replace(read=_retention)
VIEWER: Final = part(ViewerOptions)
PANEL: Final = part(PanelOptions)
HAZARD_RULES: Final = "tracing.hazards"
"""The group of entry points by which other packages add rules."""
