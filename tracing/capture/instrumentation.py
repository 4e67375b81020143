"""Install and undo, side by side.

``instrument()`` replaces functions on Django's classes and returns what puts the very same function
objects back. A timed send loop replaces Django's only where Django's source is one that was verified;
on an unknown release dispatches are recorded through Django's own methods, without receiver times.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache, update_wrapper, wraps
from hashlib import sha256
from threading import RLock
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db.backends.base import base as database_base
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.dispatch import Signal, dispatcher

from tracing.capture import connections, effects, handover, tasks, transactions
from tracing.capture.callbacks import registering_on_commit, running_commit_hooks
from tracing.capture.commands import traced_execute
from tracing.capture.dispatching import Options, async_sender, sync_sender
from tracing.capture.fallback import whole_async_sender, whole_sender
from tracing.capture.process import free_after_fork
from tracing.capture.spans import Method
from tracing.capture.sql import timed_execute, timed_executemany
from tracing.capture.transactions import WatchedTransaction
from tracing.capture.unheard import leave_caches

Undo = Callable[[], None]

VERIFIED_SENDS: Final = {
    "bfaf055926fb348e": "5.2",
    "a29bd3a80ea04b38": "6.0",
    "2d14c8ccbee3efe2": "6.1",
}
"""Fingerprints of the four sends and what they call, for which the timed loops were verified."""
VERIFIED_CURSORS: Final = {"627f5c777ff21c73"}
VERIFIED_CALLBACKS: Final = {"75e63118c5cf3302", "d177ba26eb17970c"}


_ABSENT: Final = object()
"""In the place of what was inherited and not defined there."""


class Patches:
    """Replacements that have been made, each with what stood there before."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, replacement: Any) -> None:
        """Put *replacement* in the place of ``owner.name``."""
        original = owner.__dict__.get(name, _ABSENT)
        setattr(owner, name, replacement)
        self._made.append((owner, name, original, replacement))

    def undo(self) -> None:
        """Put everything back, last first; what somebody else has replaced since is left to them."""
        for owner, name, original, replacement in reversed(self._made):
            if owner.__dict__.get(name) is not replacement:
                continue
            if original is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        self._made.clear()


def fingerprint(*functions: Any) -> str:
    """Return a hash of what *functions* do: their source without docstrings, comments and layout.

    Empty if a source cannot be had.
    """
    digest = sha256()
    try:
        for function in functions:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
                    node
                ):
                    node.body = node.body[1:] or [ast.Pass()]
            digest.update(ast.unparse(tree).encode())
    except (OSError, TypeError, SyntaxError):
        return ""
    return digest.hexdigest()[:16]


@cache
def sends_are_verified() -> bool:
    """Return whether the timed loops do what the send methods of the installed Django do."""
    parallel = [dispatcher._run_parallel] if hasattr(dispatcher, "_run_parallel") else []
    return (
        fingerprint(
            *STOCK_SENDS.values(),
            Signal._live_receivers,
            Signal._clear_dead_receivers,  # type: ignore[attr-defined]
            Signal._log_robust_failure,  # type: ignore[attr-defined]
            *parallel,
        )
        in VERIFIED_SENDS
    )


STOCK_SENDS: Final = {method: Signal.__dict__[method.value] for method in Method}
"""Django's own send methods."""

_lock = free_after_fork(RLock())
_patches: Patches | None = None


def is_instrumented() -> bool:
    """Return whether Django's signals are being recorded by this process."""
    return _patches is not None


def instrument(
    *,
    options: Options | None = None,
    sql: bool = True,
    statements: bool = False,
    side_effects: bool = True,
) -> Undo:
    """Replace Django's send methods by timed ones, and return what puts them back.

    Idempotent: a second call changes nothing and returns the same undo.

    Args:
        options: What is recorded of each dispatch.
        sql: Count and time queries, follow transactions, recognise bypassed signals.
        statements: Keep the statements of each receiver, normalised and without parameters.
        side_effects: Note mail, tasks and sockets.
    """
    global _patches  # noqa: PLW0603 - one set of replacements per process, under the lock.
    with _lock:
        if _patches is not None:
            return uninstrument
        patches = Patches()
        try:
            _replace_sends(patches, options or Options())
            if sql:
                _replace_database(patches, statements=statements)
            if side_effects:
                for owner, name, replacement in effects.replacements():
                    patches.replace(owner, name, replacement)
            for module in (handover, connections, tasks):
                for owner, name, replacement in module.replacements():
                    patches.replace(owner, name, replacement)
            execute = BaseCommand.__dict__["execute"]
            patches.replace(BaseCommand, "execute", _disguised(traced_execute(execute), execute))
        except BaseException:
            patches.undo()
            raise
        _patches = patches
    return uninstrument


def uninstrument() -> None:
    """Put back exactly the functions that ``instrument`` replaced."""
    global _patches  # noqa: PLW0603 - one set of replacements per process, under the lock.
    with _lock:
        if _patches is not None:
            _patches.undo()
            _patches = None
            leave_caches()


def _replace_sends(patches: Patches, options: Options) -> None:
    verified = sends_are_verified()
    for method in Method:
        original = Signal.__dict__[method.value]
        asynchronous = method in {Method.ASEND, Method.ASEND_ROBUST}
        # What somebody else has put there is called, not stood in for.
        if verified and original is STOCK_SENDS[method]:
            make = async_sender if asynchronous else sync_sender
        else:
            make = whole_async_sender if asynchronous else whole_sender
        patches.replace(Signal, method.value, _disguised(make(method, original, options), original))


def _replace_database(patches: Patches, *, statements: bool) -> None:
    transactions.adopt()
    execute, executemany = CursorWrapper.execute, CursorWrapper.executemany
    if fingerprint(execute, executemany) in VERIFIED_CURSORS:
        timed = timed_execute(keep_statements=statements)
        patches.replace(CursorWrapper, "execute", _disguised(timed, execute))
        timed_many = timed_executemany(keep_statements=statements)
        patches.replace(CursorWrapper, "executemany", _disguised(timed_many, executemany))
        inner = database_base.__dict__["debug_transaction"]

        @wraps(inner)
        def debug_transaction(connection: Any, sql: str) -> WatchedTransaction:
            return WatchedTransaction(inner(connection, sql), connection, sql)

        patches.replace(database_base, "debug_transaction", debug_transaction)
    registering = BaseDatabaseWrapper.on_commit
    running = BaseDatabaseWrapper.run_and_clear_commit_hooks
    if fingerprint(registering, running) in VERIFIED_CALLBACKS:
        replacement = _disguised(registering_on_commit(registering), registering)
        patches.replace(BaseDatabaseWrapper, "on_commit", replacement)
        replacement = _disguised(running_commit_hooks(running), running)
        patches.replace(BaseDatabaseWrapper, "run_and_clear_commit_hooks", replacement)


def _disguised(replacement: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Give *replacement* the name, documentation and signature of *original*.

    The name in its code too: that is the one which a traceback shows.
    """
    name = getattr(original, "__name__", "")
    if name:
        code = replacement.__code__
        replacement.__code__ = code.replace(
            co_name=name, co_qualname=getattr(original, "__qualname__", name)
        )
    return update_wrapper(replacement, original)
