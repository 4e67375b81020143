"""Facts about the process that stand in each of its traces."""

from __future__ import annotations

import os
import threading
from typing import Any


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


class BeforeFork:
    """Work of another thread that a fork waits for, once: imports.

    A child in which a module is half imported, by a thread that it has not got, waits for ever for
    that module. Bounded, since the forking thread may itself hold what the work waits for.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waited: list[bool] = []
        os.register_at_fork(
            before=self._wait,
            after_in_parent=self._go_on,
            after_in_child=self._begin_anew,
        )

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()

    def _wait(self) -> None:
        self._waited.append(self._lock.acquire(timeout=1.0))

    def _go_on(self) -> None:
        if self._waited and self._waited.pop():
            self._lock.release()

    def _begin_anew(self) -> None:
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]
        self._waited.clear()


before_fork = BeforeFork()


def _after_fork() -> None:
    identity.pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)
