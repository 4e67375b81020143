"""Side effects: what a receiver does to the world outside the database.

Mail that is sent, tasks that are enqueued and sockets that are connected are noted where they happen,
with the transaction that was open: a rollback takes none of them back. Of a mail or a task the socket
below is not noted again, nor are connections to the project's own databases and caches.
"""

from __future__ import annotations

import socket
import sys
import threading
from functools import update_wrapper
from inspect import CO_COROUTINE
from sys import _getframe as getframe
from threading import get_ident
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.attributes.callsites import own_frame
from tracing.instrumentation.attributes.names import dotted
from tracing.instrumentation.context import current
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Calls, Inline, Later, innermost, locals_of
from tracing.instrumentation.words import EFFECT
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MAX_TASK_ID: Final = 200
"""Characters kept of the id of a task."""
EAGER: Final = "celery.eager"
"""The backend of a task that runs at once, where it is called: within the transaction, if there is one."""
HOST_AND_PORT: Final = 2
"""Items of an internet address; IPv6 has more."""


class _Thread(threading.local):
    inside: str | None = None
    """The id of the trace of which a side effect is under way: what that does below is its own.

    Not a count: what interrupts its end would leave it wrong for all traces to come."""


_thread: Final = _Thread()
_own_hosts: set[tuple[str, int | None]] = set()


def suspend() -> str | None:
    """Begin work with its own side effects; return the one under way.

    A task that runs where it is enqueued is no part of the enqueueing.
    """
    before, _thread.inside = _thread.inside, None
    return before


def resume(before: str | None) -> None:
    """Go on with what ``suspend`` returned."""
    _thread.inside = before


def _trace_id() -> str | None:
    """Return the id of the running trace, None without."""
    buffer = current()
    trace = buffer.trace if buffer is not None else None
    return trace.trace_id if trace is not None else None


def configure() -> None:
    """Learn the hosts of databases and caches, whose sockets are none."""
    _own_hosts.clear()
    for database in settings.DATABASES.values():
        host, port = database.get("HOST"), database.get("PORT")
        if host:
            _own_hosts.add((str(host), int(str(port)) if str(port or "").isdecimal() else None))
    for cache in settings.CACHES.values():
        location = cache.get("LOCATION") or ""
        for place in location if isinstance(location, list | tuple) else [location]:
            try:
                parts = urlsplit(place if "//" in str(place) else f"//{place}")
                if parts.hostname:
                    _own_hosts.add((parts.hostname, parts.port))
            except ValueError:
                continue


def _note(
    kind: str, target: str, backend: str, *, start: int | None = None, task_id: str = ""
) -> None:
    """Record a side effect of the running trace. Never raises."""
    try:
        buffer = current()
        if buffer is None or buffer.events is None:
            return
        if buffer.ident != get_ident():
            buffer = buffer.here()
        if buffer.events is None:
            return
        frame = own_frame(getframe(2))
        buffer.offer(
            (
                EFFECT,
                clock() if start is None else start,
                kind,
                target[:200],
                backend,
                buffer.in_callback,
                frame.f_code if frame is not None else None,
                frame.f_lasti if frame is not None else 0,
                task_id,
            )
        )
    except Exception as error:
        failed("side effect", error)


def note_task(name: str, backend: str, task_id: str) -> None:
    """Record that the running trace enqueues a task. Never raises."""
    _note("task", name, backend, task_id=task_id[:MAX_TASK_ID])


def note_eager_task(name: str, task_id: str) -> None:
    """Record that the running trace runs a task itself. Never raises.

    Not where it enqueues that task, which is noted when its id is known.
    """
    if _thread.inside is None or _thread.inside != _trace_id():
        _note("task", name, EAGER, task_id=task_id[:MAX_TASK_ID])


class _Effect:
    """The hook of a function that does something to the world."""

    __slots__ = ("_describe", "_kind")

    def __init__(self, kind: str, describe: Callable[..., tuple[str, str] | None]) -> None:
        self._kind = kind
        self._describe = describe
        """Gives (target, backend) of what the function is called with, None for no effect."""

    def begin(self, *args: Any) -> str | None:
        """Note the effect, unless inside another; return what ``end`` is given."""
        before, running = _thread.inside, _trace_id()
        if running is None:
            return before
        if before != running:
            try:
                found = self._describe(*args)
            except Exception as error:
                failed("side effect", error)
                found = None
            if found is not None:
                _note(self._kind, *found)
            _thread.inside = running
        return before

    def end(self, value: Any, before: str | None) -> Any:
        """Return *value*, which the function returns. Idempotent."""
        _thread.inside = before
        return value


