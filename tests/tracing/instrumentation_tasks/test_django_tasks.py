"""Traces of django.tasks: run at once by Django's own backend, and later by a worker's thread."""

from __future__ import annotations

import queue
import socket
import threading
import traceback
from typing import Any

import pytest

pytest.importorskip("django.tasks", reason="django.tasks begins with Django 6.0")

from django.dispatch import Signal
from django.tasks import TaskResult, TaskResultStatus, default_task_backend, task
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.utils import timezone
from django.utils.crypto import get_random_string

from tracing.instrumentation import context, patching, sampling
from tracing.instrumentation.boundaries import boundaries
from tracing.instrumentation.sampling import Sampler
from tracing.instrumentation.scopes import tasks
from tracing.spans.records import Kind, Status

work_done = Signal()
DONE = f"{__name__}.work_done"


def notice(**_kwargs: Any) -> None:
    """Receive without doing anything."""


@task
def work() -> int:
    """Send a signal."""
    work_done.send("work")
    return 3


@task
def fail() -> None:
    """Raise."""
    raise ValueError("no paper left")


@task
def interrupt() -> None:
    """Be interrupted by the user."""
    raise KeyboardInterrupt


@task
def nest() -> None:
    """Enqueue another task."""
    work.enqueue()


@task
def call_out(port: int) -> None:
    """Connect a socket."""
    socket.create_connection(("127.0.0.1", port), timeout=60).close()


@task
async def work_async() -> None:
    """Send a signal asynchronously."""
    await work_done.asend("work")


@pytest.fixture(autouse=True)
def receivers(keeper):
    work_done.connect(notice)
    yield
    work_done.disconnect(notice)
    assert tasks._runs == {}


