"""Transactions: what became of the block in which a dispatch was sent.

Django has no rollback signal, and ``on_commit`` callbacks are the application's to see. Both are not
needed: transactions and savepoints pass through the methods of the connection. From them its open
blocks are known, and with them the outcome.
"""

from __future__ import annotations

import os
import threading
import weakref
from sys import _getframe as getframe
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import Error as DatabaseErrors
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import debug_transaction

from tracing.instrumentation import buffer as recording_buffer
from tracing.instrumentation import context
from tracing.instrumentation.failures import failed, is_own
from tracing.instrumentation.inlining import Calls, Inline, Later
from tracing.spans.records import TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_TEST_CASES: Final = os.path.join("django", "test", "testcases.py")
_NEAR: Final = 20
"""Frames between a statement and whoever ended the block; those of cursor wrappers among them."""


_COMMITTED: Final = TransactionOutcome.COMMITTED
"""Looked up once: at the enum, Python 3.11 runs Python code each time."""


class Block:
    """A transaction or a savepoint within one."""

    __slots__ = ("_ended", "alias", "connection", "depth", "is_current", "is_test", "name", "outer")

    def __init__(self, connection: Any, name: str, outer: Block | None) -> None:
        self.alias: str = connection.alias
        self.name = name
        """Of the savepoint; empty for the transaction itself."""
        self.outer = outer
        self.depth: int = 1 if outer is None else outer.depth + 1
        self.connection = weakref.ref(connection)
        self.is_current: bool = _is_current(connection) if outer is None else outer.is_current
        """Whether its alias stood for the connection in the thread that began it."""
        self._ended: TransactionOutcome | None = None
        self.is_test = False

    def end(self, outcome: TransactionOutcome) -> None:
        """Settle what became of it, once."""
        if self._ended is None:
            self._ended = outcome

    def notice_test(self) -> None:
        """Find out whether a TestCase opened it, once it has begun."""
        connection = self.connection()
        if connection is None or self.is_test:
            return
        blocks: list[Any] = getattr(connection, "atomic_blocks", [])
        # The transaction is the first block, each savepoint a later one; some have no savepoint.
        if self.outer is None:
            self.is_test = bool(blocks) and getattr(blocks[0], "_from_testcase", False)
        elif self.depth <= len(blocks):
            self.is_test = getattr(blocks[self.depth - 1], "_from_testcase", False)

    @property
    def settled(self) -> bool:
        """Return whether the outcome is known."""
        return self.outcome is not TransactionOutcome.UNKNOWN

    @property
    def outcome(self) -> TransactionOutcome:
        """Return what became of it, by its own end or that of the block around it."""
        block: Block | None = self
        while block is not None:
            # First: a TestCase rolls its blocks back, which is no news about what was tested.
            if block.is_test:
                return TransactionOutcome.TEST
            ended = block._ended
            if ended is not None and (block.outer is None or ended is not _COMMITTED):
                return ended
            block = block.outer
        return TransactionOutcome.UNKNOWN

    @property
    def application_depth(self) -> int:
        """Return how deep it is without the blocks of a TestCase."""
        depth = 0
        block: Block | None = self
        while block is not None:
            depth += not block.is_test
            block = block.outer
        return depth


class _Thread(threading.local):
    """The connections in transactions that the running thread knows of."""

    def __init__(self) -> None:
        self.keys: dict[int, str] = {}
        """How the buffers of the thread know a connection with an open block, by its identity."""
        self.current: dict[str, weakref.ref[Any]] = {}
        """The connections that aliases stood for when a transaction last began."""


_thread = _Thread()
_open: dict[int, Block] = {}
"""The innermost open block of each connection of the process, by the identity of the connection.

One that is shared may be handed to another thread in the middle of a transaction."""


def adopt() -> None:
    """Begin with the blocks that are open now in this thread.

    What was known before the recording was last taken out has ended unseen.
    """
    global _thread  # noqa: PLW0603 - of all threads at once; a local of each has no other way.
    _thread = _Thread()
    _open.clear()
    if not settings.configured:
        return
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            continue
        block = Block(connection, "", None)
        for name in connection.savepoint_ids:
            if name is not None:
                block = Block(connection, name, block)
        _open[id(connection)] = block
        _thread.keys[id(connection)] = connection.alias


def open_blocks() -> list[tuple[str, Block]]:
    """Return the thread's innermost open blocks and their connections' keys.

    The key is the alias where the connection is the one that the alias stands for in this thread.
    """
    if not _open:
        return []
    keys = _thread.keys
    if len(_open) > len(keys):
        _take_over(keys)
    blocks = []
    for number, key in keys.copy().items():
        block = _open.get(number)
        if block is None or not _is_there(number, block):
            keys.pop(number, None)
            continue
        blocks.append((key, block))
        inner: Block | None = block
        while inner is not None:
            inner.notice_test()
            inner = inner.outer
    return blocks


