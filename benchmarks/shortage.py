"""Shortage: a full disk, a queue that nobody empties.

    python benchmarks/shortage.py

The disk is a small tmpfs, for which it must run as root; it is left out otherwise.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import soak  # noqa: E402 - found by the line above.


def full_disk() -> bool:
    """Fill a disk of 8 MB, free it again, and count; return whether all is well."""
    if os.geteuid() != 0:
        print("full disk: left out, only root can mount a tmpfs")
        return True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", name], check=True)
        try:
            return _full_disk(folder)
        finally:
            subprocess.run(["/bin/umount", "-l", name], check=True)


def _full_disk(folder: Path) -> bool:
    soak.configure(folder, "sqlite", "")
    from django.core.management import call_command
    from django.db import connections

    from tests.tracing.samples import plain_trace
    from tracing.conf.parts import PipelineOptions
    from tracing.exporters.database import DatabaseExporter
    from tracing.exporters.log import LogExporter
    from tracing.models import Trace
    from tracing.pipeline import Pipeline

    call_command("migrate", "tracing", database="tracing", verbosity=0)
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * 5_000_000)
    pipeline = Pipeline(PipelineOptions(queue_limit=10**7, retry_seconds=600))
    pipeline.add_exporter(LogExporter(folder / "t.jsonl", max_bytes=0))
    pipeline.add_exporter(DatabaseExporter("tracing"))
    slowest, number = 0.0, 0
    while not all(e.failures for e in pipeline.statistics().exporters.values()):
        number += 1
        began = time.perf_counter()
        pipeline.submit(plain_trace(number, dispatches=3))
        slowest = max(slowest, time.perf_counter() - began)
        if number % 100 == 0:
            pipeline.force_flush()
    while_full = pipeline.statistics().exporters
    ballast.unlink()
    recovered = pipeline.force_flush(30)
    connections.close_all()
    stored = Trace.objects.count()
    logged = (folder / "t.jsonl").read_text().count("trace_finished")
    for name, exporter in while_full.items():
        print(f"full disk: {name} kept {exporter.waiting} traces: {exporter.error}")
    print(
        f"full disk: {number} submitted, slowest {slowest * 1000:.1f} ms; "
        f"{stored} stored and {logged} logged after room was made"
    )
    pipeline.shutdown()
    connections.close_all()
    return recovered and stored == logged == number


def full_queue() -> bool:
    """Submit far more than the queue holds while the exporter stands still; look at the memory."""
    from tests.tracing.samples import plain_trace
    from tracing.conf.parts import PipelineOptions
    from tracing.pipeline import Pipeline

    opened = threading.Event()

    class Stuck:
        name = "stuck"

        def export(self, _batch: object) -> None:
            opened.wait()

        def force_flush(self) -> None:
            pass

        def shutdown(self) -> None:
            pass

    pipeline = Pipeline(PipelineOptions())
    pipeline.add_exporter(Stuck())
    peaks = []
    for round_ in range(6):
        for number in range(10_000):
            pipeline.submit(plain_trace(round_ * 10_000 + number, dispatches=5))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    statistics = pipeline.statistics()
    opened.set()
    pipeline.shutdown()
    print(
        f"full queue: 60,000 traces submitted, {statistics.queued} waiting "
        f"({statistics.queued_items:,} items), {statistics.dropped} dropped"
    )
    print("full queue: peak memory in MB after each 10,000:", *(f"{peak:.0f}" for peak in peaks))
    # Once it is full it must not grow any more.
    return statistics.dropped > 0 and peaks[-1] - peaks[2] < 10  # noqa: PLR2004


if __name__ == "__main__":
    results = [full_queue(), full_disk()]
    sys.exit(0 if all(results) else 1)
