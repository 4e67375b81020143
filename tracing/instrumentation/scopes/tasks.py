"""Task traces: runs of django.tasks (Django 6.0 and later).

Whoever runs tasks, Django's immediate backend or the worker of another package, sends ``task_started``
and ``task_finished``. A message has no place for a trace's id: the caller is known where the task
runs in the process that enqueued it.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from functools import partial
from typing import Any, Final

from django.dispatch import Signal

from tracing.instrumentation import context, effects
from tracing.instrumentation.attributes.names import MAX_NAME, dotted
from tracing.instrumentation.attributes.redaction import policy
from tracing.instrumentation.attributes.values import error_text
from tracing.instrumentation.boundaries import Boundary, boundaries
from tracing.instrumentation.buffer import ActiveTrace, Buffer
from tracing.instrumentation.context import current, set_current
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Calls, Inline, Later
from tracing.instrumentation.process import process_lock
from tracing.instrumentation.sampling import decide
from tracing.spans.records import Kind

MAX_ERROR: Final = 500
"""Characters kept of an error."""
MAX_ATTRIBUTE: Final = effects.MAX_TASK_ID
"""Characters kept of an attribute."""
OPEN_LIMIT: Final = 1_000
"""Tasks that may be open at once; of one that never ends the trace is ended when it is the oldest."""
ENQUEUED_LIMIT: Final = 10_000
"""Tasks whose callers are remembered until they run in this process."""


def flush() -> object:
    """Have what was recorded written: replaced when the pipeline is set up."""


class Run:
    """A running task: its trace, if any, and what was running before."""

    __slots__ = ("_effects", "buffer", "trace")

    def __init__(self, trace: ActiveTrace | None, buffer: Buffer) -> None:
        self.trace = trace
        self.buffer = buffer
        self._effects = effects.suspend()

    def end(self, error: str = "") -> None:
        """End it; *error* is the text of the exception that ended the task."""
        effects.resume(self._effects)
        if self.trace is None:
            context.close(self.buffer)
        else:
            self.give_up(error)

    def give_up(self, error: str) -> None:
        """End the trace of a task that will not say that it has finished."""
        if self.trace is not None and self.trace.end is None:
            if error and not self.trace.error:
                self.trace.error = error[:MAX_ERROR]
            context.finish(self.trace)


def begin_run(
    name: str,
    *,
    parent_trace_id: str = "",
    parent_span_id: str = "",
    parent_sampled: bool | None = None,
    attributes: dict[str, str] | None = None,
) -> Run:
    """Open the trace of a task called *name*; return its run.

    Without a parent that travelled with the task, the trace around it is its parent.
    """
    outer = context.running_buffer()
    if outer is not None and outer.ended:
        outer = None
    if not decide(Kind.TASK, name, parent_sampled):
        # Not None: what the task sends is part of what is not recorded, and no standalone dispatch.
        return Run(None, context.leave_out("task", outer))
    around = context.trace_around(outer)
    if not parent_trace_id and around is not None:
        parent_trace_id, parent_span_id = around.trace_id, around.root_span_id
    trace = ActiveTrace(
        Kind.TASK,
        name[:MAX_NAME],
        parent_trace_id=parent_trace_id,
        parent_span_id=parent_span_id,
        outer=outer,
    )
    for key, value in (attributes or {}).items():
        trace.attributes[key] = value[:MAX_ATTRIBUTE]
    context.begin(trace)
    return Run(trace, trace.root)


def leave_ended() -> None:
    """Go back from a trace that was given up to what still runs."""
    buffer = current()
    if buffer is not None and buffer.ended:
        set_current(context.living(buffer))


def describe(error: BaseException) -> str:
    """Return type and message of *error* in one line."""
    name, message = error_text(error)
    return f"{name}: {message}" if message else name


# --- django.tasks ------------------------------------------------------------------------------

_lock = process_lock()
_runs: OrderedDict[str, list[Run]] = OrderedDict()
"""The runs of each task by the id of its result; a task may be run again inside itself."""
_callers: OrderedDict[str, tuple[str, str]] = OrderedDict()
"""(trace id, span id) of whoever enqueued a task, by the id of its result, until it runs."""


def _text(value: object) -> str:
    return value if type(value) is str else ""


def enqueued(named: dict[str, Any]) -> None:
    """Remember who enqueues a task, if it runs here. Never raises."""
    try:
        buffer = current()
        if buffer is None or buffer.trace is None or buffer.ended:
            return
        result_id = _text(getattr(named.get("task_result"), "id", None))
        if not result_id:
            return
        with _lock:
            _callers[result_id] = buffer.trace.trace_id, buffer.trace.root_span_id
            if len(_callers) > ENQUEUED_LIMIT:
                _callers.popitem(last=False)
    except Exception as error:
        failed("task_enqueued", error)


def started(named: dict[str, Any]) -> None:
    """Open a task's trace, before ``task_started``. Never raises."""
    try:
        result = named.get("task_result")
        task = getattr(result, "task", None)
        result_id = _text(getattr(result, "id", None))
        if task is None or not result_id:
            return
        with _lock:
            caller_trace_id, caller_span_id = _callers.pop(result_id, ("", ""))
        run = begin_run(
            _text(task.module_path) or dotted(type(task)),
            parent_trace_id=caller_trace_id,
            parent_span_id=caller_span_id,
            attributes={
                "task_id": result_id,
                "backend": _text(getattr(result, "backend", "")),
                "queue": _text(getattr(task, "queue_name", "")),
                "attempt": str(len(result.worker_ids)),  # type: ignore[union-attr]
            },
        )
        oldest = None
        with _lock:
            _runs.setdefault(result_id, []).append(run)
            if len(_runs) > OPEN_LIMIT:
                oldest = _runs.popitem(last=False)[1]
        for forgotten in oldest or ():
            forgotten.give_up("It never said that it has finished.")
    except Exception as error:
        failed("task_started", error)