recording_buffer.open_blocks = open_blocks


def _take_over(keys: dict[int, str]) -> None:
    """Add the connections to *keys* that were handed to this thread.

    In the middle of a transaction, that is.
    """
    # A copy is made in one step: other threads begin and end transactions meanwhile.
    for number, block in _open.copy().items():
        if number not in keys and _is_there(number, block):
            connection = block.connection()
            # Not by the property, which takes a lock.
            if getattr(connection, "_thread_sharing_count", 0) and _is_current(connection):
                keys[number] = block.alias


def _is_there(number: int, block: Block) -> bool:
    """Return whether the connection of *block* lives; forget a dead one."""
    if block.connection() is not None:
        return True
    # The database rolled it back.
    root_of(block).end(TransactionOutcome.ROLLED_BACK)
    _open.pop(number, None)
    return False


def _is_current(connection: Any) -> bool:
    """Return whether its alias stands for *connection* in this thread.

    Makes no connection.
    """
    alias = connection.alias
    current = _thread.current.get(alias)
    if current is not None and current() is connection:
        return True  # To ask costs more than all the rest of a BEGIN.
    if getattr(getattr(connections, "_connections", None), alias, None) is not connection:
        return False
    _thread.current[alias] = weakref.ref(connection)
    return True


def _innermost(connection: Any) -> Block | None:
    """Return the innermost open block of *connection*."""
    block = _open.get(id(connection))
    return block if block is not None and block.connection() is connection else None


def _moved(connection: Any, block: Block | None) -> None:
    """Make *block* the innermost open one, and tell the running trace."""
    number, keys = id(connection), _thread.keys
    before = keys.pop(number, "")
    if block is None:
        _open.pop(number, None)
        notes: list[tuple[str, Block | None]] = [(before, None)] if before else []
        if keys:
            notes += _renamed(keys, 0)
    else:
        _open[number] = block
        others = bool(keys)
        keys[number] = before or (block.alias if block.is_current else f"{block.alias} {number}")
        notes = _renamed(keys, number) if others else [(keys[number], block)]
    buffer = context.current()
    if notes and buffer is not None and buffer.events is not None:
        if buffer.ident != threading.get_ident():
            buffer = buffer.here()
        for note in notes:
            buffer.note_block(*note)


def _renamed(keys: dict[int, str], moved: int) -> list[tuple[str, Block | None]]:
    """Put *keys* right, and return what to note of it.

    What left a key comes first, the newest block last.

    Args:
        keys: Those of the thread, the one that moved last at the end.
        moved: The one whose block is noted in any case.
    """
    left: list[tuple[str, Block | None]] = []
    came: list[tuple[str, Block | None]] = []
    taken = set()
    for number, before in reversed([*keys.items()]):
        block = _open.get(number)
        if block is None or not _is_there(number, block):
            # Another thread ended it, or it died.
            del keys[number]
            left.append((before, None))
            continue
        key = block.alias
        if not block.is_current or key in taken:
            # Made beside the one that the alias stands for, or another was put in its place meanwhile.
            key = f"{key} {number}"
        taken.add(key)
        if key != before:
            keys[number] = key
            left.append((before, None))
        if key != before or number == moved:
            came.append((key, block))
    return left + came[::-1]


def began(connection: Any) -> None:
    """Note that *connection* began a transaction."""
    left_open = _open.get(id(connection))
    while left_open is not None:
        # The connection was closed in the middle of it: the database rolled it back.
        left_open.end(TransactionOutcome.ROLLED_BACK)
        left_open = left_open.outer
    _moved(connection, Block(connection, "", None))


def ended(connection: Any, outcome: TransactionOutcome) -> None:
    """Note that *connection* committed or rolled back."""
    block = _innermost(connection)
    if block is None:
        return
    while block.outer is not None:
        block.notice_test()
        block = block.outer
    block.notice_test()
    block.end(outcome)
    _moved(connection, None)
    for call in _when_ended:
        call()


_when_ended: list[Callable[[], None]] = []


def when_ended(call: Callable[[], None]) -> None:
    """Have *call* called each time a transaction has ended, in its thread."""
    _when_ended.append(call)


def root_of(block: Block) -> Block:
    """Return the transaction that *block* belongs to."""
    while block.outer is not None:
        block = block.outer
    return block


def savepoint(connection: Any, name: str) -> None:
    """Note that *connection* opened the savepoint *name*."""
    outer = _innermost(connection)
    if outer is not None:
        outer.notice_test()
        _moved(connection, Block(connection, name, outer))


