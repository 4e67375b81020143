"""Callbacks of ``on_commit``: what they send is their receiver's.

A callback is not wrapped: ``run_on_commit`` holds what Django would hold. The entry that Django made
is known by the set of savepoints in it, which Django's loops over the entries have at hand as ``_``. The
tuple around it is another one once some savepoint was rolled back.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import count
from sys import _getframe as getframe
from threading import get_ident
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from django.db.backends.base.base import BaseDatabaseWrapper

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.attributes.callsites import application_frame
from tracing.instrumentation.context import current, set_current
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Around, Calls, Inline, Later, locals_of
from tracing.instrumentation.recent import Recent
from tracing.instrumentation.words import CALLBACK, CALLBACK_END, REGISTERED

if TYPE_CHECKING:
    from types import CodeType

    from tracing.instrumentation.buffer import Buffer


class _Registered(ref[set[str]]):
    """A callback that waits for its commit, as long as Django keeps its entry."""

    __slots__ = ("buffer", "key", "number")

    buffer: Buffer
    key: int
    number: int


_numbers = count(1)
_registered: Recent[int, _Registered] = Recent(5_000, "on_commit callbacks")
"""Callbacks by the identity of the set in their entry of ``run_on_commit``."""
_gone: Final[deque[_Registered]] = deque()
"""Those whose entry has died: it was run, or rolled back."""


def _note(buffer: Buffer, entries: list[Any], before: int, alias: str) -> None:
    if len(entries) != before + 1:
        return
    if buffer.ident != get_ident():
        buffer = buffer.here()
    number = next(_numbers)
    frame = application_frame(getframe(2))
    code = frame.f_code if frame is not None else None
    instruction = frame.f_lasti if frame is not None else 0
    callback = _code_of(entries[-1][1])
    if not buffer.offer((REGISTERED, number, alias, callback, code, instruction)):
        return
    while _gone:
        gone = _gone.popleft()
        if _registered.get(gone.key) is gone:
            _registered.take(gone.key)
    savepoints = entries[-1][0]
    known = _Registered(savepoints, _gone.append)
    known.buffer, known.key, known.number = buffer, id(savepoints), number
    _registered.put(known.key, known)


def _code_of(callback: object) -> CodeType | None:
    """Return the code of a callback, asking no object; None without."""
    while issubclass(type(callback), partial):
        callback = partial.func.__get__(callback)
    if type(callback) is MethodType:
        callback = callback.__func__
    return callback.__code__ if type(callback) is FunctionType else None


Begun = list[Any]
"""[buffer, what was running before, whether to go back to that, whether a callback ran before].

The buffer is None when the callback has ended, and where it is not recorded."""


def _begin(savepoints: set[str]) -> Begun:
    """Say that a callback begins; return what ``_Hook.end`` is given."""
    known = _registered.take(id(savepoints))
    running = current()
    if known is None or known() is not savepoints:
        return []
    try:
        return _enter(known.number, known.buffer, running)
    except BaseException:
        set_current(running)
        raise


def _enter(number: int, origin: Buffer, running: Buffer | None) -> Begun:
    buffer = running
    restore = False
    if buffer is None or buffer.events is None or buffer.trace is not origin.trace:
        if origin.trace is None or origin.trace.end is not None:
            return []
        buffer, restore = origin, True
        set_current(buffer)
    if buffer.ident != get_ident():
        buffer = buffer.here()
    if not buffer.offer((CALLBACK, clock(), number, "")):
        return [None, running, restore, False]
    begun = [buffer, running, restore, buffer.in_callback]
    buffer.in_callback = True
    return begun


class _Hook:
    """The hooks in ``on_commit`` and in the loop over its callbacks."""

    __slots__ = ()

    def registered(self, connection: Any, before: int) -> None:
        """Note where a callback was registered, if there is one more."""
        buffer = current()
        if buffer is not None and buffer.events is not None:
            try:
                _note(buffer, connection.run_on_commit, before, connection.alias)
            except Exception as error:
                failed("on_commit", error)

    def begin_at_once(self, connection: Any) -> Begun:
        """Say that a callback begins at once, without a transaction."""
        buffer = current()
        if buffer is None or buffer.events is None:
            return []
        try:
            if buffer.ident != get_ident():
                buffer = buffer.here()
            begun = buffer.offer((CALLBACK, clock(), next(_numbers), connection.alias))
        except Exception as error:
            failed("on_commit", error)
            return []
        return [buffer, None, False, buffer.in_callback] if begun else []

    def begin(self, savepoints: set[str]) -> Begun:
        """Say that the callback begins whose entry holds *savepoints*."""
        try:
            return _begin(savepoints)
        except Exception as error:
            failed("commit hook", error)
            return []

    def end(self, begun: Begun) -> None:
        """Say that the callback has ended. Idempotent."""
        if not begun:
            return
        buffer, before, restore, in_callback = begun
        try:
            if buffer is not None and buffer.recorded is not None:
                buffer.in_callback = in_callback
                # Nothing is called between the two, so nobody can interrupt there.
                begun[0] = None
                buffer.recorded.append(CALLBACK_END)
        finally:
            if restore:
                set_current(before)


_REGISTERING: Final = Calls(
    before="_tracing = len(self.run_on_commit)",
    returned="hook.registered(self, _tracing)",
    around=(
        Around(
            "func",
            before="_tracing_call = hook.begin_at_once(self)",
            returned="hook.end(_tracing_call)",
            raised="hook.end(_tracing_call)",
        ),
    ),
)


def inlines() -> list[Inline]:
    """Return what follows callbacks to where they were registered."""
    hook = _Hook()
    registering = BaseDatabaseWrapper.__dict__["on_commit"]
    loop = BaseDatabaseWrapper.__dict__["run_and_clear_commit_hooks"]
    return [Inline(registering, hook, _REGISTERING), *_running(loop, "func")]


def _running(loop: object, name: str) -> list[Inline]:
    """Return what tells of the callbacks that a loop calls as *name*."""
    if "_" not in locals_of(loop):
        return []  # Of another release, or replaced: what callbacks send is nobody's then.
    end = "hook.end(_tracing_call)"
    around = Around(name, "_tracing_call = hook.begin(_)", returned=end, raised=end)
    return [Inline(loop, _Hook(), Calls(around=(around,)))]


def later() -> list[Later]:
    """Return what follows the callbacks that tests run themselves."""

    def made() -> list[Inline]:
        from django.test.testcases import TestCase  # noqa: PLC0415 - only tests load it.

        return _running(TestCase.__dict__["captureOnCommitCallbacks"], "callback")

    return [("django.test.testcases", made)]