_Noted = list[Any]
"""[start, (target, backend)] of a task that is being enqueued; empty for no effect, and once it is noted."""


class _Enqueueing:
    """The hook of a function that enqueues a task and returns its result.

    The effect is noted at the end, where its id is known.
    """

    __slots__ = ("_describe",)

    def __init__(self, describe: Callable[..., tuple[str, str]]) -> None:
        self._describe = describe

    def begin(self, *args: Any) -> tuple[str | None, _Noted]:
        """Return what ``end`` is given; inside another effect, nothing to note."""
        before, running = _thread.inside, _trace_id()
        if running is None or before == running:
            return before, []
        noted = self.begin_awaited(*args)
        _thread.inside = running
        return before, noted

    def end(self, value: Any, begun: tuple[str | None, _Noted]) -> Any:
        """Note what ``begin`` returned; return *value*. Idempotent."""
        _thread.inside = begun[0]
        return self.end_awaited(value, begun[1])

    def begin_awaited(self, *args: Any) -> _Noted:
        """Do the same in a coroutine, beside which others have effects."""
        if current() is None:
            return []
        try:
            return [clock(), self._describe(*args)]
        except Exception as error:
            failed("side effect", error)
            return []

    def end_awaited(self, value: Any, noted: _Noted) -> Any:
        """Note what ``begin_awaited`` returned; return *value*. Idempotent."""
        if noted:
            start, found = noted
            # First: who interrupts the end has it done once more.
            noted.clear()
            _note("task", *found, start=start, task_id=_id_of(value))
        return value


def _id_of(result: Any) -> str:
    """Return the id of the task whose *result* was returned; may be empty."""
    try:
        found = getattr(result, "id", None)
    except Exception as error:
        failed("side effect", error)
        return ""
    return found[:MAX_TASK_ID] if type(found) is str else ""


def _inline_task(function: FunctionType, describe: Callable[..., Any], count: int) -> Inline:
    """Return a hook that notes the task that *function* enqueues."""
    code = innermost(function).__code__
    given = ", ".join(code.co_varnames[:count])
    awaited = "_awaited" if code.co_flags & CO_COROUTINE else ""
    calls = Calls(
        f"_tracing = hook.begin{awaited}({given})",
        f"hook.end{awaited}(_value, _tracing)",
        f"hook.end{awaited}(None, _tracing)",
    )
    return Inline(function, _Enqueueing(describe), calls)


def _inline(function: FunctionType, kind: str, describe: Callable[..., Any], count: int) -> Inline:
    """Return a hook that notes the effect of *function*."""
    given = ", ".join(locals_of(function)[:count])
    begin = f"_tracing = hook.begin({given})"
    calls = Calls(begin, "hook.end(_value, _tracing)", "hook.end(None, _tracing)")
    return Inline(function, _Effect(kind, describe), calls)


