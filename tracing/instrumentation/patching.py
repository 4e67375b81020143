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
import linecache
import textwrap
from collections.abc import Callable, Iterable
from functools import cache, update_wrapper
from hashlib import sha256
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import Signal, dispatcher

from tracing.instrumentation import effects, propagation, sampling
from tracing.instrumentation.boundaries import boundaries
from tracing.instrumentation.connections import changes
from tracing.instrumentation.connections.neighbours import (
    PRISTINE_SENDS,
    STOCK_SENDS,
    getframe_beyond,
)
from tracing.instrumentation.database import on_commit, queries, transactions
from tracing.instrumentation.dispatch import coroutines, cpu
from tracing.instrumentation.dispatch.asynchronous import async_sender
from tracing.instrumentation.dispatch.fallback import whole_async_sender, whole_sender
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.dispatch.orphans import leave_caches
from tracing.instrumentation.dispatch.synchronous import sync_sender
from tracing.instrumentation.failures import failed
from tracing.instrumentation.imports import when_imported
from tracing.instrumentation.inlining import (
    Addition,
    Calls,
    Inline,
    InliningError,
    Later,
    changed,
    inlined,
    innermost,
    passing,
    together,
    transplanted,
)
from tracing.instrumentation.process import free_after_fork
from tracing.instrumentation.scopes import commands, requests, tasks
from tracing.spans.records import Method

if TYPE_CHECKING:
    from types import CodeType, FunctionType

Undo = Callable[[], None]

VERIFIED_SENDS: Final = {
    "bfaf055926fb348e": "5.2",
    "a29bd3a80ea04b38": "6.0",
    "2d14c8ccbee3efe2": "6.1",
}
"""Fingerprints of the four sends and what they call, for which the timed loops were verified."""

VERIFIED_FILES: Final = {
    "387681fbf925d467": "5.2",
    "663e825755726478": "6.0",
    "1f6c1c36a2403914": "6.1",
}
"""Fingerprints of whole modules that hold these, which need not be taken apart for that."""

_ABSENT: Final = object()
"""In the place of what was inherited and not defined there."""


class Patches:
    """Replacements that have been made, each with what stood there before."""

    __slots__ = ("_inlined", "_made", "_waiting")

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []
        self._inlined: list[tuple[FunctionType, CodeType, CodeType]] = []
        self._waiting: list[Undo] = []

    def replace(self, owner: Any, name: str, replacement: Any) -> None:
        """Put *replacement* in the place of ``owner.name``."""
        original = owner.__dict__.get(name, _ABSENT)
        setattr(owner, name, replacement)
        self._made.append((owner, name, original, replacement))

    def inline(self, function: object, hook: object, calls: Calls) -> None:
        """Have *function* call *hook* without a frame between, if possible."""
        try:
            plain = innermost(function)
            self.exchange(plain, inlined(plain, hook, calls))
        except InliningError as error:
            failed("inlining", error)

    def inline_later(self, later: Iterable[Later]) -> None:
        """Do the same to functions of modules as soon as they are loaded."""
        for module, made in later:

            def inline_all(made: Callable[[], list[Inline]] = made) -> None:
                for each in made():
                    self.inline(*each)

            self._waiting.append(when_imported(module, inline_all))

    def undo_with(self, undo: Undo) -> None:
        """Call *undo* when everything is put back."""
        self._waiting.append(undo)

    def exchange(self, plain: FunctionType, code: CodeType) -> None:
        """Put *code* into a function."""
        self._inlined.append((plain, plain.__code__, code))
        plain.__code__ = code

    def undo(self) -> None:
        """Put everything back, last first, but for what others replaced."""
        while self._waiting:
            self._waiting.pop()()
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
    """Return a hash of the code of *functions*, whatever its layout.

    Empty if a source cannot be had.
    """
    try:
        return _digest(
            [ast.parse(textwrap.dedent(inspect.getsource(function))) for function in functions]
        )
    except (OSError, TypeError, SyntaxError):
        return ""


