"""News: what is written again when it has changed, at a bounded rate."""

from __future__ import annotations

from typing import Final

from tracing.clocks import time

BYTES_A_SECOND: Final = 10_000
"""What is written in the long run. A usual wiring is always written at once, at most each few seconds; the
largest ones (900 kB, of a process that connects and disconnects for ever) every minute and a half."""


class News:
    """The decision whether something that changed is written down now."""

    __slots__ = ("_due_at", "_version")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Take whatever there is for news."""
        self._version: object = None
        self._due_at = 0.0

    def is_due(self, version: object) -> bool:
        """Return whether *version* is news whose time has come."""
        return version != self._version and time.monotonic() >= self._due_at

    def hurry(self) -> None:
        """Have the next news be due at once: it is the last."""
        self._due_at = 0.0

    def written(self, version: object, size: int) -> None:
        """Take note that *version* was written, in *size* bytes."""
        self._version = version
        self._due_at = time.monotonic() + size / BYTES_A_SECOND
