"""Reading ClickHouse: ``python benchmarks/clickhouse_reading.py [DISPATCHES]``.

Some traces of a made-up shop are exported, as in ``benchmarks/clickhouse.py``; then the engine copies them
into other days under other ids, until there are so many.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clickhouse import SERVER, batches, one_call_each, server_seconds
from benchmarks.store import configure

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.spans.summary import TraceSummary

EXPORTED = 200_000
DISPATCHES = 100_000_000
TIMES = 20
LONGEST_SECONDS = 900
"""After which no more copies are made."""

COPIES_A_DAY = 5
COPIES_AT_ONCE = 20

READ = {
    "": """Timestamp - toIntervalSecond(seconds) AS Timestamp,
        lower(hex(MD5(concat(TraceId, toString(copy))))) AS TraceId,
        lower(leftPad(hex(sipHash64(reinterpretAsUInt64(reverse(unhex(SpanId))), copy)), 16, '0'))
            AS SpanId""",
    "_django": """Timestamp - toIntervalSecond(seconds) AS Timestamp,
        lower(hex(MD5(concat(TraceId, toString(copy))))) AS TraceId, sipHash64(Root, copy) AS Root,
        lower(leftPad(hex(sipHash64(Root, copy)), 16, '0')) AS SpanId""",
    "_calls": """Timestamp - toIntervalSecond(seconds) AS Timestamp,
        lower(hex(MD5(concat(TraceId, toString(copy))))) AS TraceId, sipHash64(Root, copy) AS Root""",
    "_by_hour": "Hour - toIntervalSecond(intDiv(seconds, 3600) * 3600) AS Hour",
    "_hazards": "toDate(Day - intDiv(seconds, 86400)) AS Day",
    "_sent_on": "toDate(Day - intDiv(seconds, 86400)) AS Day",
}
"""What lists, searches and statistics read, by table: its columns in a copy."""
READ_COPY = """INSERT INTO {table} SELECT * EXCEPT (copy, seconds) REPLACE ({columns}) FROM (
    SELECT source.*, copy, intDiv(copy, {daily}) * 86400 + copy % {daily} * 61 AS seconds
    FROM {source} AS source CROSS JOIN (SELECT number AS copy FROM numbers({first}, {count})) AS copies
)"""


def fill(url: str, dispatches: int) -> None:
    """Store traces, and copies of them."""
    from django.conf import settings
    from django.core.management import call_command
    from django.test.signals import setting_changed

    from tracing.conf import store_alias
    from tracing.exporters.clickhouse.exporter import ClickHouseExporter
    from tracing.exporters.clickhouse.schema import Schema
    from tracing.exporters.clickhouse.tables import TABLES, VIEWS

    options = {"url": url, "database": "ours", "timeout": 3_600}
    chosen = {"STORE": "clickhouse", "CLICKHOUSE": options, "VIEWER": {"max_seconds": 3_600}}
    settings.TRACING = {**getattr(settings, "TRACING", {}), **chosen}
    setting_changed.send(None, setting="TRACING", value=settings.TRACING, enter=True)
    call_command("migrate", database=store_alias(), verbosity=0)
    exporter = ClickHouseExporter(**options)
    exporter.address.run(Schema("ours").statements())
    began = time.monotonic()
    for batch in batches(one_call_each(min(EXPORTED, dispatches))):
        exporter.export(batch)
    print(f"exported in {time.monotonic() - began:.0f} s", flush=True)
    address = exporter.address
    sources = {suffix: f"{address.quoted(suffix)[:-1]}_source`" for suffix in READ}
    address.run(
        f"CREATE TABLE {source} ENGINE = Memory AS SELECT * FROM {address.quoted(suffix)}"  # noqa: S608 - as above.
        for suffix, source in sources.items()
    )
    address.run(f"DROP VIEW {address.quoted(view.suffix)}" for view in VIEWS if view.fills)
    first, last = COPIES_A_DAY, dispatches // EXPORTED + COPIES_A_DAY
    while first < last and time.monotonic() - began < LONGEST_SECONDS:
        count = min(COPIES_AT_ONCE, last - first)
        address.run(
            READ_COPY.format(
                table=address.quoted(suffix), source=source, columns=READ[suffix], first=first,
                count=count, daily=COPIES_A_DAY,
            )
            for suffix, source in sources.items()
        )  # fmt: skip
        first += count
    exporter.shutdown()
    client = exporter.address.connect()
    for suffix in (table.suffix for table in TABLES):
        found = client.query(
            "SELECT sum(rows), sum(bytes_on_disk), count() FROM system.parts WHERE active "  # noqa: S608 - names of ours.
            f"AND database = 'ours' AND table = 'otel_traces{suffix}'"
        ).result_rows[0]
        print(f"otel_traces{suffix}: {found[0]:,} rows, {found[1]:,} bytes in {found[2]} parts")
    client.close()
    print(f"filled in {time.monotonic() - began:.0f} s", flush=True)


def questions() -> dict[str, Callable[[int], object]]:
    """Return what is asked, by name; each is given a number that varies it."""
    from tracing.search.parser import parse
    from tracing.store import finding, hazards, nesting, statistics, traces
    from tracing.store.pages import TraceSearch

    now_ns = time.time_ns()
    newest = traces.newest(TIMES * 3)
    calls = statistics.by("call", limit=100).rows
    pages: list[str] = [""]

    def page(_number: int) -> None:
        found = finding.find(parse("", now_ns=now_ns), before=pages[-1])
        pages.append(found.older)

    def search(form: str) -> Callable[[int], object]:
        def ask(number: int) -> object:
            row = calls[number * 7 % len(calls)]
            text = form.format(row=row, leaf=row.receiver.rpartition(".")[2], number=number)
            return finding.find(parse(text, now_ns=now_ns))

        return ask

    def load(number: int) -> object:
        one: TraceSummary = newest[number]
        return traces.load(one)

    return {
        "list, page by page": page,
        "list, mine": lambda _n: finding.find(
            parse("", now_ns=now_ns), wanted=TraceSearch(mine=True)
        ),
        "list, slowest first": lambda _n: finding.find(parse("", now_ns=now_ns), order="-duration"),
        "search failed:yes name:…": search("failed:yes name:{number}"),
        "search receiver:…": search("receiver:{row.receiver}"),
        "search receiver:… took>20ms": search("receiver:{row.receiver} took>20ms"),
        "search receiver:… outcome:raised": search("receiver:{row.receiver} outcome:raised"),
        "search signal:… sender:…": search("signal:{row.signal} sender:{row.sender}"),
        "search for an instance": search("instance:{row.sender}:{number}"),
        "search for a word": search("{leaf}"),
        "search for what is not there": search("receiver:none_of_that_name{number}"),
        "search a >> b": search("receiver:{row.receiver} >> outcome:returned"),
        "one trace, by id": lambda n: traces.called(newest[n].trace_id),
        "one trace, its spans": load,
        "statistics by receiver": lambda _n: statistics.by("receiver", everything=False),
        "statistics by signal": lambda _n: statistics.by("signal", everything=False),
        "statistics by call": lambda _n: statistics.by("call"),
        "durations by hour": lambda _n: statistics.durations_by_hour("receiver", 168),
        "hazards": lambda _n: hazards.find(50, known=False),
        "map": lambda _n: (statistics.busiest_calls(500), nesting.sent_on()),
        "counts": lambda _n: traces.counts(),
    }


def engine_totals(url: str) -> tuple[float, int]:
    """Return the seconds that the engine took for questions, and the rows that it read."""
    with urlopen(url) as answer:  # noqa: S310 - ours.
        seconds, rows = answer.read().split()
    return float(seconds), int(rows)


def measure(url: str, process: int) -> None:
    """Print how long each question takes, what the engine read, and the CPU time of both sides."""
    seconds = server_seconds(process)
    print(
        "| | rows read | engine, CPU ms | engine, p50, ms | page, CPU ms | p50, ms | p95, ms |\n"
        "|---|---:|---:|---:|---:|---:|---:|"
    )
    for name, ask in questions().items():
        ask(0)
        took, engine, read = [], [], 0
        server, own = seconds(), time.process_time()
        for number in range(1, TIMES + 1):
            before = engine_totals(url)
            began = time.perf_counter()
            ask(number)
            took.append(1e3 * (time.perf_counter() - began))
            after = engine_totals(url)
            engine.append(1e3 * (after[0] - before[0]))
            read += after[1] - before[1]
        server, own = seconds() - server, time.process_time() - own
        took.sort()
        p50, p95 = took[TIMES // 2], took[TIMES * 95 // 100 - 1]
        print(
            f"| {name} | {read // TIMES:,} | {1e3 * server / TIMES:.0f} | {sorted(engine)[TIMES // 2]:.0f} "
            f"| {1e3 * own / TIMES:.0f} | {p50:.0f} | {p95:.0f} |",
            flush=True,
        )


def main() -> None:
    dispatches = int(sys.argv[1]) if sys.argv[1:] else DISPATCHES
    with tempfile.TemporaryDirectory() as scratch:
        configure(Path(scratch), set())
        python = os.environ.get("CHDB_PYTHON", sys.executable)
        command = [python, str(SERVER), str(Path(scratch) / "clickhouse")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                port = process.stdout.readline().strip() if process.stdout else ""
                url = f"http://127.0.0.1:{port}"
                fill(url, dispatches)
                measure(url, process.pid)
            finally:
                process.kill()


if __name__ == "__main__":
    main()