def _digest(trees: list[ast.Module]) -> str:
    digest = sha256()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        digest.update(ast.unparse(tree).encode())
    return digest.hexdigest()[:16]


@cache
def sends_are_verified() -> bool:
    """Return whether the timed loops do what this Django's sends do.

    Asked of Django's own source: on the class may stand by now what somebody else has put there.
    """
    source = "".join(linecache.getlines(dispatcher.__file__, vars(dispatcher)))
    whole = sha256(source.encode()).hexdigest()[:16]
    return whole in VERIFIED_FILES or defines_verified_sends(source)


def defines_verified_sends(source: str) -> bool:
    """Return whether the sends that *source* defines were verified."""
    names = [
        *(f"Signal.{method.value}" for method in Method),
        "Signal._live_receivers",
        "Signal._clear_dead_receivers",
        "Signal._log_robust_failure",
        *(["_run_parallel"] if hasattr(dispatcher, "_run_parallel") else []),
    ]
    try:
        tree = ast.parse(source)
        return _digest([_defined_in(tree, name) for name in names]) in VERIFIED_SENDS
    except (SyntaxError, StopIteration):
        return False


def _defined_in(tree: ast.AST, path: str) -> ast.Module:
    """Return what a module defines under a dotted path, made anew."""
    for name in path.split("."):
        tree = next(node for node in tree.body if getattr(node, "name", "") == name)  # type: ignore[attr-defined]
    return ast.Module([tree], [])  # type: ignore[list-item]


