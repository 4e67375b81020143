"""How fast a collector is: dispatches each second of CPU, from a spool to SQLite and the log.

    python benchmarks/collector.py

Made-up traces of a shop are appended to a spool in one go; then one collector reads them, looks for
hazards and exports them, alone and without waiting. Appending is measured as well.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import project  # noqa: E402 - found by the line above.

if TYPE_CHECKING:
    from tracing.spans.records import Trace

DISPATCHES = 60_000
AT_ONCE = 100
"""Traces that are appended together: those of a fifth of a second."""


def made_up(seed: int) -> list[Trace]:
    """Return traces with so many dispatches, and no hazards in them yet."""
    from benchmarks.synthetic import Filler

    return list(Filler(seed + 1, newest_ns=time.time_ns(), days=0.01).traces(DISPATCHES))


def collect(folder: Path, traces: list[Trace], exporters: tuple[str, ...]) -> None:
    """Append *traces* to a spool and have them collected; print what both took."""
    from tracing import setup
    from tracing.conf import get_settings
    from tracing.exporters import build
    from tracing.spool.collector import Collector
    from tracing.spool.folder import Folder
    from tracing.spool.writer import Writer

    spool = Folder(folder / f"spool-{'-'.join(exporters)}")
    writer = Writer(spool, 10**9)
    began = time.process_time()
    for start in range(0, len(traces), AT_ONCE):
        writer.append(traces[start : start + AT_ONCE])
    appending = time.process_time() - began
    writer.close()
    size = spool.size()
    dispatches = sum(len(trace.dispatches) for trace in traces)

    settings = get_settings()
    made = [build.build_exporter(name, settings, on_control=spool.control) for name in exporters]
    collector = Collector(spool, made, setup.build_processors(settings))
    began, clock = time.process_time(), time.perf_counter()
    while collector.step():
        pass
    collecting, elapsed = time.process_time() - began, time.perf_counter() - clock
    collector.end()
    print(
        f"{' and '.join(exporters) or 'nowhere'}: {dispatches / collecting:,.0f} dispatches/s of CPU"
        f" ({dispatches / elapsed:,.0f}/s by the clock); appending {appending / dispatches * 1e6:.1f} µs"
        f" and {size / dispatches:.0f} bytes a dispatch"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        project.set_up(folder, tracing={"ENABLED": False})
        for seed, exporters in enumerate(((), ("database",), ("log",), ("log", "database"))):
            # Others each time: the store takes a trace once.
            collect(folder, made_up(seed), exporters)


if __name__ == "__main__":
    main()
