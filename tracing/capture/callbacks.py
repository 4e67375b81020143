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

from tracing.capture.context import (
    CALLBACK,
    CALLBACK_END,
    REGISTERED,
    Stream,
    current,
    enter,
    leave,
)
from tracing.capture.failures import failed
from tracing.capture.inlining import Around, Calls, Inline
from tracing.capture.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterator

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


Begun = tuple[Stream | None, Stream | None, bool]


def _begin(entry: Any) -> Begun:
    """Say that the callback of *entry* begins; return (stream, running one before, whether to restore)."""
    known = _registered.take(id(entry))
    running = current()
    if known is None:
        return None, None, False
    number, origin = known
    stream = running
    restore = False
    if stream is None or stream.events is None or stream.trace is not origin.trace:
        if origin.trace is None or origin.trace.end is not None:
            return None, None, False
        stream, restore = origin, True
        enter(stream)
    if stream.ident != get_ident():
        stream = stream.here()
    if not stream.offer((CALLBACK, clock(), number, "")):
        return None, running, restore
    stream.in_callback = True
    return stream, running, restore


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

    def begin_at_once(self, connection: Any) -> Stream | None:
        """Say that a callback begins at once, since *connection* has no transaction."""
        stream = current()
        if stream is None or stream.events is None:
            return None
        try:
            if stream.ident != get_ident():
                stream = stream.here()
            begun = stream.offer((CALLBACK, clock(), next(_numbers), connection.alias))
        except Exception as error:
            failed("on_commit", error)
            return None
        return stream if begun else None

    def end_at_once(self, stream: Stream | None) -> None:
        """Say that it has ended."""
        if stream is not None and stream.events is not None:
            stream.events.append((CALLBACK_END, clock()))

    def begin(self, entries: Iterator[Any]) -> Begun:
        """Say that the callback of the next entry begins."""
        try:
            return _begin(next(entries))
        except Exception as error:
            failed("commit hook", error)
            return None, None, False

    def end(self, begun: Begun) -> None:
        """Say that the callback has ended."""
        stream, before, restore = begun
        if stream is not None and stream.events is not None:
            stream.events.append((CALLBACK_END, clock()))
            stream.in_callback = False
        if restore:
            leave(before)


_REGISTERING: Final = Calls(
    before="_tracing = len(self.run_on_commit)",
    returned="hook.registered(self, _tracing)",
    around=(
        Around(
            "func",
            before="_tracing_call = hook.begin_at_once(self)",
            returned="hook.end_at_once(_tracing_call)",
            raised="hook.end_at_once(_tracing_call)",
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
