"""Reading with a deadline, on a connection of its own, for the viewer.

Django's connection of the thread is the application's: it may be inside a transaction, a broken
one even, of a pool that is used up, and a limit set on it would be the application's limit.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import DatabaseError, OperationalError, connections

from tracing.clocks import time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

_Row = TypeVar("_Row")

_STEPS: Final = 1_000
"""Instructions of SQLite's machine between two looks at the clock: some 50 µs."""
_ROWS_AT_ONCE: Final = 1_000
_LOOSE: Final = 1.25
"""How far above the time that is left the limit that a server knows may be, as a factor."""


class TimeUpError(OperationalError):
    """The deadline has passed."""

    def __init__(self) -> None:
        super().__init__("the time for reading is up")


class Deadline:
    """The moment until which a thread may read.

    Args:
        seconds: From now.
    """

    __slots__ = ("at",)

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left; below 0 when it has passed."""
        return self.at - time.monotonic()

    def is_over(self) -> bool:
        """Return whether it has passed."""
        return time.monotonic() >= self.at


_current: ContextVar[Deadline | None] = ContextVar("tracing_deadline", default=None)


def is_over() -> bool:
    """Return whether the running thread reads with a deadline that has passed."""
    deadline = _current.get()
    return deadline is not None and deadline.is_over()


def left() -> float | None:
    """Return the seconds that the running thread may read; None for no limit."""
    deadline = _current.get()
    return None if deadline is None else deadline.left()


def check() -> None:
    """Raise TimeUpError if the deadline has passed, between statements."""
    if is_over():
        raise TimeUpError


def minded(rows: Sequence[_Row]) -> Iterator[_Row]:
    """Yield *rows*; raise TimeUpError when the deadline passes."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        check()
        yield from rows[start : start + _ROWS_AT_ONCE]


@contextmanager
def share(part: float) -> Iterator[None]:
    """Let what is read inside take a *part* of the time that is left.

    Raises:
        TimeUpError: It took more; of a statement that was stopped, too.
    """
    deadline = _current.get()
    if deadline is None:
        yield
        return
    whole = deadline.at
    deadline.at -= max(deadline.left(), 0) * (1 - part)
    try:
        yield
    except DatabaseError as error:
        if deadline.is_over():
            raise TimeUpError from error
        raise
    finally:
        deadline.at = whole


@contextmanager
def reading(alias: str, seconds: float, *, changes: bool = False) -> Iterator[Deadline]:
    """Give the running thread a connection of its own for some seconds.

    Inside, ``connections[alias]`` is that connection, in autocommit; it is closed at the end. A
    test whose data no other connection could see is read through the test's connection.

    Args:
        alias: Alias in DATABASES.
        seconds: From now; what takes longer raises a DatabaseError.
        changes: Rows are written, too: inside an open transaction of the application they are part
            of it, because another connection might wait for its locks for ever.

    Raises:
        ConnectionDoesNotExist: There is no such alias.
    """
    given = connections[alias]
    deadline = Deadline(seconds)
    is_sound = given.in_atomic_block and not given.needs_rollback
    is_own = not (_is_bound_to(given) or (changes and is_sound))
    connection = _opened_like(given, changes=changes) if is_own else given
    limit = _LIMITS.get(connection.vendor, _Limit)(connection, deadline, is_own=is_own)
    token = _current.set(deadline)
    connections[alias] = connection
    try:
        with connection.execute_wrapper(limit):
            yield deadline
    finally:
        connections[alias] = given
        _current.reset(token)
        limit.lift()
        if is_own:
            # What was lost on the way is closed already.
            with suppress(DatabaseError):
                connection.close()


