"""Celery: each run of a task is a trace; messages carry their sender's.

A process is connected by itself as soon as it has imported Celery. Without Celery nothing here does
anything.
"""

from __future__ import annotations

import sys
from functools import partial, wraps
from importlib import import_module
from importlib.util import find_spec
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from tracing import pipeline
from tracing.instrumentation import effects, patching
from tracing.instrumentation.context import current, end
from tracing.instrumentation.failures import failed
from tracing.instrumentation.imports import when_imported
from tracing.instrumentation.process import process_lock
from tracing.instrumentation.scopes.requests import follow_current_span, parse_traceparent
from tracing.instrumentation.scopes.tasks import Run, begin_run, describe, leave_ended
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HEADER: Final = "traceparent"
"""W3C Trace Context: ``00-<trace id>-<span id>-<flags>``."""
MARK: Final = "tracestate"
"""The same: ``tracing=<span id>`` beside a ``traceparent`` of that span says that it is ours."""
OPEN_LIMIT: Final = 1_000
"""Tasks that may be open at once; of one that never ends the trace is ended when it is the oldest."""
SECONDS_TO_FLUSH: Final = 5.0
"""How long a worker that ends waits at most for its traces to be written."""
MOST_BODIES: Final = 5
"""Tasks of a chord's body whose ids are kept, if it is a group; so many fit into an attribute."""

_lock = process_lock()
_runs: dict[str, dict[Run, int]] = {}
"""The thread of each run by the id of the task; an eager retry runs within the run that asked for it."""
_undo: Callable[[], None] | None = None


def connect() -> Callable[[], None]:
    """Trace Celery's tasks in this process; return what undoes it.

    Idempotent. Done by itself as soon as Celery is imported; nothing where it is not installed.
    """
    global _undo  # noqa: PLW0603 - one connection per process.
    if _undo is not None:
        return _undo
    if find_spec("celery") is None:
        return lambda: None
    signals = import_module("celery.signals")
    made = []
    for name, receiver in _RECEIVERS.items():
        signal = getattr(signals, name, None)
        if signal is not None:
            signal.connect(receiver, weak=False, dispatch_uid=f"tracing.{name}")
            if hasattr(signal, "_live_receivers"):
                signal._live_receivers = partial(_receivers_of, signal._live_receivers, receiver)  # noqa: SLF001
            made.append((signal, receiver, f"tracing.{name}"))

    def undo() -> None:
        global _undo  # noqa: PLW0603
        for signal, receiver, uid in made:
            signal.disconnect(receiver, dispatch_uid=uid)
            vars(signal).pop("_live_receivers", None)
        _undo = None

    _undo = undo
    return undo


_waits = False


def connect_when_imported() -> None:
    """Connect as soon as this process uses Celery. Idempotent."""
    global _waits  # noqa: PLW0603 - like the connection.
    if not _waits:
        _waits = True
        when_imported("celery.signals", connect)


class _Receivers(list[Any]):
    """The receivers of one sending, whose *own* runs as the next is asked for.

    Celery logs and drops what a receiver raises. A soft time limit that comes while ours runs belongs to
    the task: it must meet Celery where it would without us, beside the receivers and not in one of them.
    """

    def __init__(self, receivers: Iterable[Any], own: Callable[..., None]) -> None:
        super().__init__(receivers)
        self._own = own

    def __iter__(self) -> Iterator[Any]:
        for receiver in super().__iter__():
            if receiver is not self._own:
                yield receiver
                continue
            named: dict[str, Any] = {}
            # In our place Celery calls what keeps the arguments, in which nothing of ours can be interrupted.
            yield named.update
            receiver(**named)
        if self._own is _starting:
            _follow()


def _receivers_of(
    live: Callable[[Any], list[Any]], own: Callable[..., None], sender: Any
) -> _Receivers:
    return _Receivers(live(sender), own)


