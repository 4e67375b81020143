"""Goals: the rows of the report, and the ratio to stock that each may reach at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks import measuring

if TYPE_CHECKING:
    from benchmarks.measuring import Family


@dataclass(frozen=True, slots=True)
class Row:
    """One workload in the report."""

    workload: str
    title: str
    family: Family
    goals: dict[str, float]
    """Most it may cost by mode: instructions of the sending thread, in units of stock's."""


_NOBODY: Final = {"structure": 1.30, "default": 1.30, "unsampled": 1.00}

ROWS: Final = (
    Row("nobody", "no receiver at all", measuring.CACHING, _NOBODY),
    Row("outside", "the same, outside any trace", measuring.CACHING, _NOBODY),
    Row("init", "pre_init of an instance, no receiver", measuring.CACHING, _NOBODY),
    Row("caching-0", "model signal, receivers for other senders only", measuring.CACHING, _NOBODY),
    Row(
        "caching-1",
        "model signal, 1 receiver",
        measuring.CACHING,
        {"structure": 1.05, "default": 1.45, "unsampled": 1.00},
    ),
    Row(
        "caching-3",
        "model signal, 3 receivers",
        measuring.CACHING,
        {"structure": 1.00, "default": 1.20, "unsampled": 1.00},
    ),
    Row(
        "caching-10",
        "model signal, 10 receivers",
        measuring.CACHING,
        {"structure": 1.00, "default": 1.05, "unsampled": 1.00},
    ),
    Row("plain-0", "plain signal, no receiver", measuring.PLAIN, _NOBODY),
    Row(
        "plain-1",
        "plain signal, 1 receiver, 2 named arguments",
        measuring.PLAIN,
        {"structure": 1.15, "default": 1.45, "unsampled": 1.00},
    ),
    Row(
        "plain-five-1",
        "plain signal, 1 receiver, 5 named arguments",
        measuring.PLAIN,
        {"structure": 1.15, "default": 1.45, "unsampled": 1.00},
    ),
    Row(
        "plain-3",
        "plain signal, 3 receivers",
        measuring.PLAIN,
        {"default": 1.20, "unsampled": 1.00},
    ),
    Row(
        "plain-10",
        "plain signal, 10 receivers",
        measuring.PLAIN,
        {"default": 1.05, "unsampled": 1.00},
    ),
    Row(
        "first-160",
        "first dispatch of a sender, 160 receivers",
        measuring.RARE,
        {"structure": 2.00, "default": 2.00, "unsampled": 2.00},
    ),
    Row(
        "connect",
        "connect a method per object, 100 of them alive",
        measuring.RARE,
        {"structure": 2.00, "default": 2.00, "unsampled": 2.00},
    ),
    Row(
        "instances",
        "10,000 instances from a queryset",
        measuring.INSTANCES,
        {"structure": 1.00, "default": 1.00, "unsampled": 1.00},
    ),
    Row("save", "one save() with 1 receiver, SQLite", measuring.SAVE, {}),
    Row(
        "asend",
        "asend, 3 async receivers",
        measuring.ASEND,
        {"structure": 1.40, "default": 1.40, "unsampled": 1.00},
    ),
)

FAMILIES: Final = (
    measuring.CACHING,
    measuring.PLAIN,
    measuring.RARE,
    measuring.INSTANCES,
    measuring.SAVE,
    measuring.ASEND,
)

MODES: Final = {
    "structure": "structure only",
    "default": "default settings",
    "unsampled": "not sampled",
}
"""Titles of the modes that rows are measured in, beside stock."""

REQUEST_MODES: Final = {
    "complete": "complete: worker, database, log file",
    "spool": "spool: the application's process alone",
    "complete-unsampled": "complete, not sampled",
}

REQUEST_THREAD: Final = 1.05
"""CPU of the thread that handles a request, in units of stock's."""
REQUEST_PROCESS: Final = 1.30
"""CPU of the whole process for a request, until all is exported, in units of stock's."""
REQUEST_COUNT: Final = 1.60
"""Its instructions."""
START_TIME: Final = 1.29
"""CPU of ``django.setup()`` of a bare project, in units of stock's: 40 ms where that takes 140."""
START_MB: Final = 8.0
LOADED_MB: Final = 15.0
"""Memory of a process beside stock's: after ``django.setup()``, and after a few hundred requests."""
REQUEST_SPOOL: Final = 1.15
"""The same where a collector does the rest: CPU of the application's process."""
HELD_BYTES: Final = 500
"""Memory held for each dispatch with one receiver until it is drained."""


@dataclass(frozen=True, slots=True)
class TrafficGoal:
    """What a mode may show behind a server, in units of stock's."""

    throughput: float | None = None
    """Least requests a second, saturated."""
    p99: float | None = None
    """Most that the slowest hundredth of answers may take, saturated."""


TRAFFIC: Final = {
    "gunicorn": {
        "diagnosed": TrafficGoal(0.88),
        "complete": TrafficGoal(0.75),
        "spool": TrafficGoal(0.90),
    },
    "uvicorn": {
        "complete": TrafficGoal(0.80, 1.3),
        "spool": TrafficGoal(0.80, 1.1),
    },
}

TRAFFIC_MODES: Final = {
    "complete-unsampled": "not sampled",
    "nowhere": "no exporter: recorded and let go unread",
    "diagnosed": "read and diagnosed, then thrown away",
    "log": "log file",
    "database": "database",
    "complete": "database and log file",
    "spool": "spool: all else in a collector",
    "opentelemetry": "opentelemetry-sdk, a span per receiver, exported nowhere",
    "sentry": "sentry-sdk, spans for receivers, sent nowhere",
    "hand-written": "hand-written, a row per dispatch",
    "silk": "django-silk",
}

PEERS: Final = {
    "complete": "tracing, complete",
    "sentry": "sentry-sdk, spans for receivers",
    "opentelemetry": "opentelemetry-sdk, a span per receiver",
    "hand-written": "hand-written, a row per dispatch by `objects.create()`",
    "silk": "django-silk (requests only; knows no receivers)",
}

PEER_WORKLOADS: Final = {
    "caching-1": (measuring.CACHING, "dispatch, 1 receiver"),
    "caching-10": (measuring.CACHING, "dispatch, 10 receivers"),
    "asend": (measuring.ASEND, "asend, 3 async receivers"),
    "request": (measuring.REQUEST, "request, five saves"),
}
