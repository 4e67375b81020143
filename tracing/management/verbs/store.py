"""The verbs that keep the store: ``prune``, ``export`` and ``import``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracing.conf.parts import Retention
from tracing.exporters import formats
from tracing.exporters.log_file import log_files
from tracing.exporters.log_import import import_logs
from tracing.management.verbs.base import (
    FOUND,
    NOT_FOUND,
    WRONG,
    Run,
    Verb,
    add_format,
    age,
    fail,
    find_trace,
    positive,
    require_store,
    require_traces,
    size,
)
from tracing.management.verbs.listing import add_filters, chosen
from tracing.management.verbs.traces import trace_document
from tracing.spans.escapes import json_text
from tracing.store import traces
from tracing.store.retention import prune
from tracing.units import format_bytes, format_count, format_percent, plural

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from tracing.spans.records import Trace
    from tracing.spans.summary import TraceSummary

Progress = Callable[[int, int], object]


@contextmanager
def progress_bar(run: Run, what: str) -> Iterator[Progress | None]:
    """Yield what reports (done, of all) on stderr; None if nobody looks."""
    if run.as_json or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra.
        from rich.progress import Progress as Bar  # noqa: PLC0415
    except ImportError:
        with _plain_bar(what) as report_plainly:
            yield report_plainly
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def report(done: int, whole: int) -> None:
            bar.update(task, completed=done, total=max(whole, 1))

        yield report


@contextmanager
def _plain_bar(what: str) -> Iterator[Progress]:
    """Yield what writes the share of *what* that is done, on one line."""

    def report(done: int, whole: int) -> None:
        sys.stderr.write(f"\r{what} {format_percent(done / max(whole, 1))}  ")
        sys.stderr.flush()

    report(0, 1)
    try:
        yield report
    finally:
        sys.stderr.write(f"\r{' ' * (len(what) + 10)}\r")


# --- prune ---------------------------------------------------------------------------------------


def _prune_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--older-than", type=age, metavar="TIME", help="traces older than e.g. 7d")
    parser.add_argument("--max-rows", type=positive, help="keep the newest so many dispatches")
    parser.add_argument(
        "--max-size", type=size, metavar="SIZE", help="keep the store within e.g. 2GB"
    )
    parser.add_argument("--keep-failed", action="store_true", help="keep traces with errors")
    pinned = parser.add_mutually_exclusive_group()
    pinned.add_argument(
        "--keep-pinned", action="store_true", help="keep pinned traces, as without it"
    )
    pinned.add_argument("--with-pinned", action="store_true", help="prune pinned traces too")
    parser.add_argument(
        "--rollups-older-than", type=age, metavar="TIME", help="statistics by hour as well"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("--yes", "--noinput", "--no-input", action="store_true", help="do not ask")
    add_format(parser)


def _prune(run: Run) -> int:
    alias = require_store()
    options = run.options
    limits = ("older_than", "max_rows", "max_size", "rollups_older_than")
    if all(options[name] is None for name in limits):
        raise fail(
            "Say what to prune: --older-than 7d, --max-rows 1000000, --max-size 2GB or "
            "--rollups-older-than 365d.",
            WRONG,
        )
    retention = Retention(
        older_than=options["older_than"],
        max_rows=options["max_rows"],
        max_size=options["max_size"],
        keep_failed=options["keep_failed"],
        keep_pinned=not options["with_pinned"],
        keep_rollups=options["rollups_older_than"],
    )
    if not options["dry_run"] and not options["yes"]:
        would = prune(retention, dry_run=True, using=alias)
        _confirm(run, f"Delete {_counted(would)}?")
    with progress_bar(run, "pruning") as progress:
        pruned = prune(retention, dry_run=options["dry_run"], progress=progress, using=alias)
    if run.as_json:
        run.terminal.json({"dry_run": options["dry_run"], **asdict(pruned)})
        return 0
    done = "Would delete" if options["dry_run"] else "Deleted"
    now, before = format_bytes(pruned.bytes_after), format_bytes(pruned.bytes_before)
    sizes = "" if options["dry_run"] else f" The store has {now} (it had {before})."
    run.terminal.say(f"{done} {_counted(pruned)}.{sizes}")
    return 0


def _counted(pruned: Any) -> str:
    dispatches = plural(pruned.dispatches, "dispatch", "dispatches")
    return f"{plural(pruned.traces, 'trace')} with {dispatches}"


def _confirm(run: Run, question: str) -> None:
    """Ask, and end the command unless the answer is yes."""
    if run.as_json or sys.stdin is None or not sys.stdin.isatty():
        raise fail(f"{question} Confirm it with --yes, or look first with --dry-run.", WRONG)
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise fail("Nothing was deleted.", FOUND)


# --- export --------------------------------------------------------------------------------------


def _dump(document: Any, file: formats.TextOut) -> None:
    # In ASCII, so that no stdout is in the way, whatever its encoding.
    file.write(json_text(document, ascii_only=True) + "\n")


_FORMATS: Final[dict[str, Callable[[Iterable[Trace], formats.TextOut], object]]] = {
    "jsonl": formats.write_jsonl,
    "json": lambda loaded, file: _dump([trace_document(trace) for trace in loaded], file),
    "csv": formats.write_csv,
    "speedscope": lambda loaded, file: _dump(formats.speedscope(loaded), file),
    "chrome": lambda loaded, file: _dump(formats.chrome_trace(loaded), file),
    "otlp": lambda loaded, file: _dump(formats.otlp_json(loaded), file),
}


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("traces", nargs="*", help="trace ids, beginnings of them, last or last^")
    add_filters(parser)
    parser.add_argument("--limit", type=positive, default=1000, help="traces (default 1000)")
    parser.add_argument("--format", choices=[*_FORMATS], default="jsonl")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="instead of stdout")


class _Out:
    """The command's stdout as a file for those that write text."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def write(self, content: str) -> int:
        self._run.terminal.raw(content)
        return len(content)


