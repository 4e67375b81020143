"""Questions that traces, processes and the source answer together."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.apps import apps
from django.conf import settings as django_settings

from tracing.analysis.why_not import reasons
from tracing.analysis.why_not.process import this_process
from tracing.analysis.why_not.source import Project
from tracing.analysis.wiring import known_signals
from tracing.conf import get_settings, store_alias
from tracing.instrumentation.attributes.callsites import is_foreign
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.spans import records
from tracing.store.choice import asked
from tracing.store.models import Dispatch, ReceiverCall, ReceiverLabel, RecorderControl, Trace
from tracing.store.processes import processes_of, stored_processes
from tracing.store.retention import last_pruned_ns
from tracing.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracing.analysis.why_not.words import Answer
    from tracing.spans.summary import TraceSummary

MOST_TRACES: Final = 100
"""Traces that are looked through where none is named."""
MOST_INSIDE: Final = 500
"""Traces inside the one that is named."""
_MOST_SPANS: Final = 6_000
"""Dispatches and receiver calls of the newest ones together, some 35 ms."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question to the store."""

    receiver: str
    signal: str = ""
    sender: str = ""
    trace: TraceSummary | None = None
    """With what is inside it; None for the newest traces and the start-up."""


@asked
def why_not_called(wanted: Wanted) -> Answer:
    """Return why a receiver was not called, from the store and from here.

    Raises:
        UnknownNameError: No receiver is called so, or several are.
    """
    question = reasons.Question(wanted.receiver, wanted.signal, wanted.sender)
    signals = known_signals()
    here, names = this_process(signals), list(map(signal_name, signals))
    records = reasons.Records(project(), get_settings(), here, names)
    records.is_one = wanted.trace is not None
    rows = _inside(wanted.trace) if wanted.trace is not None else _newest(wanted.receiver)
    traces = list(Trace.objects.load_rows(rows))
    records.processes = stored_processes()
    processes = processes_of(traces, records.processes)
    records.traces = list(zip(traces, processes, strict=True))
    records.labels = list(_labels(wanted.receiver))
    records.is_paused = RecorderControl.objects.filter(paused=True).exists()
    records.is_cut = "" if records.is_one else _cut()
    return reasons.why_not(question, records)


def project() -> Project:
    """Return where the source of the project lies."""
    folders = [Path(getattr(django_settings, "BASE_DIR", "") or Path.cwd()), Path.cwd()]
    module = sys.modules.get(os.environ.get("DJANGO_SETTINGS_MODULE", ""))
    if module is not None and getattr(module, "__file__", None):
        folders.append(Path(str(module.__file__)).parent)
    own = [config.path for config in apps.get_app_configs() if not is_foreign(f"{config.path}/")]
    found: list[Path] = []
    for folder in sorted({each.absolute() for each in (*folders, *map(Path, own))}):
        # Not the whole disk, where a process runs in its root.
        if folder != folder.parent and not any(folder.is_relative_to(outer) for outer in found):
            found.append(folder)
    return Project(tuple(map(str, found)))


def _inside(one: TraceSummary) -> list[Trace]:
    """Return a trace and all that was opened in it, the newest first."""
    found = {row.pk: row for row in Trace.objects.filter(pk=one.row)}
    waiting = [one.trace_id]
    while waiting and len(found) < MOST_INSIDE:
        inner = Trace.objects.filter(parent_trace_id__in=waiting).select_related("label")
        new = [each for each in inner.order_by("-pk")[:MOST_INSIDE] if each.pk not in found]
        found |= {each.pk: each for each in new}
        waiting = [each.trace_id for each in new]
    return sorted(found.values(), key=lambda each: -each.pk)


def _newest(receiver: str) -> list[Trace]:
    """Return the newest traces, and some in which *receiver* was called."""
    rows = list(Trace.objects.select_related("label").order_by("-pk")[:MOST_TRACES])
    kept: list[Trace] = []
    total = 0
    for row in rows:
        total += row.dispatch_count + row.receiver_call_count
        if kept and total > _MOST_SPANS:
            break
        kept.append(row)
    leaf = receiver.rpartition(".")[2]
    if not any(row.receiver_call_count for row in kept) or len(rows) == MOST_TRACES or kept != rows:
        kept += [row for row in _called_in(leaf) if row.pk not in {each.pk for each in kept}]
    return kept


def _called_in(leaf: str) -> list[Trace]:
    """Return the newest traces that called a receiver of that last name."""
    labels = list(
        ReceiverLabel.objects.filter(name__contains=leaf).values_list("pk", flat=True)[:50]
    )
    dispatches: list[int] = []
    for label in labels:
        calls = ReceiverCall.objects.filter(receiver=label).order_by("-pk")
        dispatches += calls.values_list("dispatch_id", flat=True)[:10]
    traces = Dispatch.objects.filter(pk__in=dispatches).values_list("trace_id", flat=True)
    return list(
        Trace.objects.select_related("label").filter(pk__in=set(traces)).order_by("-pk")[:10]
    )


def _labels(receiver: str) -> Iterator[records.ReceiverLabel]:
    """Yield the stored receivers that *receiver* may mean."""
    leaf = receiver.strip().removesuffix("()").rpartition(".")[2]
    found: Iterable[ReceiverLabel] = ReceiverLabel.objects.filter(name__contains=leaf)[:1_000]
    for row in found:
        yield records.ReceiverLabel(row.name, row.file, row.line, row.dispatch_uid)


def _cut() -> str:
    """Return why there may have been more traces than are stored."""
    pruned_ns = last_pruned_ns(store_alias())
    if pruned_ns is None:
        return ""
    moment = datetime.fromtimestamp(pruned_ns / SECOND_NS, tz=UTC)
    return f"older traces were pruned, the last at {moment:%Y-%m-%d %H:%M} UTC"
