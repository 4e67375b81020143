"""The settings: one dictionary ``TRACING``, read in one place.

What is wrong never stops a start: its default is used, and ``manage.py check`` says so.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from tracing.conf import parts
from tracing.conf.parts import (
    DEFAULT_RETENTION,
    ClickHouseOptions,
    KeepOptions,
    LogOptions,
    OtlpOptions,
    PanelOptions,
    PipelineOptions,
    Retention,
    SpoolOptions,
    ViewerOptions,
)
from tracing.conf.shapes import (
    BY_KIND,
    BY_PATH,
    DICT,
    FLAG,
    LIST,
    PATHS,
    RATIO,
    TEXT,
    TEXTS,
    TRUST,
    Options,
    choice,
    option,
)  # fmt: skip


class Problem(NamedTuple):
    """Something wrong with the settings."""

    check_id: str
    message: str
    hint: str


class Settings(Options):
    """The settings of one moment, by the keys of ``TRACING`` in lower case."""

    # -- what is captured
    enabled: bool = option(True, FLAG)
    """Instrument Django's signals when the application starts. Where they are not, nothing is recorded."""
    release: str = option("", TEXT)
    """What is deployed: a version, a commit."""
    capture_callsite: bool = option(True, FLAG)
    """File, line and function of the application's frame that sent a signal."""
    capture_details: bool = option(True, FLAG)
    """Instance, save and m2m details, names of other arguments."""
    capture_sql: bool = option(True, FLAG)
    """Queries, transactions and their outcome, bypassed signals."""
    capture_cpu: bool = option(False, FLAG)
    """CPU time of each receiver call: docs/reference/settings.md#computing-or-waiting."""
    capture_statements: bool = option(False, FLAG)
    """Keep the statements of receivers, without parameters. ``n-plus-one`` sees them in any case."""
    capture_values: bool = option(False, FLAG)
    """Values of named arguments, redacted and cut."""
    sensitive_keys: str = option("", TEXT)
    """A regular expression of further keys whose values are not kept: docs/security.md#what-is-redacted."""
    clear_keys: list[str] = option([], TEXTS)
    """Models, as ``shop.Seat``, whose keys are shown though neither integers nor UUIDs:
    docs/security.md#what-is-redacted."""
    capture_error_messages: bool = option(True, FLAG)
    """Messages of exceptions, redacted; their types are kept in any case."""
    capture_effects: bool = option(True, FLAG)
    """Mail, tasks and sockets that a receiver uses."""

    # -- which traces are recorded
    sample_ratio: float = option(1.0, RATIO)
    """Share of the traces that are recorded, 0.0 to 1.0."""
    sample_by_kind: dict[str, float] = option({}, BY_KIND)
    """The same for single kinds: ``request``, ``command``, ``task``, ``test``, ``block``, ``dispatch``."""
    sample_by_path: list[tuple[str, float]] = option([], BY_PATH)
    """Pairs of a pattern and a ratio, for paths and names of commands; the first match counts."""
    sample_parent_based: bool = option(True, FLAG)
    """Let an incoming ``traceparent`` decide instead, if its sender is trusted."""
    trusted_parents: Any = option([], TRUST)
    """Whose ``traceparent`` decides, nobody's by default:
    docs/reference/settings.md#whose-traceparent-decides."""
    keep: KeepOptions = option(KeepOptions(), parts.KEEP)
    """Which finished traces are kept; empty keeps all."""
    exclude_commands: list[str] = option(
        ["runserver", "runserver_plus", "shell", "shell_plus", "dbshell", "test", "tracing"], TEXTS
    )
    """Commands that are no trace of their own; what they send is recorded all the same."""
    exclude_paths: list[str] = option(["/static/*", "/media/*", "/favicon.ico"], TEXTS)
    """Patterns of request paths that are not recorded."""
    exclude_signals: list[str] = option([], TEXTS)
    """Patterns of signals that are left out."""
    exclude_senders: list[str] = option([], TEXTS)
    """The same for senders, as ``sessions.Session``."""
    exclude_receivers: list[str] = option([], TEXTS)
    """The same for receivers; a dispatch goes with its last one."""

    # -- where traces go
    exporters: list[str] = option(["database", "log"], TEXTS)
    """``database``, ``log``, ``memory``, ``metrics``, ``otlp``, ``clickhouse``, or dotted paths of exporter
    classes."""
    database: str = option("", TEXT)
    """Alias of the store; empty for ``tracing`` if there is such an alias, else ``default``."""
    store: str = option("database", choice("database", "clickhouse"))
    """What pages and command read: ``database`` or ``clickhouse``: docs/guides/clickhouse.md#what-is-read."""
    store_in_tests: bool = option(False, FLAG)
    """Write what a test run records, into its own databases and beside the log:
    docs/guides/storage.md#in-a-projects-own-tests."""
    log: LogOptions = option(LogOptions(), parts.LOG)
    """The log file: docs/reference/logs.md. Keys below."""
    otlp: OtlpOptions = option(OtlpOptions(), parts.OTLP)
    """The OTLP exporter: docs/guides/otel.md."""
    clickhouse: ClickHouseOptions = option(ClickHouseOptions(), parts.CLICKHOUSE)
    """ClickHouse: docs/guides/clickhouse.md."""
    pipeline: PipelineOptions = option(PipelineOptions(), parts.PIPELINE)
    """Limits of the queue and the worker."""
    collector: str = option("thread", choice("thread", "process", "service"))
    """Who exports, ``thread``, ``process`` or ``service``: docs/guides/production.md."""
    spool: SpoolOptions = option(SpoolOptions(), parts.SPOOL)
    """The folder that processes append to for a collector."""
    prune: Retention = option(DEFAULT_RETENTION, parts.PRUNE)
    """Retention; ``{}`` keeps everything: docs/guides/storage.md#retention."""

    # -- diagnosis
    hazards: dict[str, Any] = option({}, DICT)
    """Options per rule, or ``False`` to switch it off: docs/hazards/index.md."""
    hazard_rules: list[str] = option([], LIST)
    """Dotted paths of further rules."""
    known_hazards: list[Any] = option([], LIST)
    """Findings that the project accepts, with the reason."""
    budgets: list[Any] = option([], LIST)
    """Limits per route, command or test."""

    # -- faces
    mine: list[str] = option([], TEXTS)
    """Patterns of the receivers that are *mine*: docs/reference/settings.md#mine-and-everything."""
    viewer: ViewerOptions = option(ViewerOptions(), parts.VIEWER)
    """The viewer: docs/guides/viewer.md."""
    panel: PanelOptions = option(PanelOptions(), parts.PANEL)
    """The toolbar panel: docs/guides/panel.md."""
    application_logs: list[Any] = option([], PATHS)
    """Log files of the application, whose lines stand beside each trace: docs/reference/logs.md."""
    header: bool = option(True, FLAG)
    """Send ``Tracing-Trace-Id`` to those who may open the viewer."""
    server_timing: bool | None = option(None, FLAG)
    """Send ``Server-Timing`` with each traced response, to everybody; None for where DEBUG is on."""


