"""Handing over: threads, executors and asyncio tasks that go on with the work of a receiver.

Whoever starts one leaves a mark in its own stream, and what is started records into a stream of its
own that hangs there. Nothing of the application is wrapped: a thread, a work item and a task run what
they would have run, in the context they would have had.
"""

from __future__ import annotations

import asyncio.base_events
import sys
import threading
import weakref
from concurrent.futures import thread as futures_thread
from contextvars import Context, copy_context
from functools import update_wrapper
from threading import get_ident
from types import CodeType, CoroutineType
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import dispatcher

from tracing.capture.context import Stream, current, enter, leave, running_in
from tracing.capture.failures import failed
from tracing.capture.names import IdentityMemory

if TYPE_CHECKING:
    from collections.abc import Callable

own_types: Final[set[type]] = set()
"""Types of awaitables that find their stream by themselves."""
own_code: Final[dict[int, CodeType]] = {}
"""Code of coroutines that the recording itself starts and that send nothing outside such an awaitable.

By its identity: to hash code is to hash all that it names.
"""


def _code_in_parallel() -> CodeType | None:
    """Return the code of which Django 6.1 makes a task for each async receiver; None in others."""
    parallel = getattr(getattr(dispatcher, "_run_parallel", None), "__code__", None)
    consts = getattr(parallel, "co_consts", ())
    return next((each for each in consts if type(each) is CodeType), None)


_in_parallel: Final = _code_in_parallel()

_NOT_GIVEN: Final = object()
_THREADS_HAVE_CONTEXTS: Final[bool] = sys.version_info >= (3, 14)
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


def _take_over(target: object) -> tuple[Stream, Stream | None, Context | None] | None:
    """Begin to record into the stream handed to *target*, if there is one, for ``_give_back``."""
    context = None
    try:
        stream = _handed.get(target)
        if stream is None or stream.trace is None or stream.trace.end is not None:
            return None
        context = _context_of(target)
        before = enter(stream) if context is None else context.run(enter, stream)
    except Exception as error:
        # A context in which something runs already: the thread will fail over that, too.
        if context is None or type(error) is not RuntimeError:
            failed("taking over", error)
        return None
    return stream, before, context


def _give_back(taken: tuple[Stream, Stream | None, Context | None]) -> None:
    stream, before, context = taken
    stream.finished = True
    if context is None:
        leave(before)
        return
    try:
        context.run(leave, before)
    except RuntimeError:
        return  # Something else runs in the thread's context by now.


def _context_of(target: object) -> Context | None:
    """Return the context in which a thread will run its code; None for the one that is running.

    Threads have one since Python 3.14: a new one, a copy or what they were given.
    """
    if not _THREADS_HAVE_CONTEXTS or not isinstance(target, threading.Thread):
        return None
    context = getattr(target, "_context", None)
    return context if type(context) is Context else None


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
        taken = _take_over(self)
        try:
            return original(self, *args)
        except BaseException as error:
            _without_own_frame(error)
            raise
        finally:
            if taken is not None:
                _give_back(taken)

    return update_wrapper(run, original)


def _initialised(original: Callable[..., None]) -> Callable[..., None]:
    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _hand_over(self)

    return update_wrapper(initialise, original)


def _own_context(loop: Any, coro: Any, given: Context | None) -> Context | None:
    """Return the context for a task of *coro* that goes on with the work of the running stream.

    It is the copy that was *given* or that the task would have made for itself, and in it the stream
    that the task will write. None for a task that does not go on with what is running. Never raises.
    """
    try:
        if type(coro) is CoroutineType and id(coro.cr_code) in own_code:
            return None
        if given is None:
            if loop.get_task_factory() is not None:
                return None
        elif asyncio._get_running_loop() is None or running_in(given) is not current():
            # asyncio.run() gives one, and whoever calls it waits; others are nobody's copy of here.
            return None
        stream = _continuation()
        if stream is None:
            return None
        context = copy_context() if given is None else given
        context.run(enter, stream)
        return context
    except RuntimeError:
        return None  # What was given is a context in which something runs.
    except Exception as error:
        failed("create_task", error)
        return None


def _note_task(task: Any, context: Context | None) -> None:
    """Tell the stream of *context*, if there is one, that *task* writes it. Never raises.

    In asyncio's debug mode a task says where it was created: not in the frame of the caller.
    """
    try:
        stream = running_in(context) if context is not None else None
        if stream is not None and stream.trace is not None:
            stream.task = weakref.ref(task)
        source = getattr(task, "_source_traceback", None)
        if source and source[-1].filename == __file__:
            del source[-1]
    except Exception as error:
        failed("create_task", error)


def _creating_task(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``create_task`` that gives the task a stream, and names the arguments that *original* names.

    Python 3.11 to 3.13 name two of them, of which the later releases take others as well; Python 3.14
    names none. What can be passed on without a dictionary is: that costs each task more than all the rest.

    The tasks of Django's own TaskGroup, several for each asend, share a context and are left alone.
    """

    def create_task(
        self: Any, coro: Any, *, name: Any = None, context: Any = None, **named: Any
    ) -> Any:
        own = None
        if context is None or type(coro) is not CoroutineType or coro.cr_code is not _in_parallel:
            now = current()
            if now is not None and now.events is not None and type(coro) not in own_types:
                own = _own_context(self, coro, context)
                if own is not None:
                    context = own
        try:
            if named:
                task = original(self, coro, name=name, context=context, **named)
            else:
                task = original(self, coro, name=name, context=context)
        except BaseException as error:
            _without_own_frame(error)
            raise
        if own is not None or self._debug:
            _note_task(task, own)
        return task

    def create_task_with_any(
        self: Any, coro: Any, *, context: Any = _NOT_GIVEN, **named: Any
    ) -> Any:
        own = None
        if type(coro) is not CoroutineType or coro.cr_code is not _in_parallel:
            now = current()
            if now is not None and now.events is not None and type(coro) not in own_types:
                own = _own_context(self, coro, None if context is _NOT_GIVEN else context)
                if own is not None:
                    context = own
        try:
            if named:
                if context is not _NOT_GIVEN:
                    named["context"] = context
                task = original(self, coro, **named)
            elif context is _NOT_GIVEN:
                task = original(self, coro)
            else:
                task = original(self, coro, context=context)
        except BaseException as error:
            _without_own_frame(error)
            raise
        if own is not None or self._debug:
            _note_task(task, own)
        return task

    names_two = getattr(original, "__kwdefaults__", None) == {"name": None, "context": None}
    return update_wrapper(create_task if names_two else create_task_with_any, original)


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
