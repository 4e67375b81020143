"""Install and undo, side by side.

``instrument()`` replaces the send methods of Django's signals, and puts hooks into the code of other
functions, where no frame may come between a function and its caller. What it returns puts the very
same objects back. A timed send loop replaces Django's only where Django's source is one that was
verified; on an unknown release dispatches are recorded through Django's own methods, without receiver
times.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache, update_wrapper
from hashlib import sha256
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import Signal, dispatcher

from tracing.capture import (
    callbacks,
    commands,
    connections,
    effects,
    handover,
    tasks,
    transactions,
)
from tracing.capture import sql as queries
from tracing.capture.boundaries import boundaries
from tracing.capture.dispatching import Options, async_sender, sync_sender
from tracing.capture.failures import failed
from tracing.capture.fallback import whole_async_sender, whole_sender
from tracing.capture.inlining import Calls, InliningError, inlined, innermost
from tracing.capture.process import free_after_fork
from tracing.capture.spans import Method
from tracing.capture.unheard import leave_caches

if TYPE_CHECKING:
    from types import CodeType, FunctionType

Undo = Callable[[], None]

VERIFIED_SENDS: Final = {
    "bfaf055926fb348e": "5.2",
    "a29bd3a80ea04b38": "6.0",
    "2d14c8ccbee3efe2": "6.1",
}
"""Fingerprints of the four sends and what they call, for which the timed loops were verified."""

_ABSENT: Final = object()
"""In the place of what was inherited and not defined there."""


class Patches:
    """Replacements that have been made, each with what stood there before."""

    __slots__ = ("_inlined", "_made")

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []
        self._inlined: list[tuple[FunctionType, CodeType, CodeType]] = []

    def replace(self, owner: Any, name: str, replacement: Any) -> None:
        """Put *replacement* in the place of ``owner.name``."""
        original = owner.__dict__.get(name, _ABSENT)
        setattr(owner, name, replacement)
        self._made.append((owner, name, original, replacement))

    def inline(self, function: object, hook: object, calls: Calls) -> None:
        """Have *function* call *hook* from now on, without a frame in between, if that can be done."""
        try:
            plain = innermost(function)
            code = inlined(plain, hook, calls)
        except InliningError as error:
            failed("inlining", error)
            return
        self._inlined.append((plain, plain.__code__, code))
        plain.__code__ = code

    def undo(self) -> None:
        """Put everything back, last first; what somebody else has replaced since is left to them."""
        for function, original, code in reversed(self._inlined):
            if function.__code__ is code:
                function.__code__ = original
        self._inlined.clear()
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
                _inline_database(patches, statements=statements)
            if side_effects:
                for owner, name, replacement in effects.replacements():
                    patches.replace(owner, name, replacement)
                for inline in effects.inlines():
                    patches.inline(*inline)
            for module in (handover, connections, tasks, commands):
                for inline in module.inlines():
                    patches.inline(*inline)
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
            boundaries.clear()
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


def _inline_database(patches: Patches, *, statements: bool) -> None:
    transactions.adopt()
    for inline in (
        *queries.inlines(keep_statements=statements),
        *transactions.inlines(),
        *callbacks.inlines(),
    ):
        patches.inline(*inline)


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
