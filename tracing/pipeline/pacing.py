"""Pacing: a batch in slices, spread over the time until the next one.

A thread that waits for the interpreter asks for it back only after 5 ms. Worked through at once, a batch
would be felt by each request that meets it, and a loop of asyncio waits several times in a request.
"""

from __future__ import annotations

import threading
from time import sleep, thread_time_ns
from typing import TYPE_CHECKING, Final

from tracing.instrumentation.process import before_fork

if TYPE_CHECKING:
    from collections.abc import Callable

_SLICE_NS: Final = 1_000_000
"""CPU time after which a thread gives the interpreter to others."""
_LONGEST_SECONDS: Final = 0.02
"""A rest is no longer: what somebody waits for comes in between."""
_FIRST_ITEM_NS: Final = 30_000
"""What a recorded item takes, before one was measured."""
_SHARE: Final = 0.8
"""Of the time until the next batch; the rest is for what has no slices."""


class Pace:
    """The pace of a worker.

    Args:
        is_hurried: Returns whether somebody waits for the work, which is then done without rests.
    """

    __slots__ = ("_began_ns", "_is_hurried", "_item_ns", "_rest", "_since_ns", "is_over")

    def __init__(self, is_hurried: Callable[[], bool]) -> None:
        self.is_over = False
        """The process ends: its other threads, if any still run, have to make do with their share."""
        self._is_hurried = is_hurried
        self._item_ns = float(_FIRST_ITEM_NS)
        self._rest = 0.0
        self._began_ns = self._since_ns = 0

    def begin(self, items: int, seconds: float) -> None:
        """Spread the work on a batch.

        Args:
            items: What it weighs.
            seconds: Until the next batch is due.
        """
        self._began_ns = self._since_ns = thread_time_ns()
        # How long a rest is, as a multiple of the work before it.
        self._rest = max(seconds * _SHARE * 1e9 / (max(items, 1) * self._item_ns) - 1, 0.0)

    def end(self, items: int) -> None:
        """Learn what a batch of so many items took."""
        if items:
            taken = (thread_time_ns() - self._began_ns) / items
            self._item_ns += (taken - self._item_ns) / 4

    def rest(self) -> None:
        """Let others go first if this thread has worked for a slice."""
        now = thread_time_ns()
        worked = now - self._since_ns
        if worked < _SLICE_NS or self.is_over:
            return
        self._since_ns = now
        is_slow = self._rest and not self._is_hurried()
        sleep(min(worked * self._rest / 1e9, _LONGEST_SECONDS) if is_slow else 0)


class _Thread(threading.local):
    pace: Pace | None = None


_thread = _Thread()


def set_pace(pace: Pace) -> None:
    """Have the running thread go at this pace."""
    _thread.pace = pace


def yield_interpreter() -> None:
    """Rest if it is time, in a worker; called between pieces of its work.

    No other thread does: a collector has none to let go first, and who works in its place waits for that.
    """
    pace = _thread.pace
    if pace is not None:
        before_fork.let_fork()
        pace.rest()
