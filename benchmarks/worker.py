"""The process that is measured: one mode, driven by lines of JSON on standard input.

``{"do": "run", "workload": "caching-1", "number": 1000}`` answers with the nanoseconds it took:
``wall`` and ``thread`` (CPU) of the running thread, ``process`` (CPU) with all threads until
everything recorded was exported.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.modes import COUNTED, MODES, Mode
from benchmarks.stages import STAGES
from benchmarks.start import resident_kb
from benchmarks.workloads import WORKLOADS, Run, held_bytes, pauses

if TYPE_CHECKING:
    from collections.abc import Callable

SLOWDOWN = 50
"""How many times longer callgrind makes all take, about."""


def slow_clocks() -> None:
    """Have the clocks by which a worker waits and rests go as much slower as callgrind makes all else.

    What it does every few seconds would otherwise be counted as if every few requests brought it. Called
    before the tracer is imported.
    """
    for name in ("monotonic", "monotonic_ns", "thread_time", "thread_time_ns"):
        clock = getattr(time, name)
        setattr(time, name, _slowed(clock, clock()))


def _slowed(clock: Callable[[], Any], begun: float) -> Callable[[], float]:
    if isinstance(begun, int):
        return lambda: begun + (clock() - begun) // SLOWDOWN
    return lambda: begun + (clock() - begun) / SLOWDOWN


def slow_batches() -> None:
    """Have a batch gather for as much longer."""
    from tracing import pipeline
    from tracing.conf import parts

    options = vars(pipeline.default.options)
    pipeline.default.options = parts.PipelineOptions(
        **{**options, "batch_seconds": options["batch_seconds"] * SLOWDOWN}
    )


def timed(mode: Mode, run: Run, number: int) -> dict[str, int]:
    """Return the times of one run, in ns."""
    process = time.process_time_ns()
    thread = time.thread_time_ns()
    wall = time.perf_counter_ns()
    run(number)
    wall = time.perf_counter_ns() - wall
    thread = time.thread_time_ns() - thread
    mode.flush()
    process = time.process_time_ns() - process
    return {"wall": wall, "thread": thread, "process": process}


def answer(command: dict[str, Any], mode: Mode, runs: dict[str, Run]) -> Any:
    """Do what *command* asks and return the answer."""
    run = runs[command["workload"]]
    if command["do"] == "run":
        return timed(mode, run, command["number"])
    if command["do"] == "freeze":
        # What set-up left behind is not to be visited by collections that fall into one run only.
        gc.collect()
        gc.freeze()
        return None
    if command["do"] == "resident":
        return resident_kb()
    if command["do"] == "held":
        return held_bytes(run, mode)
    return pauses(run, mode, drained=command["drained"])


def main() -> None:
    name, *workloads = sys.argv[1:]
    mode = MODES[name]()
    is_counted = COUNTED in os.environ
    if is_counted:
        slow_clocks()
    # What is printed by what is measured must not come between the answers.
    out, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        mode.set_up(Path(folder), instances="instances" in workloads)
        if is_counted and "tracing" in sys.modules:
            slow_batches()
        made = {**WORKLOADS, **STAGES}
        if not {"request", *STAGES} & {*workloads}:
            mode.begin()
        runs = {workload: made[workload](mode) for workload in workloads}
        print(json.dumps("ready"), file=out, flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line), mode, runs)), file=out, flush=True)


if __name__ == "__main__":
    main()