class ThreadBackend(BaseTaskBackend):
    """A backend whose worker is a thread that has waited for its tasks since before they were."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.results: queue.Queue[TaskResult] = queue.Queue()

    def enqueue(self, task, args, kwargs):
        """Hand the task to the worker."""
        self.validate_task(task)
        result = TaskResult(
            task=task,
            id=get_random_string(32),
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        task_enqueued.send(type(self), task_result=result)
        self.results.put(result)
        return result

    def run_one(self) -> None:
        """Run the next task, as the worker."""
        result = self.results.get(timeout=60)
        object.__setattr__(result, "status", TaskResultStatus.RUNNING)
        result.worker_ids.append("thread")
        task_started.send(sender=type(self), task_result=result)
        result.task.call(*result.args, **result.kwargs)
        object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
        task_finished.send(sender=type(self), task_result=result)


def signals(trace):
    """Return the names of the signals that were sent at the root of *trace*, in order of time."""
    roots = sorted(trace.roots, key=lambda dispatch: dispatch.start_ns)
    return [dispatch.signal.rpartition(".")[2] for dispatch in roots]


def test_task_is_a_trace_with_both_signals_inside(keeper):
    result = work.enqueue()
    enqueueing, trace = keeper.traces()

    assert result.return_value == 3
    assert (enqueueing.kind, signals(enqueueing)) == (Kind.DISPATCH, ["task_enqueued"])
    assert (trace.kind, trace.name, trace.status, trace.error) == (
        Kind.TASK,
        f"{__name__}.work",
        Status.OK,
        "",
    )
    assert signals(trace) == ["task_started", "work_done", "task_finished"]
    assert trace.parent_trace_id == ""
    assert trace.attributes == {
        "task_id": result.id,
        "backend": "default",
        "queue": "default",
        "attempt": "1",
    }


def test_task_inside_a_trace_knows_its_caller(keeper):
    with keeper.block() as live:
        work.enqueue()
        work_done.send("after")
    trace, block = keeper.traces()

    assert (trace.kind, trace.parent_trace_id, trace.parent_span_id) == (
        Kind.TASK,
        live.trace_id,
        live.root_span_id,
    )
    assert trace.trace_id != live.trace_id
    assert signals(block) == ["task_enqueued", "work_done"]


def test_failed_task_keeps_its_error(keeper):
    result = fail.enqueue()
    _enqueueing, trace = keeper.traces()

    assert result.status == TaskResultStatus.FAILED
    assert (trace.status, trace.error) == (Status.ERROR, "ValueError: no paper left")
    assert signals(trace) == ["task_started", "task_finished"]


def test_failure_reported_outside_its_handler_keeps_its_error(keeper):
    result = fail.enqueue()
    assert tasks._error_of(result) == "ValueError: no paper left"


def test_interrupted_task_leaves_no_open_trace(keeper):
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupt.enqueue()
    _enqueueing, trace = keeper.traces()

    files = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert [file for file in files if "tracing/instrumentation/" in file] == []
    assert (trace.name, trace.error) == (f"{__name__}.interrupt", "KeyboardInterrupt")
    assert context.current() is None


def test_task_in_a_task(keeper):
    nest.enqueue()
    _enqueueing, inner, outer = keeper.traces()

    assert (inner.name, inner.parent_trace_id) == (f"{__name__}.work", outer.trace_id)
    assert signals(outer) == ["task_started", "task_enqueued", "task_finished"]


def test_async_task(keeper):
    work_async.enqueue()
    _enqueueing, trace = keeper.traces()

    assert signals(trace) == ["task_started", "work_done", "task_finished"]


async def test_task_enqueued_asynchronously(keeper):
    with keeper.block() as live:
        await work.aenqueue()
    trace, block = keeper.traces()

    assert (trace.kind, trace.parent_trace_id) == (Kind.TASK, live.trace_id)
    assert signals(block) == ["task_enqueued"]


def test_side_effect_of_a_task_is_its_own(keeper):
    with socket.create_server(("127.0.0.1", 0)) as server, keeper.block():
        port = server.getsockname()[1]
        call_out.enqueue(port)
    trace, block = keeper.traces()

    assert [(effect.kind, effect.target) for effect in trace.side_effects] == [
        ("socket", f"127.0.0.1:{port}")
    ]
    assert [(effect.kind, effect.target) for effect in block.side_effects] == [("task", "call_out")]


def test_task_that_is_not_sampled(keeper):
    sampling.switch.sampler = Sampler(by_kind={"task": 0.0})
    with keeper.block():
        work.enqueue()
        work_done.send("after")
    [block] = keeper.traces()

    assert signals(block) == ["task_enqueued", "work_done"]


def test_worker_thread_knows_who_enqueued(keeper):
    backend = ThreadBackend("default", {})
    waiting, ready = threading.Event(), threading.Event()

    def wait_and_run():
        waiting.set()
        ready.wait(60)
        backend.run_one()

    worker = threading.Thread(target=wait_and_run)
    worker.start()
    waiting.wait(60)
    with keeper.block() as live:
        result = backend.enqueue(work, [], {})
    ready.set()
    worker.join(60)
    block, trace = keeper.traces()

    assert (trace.kind, trace.parent_trace_id, trace.attributes["task_id"]) == (
        Kind.TASK,
        live.trace_id,
        result.id,
    )
    assert signals(trace) == ["task_started", "work_done", "task_finished"]
    assert signals(block) == ["task_enqueued"]


def test_task_that_never_finishes_is_given_up(keeper, monkeypatch):
    monkeypatch.setattr(tasks, "OPEN_LIMIT", 1)
    backend = ThreadBackend("default", {})
    results = [backend.enqueue(work, [], {}) for _ in range(2)]

    def start(result):
        task_started.send(ThreadBackend, task_result=result)

    for result in results:
        thread = threading.Thread(target=start, args=(result,))
        thread.start()
        thread.join()
    task_finished.send(ThreadBackend, task_result=results[1])
    lost, ended = (trace for trace in keeper.traces() if trace.kind is Kind.TASK)

    assert (lost.attributes["task_id"], lost.error) == (
        results[0].id,
        "It never said that it has finished.",
    )
    assert (ended.attributes["task_id"], ended.error) == (results[1].id, "")


def test_undo_leaves_the_signals_as_they_were(keeper):
    signals = {id(signal) for signal in (task_enqueued, task_started, task_finished)}
    assert signals <= set(boundaries)
    patching.uninstrument()
    left = signals & set(boundaries)
    patching.instrument()

    assert left == set()


def test_receiver_that_raises_ends_the_trace_all_the_same(keeper):
    def refuse(**_kwargs):
        raise LookupError("refused")

    task_finished.connect(refuse)
    try:
        with pytest.raises(LookupError) as caught:
            default_task_backend.enqueue(work, [], {})
    finally:
        task_finished.disconnect(refuse)
    _enqueueing, trace = keeper.traces()

    files = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert [file for file in files if "capture/tasks" in file] == []
    assert signals(trace) == ["task_started", "work_done", "task_finished"]
