"""The verbs about the recording itself: ``pause``, ``resume`` and ``status``."""

from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import connections

from tracing import models
from tracing.conf import get_settings
from tracing.exporters.build import build_retention
from tracing.instrumentation.recent import FORGOTTEN
from tracing.management.terminal import joined, text
from tracing.management.verbs.base import Run, Verb, add_format, require_store, traces
from tracing.project import installation
from tracing.setup import log_path
from tracing.store.retention import first_pruned_ns, store_size
from tracing.units import format_bytes, format_count, format_ns, plural

if TYPE_CHECKING:
    from argparse import ArgumentParser

ALIVE_NS = 60_000_000_000
"""A recorder that wrote nothing for so long is taken for gone."""


def _set_paused(run: Run, *, paused: bool) -> int:
    require_store()
    models.RecorderControl.objects.update_or_create(
        id=1,
        defaults={"paused": paused, "changed_ns": time.time_ns(), "changed_by": _me()},
    )
    if run.as_json:
        run.terminal.json({"paused": paused})
    else:
        done = "Recording pauses" if paused else "Recording resumes"
        run.terminal.print(text(f"{done} in every process within a few seconds."))
    return 0


def _me() -> str:
    try:
        return f"manage.py ({getpass.getuser()})"[:150]
    except (OSError, KeyError):  # A user without a name, as in containers.
        return "manage.py"


def _pause(run: Run) -> int:
    return _set_paused(run, paused=True)


def _resume(run: Run) -> int:
    return _set_paused(run, paused=False)


def _status(run: Run) -> int:
    found = status()
    if run.as_json:
        run.terminal.json(found)
        return 0
    write = run.terminal.print
    store = found["store"]
    if store is None:
        write(joined(("store      ", "dim"), (found["problem"], "bold red")))
    else:
        write(
            joined(
                ("store      ", "dim"),
                f"{store['alias']} ({store['engine']}), {format_bytes(store['bytes'])}, "
                f"{plural(store['traces'], 'trace')}, "
                f"{plural(store['dispatches'], 'dispatch', 'dispatches')}",
            )
        )
    recording = "paused" if found["paused"] else "on" if found["enabled"] else "off (ENABLED)"
    write(joined(("recording  ", "dim"), (recording, "" if recording == "on" else "bold yellow")))
    write(joined(("exporters  ", "dim"), ", ".join(found["exporters"]) or "none"))
    write(joined(("log        ", "dim"), found["log"] or "none"))
    label = "installed  "
    for setting, what in found["installed"]:
        write(joined((label, "dim"), f"{setting}: {what}"))
        label = " " * len(label)
    write(joined(("kept       ", "dim"), _kept(found["retention"])))
    if not found["recorders"]:
        write(joined(("processes  ", "dim"), "none has recorded lately"))
    for recorder in found["recorders"]:
        ago = format_ns(max(0, time.time_ns() - recorder["seen_ns"]))
        lost = f", {format_count(recorder['dropped'])} lost" if recorder["dropped"] else ""
        write(
            joined(
                ("process    ", "dim"),
                f"{recorder['host']}:{recorder['process']}, seen {ago} ago, "
                f"{plural(recorder['recorded'], 'trace')} recorded, "
                f"{format_count(recorder['queued'])} waiting",
                (lost, "bold red"),
            )
        )
        for name, count in recorder["forgotten"].items():
            write(joined(("           ", ""), (f"{name} forgotten: {format_count(count)}", "dim")))
        for name, error in recorder["errors"].items():
            write(joined(("           ", ""), (f"{name}: {error}", "bold red")))
    return 0


def _kept(retention: dict[str, Any] | None) -> str:
    """Return what pruning leaves, in words."""
    if retention is None:
        return "everything"
    limits = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in retention["limits"].items()
        if not isinstance(value, bool)
    ]
    first_ns = retention["first_pruned_ns"]
    since = f", deleting since {_day(first_ns)}" if first_ns else ""
    return ", ".join(limits) + (f" (the default{since})" if retention["is_default"] else "")


def _day(moment_ns: int) -> str:
    return datetime.fromtimestamp(moment_ns // 1_000_000_000, UTC).date().isoformat()


def _retention() -> dict[str, Any] | None:
    """Return the limits in force; None if everything is kept, or they cannot be read."""
    settings = get_settings()
    try:
        chosen = build_retention(settings)
    except ValueError:
        return None
    if chosen is None:
        return None
    return {
        "limits": {str(name).lower(): value for name, value in settings.prune.items()},
        "is_default": chosen.is_default,
        "first_pruned_ns": first_pruned_ns(),
    }


def status() -> dict[str, Any]:
    """Return how recording and the store are doing, as a JSON object."""
    settings = get_settings()
    found: dict[str, Any] = {
        "enabled": settings.enabled,
        "paused": False,
        "release": settings.release or None,
        "exporters": list(settings.exporters),
        "log": str(log_path()) if "log" in settings.exporters else None,
        "installed": [list(entry) for entry in installation.added],
        "retention": None,
        "store": None,
        "recorders": [],
        "problem": None,
    }
    try:
        alias = require_store()
    except CommandError as error:
        found["problem"] = str(error)
        return found
    found["store"] = _store(alias)
    found["retention"] = _retention()
    found.update(_recorders())
    return found


def _store(alias: str) -> dict[str, Any]:
    return {
        "alias": alias,
        "engine": connections[alias].vendor,
        "bytes": store_size(alias),
        "traces": traces().count(),
        "dispatches": models.Dispatch.objects.count(),
        "failed": traces().failed().count(),
    }


def _recorders() -> dict[str, Any]:
    control = models.RecorderControl.objects.filter(id=1).first()
    alive = models.RecorderState.objects.filter(seen_ns__gte=time.time_ns() - ALIVE_NS)
    return {
        "paused": control is not None and control.paused,
        "recorders": [_recorder(row) for row in alive.order_by("host", "process")],
    }


def _recorder(row: models.RecorderState) -> dict[str, Any]:
    exporters = json.loads(row.exporters) if row.exporters else {}
    return {
        "host": row.host,
        "process": row.process,
        "started_ns": row.started_ns,
        "seen_ns": row.seen_ns,
        "recorded": row.recorded,
        "dropped": row.dropped,
        "queued": row.queued,
        "version": row.version,
        "forgotten": exporters.pop(FORGOTTEN, {}),
        "errors": {
            name: state["error"]
            for name, state in exporters.items()
            if isinstance(state, dict) and state.get("error")
        },
    }


def _format_only(parser: ArgumentParser) -> None:
    add_format(parser)


VERBS = (
    Verb("pause", "pause recording in every process", _format_only, _pause),
    Verb("resume", "resume recording", _format_only, _resume),
    Verb("status", "how recording and the store are doing", _format_only, _status),
)
