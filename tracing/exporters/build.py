"""From the settings to exporters, each imported where it is made."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from django.conf import settings as django_settings
from django.utils.module_loading import import_string

from tracing.conf import retention_in_force
from tracing.instrumentation.in_tests import are_traces_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tracing.conf import Settings
    from tracing.exporters.database import InTests
    from tracing.pipeline import Exporter
    from tracing.spool.exporter import SpoolExporter

logger = logging.getLogger("tracing")


NAMES: Final = ("memory", "metrics", "log", "database", "otlp", "clickhouse")
"""Those that have a name, the quick ones first."""


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of exporters, quick ones first: one worker serves all."""
    return sorted(names, key=_waits)


def build_exporter(
    name: str, settings: Settings, *, on_control: Callable[[bool], None] | None = None
) -> Exporter:
    """Return a new exporter, by name or by the dotted path of its class.

    Raises:
        ValueError: The exporter is unknown, or its settings are wrong.
        ImportError: It needs a package that is not installed.
    """
    if name == "memory":
        from tracing.exporters.memory import MemoryExporter

        return MemoryExporter()
    if name == "log":
        from tracing.exporters.log import LogExporter

        chosen = vars(settings.log)
        path = settings.log.path or (None if settings.log.logger else default_log_path())
        apart: Literal["skip", "apart"] = "apart" if writes_tests(settings) else "skip"
        return LogExporter(
            **{**chosen, "path": path}, in_tests="write" if settings.log.logger else apart
        )
    if name == "database":
        from tracing.exporters.database import DatabaseExporter

        in_tests: InTests = "test_database" if settings.store_in_tests else "skip"
        return DatabaseExporter(
            on_control=on_control,
            retention=retention_in_force(settings),
            prune_seconds=settings.prune.every_seconds,
            in_tests="share" if settings.pipeline.synchronous else in_tests,
        )
    if name == "metrics":
        from tracing.exporters.metrics import MetricsExporter

        return MetricsExporter()
    if name in {"otlp", "clickhouse"}:
        return _build_with_driver(name, settings)
    if "." in name:
        made: Exporter = import_string(name)()
        return made
    raise ValueError(
        f'TRACING["EXPORTERS"] has {name!r}; it must be {", ".join(sorted(NAMES))} or '
        "the dotted path of a class."
    )


def writes_tests(settings: Settings) -> bool:
    """Return whether log or database get what a run of tests records."""
    return settings.store_in_tests or settings.pipeline.synchronous or are_traces_wanted()


def _build_with_driver(name: str, settings: Settings) -> Exporter:
    """Return a new exporter that an extra brings the packages for."""
    if name == "otlp":
        from tracing.exporters.otlp import OTLPExporter

        chosen = dict(vars(settings.otlp))
        del chosen["current_spans"]  # What runs in the process is another's.
        return OTLPExporter(**chosen)
    from tracing.exporters.clickhouse.exporter import ClickHouseExporter

    chosen = dict(vars(settings.clickhouse))
    del chosen["keep"]  # It is in the tables.
    return ClickHouseExporter(**chosen)


def default_log_path() -> Path:
    """Return ``logs/tracing.jsonl`` in the project's or current folder."""
    return Path(getattr(django_settings, "BASE_DIR", None) or ".") / "logs" / "tracing.jsonl"


def build_spool(
    settings: Settings, on_control: Callable[[bool], None] | None = None
) -> SpoolExporter | None:
    """Return the exporter to the spool; None, which is logged, on failure."""
    from tracing import __version__
    from tracing.analysis.why_not import process
    from tracing.spool import starting
    from tracing.spool.exporter import SpoolExporter
    from tracing.spool.folder import CAN_LOCK, Folder
    from tracing.store.processes import encode

    folder = Folder(spool_path(settings))
    starter, why = None, "" if CAN_LOCK else "there are no file locks on this system"
    if settings.collector == "process":
        module = getattr(django_settings, "SETTINGS_MODULE", None) or ""
        why = why or starting.why_impossible(module)
        starter = starting.Starter(folder, module)
    if why:
        logger.warning(
            'TRACING["COLLECTOR"] is "%s", but %s: a thread of this process exports.',
            settings.collector,
            why,
        )
        return None
    return SpoolExporter(
        folder,
        max_bytes=settings.spool.max_bytes,
        on_control=on_control,
        keep_collecting=starter,
        version=__version__,
        wiring=(lambda: encode(process.this_process()), process.version),
    )


def spool_path(settings: Settings) -> Path:
    """Return the folder of the spool, by default in the project's folder."""
    base = Path(getattr(django_settings, "BASE_DIR", None) or ".")
    return Path(settings.spool.path or base / "tracing-spool").absolute()


def _waits(name: str) -> int:
    return NAMES.index(name) if name in NAMES else len(NAMES)
