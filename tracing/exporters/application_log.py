"""The application's own log lines of a trace, in the files it writes.

A line belongs to a trace whose id stands in it. What is read is bounded in bytes and time, newest files
first; what is shown is redacted like all that is kept.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time
from tracing.exporters.log_file import open_log
from tracing.instrumentation.attributes.redaction import redact_text
from tracing.instrumentation.attributes.values import attribute_text
from tracing.spans.codec import (
    DISPATCH_FINISHED,
    HAZARD_FOUND,
    RECEIVER_FAILED,
    TRACE_FINISHED,
    TRACE_RUNNING,
)
from tracing.spans.ids import span_ids
from tracing.units import SECOND_NS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from tracing.spans.records import Trace

MOST_BYTES: Final = 64 << 20
"""Read of all files together, uncompressed."""
MOST_SECONDS: Final = 2.0
MOST_LINES: Final = 500
_MOST_FILES: Final = 100
"""Rotated files of one log that are looked at."""
_LONGEST_LINE: Final = 1 << 20
_LONGEST_TEXT: Final = 2_000
_MOST_FIELDS: Final = 50
_AT_ONCE: Final = 1 << 20
_TEXT: Final = ("event", "message", "msg")
"""Names under which a line has what it says."""
_EVENTS: Final = (
    DISPATCH_FINISHED,
    RECEIVER_FAILED,
    HAZARD_FOUND,
    TRACE_FINISHED,
    TRACE_RUNNING,
)
"""Those of the tracer's lines, where it writes into the same file."""
_MOMENT: Final = ("timestamp", "asctime", "time")
_SPAN_ID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")
_LEVEL: Final = ("level", "levelname", "severity")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the application, redacted."""

    text: str
    timestamp: str = ""
    """As it was written; empty where the line is no JSON, and ``text`` is all of it."""
    level: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    """What else is in it, but its ids."""
    number: int | None = None
    """Number of the span whose id is on it; None for that of the trace itself."""


@dataclass(slots=True)
class LogLines:
    """The application's lines of one trace, in the order of the files."""

    is_configured: bool
    lines: list[LogLine] = field(default_factory=list)
    damaged: int = 0
    """Lines with the id of the trace that cannot be read."""
    left_out: int = 0
    """Further lines of it."""
    is_complete: bool = True
    """False where a bound was reached or a file could not be read: there may be more."""


def application_lines(
    trace: Trace, paths: Iterable[str | os.PathLike[str]], *, shares_id: bool = False
) -> LogLines:
    """Return what the application logged in *trace*.

    Args:
        trace: The trace.
        paths: The logs, without their rotated files.
        shares_id: Others have its trace id: lines without one of its span ids are theirs, maybe.
    """
    logs = [Path(path) for path in paths]
    found = LogLines(bool(logs))
    search = _Search(trace, found, shares_id=shares_id)
    # The newest hold the most recent traces; what they hold stands last.
    for path in _files(logs, trace.started_ns):
        before, found.lines = found.lines, []
        try:
            search.file(path)
        except (OSError, EOFError, zlib.error, gzip.BadGzipFile):
            found.is_complete = False
        found.lines += before
        if search.is_over():
            found.is_complete = False
            break
    found.left_out += max(len(found.lines) - MOST_LINES, 0)
    del found.lines[MOST_LINES:]
    return found


def _files(logs: list[Path], since_ns: int) -> list[Path]:
    """Return the files written since then, the newest first."""
    found: dict[Path, int] = {}
    for path in logs:
        # As log rotation names them, and as the tracer does.
        rotated = [*path.parent.glob(f"{_plain(path.name)}.*")]
        rotated += path.parent.glob(f"{_plain(path.stem)}.[0-9]*{_plain(path.suffix)}*")
        for file in (path, *rotated):
            try:
                if file.is_file() and file.stat().st_mtime_ns >= since_ns - SECOND_NS:
                    found[file] = file.stat().st_mtime_ns
            except OSError:
                continue
    return sorted(found, key=lambda file: (found[file], file), reverse=True)[:_MOST_FILES]


def _plain(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


class _Search:
    """The search for the lines of one trace."""

    def __init__(self, trace: Trace, found: LogLines, *, shares_id: bool) -> None:
        self._found = found
        self._shares_id = shares_id
        self._trace_id = trace.trace_id
        self._wanted = trace.trace_id.encode()
        id_of = span_ids(trace.root_span_id)
        self._numbers: dict[str, int | None] = {trace.root_span_id: None}
        for dispatch in trace.dispatches:
            for number in (dispatch.number, *(call.number for call in dispatch.receiver_calls)):
                self._numbers[id_of(number)] = number
        self._bytes = MOST_BYTES
        self._until = time.monotonic() + MOST_SECONDS

    def is_over(self) -> bool:
        """Return whether a bound was reached."""
        return self._bytes <= 0 or time.monotonic() > self._until

    def file(self, path: Path) -> None:
        """Look into one file.

        Raises:
            OSError: It cannot be read; other errors say that it is damaged.
        """
        for line in self._lines(path):
            told = self._line(line)
            if told is None:
                continue
            if len(self._found.lines) < MOST_LINES:
                self._found.lines.append(told)
            else:
                self._found.left_out += 1

    def _lines(self, path: Path) -> Iterator[bytes]:
        """Yield the lines that have the id; the end of a file that is too large."""
        rest = b""
        with open_log(path) as file:
            # Of one that is too large its end; of a compressed one its beginning.
            is_plain = isinstance(file, BufferedReader)
            surplus = max(path.stat().st_size - self._bytes, 0) if is_plain else 0
            if surplus:
                file.seek(surplus)
                file.readline(_LONGEST_LINE)
            while not self.is_over() and (read := file.read(min(_AT_ONCE, self._bytes))):
                self._bytes -= len(read)
                lines = (rest + read).split(b"\n")
                rest = lines.pop()
                if len(rest) > _LONGEST_LINE:
                    self._found.damaged += self._wanted in rest
                    rest = b""
                yield from (line for line in lines if self._wanted in line)
            if self._wanted in rest:
                yield rest
        if surplus:
            self._found.is_complete = False

    def _line(self, line: bytes) -> LogLine | None:
        """Return what a line says; None for that of the tracer or of another."""
        text = line.decode(errors="replace").strip()
        if not text.startswith("{"):
            return self._of_text(text)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            self._found.damaged += 1
            return None
        is_own = "schema" in found and found.get("event") in _EVENTS
        if found.get("trace_id") != self._trace_id or is_own:
            return None
        span = str(found.get("span_id", ""))
        if span not in self._numbers and self._shares_id:
            return None
        return self._of_json(found, self._numbers.get(span))

    def _of_text(self, text: str) -> LogLine | None:
        spans = [word for word in _SPAN_ID.findall(text) if word in self._numbers]
        if not spans and self._shares_id:
            return None
        number = self._numbers[spans[0]] if spans else None
        return LogLine(redact_text(text[:_LONGEST_TEXT]), number=number)

    @staticmethod
    def _of_json(found: dict[str, Any], number: int | None) -> LogLine:
        told = {
            name[:100]: attribute_text(name, value, _LONGEST_TEXT)
            for name, value in list(found.items())[:_MOST_FIELDS]
            if name not in {"trace_id", "span_id"}
        }

        def take(names: tuple[str, ...]) -> str:
            return next((told.pop(name) for name in names if name in told), "")

        text, moment, level = take(_TEXT), take(_MOMENT), take(_LEVEL)
        return LogLine(text, moment, level, told, number)
