"""SQL: which receiver ran how many queries, on which connection, in whatever thread.

``CursorWrapper.execute`` and ``executemany`` take the time of what they do. ``connection.queries``,
``execute_wrappers`` and ``assertNumQueries`` stay as they are; what a debug cursor or the toolbar puts
around the cursor stays around it.
"""

from __future__ import annotations

from threading import get_ident
from time import perf_counter_ns as clock
from typing import Any, Final

from django.db.backends.utils import CursorWrapper

from tracing.instrumentation.buffer import STREAM_LIMIT
from tracing.instrumentation.context import current
from tracing.instrumentation.database import bypass, transactions
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Calls, Inline
from tracing.instrumentation.words import QUERY

WRITES: Final = ("INSERT ", "UPDATE ", "DELETE ", "REPLACE ")
WRITE_VERBS: Final = frozenset(statement[:6] for statement in WRITES)
TRANSACTION_VERBS: Final = frozenset(
    (*(statement[:6] for statement in transactions.STATEMENTS), "BEGIN ", "BEGIN;")
)
"""The first six characters of these statements: one look instead of one for each."""
PLAIN_VERBS: Final = TRANSACTION_VERBS | {
    *("", "SELECT", "(SELEC", "PRAGMA", "CREATE", "ALTER ", "DROP T", "DROP I", "SHOW T", "BEGIN")
}
"""The first six characters of what writes no rows, mostly."""
MAX_STATEMENT: Final = 2_000
"""Characters kept of a statement."""


def _text_of(sql: object) -> str:
    """Return the characters of a string of another class; nothing of what is no string."""
    return str.__str__(sql) if issubclass(type(sql), str) else ""


def _note(cursor: Any, sql: Any, start: int, succeeded: bool, keep_statements: bool) -> None:
    """Record one query that has ended."""
    try:
        end = clock()
        text = sql if type(sql) is str else _text_of(sql)
        connection = cursor.db
        verb = text[:6] if succeeded else ""
        if verb in TRANSACTION_VERBS and text.startswith(transactions.STATEMENTS):
            transactions.note_statement(connection, text)
        stream = current()
        if stream is None or stream.events is None:
            return
        if stream.ident != get_ident():
            stream = stream.here()
        statement = None
        if keep_statements:
            statement = text if len(text) <= MAX_STATEMENT else text[:MAX_STATEMENT]
        query = (QUERY, start, end, connection.alias, statement)
        events = stream.events
        if events is not None and len(events) < STREAM_LIMIT:
            events += query
        elif not stream.offer(query):
            return
        if verb in WRITE_VERBS and text.startswith(WRITES):
            bypass.note_write(stream, cursor, text, start)
        elif verb not in PLAIN_VERBS:
            bypass.note_unusual(stream, cursor, text, start)
    except Exception as error:
        failed("query", error)


class _Hook:
    """What ``CursorWrapper.execute`` and ``executemany`` call."""

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


_TIMED: Final = Calls(
    before="_tracing = hook.clock()",
    returned="hook.succeeded(self, sql, _tracing, _value)",
    raised="hook.failed(self, sql, _tracing)",
)


def inlines(*, keep_statements: bool) -> list[Inline]:
    """Return what times queries; with their statements if *keep_statements*."""
    hook = _Hook(keep_statements)
    return [
        Inline(CursorWrapper.__dict__[name], hook, _TIMED) for name in ("execute", "executemany")
    ]
