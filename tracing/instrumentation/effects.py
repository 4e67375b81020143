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
from sys import _getframe as getframe
from threading import get_ident
from time import perf_counter_ns as clock
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from tracing.instrumentation.attributes.callsites import own_frame
from tracing.instrumentation.attributes.names import dotted
from tracing.instrumentation.context import current
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Calls, Inline, Later, innermost
from tracing.instrumentation.words import EFFECT
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


HOST_AND_PORT: Final = 2
"""Items of an internet address; IPv6 has more."""


class _Thread(threading.local):
    busy = 0
    """How many side effects are under way: what they do below is theirs."""


_thread: Final = _Thread()
_own_hosts: set[tuple[str, int | None]] = set()


def set_aside() -> int:
    """Begin work whose side effects are its own, though an effect is under way; return it for later.

    A task that runs where it is enqueued is no part of the enqueueing.
    """
    busy, _thread.busy = _thread.busy, 0
    return busy


def take_up(busy: int) -> None:
    """Go on with what ``set_aside`` returned."""
    _thread.busy = busy


def configure() -> None:
    """Learn the hosts of the project's databases and caches, whose sockets are no side effects."""
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


def _note(kind: str, target: str, backend: str) -> None:
    """Record a side effect of the running trace. Never raises."""
    try:
        stream = current()
        if stream is None or stream.events is None:
            return
        if stream.ident != get_ident():
            stream = stream.here()
        if stream.events is None:
            return
        frame = own_frame(getframe(2))
        stream.offer(
            (
                EFFECT,
                clock(),
                kind,
                target[:200],
                backend,
                stream.in_callback,
                frame.f_code if frame is not None else None,
                frame.f_lasti if frame is not None else 0,
            )
        )
    except Exception as error:
        failed("side effect", error)


class _Effect:
    """The hook of a function that does something to the world."""

    __slots__ = ("_describe", "_kind")

    def __init__(self, kind: str, describe: Callable[..., tuple[str, str] | None]) -> None:
        self._kind = kind
        self._describe = describe
        """Gives (target, backend) of what the function is called with, None for no effect."""

    def begin(self, *args: Any) -> None:
        """Note the effect, unless it is part of another one. Never raises."""
        if _thread.busy == 0 and current() is not None:
            try:
                found = self._describe(*args)
            except Exception as error:
                failed("side effect", error)
                found = None
            if found is not None:
                _note(self._kind, *found)
        _thread.busy += 1

    def end(self, value: Any = None) -> Any:
        """Return *value*, which the function returns."""
        _thread.busy -= 1
        return value


def _inline(function: FunctionType, kind: str, describe: Callable[..., Any], count: int) -> Inline:
    """Return what notes the effect of *function*, which is described by its first *count* arguments."""
    given = ", ".join(innermost(function).__code__.co_varnames[:count])
    calls = Calls(f"hook.begin({given})", "hook.end(_value)", "hook.end()")
    return Inline(function, _Effect(kind, describe), calls)


def _connecting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return *original*, which is made in C and runs no code of Python, with a note of what it does."""
    effect = _Effect("socket", _socket)

    def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
        effect.begin(self, *args, **kwargs)
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        finally:
            effect.end()

    return update_wrapper(connect, original)


def _setting(name: str) -> str:
    """Return a setting as it was set, without asking for it: asking may warn of a deprecation."""
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
    """Describe what a backend is handed at once, as by ``send_mass_mail``; an empty list is no mail."""
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
    """The hook that gets to know each class of mail backends, when it is loaded or first made."""

    __slots__ = ("_inline", "_seen")

    def __init__(self, inline: Callable[[Inline], None]) -> None:
        self._inline = inline
        self._seen: set[type] = {BaseEmailBackend}

    def look_at(self, cls: type) -> None:
        """Watch how the backends of *cls* send messages, if nobody did so before. Never raises."""
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
    return str(getattr(task, "name", "")), str(getattr(task, "backend", ""))


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
    """Return what notes mail that is sent; *inline* is for backends that are found later."""
    backends = _Backends(inline)
    for backend in list(_subclasses(BaseEmailBackend)):
        backends.look_at(backend)
    made = BaseEmailBackend.__dict__.get("__init__")
    return [
        _inline(EmailMessage.__dict__["send"], "mail", _mail, 1),
        Inline(made, backends, Calls(before="hook.made(self)")),
    ]


def _of_class(name: str, method: str, describe: Callable[..., Any], count: int) -> Later:
    """Return the module of a class, and what gives the hook of its method once that is loaded."""
    module, _, cls = name.rpartition(".")

    def made() -> list[Inline]:
        found = getattr(sys.modules[module], cls).__dict__.get(method)
        return [_inline(found, "task", describe, count)] if type(found) is FunctionType else []

    return module, made


def later() -> list[Later]:
    """Return (module, what gives hooks for it) of libraries that may be loaded at any time."""
    return [
        _of_class("django.tasks.base.Task", "enqueue", _django_task, 1),
        _of_class("django_tasks.base.Task", "enqueue", _django_task, 1),
        _of_class("celery.app.task.Task", "apply_async", _celery_task, 1),
        _of_class("celery.app.base.Celery", "send_task", _celery_message, 2),
    ]
