"""Facts about the process that stand in each of its traces."""

from __future__ import annotations

import os
import threading
from typing import Any, Final

from tracing.clocks import time


class Identity:
    """The recording process, and the release it runs."""

    __slots__ = ("pid", "release")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.release = ""


identity = Identity()


def free_after_fork(lock: Any) -> Any:
    """Return *lock*, made free in each forked child.

    That thread does not exist in the child and would never let go of it.
    """
    os.register_at_fork(after_in_child=lock._at_fork_reinit)
    return lock


def process_lock() -> threading.Lock:
    """Return a lock of this process, which a forked child has for itself."""
    return free_after_fork(threading.Lock())  # type: ignore[no-any-return]


_PATIENCE: Final = 1.0
"""Seconds that a fork waits at most."""


class BeforeFork:
    """Work of another thread that a fork waits for.

    A child has the locks of that thread, and not the thread: where a module is half imported, or the
    C library of a database is at work, it would wait for ever. Bounded, since the forking thread
    may itself hold what the work waits for, and once only for a piece of work that does not end.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waited: list[bool] = []
        self._waiting = 0
        self._is_stuck = False
        os.register_at_fork(
            before=self._wait,
            after_in_parent=self._go_on,
            after_in_child=self._begin_anew,
        )

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()

    def let_fork(self) -> None:
        """Let a fork that waits go first; called in the middle of the work."""
        if self._waiting > 0:
            self._lock.release()
            until = time.monotonic() + _PATIENCE
            while self._waiting > 0 and time.monotonic() < until:
                time.sleep(0.0005)
            self._lock.acquire()

    def _wait(self) -> None:
        self._waiting += 1
        try:
            is_free = self._lock.acquire(timeout=0 if self._is_stuck else _PATIENCE)
        finally:
            self._waiting -= 1
        self._is_stuck = not is_free
        self._waited.append(is_free)

    def _go_on(self) -> None:
        if self._waited and self._waited.pop():
            self._lock.release()

    def _begin_anew(self) -> None:
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]
        self._waited.clear()
        self._waiting = 0


before_fork = BeforeFork()


def _after_fork() -> None:
    identity.pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)
