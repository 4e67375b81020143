"""A small project whose tasks lie in files until another process runs them.

``python -m tests.tracing.instrumentation_tasks.file_tasks enqueue|run|tell``, with the settings beside it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

if django.VERSION >= (6, 0):
    from django.tasks import TaskResult, TaskResultStatus, task
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.signals import task_enqueued, task_finished, task_started
else:
    from django_tasks import TaskResult, TaskResultStatus, task
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.signals import task_enqueued, task_finished, task_started

from django.dispatch import Signal
from django.utils import timezone
from django.utils.crypto import get_random_string

if TYPE_CHECKING:
    from collections.abc import Callable

work_done = Signal()


class FileBackend(BaseTaskBackend):
    """A backend that writes each task into a file of ``TASKS_FOLDER``."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> TaskResult:
        """Write the task down for whoever comes."""
        result = result_of(task, get_random_string(32), list(args))
        file = Path(os.environ["TASKS_FOLDER"], f"{result.id}.json")
        file.write_text(json.dumps([result.id, task.func.__name__, list(args)]))
        task_enqueued.send(type(self), task_result=result)
        return result


def result_of(task: Any, result_id: str, args: list[Any]) -> TaskResult:
    """Return the result of a task that has not run."""
    return TaskResult(
        task=task,
        id=result_id,
        status=TaskResultStatus.READY,
        enqueued_at=timezone.now(),
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=args,
        kwargs={},
        backend="default",
        errors=[],
        worker_ids=[],
    )


def notice(**_named: Any) -> None:
    """Receive without doing anything."""


def work(what: str) -> None:
    """Send a signal."""
    work_done.send(what)


def enqueue() -> None:
    """Make the store, and enqueue a task in each way, each in a trace of its own."""
    from asgiref.sync import async_to_sync
    from django.core.management import call_command
    from django.db import transaction

    import tracing

    call_command("migrate", database="tracing", verbosity=0)
    job = task(work)
    with tracing.trace("at once"):
        job.enqueue("at once")
    with tracing.trace("awaited"):
        async_to_sync(job.aenqueue)("awaited")
    with tracing.trace("on commit"), transaction.atomic():
        transaction.on_commit(lambda: job.enqueue("on commit"))


def run() -> None:
    """Run every task that lies there, as a worker."""
    work_done.connect(notice)
    for file in sorted(Path(os.environ["TASKS_FOLDER"]).iterdir()):
        result_id, _, args = json.loads(file.read_text())
        result = result_of(task(work), result_id, args)
        object.__setattr__(result, "status", TaskResultStatus.RUNNING)
        result.worker_ids.append("another process")
        task_started.send(sender=FileBackend, task_result=result)
        result.task.call(*result.args)
        object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
        task_finished.send(sender=FileBackend, task_result=result)


def tell() -> None:
    """Write what the command shows of each trace, as a list."""
    from tracing.management.verbs.traces import trace_document
    from tracing.store import traces

    sys.stdout.write(json.dumps([trace_document(traces.load(row)) for row in traces.newest(20)]))


VERBS: dict[str, Callable[[], None]] = {"enqueue": enqueue, "run": run, "tell": tell}

if __name__ == "__main__":
    django.setup()
    # By its own name: that is where the settings look for the backend.
    from tests.tracing.instrumentation_tasks import file_tasks

    file_tasks.VERBS[sys.argv[1]]()