# -- reading them ---------------------------------------------------------------------------------

RENAMED: Final = {
    f"{kind}_{verdict}": f"EXCLUDE_{kind}"
    for kind in ("SIGNALS", "SENDERS", "RECEIVERS")
    for verdict in ("ALLOW", "DENY")
}
"""Keys of ``TRACING`` that there were, and what stands in their place."""
FIELDS: Final = {name.upper(): name for name in Settings.options}
"""Every key of ``TRACING``, and its attribute."""
PAGE: Final = "docs/reference/settings.md"
"""The page that lists them."""


def read(given: object) -> tuple[Settings, list[Problem]]:
    """Return the settings that *given* means, and what is wrong with it."""
    if not isinstance(given, dict):
        message = f"TRACING is a {type(given).__name__}; it must be a dictionary."
        return Settings(), [Problem("tracing.W001", message, "Remove it to use the defaults.")]
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = FIELDS.get(key) if isinstance(key, str) else None
        shape = Settings.options[name].shape if name else None
        if name is None or shape is None:
            problems.append(_unknown(key))
            continue
        said: list[str] = []
        try:
            values[name] = shape.read(value, said.append)
        except (ValueError, TypeError):
            message = f"TRACING[{key!r}] is {value!r}; it must be {shape.expected}."
            hint = f"Until then its default is used: {PAGE}."
            problems.append(Problem("tracing.W002", message, hint))
        for text in said:
            message = f"TRACING[{key!r}] {text.rstrip('.')}."
            problems.append(Problem("tracing.W017", message, f"See {PAGE}."))
    return Settings(**values), problems


def _unknown(key: object) -> Problem:
    close = get_close_matches(str(key).upper(), FIELDS, n=1)
    if key in RENAMED:
        hint = f"It is {RENAMED[key]!r} now: see {PAGE}."
    elif close:
        hint = f"Did you mean {close[0]!r}?"
    else:
        hint = f"The keys are listed in {PAGE}."
    return Problem("tracing.W001", f"TRACING has an unknown key {key!r}.", hint)


@lru_cache(maxsize=1)
def _current() -> tuple[Settings, list[Problem]]:
    return read(getattr(django_settings, "TRACING", {}))


def get_settings() -> Settings:
    """Return the settings in force."""
    return _current()[0]


def get_problems() -> list[Problem]:
    """Return what is wrong with the settings."""
    return _current()[1]


def store_alias() -> str:
    """Return the database alias of the store."""
    chosen = get_settings().database
    if chosen:
        return chosen
    return "tracing" if "tracing" in django_settings.DATABASES else "default"


def has_own_sqlite_file(alias: str) -> bool:
    """Return whether *alias* is a SQLite file that holds nothing but traces."""
    databases = django_settings.DATABASES
    own = databases.get(alias, {})
    is_shared = any(
        str(other.get("NAME")) == str(own.get("NAME"))
        for name, other in databases.items()
        if name != alias
    )
    return alias != "default" and "sqlite3" in own.get("ENGINE", "") and not is_shared


def retention_in_force(settings: Settings) -> Retention | None:
    """Return what is pruned by itself; None for nothing."""
    chosen = settings.prune
    if chosen.is_default and not has_own_sqlite_file(store_alias()):
        return None
    limits = (chosen.older_than, chosen.max_rows, chosen.max_size, chosen.keep_rollups)
    return None if limits == (None,) * len(limits) else chosen


def _forget(*, setting: str, **_named: Any) -> None:
    if setting == "TRACING":
        _current.cache_clear()


setting_changed.connect(_forget, dispatch_uid="tracing.conf")
