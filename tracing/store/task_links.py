"""Tasks across traces: what enqueued each, and what ran it.

They are joined by the id of the task, in both directions and in whatever order they were stored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from tracing.store.choice import asked
from tracing.store.models import TaskLink, Trace
from tracing.store.traces import summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.spans import records
    from tracing.spans.summary import TraceSummary

MOST_TASKS: Final = 50
"""Tasks of one trace whose runs are looked for."""
MOST_LINKS: Final = 500
"""Runs of those tasks, or traces that enqueued one, that are read."""
_AFTER_GROUP: Final = "the task after its group"
"""A chord's body in the trace of a run of its header, until it has run itself."""


@dataclass(frozen=True, slots=True)
class LinkedTrace:
    """A trace that enqueued a task or ran it."""

    summary: TraceSummary
    attempt: int
    """Which run of the task it is; 0 for none."""


@dataclass(slots=True)
class EnqueuedTask:
    """A task that a trace enqueued, and its runs."""

    name: str
    backend: str
    task_id: str
    runs: list[LinkedTrace] = field(default_factory=list)
    """In order of their attempts."""
    was_pruned: bool = False
    """A run of it was stored and is no longer."""


@dataclass(slots=True)
class TaskLinks:
    """The tasks that a trace enqueued, and what enqueued it."""

    task_id: str
    """Of the task that the trace ran; empty for none."""
    enqueued: list[EnqueuedTask]
    left_out: int
    """Further tasks that it enqueued."""
    enqueued_by: list[LinkedTrace]
    """More than one for a task that is tried again: each run enqueues the next."""
    was_pruned: bool = False
    """What enqueued it was stored and is no longer."""


Linking: TypeAlias = "Callable[[list[str], bool], dict[str, list[LinkedTrace | None]]]"
"""Returns the traces that ran tasks (True), or enqueued them; None for one that was pruned."""


@asked
def task_links(trace: records.Trace) -> TaskLinks:
    """Return the tasks that *trace* enqueued, and what enqueued it."""
    return links_of(trace, _linked)


def links_of(trace: records.Trace, linking: Linking) -> TaskLinks:
    """Return what ``task_links`` does, of traces that *linking* finds."""
    own = trace.task_id
    turn = _number(trace.attributes.get("attempt")) if own else 0, trace.started_ns
    tasks: dict[str, EnqueuedTask] = {}
    for effect in trace.side_effects:
        if effect.task_id:
            task = EnqueuedTask(effect.target, effect.backend, effect.task_id)
            tasks.setdefault(effect.task_id, task)
    for chord_id in trace.chord_ids:
        tasks.setdefault(chord_id, EnqueuedTask(_AFTER_GROUP, "celery", chord_id))
    enqueued = list(tasks.values())[:MOST_TASKS]
    _find_runs(enqueued, own, turn, linking)
    found = TaskLinks(own, enqueued, len(tasks) - len(enqueued), [])
    for linked in linking([own], False).get(own, []) if own else ():
        if linked is None:
            found.was_pruned = True
        elif _turn(linked) < turn:
            # Later runs enqueue it as well, where they are tried again or replace themselves.
            found.enqueued_by.append(linked)
    found.enqueued_by.sort(key=_turn)
    return found


def _find_runs(
    tasks: list[EnqueuedTask], own: str, turn: tuple[int, int], linking: Linking
) -> None:
    """Put into *tasks* their runs; of the *own* task those after its *turn*."""
    by_id = linking([task.task_id for task in tasks], True)
    for task in tasks:
        for linked in by_id.get(task.task_id, ()):
            if linked is None:
                task.was_pruned = True
            elif task.task_id != own or _turn(linked) > turn:
                task.runs.append(linked)
        task.runs.sort(key=_turn)
        if task.runs and task.name == _AFTER_GROUP:
            task.name = task.runs[0].summary.name


def _linked(task_ids: list[str], ran: bool) -> dict[str, list[LinkedTrace | None]]:  # noqa: FBT001 - a Linking.
    """Return the traces of each task; None for one that was pruned."""
    rows = TaskLink.objects.filter(task_id__in=task_ids, ran=ran).order_by("pk")
    # A trace may have two rows for one task, one of an early segment.
    links = [*dict.fromkeys(rows.values_list("task_id", "trace_id")[:MOST_LINKS])]
    traces = {row.pk: row for row in Trace.objects.filter(pk__in={key for _, key in links})}
    found: dict[str, list[LinkedTrace | None]] = {}
    for task_id, key in links:
        linked = _of_row(traces[key], task_id) if key in traces else None
        found.setdefault(task_id, []).append(linked)
    return found


def _turn(linked: LinkedTrace) -> tuple[int, int]:
    """Return what orders a task's runs; one replaced has two of one attempt."""
    return linked.attempt, linked.summary.started_ns


def _of_row(row: Trace, task_id: str) -> LinkedTrace:
    attributes = json.loads(row.attributes) if row.attributes else {}
    is_run = row.kind == "task" and attributes.get("task_id") == task_id
    return LinkedTrace(summary(row), _number(attributes.get("attempt")) if is_run else 0)


def _number(text: object) -> int:
    """Return the attempt that *text* says; the first if it says none."""
    return int(text) if isinstance(text, str) and text.isdecimal() else 1
