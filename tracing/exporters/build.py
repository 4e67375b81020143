"""From ``TRACING`` to exporters, options and retention."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings as django_settings
from django.utils.module_loading import import_string

from tracing.conf import DEFAULT_PRUNE, has_own_sqlite_file, store_alias
from tracing.exporters.database import DatabaseExporter, InTests
from tracing.exporters.log import LogExporter
from tracing.exporters.memory import MemoryExporter
from tracing.pipeline import Options
from tracing.store.retention import Retention
from tracing.units import SECOND_NS, parse_age, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from tracing.conf import Settings
    from tracing.pipeline import Exporter

LOG_KEYS: Final = frozenset(
    {
        "path", "logger", "level", "max_size", "max_bytes", "every", "every_seconds", "keep", "compress",
    }
)  # fmt: skip
"""What ``TRACING["LOG"]`` may have, in lower case."""
OTLP_KEYS: Final = frozenset(
    {"endpoint", "protocol", "service", "headers", "timeout", "insecure", "resource"}
)
"""What ``TRACING["OTLP"]`` may have; the exporter itself is in a package that is an extra."""


def build_options(settings: Settings) -> Options:
    """Return the pipeline's options that ``TRACING["PIPELINE"]`` asks for.

    Raises:
        ValueError: It has an unknown key.
    """
    return Options(**_lower("PIPELINE", settings.pipeline, {item.name for item in fields(Options)}))


def build_retention(settings: Settings) -> Retention | None:
    """Return what ``TRACING["PRUNE"]`` wants kept; None if nothing is to be pruned by itself.

    Raises:
        ValueError: It has an unknown key, or an age or a size is none.
    """
    is_default = settings.prune is DEFAULT_PRUNE
    if is_default and not has_own_sqlite_file(store_alias()):
        return None
    allowed = ({item.name for item in fields(Retention)} | {"every_seconds"}) - {"is_default"}
    given = _lower("PRUNE", settings.prune, allowed)
    given.pop("every_seconds", None)
    for name in ("older_than", "keep_rollups"):
        if isinstance(given.get(name), str):
            given[name] = parse_age(given[name])
        elif given.get(name) is not None and not isinstance(given[name], timedelta):
            raise ValueError(f'TRACING["PRUNE"]: {name} is {given[name]!r}; write it like "7d".')
    if isinstance(given.get("max_size"), str):
        given["max_size"] = parse_size(given["max_size"])
    return Retention(**given, is_default=is_default) if given else None


def build_exporters(
    settings: Settings, *, on_control: Callable[[bool], None] | None = None
) -> list[Exporter]:
    """Return new exporters for ``TRACING["EXPORTERS"]``, the quick ones first.

    Args:
        settings: The settings.
        on_control: Called with whether recording is paused when the store says so.

    Raises:
        ValueError: An exporter is unknown, or its settings are wrong.
        ImportError: An exporter needs a package that is not installed.
    """
    return [
        build_exporter(name, settings, on_control=on_control)
        for name in in_order(settings.exporters)
    ]


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of exporters, the quick ones first: one worker serves all."""
    return sorted(names, key=_waits)


def build_exporter(
    name: str, settings: Settings, *, on_control: Callable[[bool], None] | None = None
) -> Exporter:
    """Return a new exporter called *name*, or of the class that is this dotted path.

    Raises:
        ValueError: The exporter is unknown, or its settings are wrong.
        ImportError: It needs a package that is not installed.
    """
    if name == "memory":
        return MemoryExporter()
    if name == "log":
        return build_log_exporter(settings.log)
    if name == "database":
        every = _lower("PRUNE", settings.prune).get("every_seconds", 600)
        is_synchronous = _lower("PIPELINE", settings.pipeline).get("synchronous")
        in_tests: InTests = "test_database" if settings.store_in_tests else "skip"
        return DatabaseExporter(
            on_control=on_control,
            retention=build_retention(settings),
            prune_seconds=every,
            in_tests="share" if is_synchronous else in_tests,
        )
    if name == "otlp":
        from tracing.exporters.otlp import OTLPExporter  # noqa: PLC0415 - an extra.

        return OTLPExporter(**_lower("OTLP", settings.otlp, OTLP_KEYS))
    if "." in name:
        made: Exporter = import_string(name)()
        return made
    raise ValueError(
        f'TRACING["EXPORTERS"] has {name!r}; it must be database, log, memory, otlp or '
        "the dotted path of a class."
    )


def default_log_path() -> Path:
    """Return ``logs/tracing.jsonl`` in the project's folder, else where the process was started."""
    return Path(getattr(django_settings, "BASE_DIR", None) or ".") / "logs" / "tracing.jsonl"


def build_log_exporter(given: Mapping[str, Any]) -> LogExporter:
    """Return the exporter that ``TRACING["LOG"]`` asks for.

    Raises:
        ValueError: It has an unknown key or a wrong value.
    """
    values = _lower("LOG", given, LOG_KEYS)
    if not values.get("logger"):
        values.setdefault("path", default_log_path())
    if "max_size" in values:
        values["max_bytes"] = values.pop("max_size")
    if isinstance(values.get("max_bytes"), str):
        values["max_bytes"] = parse_size(values["max_bytes"])
    if isinstance(values.get("level"), str):
        values["level"] = values["level"].lower()
    if "every" in values:
        every = values.pop("every")
        values["every_seconds"] = (
            parse_duration(every) / SECOND_NS if isinstance(every, str) else every
        )
    for name in ("max_bytes", "every_seconds", "keep"):
        value = values.get(name, 0)
        if not isinstance(value, (int, float)) or value < 0:
            raise ValueError(f'TRACING["LOG"]: {name} is {value!r}, no number from 0 up.')
    return LogExporter(**values, apart_in_tests=True)


def _waits(name: str) -> int:
    return {"memory": 0, "log": 1, "database": 2}.get(name, 3)


def _lower(
    key: str, given: Mapping[str, Any], allowed: AbstractSet[str] | None = None
) -> dict[str, Any]:
    """Return *given* with its keys in lower case, refusing those that are not *allowed*."""
    values = {str(name).lower(): value for name, value in given.items()}
    unknown = sorted(set(values) - allowed) if allowed is not None else []
    if unknown:
        known = ", ".join(sorted(allowed or ()))
        raise ValueError(f'TRACING["{key}"] has {", ".join(unknown)}; known are {known}.')
    return values
