"""Log files into the store: of any host, as often as one likes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tracing.exporters.database import DatabaseExporter
from tracing.exporters.log_file import open_log
from tracing.pipeline import TemporaryError
from tracing.spans.codec import SCHEMA, TRACE_FINISHED, LineError, Reader

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from tracing.spans.records import Trace

_DISPATCHES_AT_ONCE = 2_000
_MOST_ERRORS = 100
LONGEST_LINE = 32 << 20
"""Bytes; a few of a compressed file may become any number."""
_FOREIGN = (
    "no log of the tracer: each of its lines is a JSON object that has "
    f'"schema": {SCHEMA} and an "event" such as {TRACE_FINISHED}'
)

Progress = Callable[[int, int], object]
"""Called with (bytes read so far, bytes altogether); compressed bytes of compressed files."""


@dataclass(slots=True)
class Imported:
    """The result of an import."""

    traces: int = 0
    """Stored now."""
    known: int = 0
    """Stored before already."""
    dispatches: int = 0
    """In the traces that are stored now or were before."""
    other_lines: int = 0
    """Lines that are not the tracer's."""
    bad_lines: int = 0
    bad_traces: int = 0
    """Traces that the database cannot take."""
    foreign_files: int = 0
    """Files without a single line of a log of the tracer."""
    broken_files: int = 0
    """Compressed files that could be read up to a place only."""
    errors: list[str] = field(default_factory=list)
    """What is wrong with the first hundred of them, as ``file:line: reason``."""
    incomplete: int = 0
    """Traces left out because the line of the trace itself was in none of the files."""


def import_logs(
    paths: Iterable[str | os.PathLike[str]],
    *,
    using: str | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Store the traces in the log files at *paths* that are not stored yet.

    Args:
        paths: Files in the order in which they were written, as ``log_files`` returns them.
        using: Alias of the store; None for the one that the settings name.
        progress: Called now and then.

    Raises:
        OSError: A file cannot be read.
        TemporaryError: The store cannot be written.
    """
    files = [Path(path) for path in paths]
    result, reader = Imported(), Reader()
    exporter = DatabaseExporter(using)
    batch: list[Trace] = []
    weight = 0

    def store() -> None:
        nonlocal weight
        if batch:
            _store(exporter, batch, result)
            batch.clear()
            weight = 0

    try:
        for trace in _traces(files, reader, result, progress):
            batch.append(trace)
            weight += 1 + len(trace.dispatches)
            if weight >= _DISPATCHES_AT_ONCE:
                store()
        batch += _rest(reader, result)
        store()
    finally:
        exporter.shutdown()
    result.other_lines = reader.skipped
    result.incomplete = reader.incomplete
    return result


def _store(exporter: DatabaseExporter, batch: list[Trace], result: Imported) -> None:
    """Store *batch*, halved until only what cannot be stored is left out."""
    try:
        stored = exporter.store_new(batch)
    except TemporaryError:
        raise
    except Exception as error:  # noqa: BLE001 - drivers raise what they like about a value.
        if len(batch) > 1:
            half = len(batch) // 2
            _store(exporter, batch[:half], result)
            _store(exporter, batch[half:], result)
        else:
            result.bad_traces += 1
            _note(result, f"trace {batch[0].trace_id}: {type(error).__name__}: {error}")
        return
    result.traces += stored
    result.known += len(batch) - stored
    result.dispatches += sum(len(trace.dispatches) for trace in batch)


@contextmanager
def _told(path: Path, result: Imported) -> Iterator[None]:
    """Note that a compressed file is damaged; what comes before counts."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        result.broken_files += 1
        _note(result, f"{path}: {error}")


def _note(result: Imported, error: str) -> None:
    if len(result.errors) < _MOST_ERRORS:
        result.errors.append(error)


def _rest(reader: Reader, result: Imported) -> Iterator[Trace]:
    """Yield what was running when the logs ended."""
    for make in reader.unfinished():
        try:
            yield make()
        except LineError as error:
            result.bad_traces += 1
            _note(result, str(error))


def _numbered(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of *file*; of too long lines, their beginning."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE + 1)
        yield number, line


def _whole(line: bytes) -> bytes:
    if len(line) > LONGEST_LINE:
        raise LineError(f"longer than {LONGEST_LINE >> 20} MiB")
    return line


def _traces(
    files: list[Path], reader: Reader, result: Imported, progress: Progress | None
) -> Iterator[Trace]:
    total = sum(path.stat().st_size for path in files)
    done = 0
    for path in files:
        number, taken, told = 0, reader.taken, len(result.errors)
        with open_log(path) as file, _told(path, result):
            # The compressed file below, to see how far it was read.
            below = getattr(getattr(file, "fileobj", None), "tell", file.tell)
            for number, line in _numbered(file):
                try:
                    trace = reader.feed(_whole(line))
                except LineError as error:
                    result.bad_lines += 1
                    _note(result, f"{path}:{number}: {error}")
                    continue
                if trace is not None:
                    yield trace
                if progress is not None and number % 1_000 == 0:
                    progress(done + below(), total)
        if number and reader.taken == taken:
            result.foreign_files += 1
            del result.errors[told:]
            _note(result, f"{path}: {_FOREIGN}")
        done += path.stat().st_size
        if progress is not None:
            progress(done, total)
