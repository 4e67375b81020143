"""Measuring: drives the processes of ``worker`` and turns their answers into ratios.

The clock: the processes of all modes run a short round each, in turn, again and again; each round is
compared with stock's round beside it, and the median of the ratios is kept. Several generations of
processes, since each process has its own luck with addresses.

Instructions: the same workloads under valgrind's callgrind, counted between two marks on the thread
that works. Two runs of different length are counted, and their difference is divided by the
difference in length, so that what surrounds them cancels out; the bare loop is subtracted.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.environments import ROOT, Environment
from benchmarks.modes import COUNTED

if TYPE_CHECKING:
    from types import TracebackType

STOCK = "stock"


@dataclass(frozen=True, slots=True)
class Family:
    """Workloads that are measured in one process, and how often each does its work.

    Args:
        clock: Repetitions of one round on the clock.
        count: Repetitions that are counted in instructions, the fewer and the more.
    """

    name: str
    workloads: tuple[str, ...]
    clock: dict[str, int]
    count: tuple[int, int]


def _family(
    name: str, clock: int | dict[str, int], count: tuple[int, int], *workloads: str
) -> Family:
    rounds = clock if isinstance(clock, dict) else dict.fromkeys(workloads, clock)
    return Family(name, workloads, rounds, count)


CACHING = _family(
    "model signals",
    1_000,
    (400, 1_400),
    "nobody",
    "outside",
    "init",
    "caching-0",
    "caching-1",
    "caching-3",
    "caching-10",
)
PLAIN = _family(
    "plain signals",
    1_000,
    (400, 1_400),
    "plain-0",
    "plain-1",
    "plain-five-1",
    "plain-3",
    "plain-10",
)
RARE = _family("rare work", 50, (50, 150), "first-160", "connect")
INSTANCES = _family("instances", 1, (1, 2), "instances")
SAVE = _family("save", 50, (50, 150), "save")
ASEND = _family("asend", 60, (100, 600), "asend")
REQUEST = _family("request", 50, (30, 90), "request")


class Worker:
    """A process in one mode. A context manager that ends it."""

    def __init__(
        self,
        environment: Environment,
        mode: str,
        workloads: Sequence[str],
        *,
        prefix: Sequence[str] = (),
    ) -> None:
        self.mode = mode
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__.
        self.process = subprocess.Popen(
            [*prefix, str(environment.interpreter), "-m", "benchmarks.worker", mode, *workloads],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            text=True,
            env={
                **os.environ,
                # The order of sets and the layout of dictionaries are the same in each process.
                "PYTHONHASHSEED": "0",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONWARNINGS": "ignore",
                **({COUNTED: "1"} if prefix else {}),
            },
        )

    def __enter__(self) -> Self:
        try:
            self._read()
        except RuntimeError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    def ask(self, do: str, workload: str, **arguments: Any) -> Any:
        """Have something done and return the answer.

        Raises:
            RuntimeError: The process has died; its last words are in the message.
        """
        command = json.dumps({"do": do, "workload": workload, **arguments})
        try:
            self.process.stdin.write(f"{command}\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # It has died; reading says of what.
        return self._read()

    def _read(self) -> Any:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            self._errors.seek(0)
            words = self._errors.read().decode(errors="replace").strip()
            raise RuntimeError(f"{self.mode} failed: {words[-1_500:]}")
        return json.loads(line)


@dataclass(slots=True)
class Clocked:
    """Times of one workload in one mode, as ratios to stock in the round beside it."""

    thread: list[float] = field(default_factory=list)
    """CPU time of the thread that works."""
    process: list[float] = field(default_factory=list)
    """CPU time of the whole process until everything recorded was exported."""
    thread_us: list[float] = field(default_factory=list)
    """The same for one repetition, in µs."""
    process_us: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Return medians."""
        return {
            "thread": statistics.median(self.thread),
            "process": statistics.median(self.process),
            "thread_us": statistics.median(self.thread_us),
            "process_us": statistics.median(self.process_us),
        }


Progress = Callable[[str], None]
"""Told what comes next."""