_lock = free_after_fork(RLock())
_patches: Patches | None = None
_following: Patches | None = None
"""The hooks of connect() and disconnect(), which stand there before anything is recorded."""
_is_recorder_following = False
_holders = 0
"""Others who want the hooks, whether or not anything is recorded."""


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
    """Put timed send methods into Django; return what undoes it.

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
                reads_cpu = options is not None and options.cpu
                _inline_database(patches, statements=statements, reads_cpu=reads_cpu)
            if side_effects:
                for owner, name, replacement in effects.replacements():
                    patches.replace(owner, name, replacement)
                for inline in effects.inlines(lambda inline: patches.inline(*inline)):
                    patches.inline(*inline)
                patches.inline_later(effects.later())
            follow_connections()
            for module in (propagation, commands):
                for inline in module.inlines():
                    patches.inline(*inline)
            patches.inline_later(tasks.later())
            patches.inline_later(requests.later())
        except BaseException:
            patches.undo()
            raise
        _patches = patches
        sampling.switch.installed = True
    return uninstrument


def follow_connections() -> None:
    """Have connections written down until ``uninstrument()``.

    The application is told of what is connected before its own ``ready()``, which may come last.
    """
    global _is_recorder_following  # noqa: PLW0603 - one state per process, under the lock.
    with _lock:
        _is_recorder_following = True
        _settle_following()


def hold_connections() -> Undo:
    """Have connections written down until what is returned is called."""
    global _holders  # noqa: PLW0603 - one count per process, under the lock.
    with _lock:
        _holders += 1
        _settle_following()
    return _release_connections


def _release_connections() -> None:
    global _holders  # noqa: PLW0603 - see above.
    with _lock:
        _holders -= 1
        _settle_following()


def is_following() -> bool:
    """Return whether connections are being written down."""
    return _following is not None


def _settle_following() -> None:
    """Put the hooks of connections there or take them out, as wanted."""
    global _following  # noqa: PLW0603 - one set of hooks per process.
    if not (_is_recorder_following or _holders):
        if _following is not None:
            _following.undo()
            _following = None
    elif _following is None:
        following = Patches()
        for inline in changes.inlines():
            following.inline(*inline)
        _following = following


def uninstrument() -> None:
    """Put back exactly the functions that ``instrument`` replaced."""
    global _patches, _is_recorder_following  # noqa: PLW0603 - one set per process, under the lock.
    with _lock:
        _is_recorder_following = False
        _settle_following()
        if _patches is not None:
            _patches.undo()
            _patches = None
            boundaries.clear()
            sampling.switch.installed = False
            leave_caches()


def _replace_sends(patches: Patches, options: Options) -> None:
    """Put timed loops on the class, and behind whatever stands there.

    A tool that has wrapped a method calls Django's own function, as does who imported it: into that one
    goes the code of the loop. What stands on the class stays there unless it is Django's.
    """
    verified = sends_are_verified()
    spans = _follow_spans(patches) if options.spans and verified else []
    for method in Method:
        current = Signal.__dict__[method.value]
        django_s = STOCK_SENDS[method]
        asynchronous = method in {Method.ASEND, Method.ASEND_ROBUST}
        if not verified or django_s is None:
            make = whole_async_sender if asynchronous else whole_sender
            whole = _disguised(make(method, current, options), current)
            patches.replace(Signal, method.value, whole)
            continue
        make = async_sender if asynchronous else sync_sender
        loop = make(method, PRISTINE_SENDS[method], options)
        wanted = [cpu.addition()] if options.cpu and not asynchronous else []
        behind = _Behind(patches, django_s, loop, _put_in(loop, [*wanted, *spans]))
        if current is django_s:
            patches.exchange(django_s, passing(django_s, behind))
            patches.replace(Signal, method.value, _disguised(loop, django_s))
        else:
            behind.exchange()


def _put_in(loop: Callable[..., Any], wanted: list[Addition]) -> list[Addition]:
    """Put *wanted* into the code of *loop*; return what is in it now."""
    made: list[Addition] = []
    for addition in wanted:
        try:
            loop.__code__ = changed(loop, *together([*made, addition]))  # type: ignore[arg-type]
            made.append(addition)
        except InliningError as error:
            failed(addition.setting, error)
    return made


def _follow_spans(patches: Patches) -> list[Addition]:
    """Have OpenTelemetry follow the receivers that run elsewhere.

    Returns:
        What is to be put into the loops; nothing where that cannot be done.
    """
    try:
        from tracing.instrumentation.dispatch import current_spans  # noqa: PLC0415 - seldom wanted.

        patches.exchange(coroutines.call_batch, current_spans.batch_code())  # type: ignore[arg-type]
        patches.undo_with(current_spans.follow_steps())
        return [current_spans.addition()]
    except (ImportError, LookupError, InliningError) as error:
        failed("OTLP current_spans", error)
        return []


class _Behind:
    """A loop for Django's own function, compiled at its first call."""

    __slots__ = ("_additions", "_function", "_is_done", "_loop", "_patches")

    def __init__(
        self,
        patches: Patches,
        function: FunctionType,
        loop: Callable[..., Any],
        additions: list[Addition],
    ) -> None:
        self._patches = patches
        self._function = function
        self._loop = loop
        self._additions = additions
        self._is_done = False

    def exchange(self) -> bool:
        """Put the loop's code into Django's function; return whether it is."""
        with _lock:
            if not self._is_done and _patches in {None, self._patches}:
                try:
                    code = transplanted(
                        self._loop,  # type: ignore[arg-type]
                        self._function,
                        *together(self._additions),
                        getframe=getframe_beyond(Signal.__dict__[self._function.__name__]),
                    )
                except InliningError as error:
                    failed("inlining", error)
                    return False
                self._patches.exchange(self._function, code)
                self._is_done = True
        return True

    def send(self, *args: Any, **named: Any) -> Any:
        """Do the first dispatch of those who hold Django's own function."""
        send = self._function if self.exchange() else self._loop
        return send(*args, **named)


def _inline_database(patches: Patches, *, statements: bool, reads_cpu: bool) -> None:
    transactions.adopt()
    for inline in (
        *queries.inlines(keep_statements=statements, reads_cpu=reads_cpu),
        *transactions.inlines(),
        *on_commit.inlines(),
    ):
        patches.inline(*inline)
    patches.inline_later([*transactions.later(), *on_commit.later()])


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
