"""Facts about the process that stand in each of its traces."""

from __future__ import annotations

import os


class Identity:
    """Who records: the process and the release it runs."""

    __slots__ = ("pid", "release")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.release = ""


identity = Identity()


def _after_fork() -> None:
    identity.pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)
