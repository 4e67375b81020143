"""Tasks that a trace enqueued or ran, in words and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracing.presentation.documents import fields_of

if TYPE_CHECKING:
    from tracing.store.task_links import EnqueuedTask, LinkedTrace, TaskLinks

SEEN: Final = "seen"
NOT_SEEN: Final = "not seen yet"
PRUNED: Final = "no longer stored"
UNKNOWN: Final = "not known"


class ToldTask(NamedTuple):
    """A task that a trace enqueued, as a face tells of it."""

    task: EnqueuedTask
    state: str
    """``seen`` or why no run is."""


class ToldTasks(NamedTuple):
    """The tasks of a trace, as a face tells of them."""

    links: TaskLinks
    enqueued: list[ToldTask]
    sender: str
    """``seen``, or why there is none; empty for a trace that ran no task."""


def told_tasks(links: TaskLinks) -> ToldTasks | None:
    """Return what is told of *links*; None for a trace without tasks."""
    if not links.task_id and not links.enqueued:
        return None
    sender = SEEN if links.enqueued_by else PRUNED if links.was_pruned else UNKNOWN
    enqueued = [
        ToldTask(task, SEEN if task.runs else PRUNED if task.was_pruned else NOT_SEEN)
        for task in links.enqueued
    ]
    return ToldTasks(links, enqueued, sender if links.task_id else "")


def task_document(links: TaskLinks) -> dict[str, Any]:
    """Return *links* as JSON; empty for a trace without tasks."""
    told = told_tasks(links)
    if told is None:
        return {}
    found: dict[str, Any] = {}
    if told.enqueued:
        found["enqueued"] = [
            {
                "task": task.name,
                "task_id": task.task_id,
                "backend": task.backend,
                "state": state,
                "runs": [_trace(run) for run in task.runs],
            }
            for task, state in told.enqueued
        ]
    if links.left_out:
        found["left_out"] = links.left_out
    if links.task_id:
        found["task_id"] = links.task_id
        found["sender"] = told.sender
        found["enqueued_by"] = [_trace(sender) for sender in links.enqueued_by]
    return found


def _trace(linked: LinkedTrace) -> dict[str, Any]:
    row = linked.summary
    found = fields_of(row, "trace_id", "root_span_id", "kind", "name", "status", "started_ns")
    return found | ({"attempt": linked.attempt} if linked.attempt else {})