def _export(run: Run) -> int:
    options = run.options
    rows: list[TraceSummary]
    if options["traces"]:
        rows = [find_trace(wanted) for wanted in options["traces"]]
    else:
        require_traces()
        # Oldest first, as a log has them.
        rows = chosen(options, options["limit"]).traces[::-1]
    if not rows:
        raise fail("No trace has what you asked for.", NOT_FOUND)
    path: Path | None = options["output"]
    write = _FORMATS[options["format"]]
    if path is None:
        write(traces.load_all(rows), _Out(run))
        return 0
    try:
        # What is in there is for who exported it; a file that exists keeps its mode.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            write(traces.load_all(rows), file)
    except OSError as error:
        raise fail(f"{path} cannot be written: {error}", WRONG) from None
    run.terminal.say(f"{path}: {plural(len(rows), 'trace')}")
    return 0


# --- import --------------------------------------------------------------------------------------


def _import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", type=Path, help="log files; rotated ones of the same name come along"
    )
    add_format(parser)


def _import(run: Run) -> int:
    alias = require_store()
    paths: list[Path] = []
    for path in run.options["files"]:
        if not path.exists():
            raise fail(f"There is no file {path}.", NOT_FOUND)
        paths += [found for found in (log_files(path) or [path]) if found not in paths]
    with progress_bar(run, "importing") as progress:
        try:
            result = import_logs(paths, using=alias, progress=progress)
        except OSError as failure:
            message = f"{failure.filename} cannot be read: {failure.strerror}"
            raise fail(message, NOT_FOUND) from None
    if run.as_json:
        run.terminal.json({"files": [str(path) for path in paths], **asdict(result)})
    else:
        run.terminal.say(
            f"{plural(result.traces, 'trace')} imported, {format_count(result.known)} there "
            f"already, {plural(result.other_lines, 'other line')} skipped."
        )
        for error in result.errors:
            run.terminal.warn(error)
        if result.incomplete:
            run.terminal.warn(
                f"{plural(result.incomplete, 'trace')} left out: their own line is in none of the "
                "files."
            )
    wrong = result.bad_lines + result.bad_traces + result.broken_files + result.foreign_files
    return FOUND if wrong else 0


VERBS = (
    Verb(
        "prune",
        "delete old traces; statistics by hour stay",
        _prune_arguments,
        _prune,
        "Delete traces, oldest first, in small steps that never lock for long. Pinned traces stay.",
    ),
    Verb(
        "export",
        "write traces as JSON lines, CSV, or for other tools",
        _export_arguments,
        _export,
        "jsonl is the format of the log, which import reads back; speedscope, chrome (Perfetto) "
        "and otlp are for other tools.",
    ),
    Verb("import", "read log files into the store", _import_arguments, _import),
)