def finished(named: dict[str, Any]) -> None:
    """End a task's trace, after ``task_finished``. Never raises."""
    try:
        result = named.get("task_result")
        run = _take_run(_text(getattr(result, "id", None)))
        if run is not None:
            run.end(_error_of(result))
        else:
            leave_ended()
    except Exception as error:
        failed("task_finished", error)


def _take_run(result_id: str) -> Run | None:
    with _lock:
        runs = _runs.get(result_id)
        if not runs:
            return None
        run = runs.pop()
        if not runs:
            del _runs[result_id]
        return run


def _error_of(result: Any) -> str:
    """Return the error of a failed *result*; empty if it succeeded."""
    if str(getattr(result, "status", "")) != "FAILED":
        return ""
    # RQ's backend has no error before the job is over.
    path = str(result.errors[-1].exception_class_path) if result.errors else ""
    # Django sends the signal where the exception is being handled.
    handled = sys.exc_info()[1]
    if handled is not None and (
        not path or dotted(type(handled)) in {path, path.removeprefix("builtins.")}
    ):
        return describe(handled)
    if not path:
        return "It failed."
    for line in reversed(str(result.errors[-1].traceback).splitlines() if policy.messages else []):
        if line.startswith(path.removeprefix("builtins.")):
            return line
    return path


class _Hook:
    """The hook in Django's immediate backend, for KeyboardInterrupts."""

    __slots__ = ()

    def raised(self, result: Any, error: BaseException) -> None:
        """End the trace of a task whose backend has raised. Never raises."""
        try:
            run = _take_run(_text(getattr(result, "id", None)))
            if run is not None:
                run.end(describe(error))
        except Exception as failure:
            failed("task", failure)


_EXECUTE: Final = Calls(raised="hook.raised(task_result, _error)")
_BOUNDARIES: Final[dict[str, Boundary]] = {
    "task_enqueued": (enqueued, None),
    "task_started": (started, None),
    "task_finished": (None, finished),
}


def _has_signals(module: str) -> list[Inline]:
    """Have the signals of tasks begin and end traces from now on."""
    for name, boundary in _BOUNDARIES.items():
        signal = getattr(sys.modules[module], name, None)
        if isinstance(signal, Signal):
            boundaries[id(signal)] = boundary
    return []


def _has_backend(module: str) -> list[Inline]:
    backend = getattr(sys.modules[module], "ImmediateBackend", None)
    execute = getattr(backend, "__dict__", {}).get("_execute_task")
    return [Inline(execute, _Hook(), _EXECUTE)] if execute is not None else []


class _WorkHorse:
    """The hook in RQ's worker, whose child process ends past ``atexit``."""

    __slots__ = ()

    def ended(self, value: Any, worker: Any) -> Any:
        """Return *value*; write what a process recorded that ends. Never raises."""
        try:
            if worker.is_horse:
                flush()
        except Exception as error:
            failed("rq", error)
        return value


_PERFORM: Final = Calls(returned="hook.ended(_value, self)", raised="hook.ended(None, self)")


def _has_work_horses() -> list[Inline]:
    perform = getattr(getattr(sys.modules["rq.worker"], "Worker", None), "perform_job", None)
    return [Inline(perform, _WorkHorse(), _PERFORM)] if perform is not None else []


def later() -> list[Later]:
    """Return (module, function for hooks) of what runs tasks."""
    return [
        ("rq.worker", _has_work_horses),
        *(
            (f"{package}.{module}", partial(made, f"{package}.{module}"))
            for package in ("django.tasks", "django_tasks")
            for module, made in (("signals", _has_signals), ("backends.immediate", _has_backend))
        ),
    ]