def released(connection: Any, name: str) -> None:
    """Note that *connection* released the savepoint *name*."""
    block = _innermost(connection)
    found = block
    while found is not None and found.name != name:
        found = found.outer
    if found is not None and found.outer is not None:
        found.notice_test()
        found.end(TransactionOutcome.COMMITTED)
        _moved(connection, found.outer)


def rolled_back_to(connection: Any, name: str) -> None:
    """Note that *connection* rolled back to *name*, which stays open."""
    block = _innermost(connection)
    found = block
    while found is not None and found.name != name:
        found = found.outer
    if found is None or found.outer is None:
        return
    # By now Django has forgotten whose block it was.
    found.is_test = found.is_test or _by_test_case(getframe(1))
    while block is not None and block is not found.outer:
        block.notice_test()
        block.end(TransactionOutcome.SAVEPOINT_ROLLED_BACK)
        block = block.outer
    _moved(connection, Block(connection, name, found.outer))


def _by_test_case(frame: FrameType | None) -> bool:
    """Return whether *frame* runs since a TestCase ends a test."""
    for _ in range(_NEAR):
        if frame is None:
            return False
        code = frame.f_code
        if code.co_name == "_rollback_atomics" and code.co_filename.endswith(_TEST_CASES):
            return True
        frame = frame.f_back
    return False


class _Hook:
    """The hooks before BEGIN, and at the end of what else is done.

    Whatever interrupts them finds Django's statements that belong together done.
    """

    __slots__ = ()

    def begins(self, connection: Any) -> None:
        """Note that a transaction of *connection* is about to begin."""
        try:
            began(connection)
        except BaseException as error:
            self.rolled_back(connection)
            if not isinstance(error, Exception):
                raise
            failed("transaction", error)

    def left(self, connection: Any, error: BaseException) -> None:
        """Note that the end was interrupted; nothing of the database's errors."""
        if not isinstance(error, DatabaseErrors):
            self._end(connection, TransactionOutcome.UNKNOWN)

    def committed(self, connection: Any) -> None:
        """Note that *connection* has committed."""
        self._end(connection, _COMMITTED)

    def rolled_back(self, connection: Any) -> None:
        """Note that *connection* has rolled back, or was closed."""
        self._end(connection, TransactionOutcome.ROLLED_BACK)

    def _end(self, connection: Any, outcome: TransactionOutcome) -> None:
        try:
            ended(connection, outcome)
        except Exception as error:
            if not is_own(error):
                ended(connection, outcome)  # Somebody interrupts, and it did happen all the same.
            failed("transaction", error)

    def savepoint(self, connection: Any, name: str | None, what: str) -> str | None:
        """Note *what* was done to a savepoint, if there is one; return its *name*."""
        if name is not None:
            note = {"made": savepoint, "released": released, "left": rolled_back_to}[what]
            try:
                note(connection, name)
            except Exception as error:
                if not is_own(error):
                    note(connection, name)
                failed("savepoint", error)
        return name


_BEGIN: Final = Calls(before="hook.begins(self)", raised="hook.rolled_back(self)")


def inlines() -> list[Inline]:
    """Return what follows the transactions of all connections."""
    hook = _Hook()
    closed = "hook.rolled_back(self)"
    debugged = Calls(
        before="if sql == 'BEGIN': hook.begins(connection)",
        raised="if sql == 'BEGIN': hook.rolled_back(connection)",
    )
    left = "hook.left(self, _error)"
    methods = {
        "close": Calls(returned=closed, raised=closed),
        "commit": Calls(returned="hook.committed(self)", raised=left),
        "rollback": Calls(returned="hook.rolled_back(self)", raised=left),
        "savepoint": Calls(returned="hook.savepoint(self, _value, 'made')"),
        "savepoint_commit": Calls(returned="hook.savepoint(self, sid, 'released') and None"),
        "savepoint_rollback": Calls(returned="hook.savepoint(self, sid, 'left') and None"),
    }
    wrapper = BaseDatabaseWrapper.__dict__
    return [
        Inline(debug_transaction, hook, debugged),
        *(Inline(wrapper[name], hook, calls) for name, calls in methods.items()),
    ]


def later() -> list[Later]:
    """Return what follows the transactions that SQLite begins by a statement."""

    def made() -> list[Inline]:
        from django.db.backends.sqlite3.base import DatabaseWrapper  # noqa: PLC0415 - if it is used.

        begin = DatabaseWrapper.__dict__["_start_transaction_under_autocommit"]
        return [Inline(begin, _Hook(), _BEGIN)]

    return [("django.db.backends.sqlite3.base", made)]
