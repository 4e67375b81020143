"""The cost of a request's records written with the drivers alone.

    python benchmarks/floor.py

The request of the other benchmarks runs with the tracer complete. Then its rows are inserted again with
``executemany`` and its lines written again by structlog and msgspec, both made beforehand. No tracer with
this store and this log can cost less than the two together: what is above it is ours.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from benchmarks.environments import describe
from benchmarks.measuring import Worker
from benchmarks.modes import MODES
from benchmarks.store import bare_logger, plain_insert, timed
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracing.spans.records import Trace

REQUESTS = 200
ROUNDS = 9


def per_request(function: Callable[[], object]) -> float:
    """Return the CPU microseconds of this process that a round of *function* takes for each request."""
    return timed(function)[0] * 1e6 / REQUESTS


def row_writer(traces: Sequence[Trace]) -> Callable[[], None]:
    """Return what inserts the rows of *traces* under new ids, in one transaction."""
    from tracing.store.backends import open_database
    from tracing.store.labels import Labels
    from tracing.store.trace_rows import TraceRows

    raw = open_database("tracing")
    raw.connect()
    labels = Labels()
    labels.resolve(raw, traces)
    rounds = []
    for number in range(ROUNDS + 1):
        beyond = 10**9 + number * 10**7
        for place, trace in enumerate(traces):
            # The first four digits tell them from those that are stored.
            trace.trace_id = f"{number + 1:04x}{place:04x}{trace.trace_id[8:]}"
        build = TraceRows(labels, {}, {"trace": beyond, "dispatch": beyond, "other": beyond})
        rounds.append(list(build.rows(traces).tables()))
    waiting = iter(rounds)

    def insert() -> None:
        raw.begin()
        for table, (columns, values) in next(waiting):
            if values:
                plain_insert(raw, table, columns, values)
        raw.commit()

    return insert


def line_writer(lines: Sequence[bytes], folder: Path) -> Callable[[], None]:
    """Return what writes *lines* of the log again."""
    records = [
        {
            key: value
            for key, value in msgspec.json.decode(line).items()
            if key not in {"timestamp", "level"}
        }
        for line in lines
    ]
    logger = bare_logger((folder / "bare.jsonl").open("wb"))

    def write() -> None:
        for record in records:
            logger.info(**record)

    return write


def main() -> None:
    """Print the CPU time of the request, of the worker and of the bare drivers."""
    with Worker(describe(Path(sys.executable)), "stock", ["request"]) as worker:
        times = [worker.ask("run", "request", number=REQUESTS) for _ in range(ROUNDS)]
    stock = statistics.median(each["thread"] for each in times) / 1e3 / REQUESTS
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        mode = MODES["complete"]()
        mode.set_up(folder, instances=False)
        from tracing import pipeline

        run = WORKLOADS["request"](mode)
        run(REQUESTS)
        mode.flush()
        log = folder / "tracing.jsonl"
        warm = log.stat().st_size
        kept: list[Trace] = []
        exporter = pipeline.default.exporters[0]
        export = exporter.export

        def keep(batch: Sequence[Trace]) -> Any:
            kept.extend(batch)
            return export(batch)

        exporter.export = keep  # type: ignore[method-assign]

        thread, process = [], []
        for _ in range(ROUNDS):
            kept.clear()
            begun = time.thread_time_ns(), time.process_time_ns()
            run(REQUESTS)
            thread.append((time.thread_time_ns() - begun[0]) / 1e3 / REQUESTS)
            mode.flush()
            process.append((time.process_time_ns() - begun[1]) / 1e3 / REQUESTS)
        exporter.export = export  # type: ignore[method-assign]
        lines = log.read_bytes()[warm:].splitlines()
        write = line_writer(lines, folder)
        insert = row_writer(kept)
        insert()
        rows = statistics.median(per_request(insert) for _ in range(ROUNDS))
        lines_us = statistics.median(per_request(write) for _ in range(ROUNDS)) / ROUNDS
        spans = sum(len(trace.dispatches) for trace in kept) / REQUESTS
        in_thread, in_all = statistics.median(thread), statistics.median(process)
        print(f"a request: {spans:.0f} dispatches, {len(lines) / REQUESTS / ROUNDS:.0f} lines")
        print("CPU time           us   of stock")
        for title, each in (
            ("stock", stock),
            ("thread, traced", in_thread),
            ("worker", in_all - in_thread),
            ("  bare rows", rows),
            ("  bare lines", lines_us),
            ("whole process", in_all),
            ("floor", in_thread + rows + lines_us),
        ):
            print(f"{title:16}{each:7.0f}   {each / stock:8.2f}")


if __name__ == "__main__":
    main()
