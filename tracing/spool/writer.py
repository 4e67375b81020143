"""The application's side: append batches within the folder's limits."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tracing.clocks import time
from tracing.spool.folder import CHECKPOINT, Folder, is_written, size_of
from tracing.spool.frames import FIRST_LINE, FORMAT, TRACES, Encoder, FrameError, frames

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tracing.spans.records import Trace
    from tracing.spool.frames import Appendable

FILE_BYTES: Final = 16_000_000
"""A file becomes no larger, but for its last batch."""


class Writer:
    """Append traces to the spool in *folder*.

    Args:
        folder: The folder.
        max_bytes: Beyond this the oldest file of the folder goes.
    """

    def __init__(self, folder: Folder, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.lost = 0
        """Traces in files that had to go before they were read."""
        self._file_bytes = min(FILE_BYTES, max_bytes // 4)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with a file of one's own; what is open belongs to the parent."""
        self.close()
        self._number = 0
        # Sorts by the time at which the process began, and is nobody else's.
        self._name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"

    _descriptor = -1
    _size = 0

    def append(self, batch: Sequence[Trace | Appendable]) -> None:
        """Append *batch*: all of it or, if it raises, none.

        Raises:
            OSError: The disk is full, permission is missing ...
        """
        descriptor = self._open()
        data = self._encoder.encode(batch)
        try:
            _write(descriptor, data)
        except BaseException:
            self._encoder.not_written()
            with suppress(OSError):
                os.ftruncate(descriptor, self._size)
            raise
        self._encoder.written()
        self._size += len(data)

    def close(self) -> None:
        """Close the file, which gives it to the reader as a whole."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> int:
        """Return the descriptor of a file that has room."""
        if self._descriptor >= 0:
            if self._size < self._file_bytes and os.fstat(self._descriptor).st_nlink:
                return self._descriptor
            self.close()
        self.folder.make()
        self._make_room()
        self._path, descriptor = self.folder.new_file(self._name, self._number)
        self._number += 1
        first = FIRST_LINE % FORMAT
        try:
            _write(descriptor, first)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                self._path.unlink()
            raise
        self._descriptor, self._size = descriptor, len(first)
        self._encoder = Encoder()
        return descriptor

    def _make_room(self) -> None:
        """Delete oldest files until another has room; count what they held."""
        files = self.folder.files()
        sizes = {path: size_of(path) for path in files}
        size = sum(sizes.values()) + self._file_bytes
        done = self.folder.read(CHECKPOINT).get("files", {}) if size > self.max_bytes else {}
        for path in files:
            if size <= self.max_bytes:
                return
            if _is_written(path):
                continue
            self.lost += _traces_in(path, done.get(path.name, 0))
            with suppress(OSError):
                path.unlink()
            size -= sizes[path]


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _is_written(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        return is_written(descriptor)
    finally:
        os.close(descriptor)


def _traces_in(path: Path, after: int) -> int:
    """Return how many traces the file at *path* has after a place."""
    found = 0
    with suppress(OSError, FrameError):
        data = path.read_bytes()
        begin = max(after, len(data.partition(b"\n")[0]) + 1)
        for each in frames(data, begin):
            found += each.kind in TRACES
    return found