def clock(
    environment: Environment,
    family: Family,
    modes: Sequence[str],
    *,
    rounds: int,
    generations: int,
    progress: Progress,
    workloads: Sequence[str] = (),
) -> dict[str, dict[str, dict[str, float]]]:
    """Return medians by workload and mode; stock's own ratios are 1."""
    chosen = workloads or family.workloads
    taken = {workload: {mode: Clocked() for mode in (STOCK, *modes)} for workload in chosen}
    for generation in range(generations):
        with ExitStack() as stack:
            workers = [
                stack.enter_context(Worker(environment, mode, chosen)) for mode in (STOCK, *modes)
            ]
            for workload in chosen:
                number = family.clock[workload]
                progress(f"clock: {workload}, generation {generation + 1} of {generations}")
                for worker in workers:
                    worker.ask("run", workload, number=number)
                for turn in range(rounds):
                    # Nobody is always the first after a pause.
                    order = workers[turn % len(workers) :] + workers[: turn % len(workers)]
                    times = {
                        worker.mode: worker.ask("run", workload, number=number) for worker in order
                    }
                    _note(taken[workload], times, number)
    return {
        workload: {mode: clocked.summary() for mode, clocked in by_mode.items()}
        for workload, by_mode in taken.items()
    }


def _note(by_mode: dict[str, Clocked], times: dict[str, dict[str, int]], number: int) -> None:
    stock = times[STOCK]
    for mode, clocked in by_mode.items():
        clocked.thread.append(times[mode]["thread"] / stock["thread"])
        clocked.process.append(times[mode]["process"] / stock["process"])
        clocked.thread_us.append(times[mode]["thread"] / number / 1_000)
        clocked.process_us.append(times[mode]["process"] / number / 1_000)


# -- Instructions -----------------------------------------------------------------------------


class Counter:
    """A worker under callgrind whose main thread's instructions can be read between two commands."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker = worker
        self._folder = folder
        self._part = 0

    def _monitor(self, *command: str) -> None:
        done = subprocess.run(
            ["vgdb", f"--pid={self._worker.process.pid}", *command],  # noqa: S607 - found on PATH.
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"vgdb {' '.join(command)}: {done.stderr.strip()[-300:]}")

    def start(self) -> None:
        """Begin to count: slow from here on."""
        self._monitor("instrumentation", "on")

    def stop(self) -> None:
        """Stop counting: faster from here on."""
        self._monitor("instrumentation", "off")

    def warm(self, workload: str, number: int) -> None:
        """Fill caches and specialise bytecode, as in a process that has run for a while."""
        self._worker.ask("run", workload, number=number)

    def run(self, workload: str, number: int) -> tuple[int, int]:
        """Return the instructions from before to after one run: of the main thread, and of all."""
        self._monitor("zero")
        self._worker.ask("run", workload, number=number)
        self._part += 1
        self._monitor("dump")
        # A file for each thread; the main thread's is the first.
        totals = [_total(path) for path in sorted(self._folder.glob(f"out.{self._part}-*"))]
        if not totals:
            raise RuntimeError("callgrind wrote no counts")
        return totals[0], sum(totals)


def _total(path: Path) -> int:
    """Return the total that a file of callgrind tells."""
    for line in path.read_text().splitlines():
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise RuntimeError("callgrind's counts have no total")


def can_count() -> str:
    """Return why instructions cannot be counted here; empty if they can."""
    absent = [name for name in ("valgrind", "vgdb") if not shutil.which(name)]
    return f"{' and '.join(absent)} not found" if absent else ""


@contextmanager
def counting(environment: Environment, mode: str, workloads: Sequence[str]) -> Iterator[Counter]:
    """Run a worker under callgrind."""
    with tempfile.TemporaryDirectory(prefix="callgrind-") as name:
        folder = Path(name)
        prefix = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--separate-threads=yes",
            f"--callgrind-out-file={folder / 'out'}",
        ]
        with Worker(environment, mode, workloads, prefix=prefix) as worker:
            worker.ask("freeze", workloads[0])
            yield Counter(worker, folder)


def count(
    environment: Environment,
    family: Family,
    mode: str,
    *,
    progress: Progress,
    workloads: Sequence[str] = (),
) -> dict[str, float]:
    """Return the instructions of one repetition of each workload, without the bare ``loop``.

    A request's are there twice: of its thread, and as ``request-process`` of the whole process, until
    all that was recorded has been exported.
    """
    chosen = workloads or family.workloads
    few, many = family.count
    counted = {}
    with counting(environment, mode, ("loop", *chosen)) as counter:
        for workload in ("loop", *chosen):
            progress(f"instructions: {workload}, {mode}")
            counter.stop() if counted else None
            counter.warm(workload, many)
            counter.start()
            counter.run(workload, few)
            less, less_of_all = counter.run(workload, few)
            more, more_of_all = counter.run(workload, many)
            counted[workload] = (more - less) / (many - few)
            if workload == "request":
                counted["request-process"] = (more_of_all - less_of_all) / (many - few)
    loop = counted.pop("loop")
    if family.name in {"instances", "request"}:
        loop = 0
    return {workload: number - loop for workload, number in counted.items()}
