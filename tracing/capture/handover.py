"""Handing over: threads, executors and asyncio tasks that go on with the work of a receiver.

Whoever starts one leaves a mark in its own stream, and what is started records into a stream of its
own that hangs there. Nothing of the application is wrapped: a thread, a work item and a task run what
they would have run, in the context they would have had.
"""

from __future__ import annotations

import asyncio.base_events
import threading
import weakref
from concurrent.futures import thread as futures_thread
from contextvars import copy_context
from functools import update_wrapper
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from tracing.capture.context import Stream, current, enter, leave
from tracing.capture.failures import failed
from tracing.capture.names import IdentityMemory

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

own_types: Final[set[type]] = set()
"""Types of awaitables that find their stream by themselves."""
own_code: Final[dict[int, CodeType]] = {}
"""Code of coroutines that the recording itself starts and that send nothing outside such an awaitable.

By its identity: to hash code is to hash all that it names.
"""

_handed: Final[IdentityMemory[Stream]] = IdentityMemory()
"""The stream that a thread or a work item will record into."""


def _continuation() -> Stream | None:
    """Mark this point of the running stream, and return the stream of what goes on from here."""
    stream = current()
    if stream is None or stream.events is None or stream.trace is None:
        return None
    if stream.ident != get_ident():
        stream = stream.here()
    return stream.continuation()


def _hand_over(target: object) -> None:
    try:
        stream = _continuation()
        if stream is not None:
            _handed.put(target, stream)
    except Exception as error:
        failed("handing over", error)


def _take_over(target: object) -> tuple[Stream | None, Stream | None]:
    """Begin to record into the stream handed to *target*; return it, or None, and what was before."""
    try:
        stream = _handed.get(target)
        if stream is None or stream.trace is None or stream.trace.end is not None:
            return None, None
        return stream, enter(stream)
    except Exception as error:
        failed("taking over", error)
        return None, None


def _without_own_frame(error: BaseException) -> None:
    """Take the frame of the caller out of the traceback of *error*, which is about to leave it."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next


def _started(original: Callable[..., Any]) -> Callable[..., Any]:
    def start(self: Any) -> Any:
        _hand_over(self)
        try:
            return original(self)
        except BaseException as error:
            _without_own_frame(error)
            raise

    return update_wrapper(start, original)


def _running(original: Callable[..., Any]) -> Callable[..., Any]:
    """For ``Thread._bootstrap_inner`` and ``_WorkItem.run``, below which the application's code runs."""

    def run(self: Any, *args: Any) -> Any:
        stream, before = _take_over(self)
        try:
            return original(self, *args)
        except BaseException as error:
            _without_own_frame(error)
            raise
        finally:
            if stream is not None:
                stream.finished = True
                leave(before)

    return update_wrapper(run, original)


def _initialised(original: Callable[..., None]) -> Callable[..., None]:
    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _hand_over(self)

    return update_wrapper(initialise, original)


def _goes_on(loop: Any, coro: Any) -> bool:
    """Return whether a task for *coro*, without a context, goes on with the work of the running stream."""
    return (
        not (type(coro) is CoroutineType and id(coro.cr_code) in own_code)
        and loop.get_task_factory() is None
    )


def _creating_task(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_task(self: Any, coro: Any, **kwargs: Any) -> Any:
        stream = None
        # The tasks of Django's own TaskGroup share a context, and are several for each asend.
        now = current() if kwargs.get("context") is None else None
        if now is not None and now.events is not None and type(coro) not in own_types:
            try:
                if _goes_on(self, coro):
                    stream = _continuation()
                if stream is not None:
                    # The copy is what the task would have made for itself.
                    context = copy_context()
                    context.run(enter, stream)
                    kwargs["context"] = context
            except Exception as error:
                failed("create_task", error)
        try:
            task = original(self, coro, **kwargs) if kwargs else original(self, coro)
        except BaseException as error:
            _without_own_frame(error)
            raise
        if stream is not None and stream.trace is not None:
            stream.task = weakref.ref(task)
        return task

    return update_wrapper(create_task, original)


def replacements() -> list[tuple[Any, str, Callable[..., Any]]]:
    """Return (class, name, replacement) for what starts threads, work items and tasks.

    Some of the places are private to the standard library; where one is missing it is left out.
    """
    loop = asyncio.base_events.BaseEventLoop
    work_item = getattr(futures_thread, "_WorkItem", None)
    places = [
        (threading.Thread, "start", _started),
        (threading.Thread, "_bootstrap_inner", _running),
        (work_item, "__init__", _initialised),
        (work_item, "run", _running),
        (loop, "create_task", _creating_task),
    ]
    return [
        (owner, name, make(owner.__dict__[name]))
        for owner, name, make in places
        if owner is not None and name in owner.__dict__
    ]
