"""SQL: queries by receiver and connection, in whatever thread.

``CursorWrapper.execute`` and ``executemany`` take the time of what they do. ``connection.queries``,
``execute_wrappers`` and ``assertNumQueries`` stay as they are; what a debug cursor or the toolbar puts
around the cursor stays around it.
"""

from __future__ import annotations

from threading import get_ident
from time import thread_time_ns as thread_clock
from typing import Any, Final

from django.db.backends.utils import CursorWrapper

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.buffer import BUFFER_LIMIT
from tracing.instrumentation.context import current
from tracing.instrumentation.database import bypass
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Calls, Inline
from tracing.instrumentation.words import QUERY, QUERY_CPU

WRITES: Final = ("INSERT ", "UPDATE ", "DELETE ", "REPLACE ")
WRITE_VERBS: Final = frozenset(statement[:6] for statement in WRITES)
PLAIN_VERBS: Final = frozenset(
    (
        *("", "SELECT", "(SELEC", "PRAGMA", "CREATE", "ALTER ", "DROP T", "DROP I", "SHOW T"),
        *("BEGIN", "BEGIN ", "BEGIN;", "SAVEPO", "RELEAS", "ROLLBA"),
    )
)
"""The first six characters of what writes no rows, mostly."""
MAX_STATEMENT: Final = 2_000
"""Characters kept of a statement."""


def _text_of(sql: object) -> str:
    """Return the text of a string subclass; empty of anything else."""
    return str.__str__(sql) if issubclass(type(sql), str) else ""


def _note(cursor: Any, sql: Any, start: int, succeeded: bool, keep_statements: bool) -> None:
    """Record one query that has ended."""
    try:
        end = clock()
        text = sql if type(sql) is str else _text_of(sql)
        verb = text[:6] if succeeded else ""
        buffer = current()
        if buffer is None or buffer.events is None:
            return
        if buffer.ident != get_ident():
            buffer = buffer.here()
        statement = None
        if keep_statements:
            statement = text if len(text) <= MAX_STATEMENT else text[:MAX_STATEMENT]
        query = (QUERY, start, end, cursor.db.alias, statement)
        events = buffer.events
        if events is not None and len(events) < BUFFER_LIMIT:
            events += query
        elif not buffer.offer(query):
            return
        if verb in WRITE_VERBS and text.startswith(WRITES):
            bypass.note_write(buffer, cursor, text, start)
        elif verb not in PLAIN_VERBS:
            bypass.note_unusual(buffer, cursor, text, start)
    except Exception as error:
        failed("query", error)


class _Hook:
    """The hooks in ``CursorWrapper.execute`` and ``executemany``."""

    __slots__ = ("_keep_statements",)

    clock = staticmethod(clock)

    def __init__(self, keep_statements: bool) -> None:
        self._keep_statements = keep_statements

    def succeeded(self, cursor: Any, sql: Any, start: int, result: Any) -> Any:
        """Record a query and return *result*, which the cursor returns."""
        _note(cursor, sql, start, True, self._keep_statements)
        return result

    def failed(self, cursor: Any, sql: Any, start: int) -> None:
        """Record a query that has raised."""
        _note(cursor, sql, start, False, self._keep_statements)


class _ReadingHook(_Hook):
    """The same where the CPU clock of the thread is read as well."""

    __slots__ = ()

    thread_clock = staticmethod(thread_clock)

    def succeeded(self, cursor: Any, sql: Any, start: Any, result: Any) -> Any:
        """Record a query and return *result*, which the cursor returns."""
        began, at = start
        _note_cpu(at)
        _note(cursor, sql, began, True, self._keep_statements)
        return result

    def failed(self, cursor: Any, sql: Any, start: Any) -> None:
        """Record a query that has raised."""
        began, at = start
        _note_cpu(at)
        _note(cursor, sql, began, False, self._keep_statements)


def _note_cpu(at: int) -> None:
    """Record what a query took of the thread's CPU clock since *at*."""
    try:
        spent = thread_clock() - at
        buffer = current()
        if buffer is not None and buffer.events is not None:
            if buffer.ident != get_ident():
                buffer = buffer.here()
            buffer.offer((QUERY_CPU, spent))
    except Exception as error:
        failed("query", error)


_TIMED: Final = Calls(
    before="_tracing = hook.clock()",
    returned="hook.succeeded(self, sql, _tracing, _value)",
    raised="hook.failed(self, sql, _tracing)",
)


_READ: Final = _TIMED._replace(before="_tracing = hook.clock(), hook.thread_clock()")


def inlines(*, keep_statements: bool, reads_cpu: bool = False) -> list[Inline]:
    """Return what times queries.

    Args:
        keep_statements: Record the statements, too.
        reads_cpu: Record what they take of the thread's CPU clock, too.
    """
    hook = (_ReadingHook if reads_cpu else _Hook)(keep_statements)
    calls = _READ if reads_cpu else _TIMED
    return [
        Inline(CursorWrapper.__dict__[name], hook, calls) for name in ("execute", "executemany")
    ]
