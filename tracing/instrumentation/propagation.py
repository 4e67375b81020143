"""Handing over: threads and tasks that go on with a receiver's work.

Whoever starts one leaves a mark in its own buffer, and what is started records into a buffer of its
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
from functools import partial
from inspect import CO_VARARGS, CO_VARKEYWORDS
from sys import _getframe as getframe
from threading import get_ident
from types import CodeType, CoroutineType, FrameType, MethodType
from typing import Any, Final

from asgiref.sync import SyncToAsync
from django.dispatch import dispatcher

from tracing.instrumentation.attributes.callsites import application_frame, handed
from tracing.instrumentation.attributes.names import IdentityMemory
from tracing.instrumentation.buffer import Buffer
from tracing.instrumentation.context import current, running_in, set_current
from tracing.instrumentation.failures import failed, is_own
from tracing.instrumentation.inlining import Calls, Inline, code_of

own_types: Final[set[type]] = set()
"""Types of awaitables that find their buffer by themselves."""
own_code: Final[dict[int, CodeType]] = {}
"""Code of coroutines that the recording itself starts and that send nothing outside such an awaitable.

By its identity: to hash code is to hash all that it names.
"""


def _code_in_parallel() -> CodeType | None:
    """Return the code that Django 6.1 runs async receivers by; else None."""
    parallel = getattr(getattr(dispatcher, "_run_parallel", None), "__code__", None)
    consts = getattr(parallel, "co_consts", ())
    return next((each for each in consts if type(each) is CodeType), None)


_in_parallel: Final = _code_in_parallel()

_THREAD_HANDLER: Final = getattr(SyncToAsync, "thread_handler", None)

_Place = tuple[CodeType, int]
_THREADS_HAVE_CONTEXTS: Final[bool] = sys.version_info >= (3, 14)
_handed: Final[IdentityMemory[tuple[Buffer | None, _Place | None]]] = IdentityMemory()
"""The buffer that a thread or a work item will record into, and who has handed a work item over.

None for the buffer of a work item whose function finds it by itself.
"""


def _continuation() -> Buffer | None:
    """Mark this point of the buffer; return the buffer that goes on."""
    buffer = current()
    if buffer is None or buffer.events is None or buffer.trace is None:
        return None
    if buffer.ident != get_ident():
        buffer = buffer.here()
    return buffer.child_buffer()


def _inject(target: object, frame: FrameType | None = None) -> None:
    """Mark that *target* goes on from here; *frame* hands it over."""
    try:
        buffer = _continuation()
        if buffer is not None:
            own = application_frame(frame)
            _handed.put(target, (buffer, (own.f_code, own.f_lasti) if own is not None else None))
    except Exception as error:
        failed("handing over", error)


def _inject_work(target: Any) -> None:
    """Hand a work item over, and remember who does so.

    Nothing of the application need be on the stack that runs it. A thread has its own function
    there, and one of a pool runs what others handed over as well.
    """
    try:
        function = getattr(target, "fn", None)
        if (
            type(function) is not partial
            or type(function.func) is not MethodType
            or function.func.__func__ is not _THREAD_HANDLER
        ):
            _inject(target, getframe(2))
            return
        # Of sync_to_async(), which calls the function in the context of who awaits it.
        buffer = current()
        if buffer is not None and buffer.events is not None:
            own = application_frame(getframe(2))
            if own is not None:
                _handed.put(target, (None, (own.f_code, own.f_lasti)))
    except Exception as error:
        failed("handing over", error)


Taken = tuple[Buffer | None, Buffer | None, Context | None]


def _attach(target: object) -> Taken | None:
    """Record into the buffer of *target*, if any, until ``_detach``."""
    context = None
    try:
        found = _handed.get(target)
        if found is None:
            return None
        buffer, place = found
        if buffer is None:
            handed[get_ident()] = place  # type: ignore[assignment]
            return None, None, None
        if buffer.trace is None or buffer.trace.end is not None:
            return None
        context = _context_of(target)
        before = current() if context is None else running_in(context)
        try:
            # C functions: what interrupts does so before or after them.
            _ = set_current(buffer) if context is None else context.run(set_current, buffer)
        except BaseException:
            if context is None:
                set_current(before)
            raise
        if place is not None:
            handed[get_ident()] = place
    except Exception as error:
        # A context in which something runs already: the thread will fail over that, too.
        if context is None or type(error) is not RuntimeError or not is_own(error):
            failed("taking over", error)
        return None
    return buffer, before, context


def _detach(taken: Taken | None, value: Any = None) -> Any:
    """End what ``_attach`` began; return *value*."""
    if taken is None:
        return value
    buffer, before, context = taken
    handed.pop(get_ident(), None)
    if buffer is None:
        return value
    buffer.finished = True
    if context is None:
        set_current(before)
        return value
    try:
        context.run(set_current, before)
    except RuntimeError as error:
        if not is_own(error):
            raise
        # Something else runs in the thread's context by now.
    return value


def _context_of(target: object) -> Context | None:
    """Return the context of a thread's code; None for the running one.

    Threads have one since Python 3.14: a new one, a copy or what they were given.
    """
    if not _THREADS_HAVE_CONTEXTS or not isinstance(target, threading.Thread):
        return None
    context = getattr(target, "_context", None)
    return context if type(context) is Context else None


def _own_context(loop: Any, coro: Any, given: Context | None) -> Context | None:
    """Return the context of a task of *coro* that goes on from here.

    It is the copy that was *given* or that the task would have made for itself, and in it the buffer
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
        buffer = _continuation()
        if buffer is None:
            return None
        context = copy_context() if given is None else given
        context.run(set_current, buffer)
        return context
    except RuntimeError as error:
        if not is_own(error):
            raise
        return None  # What was given is a context in which something runs.
    except Exception as error:
        failed("create_task", error)
        return None


class _Hook:
    """The hooks in functions that start threads, work items and tasks."""

    __slots__ = ()

    hand_over = staticmethod(_inject)
    hand_over_work = staticmethod(_inject_work)
    take_over = staticmethod(_attach)
    give_back = staticmethod(_detach)

    def context_for(self, loop: Any, coro: Any, given: Context | None) -> Context | None:
        """Return the context of a task that goes on from here, or None.

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
        """Return *task*, and name it as the buffer's writer. Never raises."""
        if context is not None:
            try:
                buffer = running_in(context)
                if buffer is not None and buffer.trace is not None:
                    buffer.task = weakref.ref(task)
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
    """Return the calls of ``create_task``, None if it takes no context.

    Python 3.11 to 3.13.2 name the argument; later releases take any.
    """
    code = code_of(function)
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
    """Return what follows threads, work items and tasks.

    Some of the places are private to the standard library; where one is missing it is left out.
    """
    loop = asyncio.base_events.BaseEventLoop
    work_item = getattr(futures_thread, "_WorkItem", None)
    places = [
        (threading.Thread, "start", Calls(before="hook.hand_over(self)")),
        (threading.Thread, "_bootstrap_inner", _THREAD),
        (work_item, "__init__", Calls(returned="hook.hand_over_work(self)")),
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
