"""The verbs about recording: ``pause``, ``resume`` and ``status``."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError

from tracing.clocks import time
from tracing.conf import get_settings, retention_in_force
from tracing.exporters.build import spool_path
from tracing.management.verbs.base import Run, Verb, add_format, require_store
from tracing.project import installation
from tracing.setup import log_path
from tracing.spool.folder import Folder
from tracing.spool.progress import progress
from tracing.store import recorder, traces
from tracing.store.retention import first_pruned_ns
from tracing.units import SECOND_NS, format_bytes, format_count, format_ns, plural

if TYPE_CHECKING:
    from collections.abc import Iterator


def _set_paused(run: Run, *, paused: bool) -> int:
    require_store()
    recorder.set_paused(paused=paused, by=_me())
    if run.as_json:
        run.terminal.json({"paused": paused})
    else:
        done = "Recording pauses" if paused else "Recording resumes"
        run.terminal.say(f"{done} in every process within a few seconds.")
    return 0


def _me() -> str:
    try:
        return f"manage.py ({getpass.getuser()})"[:150]
    except (OSError, KeyError):  # A user without a name, as in containers.
        return "manage.py"


def _status(run: Run) -> int:
    found = status()
    if run.as_json:
        run.terminal.json(found)
        return 0
    for label, *parts in _lines(found):
        run.terminal.say((f"{label:<11}", "dim"), *parts)
    return 0


def _lines(found: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the lines that tell of a status: a label, and texts."""
    if (store := found["store"]) is None:
        yield "store", (found["problem"], "bold red")
    else:
        dispatches = plural(store["dispatches"], "dispatch", "dispatches")
        counts = f"{plural(store['traces'], 'trace')}, {dispatches}"
        size = "size unknown" if store["bytes"] is None else format_bytes(store["bytes"])
        yield "store", f"{store['alias']} ({store['engine']}), {size}, {counts}"
    recording = "paused" if found["paused"] else "on" if found["enabled"] else "off (ENABLED)"
    yield "recording", (recording, "" if recording == "on" else "bold yellow")
    yield "exporters", ", ".join(found["exporters"]) or "none"
    yield "log", found["log"] or "none"
    if found["collector"] is not None:
        yield from _collector_lines(found["collector"])
    for at, (setting, what) in enumerate(found["installed"]):
        yield "" if at else "installed", f"{setting}: {what}"
    if store is not None and store["engine"] == "clickhouse":
        days = store["kept_days"]
        yield "kept", f"for {plural(days, 'day')}" if days else "as ClickHouse's tables say"
        yield "", (f"of the database: {_kept(found['retention'])}", "dim")
    else:
        yield "kept", _kept(found["retention"])
    if not found["recorders"]:
        yield "processes", "none has recorded lately"
    for process in found["recorders"]:
        ago = format_ns(max(0, time.time_ns() - process["seen_ns"]))
        lost = f", {format_count(process['dropped'])} lost" if process["dropped"] else ""
        seen = f"{process['host']}:{process['process']}, seen {ago} ago"
        recorded = f"{plural(process['recorded'], 'trace')} recorded"
        waiting = f"{format_count(process['queued'])} waiting"
        yield "process", f"{seen}, {recorded}, {waiting}", (lost, "bold red")
        for name, count in process["forgotten"].items():
            yield "", (f"{name} forgotten: {format_count(count)}", "dim")
        yield from _error_lines(process)


def _error_lines(teller: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name, error in teller["errors"].items():
        yield "", (f"{name}: {error}", "bold red")


def _collector_lines(collector: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield whether the spool is collected, and how far behind that is."""
    alive = ("nobody collects", "bold yellow")
    if collector["is_alive"]:
        who = f"{collector['host']}:{collector['process']}"
        alive = (f"{who}, {plural(collector['collected'], 'trace')} collected", "")
    behind = collector["behind_bytes"]
    late = f"{collector['behind_seconds']:.1f} s behind ({format_bytes(behind)})"
    yield "collector", alive, f", {late if behind else 'nothing waits'}"
    yield "", (collector["folder"], "dim")
    if collector["unreadable_files"] or collector["unreadable_traces"]:
        files = plural(collector["unreadable_files"], "file")
        lost = plural(collector["unreadable_traces"], "trace")
        yield "", (f"{files} and {lost} could not be read", "bold red")
    yield from _error_lines(collector)


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
    day = datetime.fromtimestamp((first_ns or 0) // SECOND_NS, UTC).date()
    since = f", deleting since {day}" if first_ns else ""
    return ", ".join(limits) + (f" (the default{since})" if retention["is_default"] else "")


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
        require_store()
    except CommandError as error:
        found["problem"] = str(error)
        return found
    place = traces.place()
    found["store"] = {
        "alias": place.name,
        "engine": place.engine,
        "bytes": place.size,
        "kept_days": place.kept_days,
        "traces": traces.counts().traces,
        "dispatches": traces.dispatch_count(),
        "failed": traces.failed_count(),
    }
    if (chosen := retention_in_force(settings)) is not None:
        found["retention"] = {
            "limits": dict(chosen.written),
            "is_default": chosen.is_default,
            "first_pruned_ns": first_pruned_ns(),
        }
    found["paused"] = recorder.control().paused
    alive = sorted(recorder.recorders(fresh=True), key=lambda found: (found.host, found.process))
    found["recorders"] = [_recorder(each) for each in alive]
    return found


def _recorder(found: recorder.Recorder) -> dict[str, Any]:
    document = found._asdict()
    exporters = document.pop("exporters")
    document["errors"] = {
        name: state["error"] for name, state in exporters.items() if state.get("error")
    }
    return document


VERBS = (
    Verb(
        "pause", "pause recording in every process", add_format, partial(_set_paused, paused=True)
    ),
    Verb("resume", "resume recording", add_format, partial(_set_paused, paused=False)),
    Verb("status", "how recording and the store are doing", add_format, _status),
)
