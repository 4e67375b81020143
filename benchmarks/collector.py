"""How fast a collector is: dispatches each second of CPU, from a spool to SQLite and the log.

    python benchmarks/collector.py

One process records the request of the other benchmarks and appends what it recorded to spools. Then, for
each choice of exporters, another one collects a spool, alone and without waiting. The best of three:
what else the machine does can only take from it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import project  # noqa: E402 - found by the line above.

REQUESTS = 2_000
DISPATCHES = 17 * REQUESTS
"""A request has that many."""
AT_ONCE = 40
"""Traces that are appended together."""
TIMES = 3
CHOICES: tuple[tuple[str, ...], ...] = ((), ("database",), ("log",), ("log", "database"))


def append(folder: Path) -> None:
    """Record requests and append them to the spool in *folder*; print what appending took."""
    from benchmarks.modes import Nowhere
    from benchmarks.stages import recorded
    from tracing.spool.exporter import SpoolExporter
    from tracing.spool.folder import Folder

    spool = Folder(folder)
    exporter = SpoolExporter(spool, max_bytes=10**9)
    appending = 0.0
    for _ in range(REQUESTS // AT_ONCE):
        traces = recorded(Nowhere(), AT_ONCE)
        began = time.process_time()
        exporter.export([exporter.encode(trace) for trace in traces])
        appending += time.process_time() - began
    exporter.shutdown()
    print(
        f"appending: {appending / DISPATCHES * 1e6:.1f} µs"
        f" and {spool.size() / DISPATCHES:.0f} bytes a dispatch",
        flush=True,
    )


def collect(folder: Path, exporters: tuple[str, ...]) -> None:
    """Collect the spool in *folder*; print the seconds of CPU and of the clock."""
    from tracing import setup
    from tracing.conf import get_settings
    from tracing.spool.collector import Collector
    from tracing.spool.folder import Folder

    settings = get_settings()
    spool = Folder(folder)
    made = setup.final_exporters(settings, spool.control)
    if len(made) != len(exporters):
        raise SystemExit("an exporter is missing")
    collector = Collector(spool, made, setup.build_processors(settings))
    began, clock = time.process_time(), time.perf_counter()
    collector.run(is_ending=lambda: collector.statistics().recorded >= REQUESTS)
    took = time.process_time() - began, time.perf_counter() - clock
    if (found := collector.statistics()).recorded != REQUESTS or found.failed:
        raise SystemExit(f"{found.recorded} of {REQUESTS} traces were read")
    print(json.dumps(took))


def in_another(*words: str) -> str:
    """Run this file with *words* in another process; return what it prints."""
    command = [sys.executable, __file__, *words]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def main() -> None:
    """Record, then collect with each choice of exporters."""
    if sys.argv[1:2] == ["append"]:
        base = Path(sys.argv[2])
        project.set_up(base, tracing={"EXPORTERS": []})
        for name in sys.argv[3:]:
            append(base / name)
        return
    if sys.argv[1:2] == ["collect"]:
        base, exporters = Path(sys.argv[2]), tuple(sys.argv[4:])
        project.set_up(base, tracing={"ENABLED": False, "EXPORTERS": [*exporters]})
        collect(base / sys.argv[3], exporters)
        return
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as base:
        # Others each time: the store takes a trace once.
        spools = [f"spool-{number}" for number in range(len(CHOICES) * TIMES)]
        print(in_another("append", base, *spools), end="", flush=True)
        for exporters in CHOICES:
            runs = [
                json.loads(in_another("collect", base, spools.pop(), *exporters))
                for _ in range(TIMES)
            ]
            cpu, clock = map(min, zip(*runs, strict=True))
            print(
                f"{' and '.join(exporters) or 'nowhere'}: {DISPATCHES / cpu:,.0f} dispatches/s of CPU"
                f" ({DISPATCHES / clock:,.0f}/s by the clock)",
                flush=True,
            )


if __name__ == "__main__":
    main()
