"""The exporter that writes structured log lines through structlog.

It has a structlog chain of its own: the project's ``structlog.configure()`` and ``LOGGING`` are
neither used nor changed, unless a logger of the project is named to write to.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import structlog

from tracing.conf.parts import LEVELS
from tracing.exporters.log_file import LineFile, log_files, open_log
from tracing.instrumentation.assembly.repair import repaired
from tracing.instrumentation.in_tests import is_test_run, log_path_of_tests
from tracing.pipeline import yield_interpreter
from tracing.spans.codec import Clock, Line, ends_in, lines

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from structlog.typing import EventDict, WrappedLogger

    from tracing.spans import records


class _Lines:
    """A logger in structlog's sense: keeps the lines of a batch."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.info = self.warning = self.error = self.lines.append


def _as_bytes(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    """Render an event as its line, for a file."""
    line: bytes = event["line"]
    return line


def _as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Render an event as its line, for a logger of the standard library."""
    return _as_bytes(_logger, _method, event).decode()


def _joined(found: list[Line]) -> Iterator[Line]:
    """Yield *found*, joining those of one level that follow one another."""
    for level, run in groupby(found, key=itemgetter(0)):
        (_level, event, first), *rest = run
        yield level, event, b"\n".join([first, *(line for _level, _event, line in rest)])


class LogExporter:
    """Write a line for each dispatch, failure, hazard and trace.

    Args:
        path: The file; None when *logger* is given.
        logger: Name of a standard library logger to write to instead of a file.
        level: Leave out lines below this: debug, info, warning, error or critical.
        max_bytes: Rotate before the file is larger; 0 for no limit.
        every_seconds: Rotate at each multiple of this time; 0 for never.
        keep: Rotated files to keep.
        compress: Compress rotated files with gzip.
        in_tests: What to do in a run of tests: ``write`` as always; ``skip``, which writes nothing;
            ``apart``, into a file of its own beside the log.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        logger: str = "",
        level: str = "info",
        max_bytes: int = 50_000_000,
        every_seconds: float = 0,
        keep: int = 10,
        compress: bool = True,
        in_tests: Literal["write", "skip", "apart"] = "write",
    ) -> None:
        if (path is None) is not bool(logger):
            raise ValueError("LogExporter writes to a path or to a logger: give one of them.")
        if level not in LEVELS:
            raise ValueError(f"LogExporter has no level {level!r}: {', '.join(LEVELS)}.")
        self.name = "log"
        self._lock = threading.Lock()
        self._file: LineFile | None = None
        self._make_file = partial(
            LineFile, max_bytes=max_bytes, every_seconds=every_seconds, keep=keep, compress=compress
        )
        self._in_tests = in_tests
        if path is not None:
            self._file = self._make_file(path)
        self._lines = _Lines()
        self._clock = Clock()
        self._log: Any = structlog.wrap_logger(
            logging.getLogger(logger) if logger else self._lines,
            processors=[_as_text if logger else _as_bytes],
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
            context_class=dict,
            cache_logger_on_first_use=True,
        ).bind()

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Write all lines of *batch* at once.

        Raises:
            OSError: The file cannot be written; nothing of *batch* is in it then.
        """
        with self._lock:
            self._lines.lines.clear()
            if self._in_tests != "write" and is_test_run():
                if self._in_tests == "skip":
                    return
                self._in_tests = "write"
                if self._file is not None:
                    self._file.close()
                    self._file = self._make_file(log_path_of_tests(self._file.path))
            chunks = self._render(batch)
            if self._file is not None and chunks:
                self._file.write(b"".join(chunks))

    def _render(self, batch: Sequence[records.Trace]) -> list[bytes]:
        """Return the lines of each trace as bytes; a logger has them already."""
        log = self._log
        write: dict[str, Callable[..., Any]] = {
            level: getattr(log, level) for level in ("info", "warning", "error")
        }
        chunks = []
        rendered = self._lines.lines
        is_file = self._file is not None
        for trace in batch:
            found = self._lines_of(trace)
            # In a file lines that follow one another with the same level are one event to structlog.
            for level, event, line in _joined(found) if is_file else found:
                write[level](event, line=line)
            # Joined while they are in the processor's cache.
            if rendered:
                rendered.append(b"")
                chunks.append(b"\n".join(rendered))
                rendered.clear()
            yield_interpreter()
        return chunks

    def _lines_of(self, trace: records.Trace) -> list[Line]:
        """Return the lines of *trace*; what JSON lacks is approximated."""
        try:
            return list(lines(trace, self._clock))
        except (ValueError, OverflowError, TypeError) as error:
            return list(lines(repaired(trace, type(error).__name__), self._clock))

    # -- What a collector asks after it was killed

    def position(self) -> list[int] | None:
        """Return the file's (inode, size), where the next line goes, or None."""
        if self._file is None:
            return None
        try:
            found = self._file.path.stat()
        except OSError:
            return [0, 0]
        return [found.st_ino, found.st_size]

    def written_since(self, position: Sequence[int]) -> set[tuple[str, int]]:
        """Return (root span id, segment) of what was written since a position."""
        if self._file is None:
            return set()
        inode, size = position
        found: set[tuple[str, int]] = set()
        for path in reversed(log_files(self._file.path)):
            is_that = inode and path.stat().st_ino == inode
            with open_log(path) as file:
                file.seek(size if is_that else 0)
                found |= ends_in(file)
            if is_that:
                break
        return found

    def force_flush(self) -> None:
        """Do nothing: what was exported is with the operating system."""

    def shutdown(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def after_fork(self) -> None:
        """Let go of the parent's descriptors and locks."""
        self._lock = threading.Lock()
        if self._file is not None:
            self._file.close()
