"""The folder of a spool: its files, its collector, and their messages.

Files of the spool are ``<process>.<number>.spool``. Each process writes how it is doing into a file of its
own, the collector how far it is, and what is to be obeyed. All of it is for the owner alone.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows, where a process cannot tell whether another still writes.
    fcntl = None  # type: ignore[assignment]

CAN_LOCK: Final = fcntl is not None
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
SUFFIX: Final = ".spool"
UNREADABLE: Final = ".unreadable"
"""Put behind the name of a file of which something cannot be read."""
MOST_UNREADABLE: Final = 20
"""Files that are kept although they cannot be read; then the oldest goes."""
_NEW: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)


class Folder:
    """The folder at *path*."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def make(self) -> None:
        """Make the folder, for its owner alone.

        Raises:
            OSError: It cannot be made.
        """
        self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if self.path.stat().st_mode & 0o077:
            # Made by hand, or under a name that was there before.
            self.path.chmod(FOLDER_MODE)

    # -- Files of the spool

    def files(self) -> list[Path]:
        """Return the files of the spool, the oldest process first."""
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def size(self) -> int:
        """Return how many bytes the files of the spool have."""
        return sum(size_of(path) for path in self.files())

    def new_file(self, name: str, number: int) -> tuple[Path, int]:
        """Return a new file of the process *name*, and its locked descriptor.

        Raises:
            OSError: It cannot be made.
        """
        path = self.path / f"{name}.{number:08d}{SUFFIX}"
        descriptor = os.open(path, _NEW | os.O_EXCL | os.O_APPEND, FILE_MODE)
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return path, descriptor

    def set_aside(self, path: Path) -> None:
        """Keep an unreadable file out of the way; the oldest of many go."""
        with suppress(OSError):
            path.rename(path.with_name(path.name + UNREADABLE))
            for old in sorted(self.path.glob(f"*{UNREADABLE}"))[:-MOST_UNREADABLE]:
                old.unlink(missing_ok=True)

    # -- What is told

    def control(self, paused: bool) -> None:  # noqa: FBT001 - called by an exporter with the state.
        """Have every process that appends to the spool pause or resume.

        Raises:
            OSError: It cannot be written.
        """
        self.write(CONTROL, {"paused": paused})

    @property
    def is_paused(self) -> bool:
        """Return whether they are to pause."""
        return bool(self.read(CONTROL).get("paused"))

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON object into the file *name* at once.

        Raises:
            OSError: It cannot be written.
        """
        path = self.path / name
        partial = path.with_name(f".{name}.{os.getpid()}")
        try:
            descriptor = os.open(partial, _NEW | os.O_TRUNC, FILE_MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise

    def read(self, name: str) -> dict[str, Any]:
        """Return the JSON object in the file *name*; empty without one."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def states(self, since_ns: int = 0) -> Iterator[dict[str, Any]]:
        """Yield how each process is doing; delete what is an hour old.

        With what it has connected, if it wrote that after *since_ns* (wall clock).
        """
        for path in sorted(self.path.glob("*.state")):
            state, wiring = self.read(path.name), path.with_suffix(".wiring")
            seen_ns = state.get("seen_ns", 0)
            if time.time_ns() - seen_ns > _STALE_NS:
                with suppress(OSError):
                    wiring.unlink(missing_ok=True)
                    path.unlink()
            elif seen_ns:
                with suppress(OSError):
                    if wiring.stat().st_mtime_ns >= since_ns:
                        state |= self.read(wiring.name)
                yield state


_STALE_NS: Final = 3_600 * 1_000_000_000

CONTROL: Final = "control.json"
"""Written by the collector: whether recording is paused."""
COLLECTOR: Final = "collector.json"
"""Written by the collector: how far it is."""
CHECKPOINT: Final = "checkpoint.json"
"""Written by the collector: up to where each file has been exported."""


def size_of(path: Path) -> int:
    """Return the bytes of the file at *path*; 0 if it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Turn:
    """The turn to collect a folder: one process has it, until it ends."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.path / "collector.lock"
        self._descriptor = -1

    def take(self, patience: float = 0.0) -> bool:
        """Take the turn if nobody has it; return whether this process has it now.

        Args:
            patience: Seconds to try: others take it for a moment, to see whether somebody has it.

        Raises:
            OSError: The lock cannot be opened.
        """
        give_up_at = time.monotonic() + patience
        while not self._try() and time.monotonic() < give_up_at:
            time.sleep(0.05)
        return self._descriptor >= 0

    def _try(self) -> bool:
        if self._descriptor >= 0:
            return True
        descriptor = os.open(self._path, _NEW, FILE_MODE)
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
        self._descriptor = descriptor
        return True

    def give_back(self) -> None:
        """Let another process have it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def is_taken(self) -> bool:
        """Return whether a process collects the folder at this moment."""
        if self.take():
            self.give_back()
            return False
        return True


def is_written(descriptor: int) -> bool:
    """Return whether the file's process lives: it holds the lock."""
    if not CAN_LOCK:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
