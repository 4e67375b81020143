"""How long the viewer's questions take over a store of any size.

    python benchmarks/store_queries.py [DISPATCHES] [sqlite|postgresql]

Fills a store of its own with made-up traces, then asks each question several times. 10 million
dispatches take about 15 minutes and 4 GB on SQLite.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import store

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 20
HOUR_NS = 3_600_000_000_000


def fill(alias: str, dispatches: int) -> None:
    """Store *dispatches* made-up dispatches of thirty days."""
    from tracing.exporters.database import DatabaseExporter
    from tracing.filling import Filler

    exporter = DatabaseExporter(alias)
    batch, weight, done, began = [], 0, 0, time.monotonic()
    for trace in Filler(1, newest_ns=time.time_ns(), days=30).traces(dispatches):
        batch.append(trace)
        weight += len(trace.dispatches)
        if weight >= 2_000:  # noqa: PLR2004 - dispatches in a batch.
            exporter.export(batch)
            done += weight
            batch, weight = [], 0
            rate = done / (time.monotonic() - began)
            print(f"\r{done:,} of {dispatches:,} dispatches, {rate:,.0f} /s", end="", flush=True)
    exporter.export(batch)
    exporter.shutdown()
    print()


def questions() -> dict[str, Callable[[], object]]:
    """Return what the viewer asks, by name."""
    from tracing.models import Rollup, Trace
    from tracing.querysets import TraceSearch

    now = time.time_ns()
    traces = Trace.objects
    middle = str(traces.last_row_id() // 2)
    some = traces.filter(pk=int(middle)).values_list("trace_id", flat=True)[0]
    instance = "shop3.Order:123456"
    searches = {
        "list": TraceSearch(),
        "kind": TraceSearch(kind="task"),
        "failed": TraceSearch(failed=True),
        "signal": TraceSearch(signal="post_save"),
        "signal and sender": TraceSearch(signal="post_save", sender="shop3.Order"),
        "receiver": TraceSearch(receiver="notify_7"),
        "receiver that raised": TraceSearch(receiver="notify_7", outcome="raised"),
        "slow, many": TraceSearch(slower_than_ns=10_000_000),
        "slow, few": TraceSearch(slower_than_ns=400_000_000),
        "text": TraceSearch(text="shop7"),
        "text, nowhere": TraceSearch(text="nowhere"),
        "user": TraceSearch(user_id="77"),
        "instance, hardly any": TraceSearch(instance=instance),
        "hour a week ago": TraceSearch(since_ns=now - 169 * HOUR_NS, until_ns=now - 168 * HOUR_NS),
    }
    asked: dict[str, Callable[[], object]] = {
        name: lambda wanted=wanted: traces.search(wanted) for name, wanted in searches.items()
    }
    asked["list, in the middle"] = lambda: traces.search(TraceSearch(), before=middle)
    asked["signal, in the middle"] = lambda: traces.search(
        TraceSearch(signal="post_save"), before=str(int(middle) * 60)
    )
    asked["one trace"] = lambda: traces.load(some)
    rollups = Rollup.objects.between(now - 24 * HOUR_NS)
    asked["statistics of a day by signal"] = lambda: rollups.by_dispatch(limit=50)
    asked["statistics of a day by receiver"] = lambda: rollups.by_receiver(limit=50)
    month = Rollup.objects.all()
    asked["statistics of a month by signal"] = lambda: month.by_dispatch(limit=50)
    asked["statistics of a month by receiver"] = lambda: month.by_receiver(limit=50)
    return asked


def main() -> None:
    """Fill and ask."""
    dispatches = int(sys.argv[1].replace("_", "")) if sys.argv[1:] else 1_000_000
    alias = sys.argv[2] if sys.argv[2:] else "sqlite"
    with tempfile.TemporaryDirectory() as folder:
        store.configure(Path(folder), {alias}, database=alias)
        with store.made(alias):
            from tracing.pruning import compact_rollups, store_size

            fill(alias, dispatches)
            compact_rollups()
            store.analyze(alias)
            print(f"{store_size() / 1e6:,.0f} MB on {alias}")
            worst = 0.0
            for name, ask in questions().items():
                times = []
                for _ in range(TIMES):
                    began = time.perf_counter()
                    ask()
                    times.append((time.perf_counter() - began) * 1000)
                times.sort()
                p95 = times[int(0.95 * (TIMES - 1))]
                worst = max(worst, p95)
                print(f"  {name:35} median {statistics.median(times):7.1f} ms   p95 {p95:7.1f} ms")
            print(f"  {'worst p95':35} {worst:7.1f} ms")


if __name__ == "__main__":
    main()