def _guarded(place: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that counts failures at *place* and goes on."""

    def guard(receiver: Callable[..., None]) -> Callable[..., None]:
        @wraps(receiver)
        def guarded(**named: Any) -> None:
            try:
                receiver(**named)
            except Exception as error:  # noqa: BLE001 - the traced program comes first.
                failed(f"celery: {place}", error)

        return guarded

    return guard


# --- the sender --------------------------------------------------------------------------------


@_guarded("publishing")
def _publishing(headers: Any = None, body: Any = None, **_named: Any) -> None:
    """Put the running trace into a message's headers, if none is there."""
    if type(headers) is not dict or not patching.is_instrumented():
        return
    buffer = current()
    if buffer is None or buffer.trace is None or buffer.ended:
        return
    if HEADER not in headers:
        span_id = buffer.trace.root_span_id
        headers[HEADER] = f"00-{buffer.trace.trace_id}-{span_id}-01"
        headers.setdefault(MARK, f"tracing={span_id}")
    match body:
        case (_, _, dict() as embedded):
            _note_chord(headers, embedded, buffer.trace.attributes.get("chord", "").split())


def _note_chord(headers: dict[str, Any], embedded: dict[str, Any], own: list[str]) -> None:
    """Note the body of a chord with the first task of its header.

    Not in a run of that header, which sends a later task of it.

    Args:
        headers: Of the message.
        embedded: What goes with it: its chord, and the rest of its chain.
        own: Ids of the bodies of the running task's own chord.
    """
    member, chord = _chord_of(embedded.get("chord"), embedded.get("chain"), headers)
    # Each of the header's tasks carries the whole body.
    if chord is None or member.get("group_index") != 0:
        return
    for name, task_id in _bodies_of(chord):
        if task_id not in own:
            effects.note_task(name, "celery", task_id)


def _chord_of(chord: Any, chain: Any, member: Any) -> tuple[Any, Any]:
    """Return (options of the member, body) of a chord; (…, None) for none.

    The last task of a chain has the chord of the whole chain; Celery has the next task last.
    """
    if chord is None and chain:
        member = chain[0].get("options") or {}
        chord = member.get("chord")
    return member, chord


def _bodies_of(signature: Any) -> list[tuple[str, str]]:
    """Return (name, id) of the tasks with which the body of a chord begins.

    Several for a group, the first of a chain, and the header of a chord.
    """
    found: list[tuple[str, str]] = []
    waiting = [signature]
    while waiting and len(found) < MOST_BODIES:
        each = waiting.pop(0)
        inner = each.get("kwargs") or {}
        match each.get("subtask_type"):
            case "group":
                waiting[:0] = (inner.get("tasks") or ())[:MOST_BODIES]
            case "chain":
                waiting[:0] = (inner.get("tasks") or ())[:1]
            case "chord":
                header = inner.get("header") or ()
                waiting[:0] = [header] if isinstance(header, dict) else header[:MOST_BODIES]
            case _:
                task_id = (each.get("options") or {}).get("task_id")
                if type(task_id) is str:
                    found.append((str(each.get("task") or ""), task_id))
    return found


# --- the worker --------------------------------------------------------------------------------


def _parent_of(request: Any) -> tuple[str, str, bool | None]:
    """Return (trace id, span id, sampled) of a message; empty for none.

    The header is taken out again if it is ours: the task sees the headers that were given, and a
    retry or a chain sends its own.
    """
    facts = request.__dict__
    headers = facts.get("headers")
    value = facts.get(HEADER)
    if value is None and type(headers) is dict:
        value = headers.get(HEADER)
    parent = parse_traceparent(value) if type(value) is str else None
    if parent is None:
        return "", "", None
    mark = f"tracing={parent[1]}"
    if mark in (facts.get(MARK), headers.get(MARK) if type(headers) is dict else None):
        facts.pop(HEADER, None)
        facts.pop(MARK, None)
        if type(headers) is dict and headers.get(HEADER) == value:
            rest = {key: given for key, given in headers.items() if key not in {HEADER, MARK}}
            # Celery has None where a message has no headers of the application's.
            facts["headers"] = rest or None
    return parent


@_guarded("starting")
def _starting(task_id: Any = None, task: Any = None, **_named: Any) -> None:
    """Open the trace of a run, before the task is called."""
    if not patching.is_instrumented():
        return
    request = task.request
    delivery = request.delivery_info or {}
    eager = bool(request.is_eager)
    trace_id, parent_span_id, sampled = ("", "", None) if eager else _parent_of(request)
    attributes = {
        "task_id": str(task_id),
        "backend": "celery",
        "queue": str(delivery.get("routing_key") or ""),
        "attempt": str(int(request.retries or 0) + 1),
    }
    if eager:
        attributes["eager"] = "True"
        effects.note_eager_task(str(task.name), str(task_id))
    _, chord = _chord_of(request.chord, request.chain, None)
    if chord is not None:
        attributes["chord"] = " ".join(task_id for _, task_id in _bodies_of(chord))
    before = current()
    try:
        run = begin_run(
            str(task.name),
            parent_trace_id=trace_id,
            parent_span_id=parent_span_id,
            parent_sampled=sampled,
            attributes=attributes,
        )
        _remember(str(task_id), run)
    except BaseException:
        # Interrupted, or broken: the end of a run that is not among ``_runs`` would tell us nothing.
        if (buffer := current()) is not None and buffer is not before:
            end(buffer)
        raise


def _follow() -> None:
    """Put a run under OpenTelemetry's span of it, if that began after ours."""
    buffer = current()
    trace = None if buffer is None else buffer.trace
    if trace is not None and trace.kind is Kind.TASK and trace.root.outer is None:
        follow_current_span(trace)


def _remember(task_id: str, run: Run) -> None:
    """Add a run to the open ones; give up the oldest of too many."""
    forgotten: dict[Run, int] = {}
    with _lock:
        _runs[task_id] = _runs.get(task_id, {}) | {run: get_ident()}
        if len(_runs) > OPEN_LIMIT:
            forgotten = _runs.pop(next(iter(_runs)))
    for lost in forgotten:
        lost.give_up("It never said that it has finished.")


def _find_run(task_id: object, ident: int | None) -> Run | None:
    """Return the innermost open run of a task in a thread, or in any."""
    with _lock:
        runs = [*_runs.get(str(task_id), {}).items()]
    # Not under the lock: where a loop is interrupted as it goes on, CPython 3.12 and 3.13 leave it held.
    for run, thread in reversed(runs):
        if ident is None or thread == ident:
            return run
    return None


def _forget(task_id: object, run: Run) -> None:
    """Take a run that has ended from the open ones. Idempotent."""
    with _lock:
        runs = _runs.get(str(task_id), {})
        runs.pop(run, None)
        if not runs:
            _runs.pop(str(task_id), None)


def _end(task_id: object, run: Run, error: str) -> None:
    """End a run and forget it, to the end also where somebody interrupts it."""
    try:
        run.end(error)
        _forget(task_id, run)
    except BaseException:
        run.end(error)
        _forget(task_id, run)
        raise


@_guarded("ending")
def _ending(task_id: Any = None, retval: Any = None, state: Any = None, **_named: Any) -> None:
    """End the trace of a run that returned, raised or is to be retried."""
    run = _find_run(task_id, get_ident())
    if run is None:
        leave_ended()
        return
    error = ""
    try:
        if state is None:
            # What is no Exception passes through Celery, which ends the run all the same.
            passing = sys.exc_info()[1]
            error = describe(passing) if passing is not None else ""
        elif run.trace is not None:
            run.trace.attributes["state"] = str(state)
            if state == "RETRY" and isinstance(getattr(retval, "exc", None), BaseException):
                run.trace.attributes["retry"] = describe(retval.exc)[:200]
            elif state == "FAILURE" and isinstance(retval, BaseException):
                error = describe(retval)
    finally:
        _end(task_id, run, error)


@_guarded("revoked")
def _revoked(request: Any = None, terminated: Any = None, **_named: Any) -> None:
    """End the trace of a run that was stopped from outside."""
    task_id = getattr(request, "id", None)
    run = _find_run(task_id, None) if terminated else None
    if run is not None:
        if run.trace is not None:
            run.trace.attributes["state"] = "REVOKED"
        run.give_up("Revoked while it was running.")
        _forget(task_id, run)


@_guarded("internal error")
def _internal_error(task_id: Any = None, exception: Any = None, **_named: Any) -> None:
    """End the trace of a run that failed in Celery itself."""
    run = _find_run(task_id, get_ident())
    if run is not None:
        _end(task_id, run, describe(exception) if isinstance(exception, BaseException) else "")


@_guarded("shutdown")
def _worker_ends(**_named: Any) -> None:
    """Write what has been recorded, as the pool's process skips atexit."""
    pipeline.default.force_flush(SECONDS_TO_FLUSH)


_RECEIVERS: Final[dict[str, Callable[..., None]]] = {
    "before_task_publish": _publishing,
    "task_prerun": _starting,
    "task_postrun": _ending,
    "task_revoked": _revoked,
    "task_internal_error": _internal_error,
    "worker_process_shutdown": _worker_ends,
    "worker_shutdown": _worker_ends,
}
