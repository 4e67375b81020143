"""The exporter that writes structured log lines through structlog.

It has a structlog chain of its own: the project's ``structlog.configure()`` and ``LOGGING`` are
neither used nor changed, unless a logger of the project is named to write to.
"""

from __future__ import annotations

import json
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import structlog

from tracing.exporters.lines import Clock, lines
from tracing.exporters.log_file import LineFile
from tracing.instrumentation.in_tests import is_test_run, log_path_of_tests
from tracing.pipeline import Courtesy
from tracing.spans.escapes import escape_control, escape_json_bytes

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from structlog.typing import EventDict, WrappedLogger

    from tracing.spans import records

Rendering = Literal["json", "console", "dict"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def _json_default(value: object) -> object:
    """Return *value* as JSON can have it."""
    return list(value) if isinstance(value, (set, frozenset)) else str(value)


def _encode(value: Any) -> bytes:
    if orjson is not None:
        try:
            return escape_json_bytes(orjson.dumps(value, default=_json_default))
        except TypeError:
            # Numbers beyond 64 bits, or text that is no UTF-8: the standard library escapes it.
            pass
    return json.dumps(value, separators=(",", ":"), default=_json_default).encode()


def _render_bytes(_logger: WrappedLogger, _method: str, line: EventDict) -> bytes:
    """Render *line* as JSON, for a file."""
    return _encode(line)


def _render_text(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    """Render *line* as JSON, for a logger of the standard library."""
    return _encode(line).decode()


class _Lines:
    """A logger in structlog's sense: keeps the rendered lines of a batch."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.info = self.warning = self.error = self.lines.append


def _whole(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Return the record that *line* carries as one value, which spares copying it field by field."""
    record: EventDict = line["record"]
    return record


def _for_console(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Shorten *line* for people: a structlog processor, for before ``ConsoleRenderer``."""
    short: EventDict = {name: line[name] for name in ("timestamp", "level", "event")}
    for name in (
        "kind", "name", "status", "signal", "sender", "instance", "receiver", "hazard", "message",
        "exception_type", "exception_message", "error", "transaction", "query_count",
        "dispatch_count", "receiver_call_count", "error_count",
    ):  # fmt: skip
        if line.get(name):
            short[name] = escape_control(line[name])
    if "receivers" in line:
        short["receivers"] = " ".join(
            f"{escape_control(call['receiver'].rpartition('.')[2].rstrip(')'))}"
            f"={call['duration_ns'] / 1e6:.2f}ms"
            + ("" if call["outcome"] == "returned" else f"({call['outcome']})")
            for call in line["receivers"]
        )
    if "duration_ns" in line:
        short["ms"] = f"{line['duration_ns'] / 1e6:.2f}"
    short["trace_id"] = line["trace_id"]
    return short


def _chain(render: Rendering, *, to_logger: bool, colors: bool) -> list[Any]:
    """Return the structlog processors for *render*."""
    if render == "json":
        return [_whole, _render_text if to_logger else _render_bytes]
    if render == "console":
        return [_whole, _for_console, structlog.dev.ConsoleRenderer(colors=colors)]
    if not to_logger:
        raise ValueError('LogExporter renders "dict" for a logger only, not for a file.')
    return [_whole, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]


class LogExporter:
    """Write a line for each dispatch, failure, hazard and trace.

    Args:
        path: The file; None when *logger* is given.
        logger: Name of a standard library logger to write to instead of a file.
        per: ``dispatch`` for lines of dispatches, ``trace`` for them within the trace's line.
        level: Leave out lines below this: debug, info, warning, error or critical.
        render: ``json``, ``console`` (short, for people) or, for a *logger* whose handler uses
            structlog's ``ProcessorFormatter``, ``dict``.
        max_bytes: Rotate before the file is larger; 0 for no limit.
        every_seconds: Rotate at each multiple of this time; 0 for never.
        keep: Rotated files to keep.
        compress: Compress rotated files with gzip.
        colors: Whether console lines are coloured.
        apart_in_tests: Write what tests record into a file of its own beside the log.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        logger: str = "",
        per: Literal["dispatch", "trace"] = "dispatch",
        level: str = "info",
        render: Rendering = "json",
        max_bytes: int = 50_000_000,
        every_seconds: float = 0,
        keep: int = 10,
        compress: bool = True,
        colors: bool = False,
        apart_in_tests: bool = False,
    ) -> None:
        if (path is None) is not bool(logger):
            raise ValueError("LogExporter writes to a path or to a logger: give one of them.")
        for name, value, known in (
            ("per", per, ("dispatch", "trace")),
            ("level", level, tuple(_LEVELS)),
            ("render", render, ("json", "console", "dict")),
        ):
            if value not in known:
                raise ValueError(f"LogExporter has no {name} {value!r}: {', '.join(known)}.")
        self.name = "log"
        self.per = per
        self._lock = threading.Lock()
        self._file: LineFile | None = None
        self._make_file = partial(
            LineFile, max_bytes=max_bytes, every_seconds=every_seconds, keep=keep, compress=compress
        )
        self._is_to_move = apart_in_tests
        if path is not None:
            self._file = self._make_file(path)
        self._lines = _Lines()
        self._clock = Clock()
        self._is_text = render == "console"
        self._log: Any = structlog.wrap_logger(
            logging.getLogger(logger) if logger else self._lines,
            processors=_chain(render, to_logger=bool(logger), colors=colors),
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
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
            if self._is_to_move and self._file is not None and is_test_run():
                self._is_to_move = False
                self._file.close()
                self._file = self._make_file(log_path_of_tests(self._file.path))
            chunks = self._render(batch)
            if self._file is not None and chunks:
                self._file.write(b"".join(chunks))

    def _render(self, batch: Sequence[records.Trace]) -> list[bytes]:
        """Return the lines of each trace as bytes; nothing for a logger, which has them already."""
        log, per = self._log, self.per
        write: dict[str, Callable[..., Any]] = {
            level: getattr(log, level) for level in ("info", "warning", "error")
        }
        courtesy = Courtesy()
        chunks = []
        rendered = self._lines.lines
        for trace in batch:
            for level, record in lines(trace, per=per, clock=self._clock):
                write[level](record["event"], record=record)
            # Joined while they are in the processor's cache.
            if rendered:
                whole = [line.encode() for line in rendered] if self._is_text else rendered
                whole.append(b"")
                chunks.append(b"\n".join(whole))
                rendered.clear()
            courtesy.give_way()
        return chunks

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
