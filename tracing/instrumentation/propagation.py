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
from inspect import CO_VARARGS, CO_VARKEYWORDS
from threading import get_ident
from types import CodeType, CoroutineType
from typing import Any, Final

from django.dispatch import dispatcher

from tracing.instrumentation.attributes.names import IdentityMemory
from tracing.instrumentation.buffer import Stream
from tracing.instrumentation.context import current, make_current, running_in
from tracing.instrumentation.failures import failed, is_own
from tracing.instrumentation.inlining import Calls, Inline

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


Taken = tuple[Stream, Stream | None, Context | None]


def _take_over(target: object) -> Taken | None:
    """Begin to record into the stream handed to *target*, if there is one, for ``_give_back``."""
    context = None
    try:
        stream = _handed.get(target)
        if stream is None or stream.trace is None or stream.trace.end is not None:
            return None
        context = _context_of(target)
        before = current() if context is None else running_in(context)
        try:
            # C functions: what interrupts does so before or after them.
            _ = make_current(stream) if context is None else context.run(make_current, stream)
        except BaseException:
            if context is None:
                make_current(before)
            raise
    except Exception as error:
        # A context in which something runs already: the thread will fail over that, too.
        if context is None or type(error) is not RuntimeError or not is_own(error):
            failed("taking over", error)
        return None
    return stream, before, context


def _give_back(taken: Taken | None, value: Any = None) -> Any:
    """End what ``_take_over`` began, and return *value*, which the function returns."""
    if taken is None:
        return value
    stream, before, context = taken
    stream.finished = True
    if context is None:
        make_current(before)
        return value
    try:
        context.run(make_current, before)
    except RuntimeError as error:
        if not is_own(error):
            raise
        # Something else runs in the thread's context by now.
    return value


def _context_of(target: object) -> Context | None:
    """Return the context in which a thread will run its code; None for the one that is running.

    Threads have one since Python 3.14: a new one, a copy or what they were given.
    """
    if not _THREADS_HAVE_CONTEXTS or not isinstance(target, threading.Thread):
        return None
    context = getattr(target, "_context", None)
    return context if type(context) is Context else None


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
        context.run(make_current, stream)
        return context
    except RuntimeError as error:
        if not is_own(error):
            raise
        return None  # What was given is a context in which something runs.
    except Exception as error:
        failed("create_task", error)
        return None


class _Hook:
    """What the functions that start threads, work items and tasks call."""

    __slots__ = ()

    hand_over = staticmethod(_hand_over)
    take_over = staticmethod(_take_over)
    give_back = staticmethod(_give_back)

    def context_for(self, loop: Any, coro: Any, given: Context | None) -> Context | None:
        """Return the context for a task that goes on with the work of the running stream, or None.

        The tasks of Django's own TaskGroup, several for each asend, share a context and are left alone.
        """
        now = current()
        if (
            now is None
            or now.events is None
            or type(coro) in own_types
            or (given is not None and type(coro) is CoroutineType and coro.cr_code is _in_parallel)
        ):
            return None
        return _own_context(loop, coro, given)

    def made(self, context: Context | None, task: Any) -> Any:
        """Return *task*, and tell the stream of *context* that it is what writes it. Never raises."""
        if context is not None:
            try:
                stream = running_in(context)
                if stream is not None and stream.trace is not None:
                    stream.task = weakref.ref(task)
            except Exception as error:
                failed("create_task", error)
        return task


_hook: Final = _Hook()
_THREAD: Final = Calls(
    before="_tracing = hook.take_over(self)",
    returned="hook.give_back(_tracing, _value)",
    raised="hook.give_back(_tracing)",
)


def _creating_task(function: Any) -> Calls | None:
    """Return the calls for a ``create_task``, None for one that takes no context.

    Python 3.11 to 3.13.2 name the argument; later releases take any.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    names = code.co_varnames
    others = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & CO_VARARGS)
    if "context" in names[:others]:
        given, put = "context", "context = _tracing"
    elif code.co_flags & CO_VARKEYWORDS:
        given, put = f"{names[others]}.get('context')", f"{names[others]}['context'] = _tracing"
    else:
        return None
    return Calls(
        before=f"_tracing = hook.context_for(self, coro, {given})\nif _tracing is not None: {put}",
        returned="hook.made(_tracing, _value)",
    )


def inlines() -> list[Inline]:
    """Return what follows threads, work items and tasks from where they are started.

    Some of the places are private to the standard library; where one is missing it is left out.
    """
    loop = asyncio.base_events.BaseEventLoop
    work_item = getattr(futures_thread, "_WorkItem", None)
    places = [
        (threading.Thread, "start", Calls(before="hook.hand_over(self)")),
        (threading.Thread, "_bootstrap_inner", _THREAD),
        (work_item, "__init__", Calls(returned="hook.hand_over(self)")),
        (work_item, "run", _THREAD),
    ]
    creating = _creating_task(loop.__dict__.get("create_task"))
    if creating is not None:
        places.append((loop, "create_task", creating))
    return [
        Inline(owner.__dict__[name], _hook, calls)
        for owner, name, calls in places
        if owner is not None and name in owner.__dict__
    ]
