"""The collector's side: read a folder's files as they grow."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time
from tracing.spool.folder import CHECKPOINT, Folder, is_written, size_of
from tracing.spool.frames import (
    FIRST_LINE,
    FORMAT,
    NAMES,
    READABLE,
    RECORDED,
    TRACES,
    Decoder,
    FrameError,
    frames,
    wanted,
)
from tracing.units import format_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tracing.spans.records import Trace
    from tracing.spool.frames import Frame

logger = logging.getLogger("tracing")

_CHUNK: Final = 1 << 20
_NEW_SECONDS: Final = 60.0
"""A file without its first line may belong to a process that was just about to write it."""
_MOST_NAMES: Final = 100_000
"""Names that files share; then they are learned anew."""


@dataclass(slots=True)
class Counts:
    """The counts of what the reader met since it began."""

    unreadable_files: int = 0
    """Set aside: of another format, damaged, or with a torn end."""
    unreadable_bytes: int = 0
    unreadable_traces: int = 0


class _File:
    """One file, and how far it has been read."""

    def __init__(self, path: Path, done: int, shared: dict[Any, Any]) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.at = 0
        self.done = done
        """Up to where it has been exported."""
        self.is_at_end = False
        """Nobody writes it any more, and all of it has been read."""
        self.bad = 0
        """Traces that could not be read."""
        self._decoder = Decoder(shared)

    def close(self) -> None:
        os.close(self.descriptor)

    def read(self) -> list[Trace]:
        """Return the traces that follow, of a piece.

        Raises:
            FrameError: What follows cannot be read.
        """
        # Asked before the reading: what a process that is gone now has written is all there.
        is_over = not is_written(self.descriptor)
        if not self.at and not self._begin(is_over=is_over):
            return []
        data = os.pread(self.descriptor, _CHUNK, self.at)
        if (need := wanted(data, 0)) > len(data) >= _CHUNK:
            data = os.pread(self.descriptor, need, self.at)
        found: list[Trace] = []
        begin = self.at
        try:
            for each in frames(data):
                if each.kind == NAMES:
                    self._decoder.learn(each.payload)
                elif each.kind in TRACES and begin + each.end > self.done:
                    self._take(each, found)
                self.at = begin + each.end
        except FrameError:
            # What stands before it goes first.
            if self.at == begin:
                raise
        if is_over and self.at == begin:
            if len(data):
                raise FrameError("a torn end")
            self.is_at_end = True
        return found

    def _take(self, frame: Frame, found: list[Trace]) -> None:
        decode = self._decoder.recorded if frame.kind == RECORDED else self._decoder.trace
        try:
            found.append(decode(frame.payload))
        except FrameError as error:
            # Its checksum is right, so the rest can be read.
            self.bad += 1
            logger.warning("%s: %s.", self.path, error)

    def _begin(self, *, is_over: bool) -> bool:
        """Read the first line; return whether it is there."""
        first = os.pread(self.descriptor, 64, 0)
        line, end, _ = first.partition(b"\n")
        if not end:
            is_new = time.time() - os.fstat(self.descriptor).st_mtime < _NEW_SECONDS
            if not is_over or is_new:
                return False
            if first:
                raise FrameError("no first line")
            self.is_at_end = True
            return False
        known = {FIRST_LINE % number for number in READABLE}
        if line + end not in known:
            raise FrameError(f"another format than {FORMAT}: {line[:40]!r}")
        self.at = len(line) + 1
        return True


class SpoolReader:
    """Read the spool in *folder* from its checkpoint on."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.counts = Counts()
        self._files: dict[str, _File] = {}
        self._shared: dict[Any, Any] = {}
        self._done: dict[str, int] = self.folder.read(CHECKPOINT).get("files", {})
        self._turn = 0

    def read(self) -> list[Trace]:
        """Return some traces of one file; none if there is nothing new."""
        self._look()
        names = list(self._files)
        for step in range(len(names)):
            place = (self._turn + step) % len(names)
            file = self._files[names[place]]
            found = self._read(file)
            if found:
                self._turn = place + 1
                return found
        return []

    def _read(self, file: _File) -> list[Trace]:
        while not file.is_at_end:
            before, bad = file.at, file.bad
            try:
                found = file.read()
            except FrameError as error:
                self._give_up(file, str(error))
                return []
            self.counts.unreadable_traces += file.bad - bad
            # After a restart the beginning is read for its names alone.
            if found or file.at == before:
                return found
        return []

    def exported(self) -> None:
        """Note that all that was read is exported; delete what is through.

        Raises:
            OSError: The checkpoint cannot be written.
        """
        for file in self._files.values():
            file.done = max(file.done, file.at)
        for name, file in list(self._files.items()):
            if file.is_at_end:
                self._forget(name)
                file.path.unlink(missing_ok=True)

    @property
    def places(self) -> dict[str, int]:
        """Return up to where each file has been exported."""
        return self._done | {name: file.done for name, file in self._files.items()}

    def behind(self) -> tuple[int, float]:
        """Return (bytes not exported, seconds since their oldest file)."""
        waiting, oldest = 0, time.time()
        for path in self.folder.files():
            rest = size_of(path) - self.places.get(path.name, 0)
            if rest > 0:
                waiting += rest
                try:
                    oldest = min(oldest, path.stat().st_mtime)
                except OSError:
                    continue
        return waiting, time.time() - oldest if waiting else 0.0

    def is_written(self) -> bool:
        """Return whether any process still writes to the spool."""
        self._look()
        return any(is_written(file.descriptor) for file in self._files.values())

    def close(self) -> None:
        """Close all files."""
        for name in list(self._files):
            self._forget(name)

    def _look(self) -> None:
        """Open the files that have come."""
        if len(self._shared) > _MOST_NAMES:
            self._shared.clear()
        there = self.folder.files()
        for path in there:
            if path.name not in self._files:
                try:
                    self._files[path.name] = _File(path, self._done.get(path.name, 0), self._shared)
                except FileNotFoundError:
                    continue  # A process had to make room.
        gone = self._files.keys() - {path.name for path in there}
        for name in gone:
            self._forget(name)
        self._done = {path.name: self._done[path.name] for path in there if path.name in self._done}

    def _forget(self, name: str) -> None:
        self._files.pop(name).close()
        self._done.pop(name, None)

    def _give_up(self, file: _File, why: str) -> None:
        """Set aside a file of which the rest cannot be read."""
        rest = size_of(file.path) - file.at
        self.counts.unreadable_files += 1
        self.counts.unreadable_bytes += rest
        logger.error(
            "%s has %s: its last %s cannot be read and are kept beside it.",
            file.path,
            why,
            format_bytes(rest),
        )
        file.is_at_end = True
        self.folder.set_aside(file.path)
