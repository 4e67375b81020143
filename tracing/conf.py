"""The settings: one dictionary ``TRACING``, its defaults here, read through one cached getter.

A wrong or unknown key never stops a start: its default is used and ``manage.py check`` says so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed

if TYPE_CHECKING:
    from collections.abc import Callable

Problem = tuple[str, str, str]
"""(check id, message, hint)."""


def _list(*values: str) -> Callable[[], list[Any]]:
    return lambda: list(values)


DEFAULT_PRUNE: dict[str, Any] = {"older_than": "7d", "max_size": "1GB"}
"""What the embedded store keeps; {} keeps everything."""


@dataclass(frozen=True)
class Settings:
    """The settings of one moment. Each field is the key of ``TRACING`` in lower case."""

    enabled: bool = True
    """Instrument Django's signals when the application starts."""
    release: str = ""
    """What is deployed: a version, a commit. Traces carry it, ``tracing compare`` compares by it."""

    # -- what is captured
    capture_callsite: bool = True
    """File, line and function of the application's frame that sent a signal."""
    capture_details: bool = True
    """Instance, save and m2m details, names of the other named arguments."""
    capture_sql: bool = True
    """Number and time of queries, transactions and bypassed signals."""
    capture_statements: bool = False
    """Keep the statements of each receiver, normalised, without parameters."""
    capture_values: bool = False
    """Values of named arguments, redacted and cut."""
    sensitive_keys: str = ""
    """A regular expression of further keys whose values are never kept."""
    clear_keys: list[str] = field(default_factory=list)
    """Models, as ``shop.Seat``, whose primary keys are no secret though neither integers nor UUIDs."""
    capture_error_messages: bool = True
    """Messages of exceptions, redacted; their types are kept in any case."""
    capture_effects: bool = True
    """Mail, tasks and sockets that a receiver uses."""

    # -- which traces are recorded
    sample_ratio: float = 1.0
    """Share of the traces that are recorded, 0.0 to 1.0."""
    sample_by_kind: dict[str, float] = field(default_factory=dict)
    """The same for single kinds: request, command, task, test, block, dispatch."""
    sample_by_path: list[Any] = field(default_factory=list)
    """(pattern, ratio) pairs for the paths of requests and names of commands; the first match counts."""
    sample_parent_based: bool = True
    """Let an incoming ``traceparent`` decide instead, if its sender is among TRUSTED_PARENTS."""
    trusted_parents: list[Any] = field(default_factory=list)
    """Networks whose ``traceparent`` decides; or a function of the request, or its dotted path."""
    keep: dict[str, Any] = field(default_factory=dict)
    """Tail rules, e.g. {"errors": True, "slow_ms": 500, "hazards": True, "else": 0.1}; empty keeps all."""
    exclude_commands: list[str] = field(
        default_factory=_list(
            "runserver", "runserver_plus", "shell", "shell_plus", "dbshell", "test", "tracing"
        )
    )
    """Commands that are no trace of their own; what they send is traced as requests or lone dispatches."""
    exclude_paths: list[str] = field(default_factory=_list("/static/*", "/media/*", "/favicon.ico"))
    """Patterns of request paths that are not recorded."""
    exclude_signals: list[str] = field(default_factory=list)
    """Patterns of signals whose dispatches are left out, with all that they sent."""
    exclude_senders: list[str] = field(default_factory=list)
    """The same for senders, as ``orders.Order``."""
    exclude_receivers: list[str] = field(default_factory=list)
    """Patterns of receivers whose calls are left out, with all that they sent."""

    # -- where traces go
    exporters: list[str] = field(default_factory=_list("database", "log"))
    """Names (database, log, memory, otlp) or dotted paths of exporter classes."""
    database: str = ""
    """Alias of the store; empty for "tracing" if there is such an alias, else "default"."""
    store_in_tests: bool = False
    """Let the worker write into the databases of a test run, too."""
    log: dict[str, Any] = field(default_factory=dict)
    """The log file: see docs/logs.md."""
    otlp: dict[str, Any] = field(default_factory=dict)
    """The OTLP exporter: see docs/storage.md."""
    pipeline: dict[str, Any] = field(default_factory=dict)
    """Limits of the queue and the worker: the fields of ``tracing.pipeline.Options``."""
    prune: dict[str, Any] = field(default_factory=lambda: DEFAULT_PRUNE)
    """Automatic pruning: see docs/storage.md. The default is for a SQLite file of its own alone."""

    # -- diagnosis
    hazards: dict[str, Any] = field(default_factory=dict)
    """Options per rule, or False to switch it off."""
    hazard_rules: list[str] = field(default_factory=list)
    """Dotted paths of further rules."""
    known_hazards: list[Any] = field(default_factory=list)
    """Findings that the project accepts."""
    budgets: list[Any] = field(default_factory=list)
    """Limits per route, command or test."""

    # -- faces
    mine: list[str] = field(default_factory=list)
    """Patterns of the receivers that are *mine*; empty for those of no installed package."""
    viewer: dict[str, Any] = field(default_factory=dict)
    """The viewer: see docs/viewer.md."""
    panel: dict[str, Any] = field(default_factory=dict)
    """The toolbar panel: see docs/panel.md."""
    header: bool = True
    """Send ``Tracing-Trace-Id`` to those who may open the viewer."""


