"""Speed and size of spans in ClickHouse: ``python benchmarks/clickhouse.py [DISPATCHES [ROWS]]``.

The engine is that of chdb (CHDB_PYTHON names a Python that has it), served by ``tests/chdb_server.py`` on
this machine, so that both share its cores. Traces are a made-up shop's, with one receiver call for each
dispatch. The exporter's time stands beside that of sending the same blocks, made beforehand, one after the
other and two at once, as two hosts do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.store import configure, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracing.spans.records import Trace

SERVER = Path(__file__).resolve().parents[1] / "tests" / "chdb_server.py"
DISPATCHES = 400_000
ROWS = 50_000
SUMS = ("_by_hour", "_hazards", "_sent_on")
"""Tables that do not grow with the dispatches."""
DISPATCHES_OF_A_REQUEST = 20
"""With a receiver: of some 140 that a page of a shop sends, most have none."""


def one_call_each(dispatches: int) -> Iterator[Trace]:
    """Yield traces of a shop of which each dispatch has one receiver call."""
    from benchmarks.synthetic import Filler

    for trace in Filler(newest_ns=time.time_ns(), days=1).traces(dispatches):
        numbers = {0}
        kept = []
        for dispatch in trace.dispatches:
            # What was sent by a call that is left out goes with it.
            if (dispatch.parent_number or 0) in numbers and dispatch.receiver_calls:
                del dispatch.receiver_calls[1:]
                numbers.add(dispatch.receiver_calls[0].number)
                kept.append(dispatch)
        trace.dispatches = kept
        yield trace


def batches(traces: Iterator[Trace], most: int = ROWS) -> Iterator[list[Trace]]:
    """Yield *traces* in batches of at least *most* rows: by default as many as the exporter gathers."""
    batch: list[Trace] = []
    rows = 0
    for trace in traces:
        batch.append(trace)
        rows += 1 + 2 * len(trace.dispatches)
        if rows >= most:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def server_seconds(process: int) -> Callable[[], float]:
    """Return what tells the CPU seconds of a process."""
    ticks = os.sysconf("SC_CLK_TCK")

    def seconds() -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    return seconds


def measure(url: str, process: int, dispatches: int, rows: int) -> None:
    """Print rates and sizes, in batches of so many *rows*."""
    from tracing import __version__
    from tracing.exporters.clickhouse.binary import FORMAT
    from tracing.exporters.clickhouse.exporter import ClickHouseExporter
    from tracing.exporters.clickhouse.rows import Encoder
    from tracing.exporters.clickhouse.schema import Schema

    exporter = ClickHouseExporter(url, database="ours", timeout=600)
    bare = ClickHouseExporter(url, database="bare", timeout=600)
    hosts = [ClickHouseExporter(url, database="hosts", timeout=600) for _ in range(2)]
    for each in (exporter, bare, hosts[0]):
        each.address.run(Schema(each.address.database).statements())
    parts = list(batches(one_call_each(dispatches), rows))
    count = sum(len(trace.dispatches) for part in parts for trace in part)
    encoder = Encoder("shop", __version__)
    blocks = [encoder.blocks(part) for part in parts]
    pairs = list(enumerate(blocks))

    def send(address: Any, some: list[tuple[int, Any]]) -> None:
        client = address.connect()
        for number, pair in some:
            settings = {"insert_deduplication_token": str(number)}
            for block, suffix in zip(pair, ("", "_calls"), strict=True):
                address.insert(client, block, FORMAT, settings, suffix)
        client.close()

    def send_at_once() -> None:
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(
                pool.map(
                    send, [each.address for each in hosts], [pairs[::2], pairs[1::2]], timeout=600
                )
            )

    def export() -> None:
        for part in parts:
            exporter.export(part)

    seconds = server_seconds(process)
    times = {}
    ways = {"exporter": export, "bare": partial(send, bare.address, pairs), "at once": send_at_once}
    for name, work in ways.items():
        cpu, wall, server = times[name] = timed(work, seconds)
        print(
            f"{name:9} {count / wall:9,.0f} dispatches/s   {1e6 * cpu / count:5.1f} us CPU each"
            f"   and {1e6 * server / count:5.1f} us of the server"
        )
    sent = sum(len(block) for pair in blocks for block in pair)
    print(f"{sent / count:9.0f} bytes sent each, before they are compressed")
    client = bare.address.connect()
    size = tell_sizes(client, count)
    ours, _wall, theirs = times["exporter"]
    tell_needs(size, ours / count, theirs / count)
    exporter.shutdown()
    client.close()


def tell_sizes(client: Any, count: int) -> float:
    """Print bytes on disk for each dispatch, by table and by column.

    Returns:
        Those of all tables but the statistics, which do not grow with it.
    """
    from tracing.exporters.clickhouse.schema import TABLES

    for suffix in (table.suffix for table in TABLES):
        client.command(f"OPTIMIZE TABLE bare.otel_traces{suffix} FINAL")
    tables = client.query(
        "SELECT table, sum(bytes_on_disk), sum(rows), sum(secondary_indices_compressed_bytes) "
        "FROM system.parts WHERE database = 'bare' AND active GROUP BY table ORDER BY 2 DESC"
    ).result_rows
    for table, size, rows, indices in tables:
        print(
            f"{size / count:9.1f} bytes each in {table} ({rows:,} rows; indices {indices / count:.1f})"
        )
    columns = client.query(
        "SELECT table, column, sum(column_data_compressed_bytes) FROM system.parts_columns "
        "WHERE database = 'bare' AND active GROUP BY table, column ORDER BY 3 DESC LIMIT 25"
    ).result_rows
    for table, column, size in columns:
        print(f"{size / count:13.2f} {table}.{column}")
    return sum(row[1] for row in tables if not row[0].endswith(SUMS)) / count


def tell_needs(size: float, ours: float, theirs: float) -> None:
    """Print what sites need, from bytes and CPU seconds of a dispatch."""
    print(
        "\n| requests/s | dispatches/s | GB a day | TB in 30 days | cores, server | cores, exporters |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    for requests in (1_000, 10_000, 100_000):
        rate = requests * DISPATCHES_OF_A_REQUEST
        daily = rate * 86_400 * size / 1e9
        print(
            f"| {requests:,} | {rate:,} | {daily:,.0f} | {daily * 30 / 1e3:,.1f} "
            f"| {rate * theirs:,.1f} | {rate * ours:,.1f} |"
        )


def main() -> None:
    dispatches = int(sys.argv[1]) if sys.argv[1:] else DISPATCHES
    rows = int(sys.argv[2]) if sys.argv[2:] else ROWS
    with tempfile.TemporaryDirectory() as scratch:
        configure(Path(scratch), set())
        python = os.environ.get("CHDB_PYTHON", sys.executable)
        command = [python, str(SERVER), str(Path(scratch) / "clickhouse")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                port = process.stdout.readline().strip() if process.stdout else ""
                measure(f"http://127.0.0.1:{port}", process.pid, dispatches, rows)
            finally:
                process.kill()


if __name__ == "__main__":
    main()
