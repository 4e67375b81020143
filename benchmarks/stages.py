"""The cost of each stage of the worker, and of the collector, for a request, in instructions.

    python -m benchmarks.stages [STAGE ...]

Traces of the request of the other benchmarks are made ready for a stage beforehand; then that stage alone
goes through them under callgrind, in batches of 40.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.modes import Mode
    from benchmarks.workloads import Run

AT_ONCE: Final = 40
FEW: Final = AT_ONCE
MANY: Final = 3 * AT_ONCE
PREPARED: Final = FEW + 2 * MANY
"""The traces of a stage, each of which goes through it once."""


def recorded(mode: Mode, requests: int = PREPARED) -> list[Any]:
    """Return active traces of requests that have ended, and that nobody has read."""
    from benchmarks.workloads import request
    from tracing.instrumentation import context
    from tracing.instrumentation.database.pending import PendingTraces

    class Kept(list[Any]):
        on_end = list.append

        def on_start(self, _trace: Any) -> None:
            """Do nothing."""

    kept = Kept()
    before = context.set_processor(PendingTraces(kept))
    try:
        request(mode)(requests)
    finally:
        context.set_processor(before)
    return kept


def through(ready: Sequence[Any], stage: Callable[[Sequence[Any]], object]) -> Run:
    """Return what takes so many of the *ready* traces through a *stage*, in batches."""
    waiting = iter(ready)

    def run(number: int) -> None:
        for _ in range(number // AT_ONCE):
            stage([next(waiting) for _ in range(AT_ONCE)])

    return run


def each(function: Callable[[Any], object]) -> Callable[[Sequence[Any]], object]:
    """Return the stage that calls *function* with each trace of a batch."""
    return lambda batch: [function(trace) for trace in batch]


def _spool(folder: str) -> Any:
    from tracing.conf import get_settings
    from tracing.spool.exporter import SpoolExporter
    from tracing.spool.folder import Folder

    path = Path(get_settings().spool.path or "") / folder
    return SpoolExporter(Folder(path), max_bytes=10**9)


def _assembled(mode: Mode, processors: Sequence[Callable[[Any], Any]] = ()) -> list[Any]:
    from tracing.instrumentation.assembly.assembler import assemble_ended

    traces = list(map(assemble_ended, recorded(mode)))
    for processor in processors:
        traces = list(map(processor, traces))
    return traces


def spans(mode: Mode) -> Run:
    """Return the reading of what was recorded into spans."""
    from tracing.instrumentation.assembly.assembler import assemble_ended

    return through(recorded(mode), each(assemble_ended))


def hazards(mode: Mode) -> Run:
    """Return the search for hazards."""
    from tracing.analysis.hazards.segments import diagnose_segment

    return through(_assembled(mode), each(diagnose_segment))


def exported(mode: Mode, name: str) -> Run:
    """Return the export to the database or the log."""
    from tracing.conf import get_settings
    from tracing.exporters import build
    from tracing.setup import build_processors

    chosen = get_settings()
    exporter = build.build_exporter(name, chosen, on_control=lambda _paused: None)
    return through(_assembled(mode, build_processors(chosen)), exporter.export)


def resolved(mode: Mode) -> Run:
    """Return what a process with a spool makes of a trace."""
    return through(recorded(mode), each(_spool("resolved").encode))


def appended(mode: Mode) -> Run:
    """Return the appending of that."""
    spool = _spool("appended")
    return through(list(map(spool.encode, recorded(mode))), spool.export)


def read_back(mode: Mode) -> Run:
    """Return the reading of the spool in the collector, into spans."""
    from tracing.spool.frames import NAMES, Decoder, Encoder, frames

    spool = _spool("read")
    decoder = Decoder({})
    traces = []
    data = Encoder().encode(list(map(spool.encode, recorded(mode))))
    for frame in frames(data):
        if frame.kind == NAMES:
            decoder.learn(frame.payload)
        else:
            traces.append(frame.payload)
    return through(traces, each(decoder.recorded))


STAGES: Final[dict[str, Callable[[Mode], Run]]] = {
    "spans": spans,
    "hazards": hazards,
    "log": lambda mode: exported(mode, "log"),
    "database": lambda mode: exported(mode, "database"),
    "resolved": resolved,
    "appended": appended,
    "read-back": read_back,
}


def main() -> None:
    """Print what each stage takes, in thousands of instructions for a request."""
    from benchmarks.environments import describe
    from benchmarks.measuring import can_count, counting

    if why := can_count():
        sys.exit(why)
    environment = describe(Path(sys.executable))
    for stage in sys.argv[1:] or STAGES:
        with counting(environment, "nowhere", [stage]) as counter:
            counter.warm(stage, MANY)
            counter.start()
            less, _ = counter.run(stage, FEW)
            more, _ = counter.run(stage, MANY)
        print(f"{stage:12}{(more - less) / (MANY - FEW) / 1000:8.0f}", flush=True)


if __name__ == "__main__":
    main()
