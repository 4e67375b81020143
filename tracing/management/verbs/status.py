"""The verbs about recording: ``pause``, ``resume`` and ``status``."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import CommandError

from tracing.clocks import time
from tracing.conf import get_settings, retention_in_force
from tracing.exporters.build import spool_path
from tracing.management.terminal import joined, text
from tracing.management.verbs.base import Run, Verb, add_format, require_store
from tracing.project import installation
from tracing.setup import log_path
from tracing.spool.folder import Folder
from tracing.spool.progress import progress
from tracing.store import recorder, traces
from tracing.store.availability import vendor
from tracing.store.retention import first_pruned_ns, store_size
from tracing.units import format_bytes, format_count, format_ns, plural


def _set_paused(run: Run, *, paused: bool) -> int:
    require_store()
    recorder.set_paused(paused=paused, by=_me())
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
    if found["collector"] is not None:
        _write_collector(run, found["collector"])
    label = "installed  "
    for setting, what in found["installed"]:
        write(joined((label, "dim"), f"{setting}: {what}"))
        label = " " * len(label)
    write(joined(("kept       ", "dim"), _kept(found["retention"])))
    if not found["recorders"]:
        write(joined(("processes  ", "dim"), "none has recorded lately"))
    for process in found["recorders"]:
        ago = format_ns(max(0, time.time_ns() - process["seen_ns"]))
        lost = f", {format_count(process['dropped'])} lost" if process["dropped"] else ""
        write(
            joined(
                ("process    ", "dim"),
                f"{process['host']}:{process['process']}, seen {ago} ago, "
                f"{plural(process['recorded'], 'trace')} recorded, "
                f"{format_count(process['queued'])} waiting",
                (lost, "bold red"),
            )
        )
        for name, count in process["forgotten"].items():
            write(joined(("           ", ""), (f"{name} forgotten: {format_count(count)}", "dim")))
        for name, error in process["errors"].items():
            write(joined(("           ", ""), (f"{name}: {error}", "bold red")))
    return 0


def _write_collector(run: Run, collector: dict[str, Any]) -> None:
    """Write whether the spool is collected, and how far behind that is."""
    write = run.terminal.print
    if collector["is_alive"]:
        who = f"{collector['host']}:{collector['process']}, "
        alive = (f"{who}{plural(collector['collected'], 'trace')} collected", "")
    else:
        alive = ("nobody collects", "bold yellow")
    behind = collector["behind_bytes"]
    late = f"{collector['behind_seconds']:.1f} s behind ({format_bytes(behind)})"
    write(joined(("collector  ", "dim"), alive, f", {late if behind else 'nothing waits'}"))
    write(joined(("           ", ""), (collector["folder"], "dim")))
    if collector["unreadable_files"] or collector["unreadable_traces"]:
        unreadable = (
            f"{plural(collector['unreadable_files'], 'file')} and "
            f"{plural(collector['unreadable_traces'], 'trace')} could not be read"
        )
        write(joined(("           ", ""), (unreadable, "bold red")))
    for name, error in collector["errors"].items():
        write(joined(("           ", ""), (f"{name}: {error}", "bold red")))


_LIMITS: Final = {"older_than": "for", "max_size": "at most", "max_rows": "dispatches at most"}


def _kept(retention: dict[str, Any] | None) -> str:
    """Return what pruning leaves, in words."""
    if retention is None:
        return "everything"
    limits = [
        f"{_LIMITS.get(name, name.replace('_', ' '))} {value}"
        for name, value in retention["limits"].items()
        if not isinstance(value, bool)
    ]
    first_ns = retention["first_pruned_ns"]
    since = f", deleting since {_day(first_ns)}" if first_ns else ""
    return ", ".join(limits) + (f" (the default{since})" if retention["is_default"] else "")


def _day(moment_ns: int) -> str:
    return datetime.fromtimestamp(moment_ns // 1_000_000_000, UTC).date().isoformat()


def _retention() -> dict[str, Any] | None:
    """Return the limits in force; None if everything is kept."""
    chosen = retention_in_force(get_settings())
    if chosen is None:
        return None
    return {
        "limits": dict(chosen.written),
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
        "collector": progress(Folder(spool_path(settings)))
        if settings.collector != "thread"
        else None,
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
        "engine": vendor(alias),
        "bytes": store_size(alias),
        "traces": traces.counts().traces,
        "dispatches": traces.dispatch_count(),
        "failed": traces.failed_count(),
    }


def _recorders() -> dict[str, Any]:
    alive = sorted(recorder.recorders(fresh=True), key=lambda found: (found.host, found.process))
    return {
        "paused": recorder.control().paused,
        "recorders": [_recorder(found) for found in alive],
    }


def _recorder(found: recorder.Recorder) -> dict[str, Any]:
    document = found._asdict()
    exporters = document.pop("exporters")
    document["errors"] = {
        name: state["error"] for name, state in exporters.items() if state.get("error")
    }
    return document


VERBS = (
    Verb("pause", "pause recording in every process", add_format, _pause),
    Verb("resume", "resume recording", add_format, _resume),
    Verb("status", "how recording and the store are doing", add_format, _status),
)
