"""A file that many processes append lines to while it is rotated.

Each batch of lines is one ``write()`` under an exclusive lock on a second file, which is never
renamed. Whoever holds the lock may rotate; every writer looks, under the lock, whether the file it
has open is still the one at the path. What a killed process left of a line is cut off by the next
writer, so readers only ever see whole lines.
"""

from __future__ import annotations

import gzip
import os
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tracing.clocks import time
from tracing.instrumentation.failures import failed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

try:
    import fcntl
except ImportError:  # Windows: one process may write, as for any log file there.
    fcntl = None  # type: ignore[assignment]

_BLOCK = 65_536
FILE_MODE = 0o640
"""Of the log, as far as the umask allows: shippers read it as a member of the group."""
FOLDER_MODE = 0o750


class LineFile:
    """Append lines to a file, together with any number of processes.

    Args:
        path: The file; its folder is made if need be.
        max_bytes: Rotate before the file grows beyond this; 0 for no limit.
        every_seconds: Rotate when the wall clock enters another period of this length; 0 for never.
        keep: How many rotated files to keep; the oldest are deleted.
        compress: Whether rotated files are compressed with gzip.
        clock: Returns the wall clock in seconds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 0,
        every_seconds: float = 0,
        keep: int = 10,
        compress: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.every_seconds = every_seconds
        self.keep = keep
        self.compress = compress
        self.clock = clock
        self._file = self._lock_file = -1
        self._housekeeping_due = False

    # -- Writing

    def write(self, lines: bytes) -> None:
        """Append all of *lines*, each with its newline, or none.

        Raises:
            OSError: The disk is full, permission is missing ...
        """
        with self._locked():
            descriptor, size = self._open()
            size = self._cut_torn_line(descriptor, size)
            # Asked of an empty file as well: that is when its period begins.
            if self._is_due(size + len(lines)) and size and self._rotate():
                descriptor, size = self._open()
            try:
                self._append(descriptor, lines)
            except BaseException:
                # A part of the lines would be repeated by the next attempt.
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        if self._housekeeping_due:
            self._housekeeping_due = False
            try:
                self._keep_house()
            except OSError as error:
                # The lines are written, and must not be written again. The next rotation tries.
                failed("keeping the rotated logs", error)

    def _append(self, descriptor: int, lines: bytes) -> None:
        view = memoryview(lines)
        while view:
            written = os.write(descriptor, view)
            view = view[written:]

    def _open(self) -> tuple[int, int]:
        """Return the descriptor of the file that is at the path now, and its size."""
        if self._file >= 0:
            if _is_at(self.path, self._file):
                return self._file, os.fstat(self._file).st_size
            self._close_file()
        self._file = os.open(
            self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE
        )
        return self._file, os.fstat(self._file).st_size

    def _cut_torn_line(self, descriptor: int, size: int) -> int:
        """Remove a killed writer's torn line; return the size after that."""
        if not size or os.pread(descriptor, 1, size - 1) == b"\n":
            return size
        end = size
        while end:
            start = max(end - _BLOCK, 0)
            newline = os.pread(descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        os.ftruncate(descriptor, end)
        return end

    # -- Rotating

    def _is_due(self, size: int) -> bool:
        due = bool(self.max_bytes and size > self.max_bytes)
        if self.every_seconds:
            period = str(int(self.clock() // self.every_seconds)).encode()
            stored = os.pread(self._lock_file, 32, 0)
            if stored != period:
                os.ftruncate(self._lock_file, 0)
                os.pwrite(self._lock_file, period, 0)
                due = due or bool(stored)
        return due

    def _rotate(self) -> bool:
        """Give the file a name of its own time; return whether that could be done."""
        moment = datetime.fromtimestamp(self.clock(), UTC)
        while True:
            stamp = moment.strftime("%Y%m%dT%H%M%S.%fZ")
            rotated = self.path.with_name(f"{self.path.stem}.{stamp}{self.path.suffix}")
            if not rotated.exists() and not rotated.with_name(rotated.name + ".gz").exists():
                break
            moment = datetime.fromtimestamp(moment.timestamp() + 0.000_002, UTC)
        try:
            self.path.rename(rotated)
        except OSError as error:
            # A folder in which nothing may be renamed: a long log is better than none.
            failed("rotating the log", error)
            return False
        self._close_file()
        self._housekeeping_due = True
        return True

    def _keep_house(self) -> None:
        """Compress rotated files and delete old ones, one process at a time."""
        with self._keeping() as is_mine:
            if not is_mine:
                return
            if self.compress:
                for path in rotated_files(self.path):
                    if path.suffix != ".gz":
                        _compress(path)
            for path in rotated_files(self.path)[: -self.keep or None]:
                path.unlink(missing_ok=True)

    # -- Locks and descriptors

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock that all writers share."""
        self._lock()
        try:
            yield
        finally:
            if fcntl is not None:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _lock(self) -> None:
        """Take the lock on the file that is at its path now."""
        while True:
            if self._lock_file < 0:
                self._lock_file = self._open_lock(".lock")
            if fcntl is not None:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            if _is_at(self._lock_path(".lock"), self._lock_file):
                return
            descriptor, self._lock_file = self._lock_file, -1
            os.close(descriptor)

    @contextmanager
    def _keeping(self) -> Iterator[bool]:
        """Yield whether this process is the one to look after rotated files."""
        descriptor = self._open_lock(".keep")
        is_mine = True
        try:
            if fcntl is not None:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    is_mine = False
            yield is_mine
        finally:
            os.close(descriptor)

    def _lock_path(self, suffix: str) -> Path:
        return self.path.with_name(f".{self.path.name}{suffix}")

    def _open_lock(self, suffix: str) -> int:
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        return os.open(self._lock_path(suffix), flags, FILE_MODE)

    def _close_file(self) -> None:
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """Close the descriptors; the next ``write()`` opens them again.

        In a child process this also lets go of the lock that it shares with its parent.
        """
        self._close_file()
        descriptor, self._lock_file = self._lock_file, -1
        if descriptor >= 0:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the open file is still the one at *path*."""
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    opened = os.fstat(descriptor)
    return (there.st_ino, there.st_dev) == (opened.st_ino, opened.st_dev)


def rotated_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the rotated files of the log at *path*, oldest first."""
    path = Path(path)
    names = {}
    for found in path.parent.glob(f"{path.stem}.*Z{path.suffix}*"):
        if found.suffix == ".gz" and found.with_suffix("").exists():
            # Its compression was interrupted: the plain file still has everything.
            continue
        if found.name.endswith((path.suffix, f"{path.suffix}.gz")):
            names[found.name.removesuffix(".gz")] = found
    return [names[name] for name in sorted(names)]


def log_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return all files of the log at *path*, oldest first."""
    path = Path(path)
    return [*rotated_files(path), *([path] if path.exists() else [])]


def open_log(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a log file, plain or compressed with gzip, for reading bytes."""
    path = Path(path)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


def _compress(path: Path) -> None:
    target = path.with_name(path.name + ".gz")
    partial = target.with_name(f".{target.name}.part")
    try:
        partial.unlink(missing_ok=True)
        # Who may not read the log may not read what it was, not even while it is being compressed.
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            path.open("rb") as source,
            os.fdopen(descriptor, "wb") as target_file,
            gzip.open(target_file, "wb", compresslevel=6) as compressed,
        ):
            shutil.copyfileobj(source, compressed, 1 << 20)
        shutil.copymode(path, partial)
        partial.replace(target)
    except OSError:
        # No space, perhaps: the plain file stays, and the next rotation tries again.
        partial.unlink(missing_ok=True)
        return
    path.unlink(missing_ok=True)


def follow(
    path: str | os.PathLike[str],
    *,
    from_start: bool = False,
    poll_seconds: float = 0.2,
    keep_on: Callable[[], bool] = lambda: True,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[bytes]:
    """Yield the lines of the log as they are written, across rotations.

    Args:
        path: The log; it need not exist yet.
        from_start: Begin with what is in the file already.
        poll_seconds: How often to look when there is nothing new.
        keep_on: Asked at each look; the iteration ends when it returns False.
        wait: How to wait, in seconds.
    """
    path = Path(path)
    seen = set(_plain_names(rotated_files(path)))
    file: BinaryIO | None = None
    rest, ending = b"", False
    with suppress(FileNotFoundError):
        file = path.open("rb")
        if not from_start:
            file.seek(0, os.SEEK_END)
    try:
        while True:
            if file is None:
                file, between = _next_file(path, seen)
                yield from _whole(between)
            if file is not None:
                rest = yield from _lines(file, rest)
                if _was_replaced(path, file):
                    # Nobody writes to it any more: the writers look at the path first.
                    rest = yield from _lines(file, rest)
                    following, between = _next_file(path, seen)
                    yield from _whole(_after(between, file))
                    file.close()
                    file, rest = following, b""
                    continue
                if file.tell() > os.fstat(file.fileno()).st_size:
                    # Cut short: emptied by hand.
                    file.seek(0)
                    rest = b""
            if ending:
                return
            # What was written before it was asked to end is still read.
            ending = not keep_on()
            if not ending:
                wait(poll_seconds)
    finally:
        if file is not None:
            file.close()


def _lines(file: BinaryIO, rest: bytes) -> Generator[bytes, None, bytes]:
    """Yield the whole lines that follow; return the beginning of another."""
    while chunk := file.read(_BLOCK):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    return rest


def _whole(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        try:
            file = open_log(path)
        except FileNotFoundError:
            try:
                # It was being compressed when it was listed.
                file = open_log(path.with_name(path.name + ".gz"))
            except FileNotFoundError:
                continue
        with file:
            yield from (line.rstrip(b"\n") for line in file)


def _next_file(path: Path, seen: set[str]) -> tuple[BinaryIO | None, list[Path]]:
    """Return the file at *path*, and what was rotated and is not in *seen*.

    The names are put into *seen*. The file is None while nobody has made it yet.
    """
    while True:
        file: BinaryIO | None = None
        with suppress(FileNotFoundError):
            file = path.open("rb")
        new = [rotated for rotated in rotated_files(path) if _plain_name(rotated) not in seen]
        if file is None or not _was_replaced(path, file):
            # Nothing was rotated in the meantime, so the list ends where the file begins.
            seen.update(_plain_names(new))
            return file, new
        file.close()


def _after(rotated: list[Path], file: BinaryIO) -> list[Path]:
    """Return those of *rotated* that came after *file*, oldest first."""
    inode = os.fstat(file.fileno()).st_ino
    for place, path in enumerate(rotated):
        with suppress(FileNotFoundError):
            if path.stat().st_ino == inode:
                return rotated[place + 1 :]
    # Compressed into another file, then it is the first; or deleted already.
    compressed = bool(rotated) and (rotated[0].suffix == ".gz" or not rotated[0].exists())
    return rotated[1:] if compressed else rotated


def _was_replaced(path: Path, file: BinaryIO) -> bool:
    opened = os.fstat(file.fileno())
    try:
        there = path.stat()
    except FileNotFoundError:
        return opened.st_nlink == 0 or bool(rotated_files(path))
    return (there.st_ino, there.st_dev) != (opened.st_ino, opened.st_dev)


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _plain_names(paths: Iterable[Path]) -> Iterator[str]:
    return map(_plain_name, paths)
