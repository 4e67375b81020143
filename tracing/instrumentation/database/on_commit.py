"""Callbacks of ``on_commit``: what they send hangs under the receiver that registered them.

A callback is not wrapped: ``run_on_commit`` holds what Django would hold. The entry that Django made
is known by its identity, and Django's loop that runs the entries says which one is running.
"""

from __future__ import annotations

from itertools import count
from threading import get_ident
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from tracing.instrumentation.context import current, make_current
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Around, Calls, Inline
from tracing.instrumentation.recent import Recent
from tracing.instrumentation.words import CALLBACK, CALLBACK_END, REGISTERED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.instrumentation.buffer import Stream

_numbers = count(1)
_registered: Recent[int, tuple[int, Stream]] = Recent(5_000, "on_commit callbacks")
"""(number, stream) by the identity of the entry in ``run_on_commit``.

An identity that is given out again belongs to a newer entry, which was registered here too. What was
registered in a transaction that was rolled back is never taken out: the oldest go.
"""


def _note(stream: Stream, entries: list[Any], before: int, alias: str) -> None:
    if len(entries) != before + 1:
        return
    if stream.ident != get_ident():
        stream = stream.here()
    number = next(_numbers)
    if not stream.offer((REGISTERED, number, alias)):
        return
    _registered.put(id(entries[-1]), (number, stream))


Begun = list[Any]
"""[stream, what was running before, whether to go back to that, whether a callback ran before].

The stream is None when the callback has ended, and where it is not recorded."""


def _begin(entry: Any) -> Begun:
    """Say that the callback of *entry* begins; return what ``_Hook.end`` is to be given."""
    known = _registered.take(id(entry))
    running = current()
    if known is None:
        return []
    try:
        return _enter(*known, running)
    except BaseException:
        make_current(running)
        raise


def _enter(number: int, origin: Stream, running: Stream | None) -> Begun:
    stream = running
    restore = False
    if stream is None or stream.events is None or stream.trace is not origin.trace:
        if origin.trace is None or origin.trace.end is not None:
            return []
        stream, restore = origin, True
        make_current(stream)
    if stream.ident != get_ident():
        stream = stream.here()
    if not stream.offer((CALLBACK, clock(), number, "")):
        return [None, running, restore, False]
    begun = [stream, running, restore, stream.in_callback]
    stream.in_callback = True
    return begun


class _Hook:
    """What ``on_commit`` and the loop over its callbacks call."""

    __slots__ = ()

    def registered(self, connection: Any, before: int) -> None:
        """Note from where a callback was registered, after which there is one more than *before*."""
        stream = current()
        if stream is not None and stream.events is not None:
            try:
                _note(stream, connection.run_on_commit, before, connection.alias)
            except Exception as error:
                failed("on_commit", error)

    def begin_at_once(self, connection: Any) -> Begun:
        """Say that a callback begins at once, since *connection* has no transaction."""
        stream = current()
        if stream is None or stream.events is None:
            return []
        try:
            if stream.ident != get_ident():
                stream = stream.here()
            begun = stream.offer((CALLBACK, clock(), next(_numbers), connection.alias))
        except Exception as error:
            failed("on_commit", error)
            return []
        return [stream, None, False, stream.in_callback] if begun else []

    def begin(self, entries: Iterator[Any]) -> Begun:
        """Say that the callback of the next entry begins."""
        try:
            return _begin(next(entries))
        except Exception as error:
            failed("commit hook", error)
            return []

    def end(self, begun: Begun) -> None:
        """Say that the callback has ended. Idempotent."""
        if not begun:
            return
        stream, before, restore, in_callback = begun
        try:
            if stream is not None and stream.recorded is not None:
                stream.in_callback = in_callback
                # Nothing is called between the two, so nobody can interrupt there.
                begun[0] = None
                stream.recorded.append(CALLBACK_END)
        finally:
            if restore:
                make_current(before)


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
_RUNNING: Final = Calls(
    before="_tracing = iter(tuple(self.run_on_commit))",
    around=(
        Around(
            "func",
            before="_tracing_call = hook.begin(_tracing)",
            returned="hook.end(_tracing_call)",
            raised="hook.end(_tracing_call)",
        ),
    ),
)
"""The loop takes the entries from the front of a list that nobody else can reach."""


def inlines() -> list[Inline]:
    """Return what follows callbacks to where they were registered."""
    hook = _Hook()
    loop = BaseDatabaseWrapper.__dict__["run_and_clear_commit_hooks"]
    return [
        Inline(BaseDatabaseWrapper.__dict__["on_commit"], hook, _REGISTERING),
        Inline(loop, hook, _RUNNING),
    ]