RENAMED = {
    f"{kind}_{verdict}": f"EXCLUDE_{kind}"
    for kind in ("SIGNALS", "SENDERS", "RECEIVERS")
    for verdict in ("ALLOW", "DENY")
}
"""Keys of ``TRACING`` that there were, and what stands in their place."""
FIELDS = {item.name.upper(): item for item in fields(Settings)}
DEFAULTS: dict[str, Any] = {name: getattr(Settings(), item.name) for name, item in FIELDS.items()}
"""Every key of ``TRACING`` with its default."""


def _kind(value: object) -> type:
    return type(value)


def _fits(name: str, default: object, value: object) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, float):
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value <= 1.0
        )
    if isinstance(default, str):
        return isinstance(value, str | os.PathLike)
    if name == "TRUSTED_PARENTS" and (callable(value) or isinstance(value, str)):
        return True
    if isinstance(default, list) and isinstance(value, list | tuple):
        return name != "MINE" or all(isinstance(pattern, str) for pattern in value)
    return isinstance(value, _kind(default))


_EXPECTED: dict[type, str] = {
    bool: "True or False",
    float: "a number from 0.0 to 1.0",
    str: "a string",
    list: "a list",
    dict: "a dictionary",
}


def read(given: object) -> tuple[Settings, list[Problem]]:
    """Return the settings that *given*, the value of ``TRACING``, means, and what is wrong with it."""
    from difflib import get_close_matches

    if not isinstance(given, dict):
        message = f"TRACING is a {type(given).__name__}; it must be a dictionary."
        return Settings(), [("tracing.W001", message, "Remove it to use the defaults.")]
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key, value in given.items():
        item = FIELDS.get(key) if isinstance(key, str) else None
        if item is None:
            near = get_close_matches(str(key).upper(), FIELDS, n=1)
            if key in RENAMED:
                hint = f"It is {RENAMED[key]!r} now: see docs/settings.md."
            elif near:
                hint = f"Did you mean {near[0]!r}?"
            else:
                hint = "The keys are listed in docs/settings.md."
            problems.append(("tracing.W001", f"TRACING has an unknown key {key!r}.", hint))
        elif not _fits(key, DEFAULTS[key], value):
            expected = "a list of patterns" if key == "MINE" else _EXPECTED[type(DEFAULTS[key])]
            message = f"TRACING[{key!r}] is {value!r}; it must be {expected}."
            problems.append(
                ("tracing.W002", message, f"Until then its default is used: {DEFAULTS[key]!r}.")
            )
        else:
            values[item.name] = list(value) if isinstance(value, tuple) else value
    return Settings(**values), problems


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings in force."""
    return read(getattr(django_settings, "TRACING", {}))[0]


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


def _forget(*, setting: str, **_named: Any) -> None:
    if setting == "TRACING":
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="tracing.conf")