def _connecting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return *original*, made in C, with a note of what it does."""
    effect = _Effect("socket", _socket)

    def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = effect.begin(self, *args, **kwargs)
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        finally:
            effect.end(None, before)

    return update_wrapper(connect, original)


def _setting(name: str) -> str:
    """Return a setting as it was set, without a warning of deprecation."""
    holder = settings._wrapped
    while holder is not None:
        known = getattr(holder, "__dict__", {})
        if name in known:
            return str(known[name])
        holder = known.get("default_settings")
    return ""


def _mail(message: Any, *_args: Any, **_kwargs: Any) -> tuple[str, str]:
    facts = getattr(message, "__dict__", {})
    count = sum(len(facts.get(name) or ()) for name in ("to", "cc", "bcc"))
    connection = facts.get("connection", facts.get("_connection"))
    backend = dotted(type(connection)) if connection is not None else _setting("EMAIL_BACKEND")
    return plural(count, "recipient"), backend


def _mails(backend: Any, messages: Any = (), *_args: Any, **_kwargs: Any) -> tuple[str, str] | None:
    """Describe the messages of one call; none for an empty list."""
    if type(messages) not in {list, tuple}:
        return "several mails", dotted(type(backend))
    if not messages:
        return None
    several = f"{plural(len(messages), 'mail')}, " if len(messages) > 1 else ""
    facts = [getattr(message, "__dict__", {}) for message in messages]
    count = sum(len(each.get(name) or ()) for each in facts for name in ("to", "cc", "bcc"))
    recipients = plural(count, "recipient")
    return f"{several}{recipients}", dotted(type(backend))


class _Backends:
    """A hook on each class of mail backends, when it is first known."""

    __slots__ = ("_inline", "_seen")

    def __init__(self, inline: Callable[[Inline], None]) -> None:
        self._inline = inline
        self._seen: set[type] = {BaseEmailBackend}

    def look_at(self, cls: type) -> None:
        """Watch how the backends of *cls* send, once. Never raises."""
        if cls in self._seen:
            return
        try:
            for base in cls.__mro__:
                if base in self._seen:
                    continue
                self._seen.add(base)
                sending = base.__dict__.get("send_messages")
                if type(sending) is FunctionType:
                    self._inline(_inline(sending, "mail", _mails, 2))
        except Exception as error:
            failed("mail backend", error)

    def made(self, backend: Any) -> None:
        """Look at the class of a backend that is being made."""
        self.look_at(type(backend))


def _subclasses(cls: type) -> Iterator[type]:
    each: type
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)


def _django_task(task: Any, *_args: Any, **_kwargs: Any) -> tuple[str, str]:
    alias = str(getattr(task, "backend", ""))
    backends = getattr(settings, "TASKS", {})
    return str(getattr(task, "name", "")), str(backends.get(alias, {}).get("BACKEND", alias))


def _celery_task(task: Any, *_args: Any, **_kwargs: Any) -> tuple[str, str]:
    return str(getattr(task, "name", "")), "celery"


def _celery_message(_app: Any, name: Any = "", *_args: Any, **_kwargs: Any) -> tuple[str, str]:
    return str(name), "celery"


def _socket(_self: Any, address: Any, *_args: Any) -> tuple[str, str] | None:
    if type(address) is not tuple or len(address) < HOST_AND_PORT:
        return None
    host, port = str(address[0]), address[1]
    if (host, port) in _own_hosts or (host, None) in _own_hosts:
        return None
    return f"{host}:{port}", ""


def replacements() -> list[tuple[Any, str, Callable[..., Any]]]:
    """Return (class, name, replacement) for what connects sockets."""
    return [
        (socket.socket, name, _connecting(getattr(socket.socket, name)))
        for name in ("connect", "connect_ex")
    ]


def inlines(inline: Callable[[Inline], None]) -> list[Inline]:
    """Return what notes mail; *inline* is for backends found later."""
    backends = _Backends(inline)
    for backend in list(_subclasses(BaseEmailBackend)):
        backends.look_at(backend)
    made = BaseEmailBackend.__dict__.get("__init__")
    return [
        _inline(EmailMessage.__dict__["send"], "mail", _mail, 1),
        Inline(made, backends, Calls(before="hook.made(self)")),
    ]


def _of_class(name: str, method: str, describe: Callable[..., Any], count: int) -> Later:
    """Return a class's module, and a function for its method's hook."""
    module, _, cls = name.rpartition(".")

    def made() -> list[Inline]:
        found = getattr(sys.modules[module], cls).__dict__.get(method)
        return [_inline_task(found, describe, count)] if type(found) is FunctionType else []

    return module, made


def later() -> list[Later]:
    """Return (module, function for hooks) of libraries loaded later."""
    return [
        _of_class("django.tasks.base.Task", "enqueue", _django_task, 1),
        _of_class("django.tasks.base.Task", "aenqueue", _django_task, 1),
        _of_class("django_tasks.base.Task", "enqueue", _django_task, 1),
        _of_class("django_tasks.base.Task", "aenqueue", _django_task, 1),
        _of_class("celery.app.task.Task", "apply_async", _celery_task, 1),
        _of_class("celery.app.base.Celery", "send_task", _celery_message, 2),
    ]