def _opened_like(given: BaseDatabaseWrapper, *, changes: bool) -> BaseDatabaseWrapper:
    """Return another connection like *given*, opened at its first use."""
    own = connections.create_connection(given.alias)
    options = dict(given.settings_dict.get("OPTIONS", {}))
    # Of a pool that the application has used up, no connection would be had.
    options.pop("pool", None)
    if changes and given.vendor == "sqlite":
        # A transaction that reads first and writes later fails if the recorder writes in between.
        options["transaction_mode"] = "IMMEDIATE"
    own.settings_dict = given.settings_dict | {"AUTOCOMMIT": True, "OPTIONS": options}
    return own


def _is_bound_to(given: BaseDatabaseWrapper) -> bool:
    """Return whether the data is seen through *given* alone, or not at all."""
    is_in_memory: Callable[[], bool] = getattr(given, "is_in_memory_db", bool)
    return (
        # A test that forbids this database has put an object in place of its method, which it wraps.
        hasattr(vars(given).get("connect"), "wrapped")
        or any(getattr(block, "_from_testcase", False) for block in given.atomic_blocks)
        or is_in_memory()
    )


class _Limit:
    """Refuses statements after the deadline; subclasses stop those that run.

    Args:
        connection: Whose statements.
        deadline: The deadline.
        is_own: Nobody else uses the connection.
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, deadline: Deadline, *, is_own: bool
    ) -> None:
        self.connection = connection
        self.deadline = deadline
        self.is_own = is_own

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,  # noqa: FBT001 - as Django calls it.
        context: dict[str, Any],
    ) -> Any:
        """Run a statement within the time that is left."""
        left = self.deadline.left()
        if left <= 0:
            raise TimeUpError
        self.set(left)
        return execute(sql, params, many, context)

    def set(self, left: float) -> None:
        """Have the database stop in *left* seconds."""

    def lift(self) -> None:
        """Put back what was set."""


class _SQLiteLimit(_Limit):
    raw: Any = None

    def set(self, left: float) -> None:  # noqa: ARG002 - the deadline itself is looked at.
        if self.raw is not self.connection.connection:
            self.raw = self.connection.connection
            self.raw.set_progress_handler(self.deadline.is_over, _STEPS)

    def lift(self) -> None:
        # A closed one has no handler any more.
        with suppress(Exception):
            if self.raw is not None:
                self.raw.set_progress_handler(None, 0)


class _ServerLimit(_Limit):
    known: float = 0
    """Seconds that the server allows a statement; 0 for its own limit."""

    def set(self, left: float) -> None:
        # A statement that a server stops breaks the transaction around it, which is not ours. It stops
        # none before the deadline: what fails before is an error, not a lack of time.
        if self.is_own and not left <= self.known <= left * _LOOSE:
            milliseconds = math.ceil(left * 1_000) + 1
            self.tell(self.limited(milliseconds))
            self.known = milliseconds / 1_000

    def lift(self) -> None:
        # Behind a proxy that shares connections, the next one to use this one is somebody else.
        with suppress(Exception):
            if self.known:
                self.tell(self.unlimited())

    def tell(self, statement: str) -> None:
        connection = self.connection
        with connection.wrap_database_errors, connection.connection.cursor() as cursor:
            cursor.execute(statement)

    def limited(self, milliseconds: int) -> str:
        return f"SET statement_timeout = {milliseconds}"

    def unlimited(self) -> str:
        return "RESET statement_timeout"


class _MySQLLimit(_ServerLimit):
    @property
    def is_mariadb(self) -> bool:
        # Django's own answer is a query, which would be limited first.
        return "MariaDB" in str(self.connection.connection.get_server_info())

    def limited(self, milliseconds: int) -> str:
        if self.is_mariadb:
            return f"SET SESSION max_statement_time = {milliseconds / 1_000:.3f}"
        return f"SET SESSION max_execution_time = {milliseconds}"

    def unlimited(self) -> str:
        name = "max_statement_time" if self.is_mariadb else "max_execution_time"
        return f"SET SESSION {name} = DEFAULT"


_LIMITS: Final[dict[str, type[_Limit]]] = {
    "sqlite": _SQLiteLimit,
    "postgresql": _ServerLimit,
    "mysql": _MySQLLimit,
}
