"""Traces of the package django-tasks, which is how a project on Django 5.2 has the same interface."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django_tasks import task
from django_tasks.signals import task_started

from tracing.instrumentation import patching
from tracing.instrumentation.boundaries import boundaries
from tracing.instrumentation.scopes import tasks
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


def test_backend_of_a_task_is_the_one_that_the_settings_name(keeper, settings):
    path = "django_tasks.backends.dummy.DummyBackend"
    settings.TASKS = {"default": {"BACKEND": path}}
    with keeper.block():
        work.enqueue()
    block = keeper.traces()[-1]

    assert [(effect.target, effect.backend) for effect in block.side_effects] == [("work", path)]


def test_failure_that_its_result_does_not_tell_yet_is_an_error():
    result = SimpleNamespace(status="FAILED", errors=[])
    assert tasks._error_of(result) == "It failed."
    try:
        fail.call()
    except ValueError:
        assert tasks._error_of(result) == "ValueError: no paper left"


def test_undo_leaves_the_forerunner_as_it_was(keeper):
    assert id(task_started) in boundaries
    patching.uninstrument()
    left = id(task_started) in boundaries
    patching.instrument()

    assert left is False
