"""Traces of the package django-tasks, which is how a project on Django 5.2 has the same interface."""

from __future__ import annotations

from typing import Any

from django_tasks import task
from django_tasks.signals import task_started

from tracing.instrumentation import patching
from tracing.instrumentation.boundaries import boundaries
from tracing.spans.records import Kind, Status


@task()
def work() -> int:
    """Return a number."""
    return 3


@task()
def fail() -> None:
    """Raise."""
    raise ValueError("no paper left")


def signals(trace: Any) -> list[str]:
    """Return the names of the signals that were sent at the root of *trace*."""
    return [dispatch.signal for dispatch in trace.roots]


def test_task_of_the_forerunner_is_a_trace(keeper):
    with keeper.block() as live:
        work.enqueue()
    trace, block = keeper.traces()

    assert (trace.kind, trace.name, trace.status, trace.parent_trace_id) == (
        Kind.TASK,
        f"{__name__}.work",
        Status.OK,
        live.trace_id,
    )
    assert signals(trace) == [
        "django_tasks.signals.task_started",
        "django_tasks.signals.task_finished",
    ]
    assert signals(block) == ["django_tasks.signals.task_enqueued"]


def test_failed_task_of_the_forerunner_keeps_its_error(keeper):
    with keeper.block():
        fail.enqueue()
    trace, _block = keeper.traces()

    assert (trace.status, trace.error) == (Status.ERROR, "ValueError: no paper left")


def test_undo_leaves_the_forerunner_as_it_was(keeper):
    assert id(task_started) in boundaries
    patching.uninstrument()
    left = id(task_started) in boundaries
    patching.instrument()

    assert left is False
