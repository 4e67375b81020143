"""Other tools around what the recording hooks: which they are, and where.

Said of what they have done to the running process: one that is merely installed is not named.
"""

from __future__ import annotations

from asyncio.base_events import BaseEventLoop
from threading import Thread
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from django.core.mail import EmailMessage
from django.core.management import BaseCommand
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.dispatch import Signal

from tracing.instrumentation.connections.neighbours import describe, replaced
from tracing.instrumentation.inlining import behind

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOMES: Final = frozenset({"asyncio", "builtins", "django", "threading", "tracing"})
"""Packages whose functions stand there anyway."""
_DEPTH: Final = 8
"""Wrappers around one function that are looked into."""
_METHODS: Final = (
    (Signal, ("connect", "disconnect")),
    (CursorWrapper, ("execute", "executemany")),
    (BaseDatabaseWrapper, ("close", "commit", "rollback", "savepoint", "on_commit")),
    (BaseCommand, ("execute",)),
    (EmailMessage, ("send",)),
    (Thread, ("start",)),
    (BaseEventLoop, ("create_task",)),
)


def wrapped_places(middleware: list[str]) -> dict[str, list[str]]:
    """Return what other tools have wrapped, by the package of each.

    Without those that are told of as having replaced a method of ``Signal``.

    Args:
        middleware: The names of middleware that such tools have put there.
    """
    found: dict[str, list[str]] = {}
    for place, names in (*_places(), ("MIDDLEWARE", middleware)):
        # What is made in C has no name of a module before its own.
        for package in dict.fromkeys(name.partition(".")[0] for name in names if "." in name):
            found.setdefault(package, []).append(place)
    told = {who.partition(".")[0] for _, who in replaced()}
    return {package: found[package] for package in sorted(found.keys() - _HOMES - told)}


def _places() -> Iterator[tuple[str, list[str]]]:
    """Yield each place with the dotted names of what stands in it."""
    for owner, methods in _METHODS:
        for method in methods:
            yield f"{owner.__name__}.{method}", list(_layers(vars(owner).get(method)))
    for driver in dict.fromkeys(
        getattr(connections[each], "Database", None) for each in connections
    ):
        module = str(getattr(driver, "__name__", ""))
        home = module.partition(".")[0]
        layers = _layers(getattr(driver, "connect", None))
        yield f"{module}.connect", [name for name in layers if name.partition(".")[0] != home]


def _layers(target: Any) -> Iterator[str]:
    """Yield the names of the wrappers around a function, outermost first."""
    for _ in range(_DEPTH):
        if target is None:
            return
        inner = behind(target) if type(target) is FunctionType else None
        if inner is None:
            yield describe(target)
            inner = getattr(target, "__wrapped__", None)
        else:
            # Code of somebody else's in a function that is still there: it calls what is his.
            called = [each for each in target.__code__.co_consts if type(each) is FunctionType]
            yield from (describe(each) for each in called if each is not inner)
        target = inner
