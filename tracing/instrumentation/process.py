"""Facts about the process that stand in each of its traces."""

from __future__ import annotations

import os
import threading
from typing import Any


class Identity:
    """Who records: the process and the release it runs."""

    __slots__ = ("pid", "release")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.release = ""


identity = Identity()


def free_after_fork(lock: Any) -> Any:
    """Return *lock*, which is free in a forked child also when a thread of the parent held it.

    That thread does not exist in the child and would never let go of it.
    """
    os.register_at_fork(after_in_child=lock._at_fork_reinit)
    return lock


def process_lock() -> threading.Lock:
    """Return a lock of this process, which a forked child has for itself."""
    return free_after_fork(threading.Lock())  # type: ignore[no-any-return]


def _after_fork() -> None:
    identity.pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)
