"""SQL: which receiver ran how many queries, on which connection, in whatever thread.

``CursorWrapper.execute`` and ``executemany`` are replaced by functions that do the same and take the
time. ``connection.queries``, ``execute_wrappers`` and ``assertNumQueries`` stay as they are; what a
debug cursor or the toolbar puts around the cursor stays around it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from threading import get_ident
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final

from tracing.capture import bypass, transactions
from tracing.capture.context import QUERY, STREAM_LIMIT, current
from tracing.capture.failures import failed

if TYPE_CHECKING:
    from collections.abc import Callable

WRITES: Final = ("INSERT ", "UPDATE ", "DELETE ", "REPLACE ")
WRITE_VERBS: Final = frozenset(statement[:6] for statement in WRITES)
TRANSACTION_VERBS: Final = frozenset(
    (*(statement[:6] for statement in transactions.STATEMENTS), "BEGIN ", "BEGIN;")
)
"""The first six characters of these statements: one look instead of one for each."""
MAX_STATEMENT: Final = 2_000
"""Characters kept of a statement."""


def _note(cursor: Any, sql: Any, start: int, succeeded: bool, keep_statements: bool) -> None:
    """Record one query that has ended."""
    try:
        end = clock()
        text = sql if type(sql) is str else ""
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
            events.append(query)
        elif not stream.offer(query):
            return
        if verb in WRITE_VERBS and text.startswith(WRITES):
            bypass.note_write(stream, cursor, text, start)
    except Exception as error:
        failed("query", error)


def timed_execute(*, keep_statements: bool) -> Callable[..., Any]:
    """Return the timed ``CursorWrapper.execute``."""

    def execute(self: Any, sql: Any, params: Any = None) -> Any:
        start = clock()
        try:
            result = self._execute_with_wrappers(sql, params, many=False, executor=self._execute)
        except BaseException:
            __tracebackhide__ = True  # Read by pytest: the frame stands in for Django's own.
            _note(self, sql, start, False, keep_statements)
            raise
        _note(self, sql, start, True, keep_statements)
        return result

    return execute


def timed_executemany(*, keep_statements: bool) -> Callable[..., Any]:
    """Return the timed ``CursorWrapper.executemany``."""

    def executemany(self: Any, sql: Any, param_list: Any) -> Any:
        start = clock()
        try:
            result = self._execute_with_wrappers(
                sql, param_list, many=True, executor=self._executemany
            )
        except BaseException:
            __tracebackhide__ = True  # Read by pytest: the frame stands in for Django's own.
            _note(self, sql, start, False, keep_statements)
            raise
        _note(self, sql, start, True, keep_statements)
        return result

    return executemany


_LITERALS: Final = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
_LISTS: Final = re.compile(r"\(\s*(?:%s|\?)(?:\s*,\s*(?:%s|\?))+\s*\)")
_SPACE: Final = re.compile(r"\s+")
_SAVEPOINT: Final = re.compile(r"\s*((?:RELEASE |ROLLBACK TO )?SAVEPOINT)\s.*", re.DOTALL)
"""Django names every savepoint anew: kept whole, each would be a statement of its own."""


@lru_cache(maxsize=5_000)
def normalised(sql: str) -> str:
    """Return *sql* without values: literals as ``?``, lists of placeholders as one, single spaces."""
    sql = _SAVEPOINT.sub(r"\1", sql)
    return _SPACE.sub(" ", _LISTS.sub("(…)", _LITERALS.sub("?", sql))).strip()
