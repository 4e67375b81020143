"""How fast a collector is: dispatches each second of CPU, from a spool to SQLite and the log.

    python benchmarks/collector.py

One process records the request of the other benchmarks and appends what it recorded to a spool. Then, for
each choice of exporters, another one collects a copy of it into a store of its own, alone and without
waiting. The best of three: what else the machine does can only take from it.
"""

from __future__ import annotations

import json
import shutil
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


def append(base: Path) -> None:
    """Record requests and append them to the spool in *base*; print what appending took."""
    from benchmarks.modes import Nowhere
    from benchmarks.stages import recorded
    from tracing.spool.exporter import SpoolExporter
    from tracing.spool.folder import Folder

    project.set_up(base, tracing={"EXPORTERS": []})
    spool = Folder(base / "spool")
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


def collect(base: Path, exporters: list[str]) -> None:
    """Collect the spool in *base*; print the seconds of CPU and of the clock."""
    from tracing import setup
    from tracing.conf import get_settings
    from tracing.spool.collector import Collector
    from tracing.spool.folder import Folder

    project.set_up(base, tracing={"ENABLED": False, "EXPORTERS": exporters})
    settings = get_settings()
    spool = Folder(base / "spool")
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
        append(Path(sys.argv[2]))
        return
    if sys.argv[1:2] == ["collect"]:
        collect(Path(sys.argv[2]), sys.argv[3:])
        return
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        recorded = folder / "recorded"
        recorded.mkdir()
        print(in_another("append", str(recorded)), end="", flush=True)
        for exporters in CHOICES:
            runs = []
            for number in range(TIMES):
                base = folder / f"{'-'.join(exporters)}-{number}"
                shutil.copytree(recorded, base)
                runs.append(json.loads(in_another("collect", str(base), *exporters)))
            cpu, clock = map(min, zip(*runs, strict=True))
            print(
                f"{' and '.join(exporters) or 'nowhere'}: {DISPATCHES / cpu:,.0f} dispatches/s of CPU"
                f" ({DISPATCHES / clock:,.0f}/s by the clock)",
                flush=True,
            )


if __name__ == "__main__":
    main()
