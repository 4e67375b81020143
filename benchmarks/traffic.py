"""Throughput and latency behind real servers: what a site feels.

Gunicorn, one worker with four threads, answers the request of the other benchmarks; uvicorn a view with
five ``asend()`` of three receivers. The servers of all modes stand side by side and are asked in turns,
one at a time: saturated, then with as many requests a second as are 60 % of what stock Django can do,
the same for each mode. On two cores or more the server has the first one; the load generator and the
collector of the spool, which is the nicer of the two, the last.

Then four workers of gunicorn record into one SQLite store, saturated, and what is stored is counted.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.environments import ROOT
from benchmarks.load import HOST
from benchmarks.served import FOLDER, MODE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from benchmarks.environments import Environment
    from benchmarks.measuring import Progress

STOCK: Final = "stock"
MODES: Final = (
    "complete-unsampled",
    "nowhere",
    "diagnosed",
    "log",
    "database",
    "complete",
    "spool",
)
PEERS: Final = ("opentelemetry", "sentry", "hand-written", "silk")
STORING: Final = ("database", "complete", "spool")
ROUNDS: Final = 4
SECONDS: Final = 1.5
CLIENTS: Final = 8
BUSY: Final = 0.6
"""Of what stock Django can do: the rate at which latency is measured."""
START_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 0.2
REST_SECONDS: Final = 15.0
"""How long a server is waited for that still exports."""
MANY: Final = 4
MANY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Site:
    """A server and what it is asked for."""

    name: str
    path: str
    command: tuple[str, ...]
    """What follows ``python -m``; ``{fd}`` is the socket that it listens to."""


_GUNICORN: Final = (
    "gunicorn",
    "benchmarks.served:wsgi",
    "--bind",
    "fd://{fd}",
    "--log-level",
    "error",
)

GUNICORN: Final = Site("gunicorn", "/restock/", (*_GUNICORN, "--threads", "4", "--workers", "1"))
UVICORN: Final = Site(
    "uvicorn",
    "/announce/",
    (
        "uvicorn",
        "benchmarks.served:asgi",
        "--fd",
        "{fd}",
        "--log-level",
        "error",
        "--lifespan",
        "off",
    ),
)
FOUR_WORKERS: Final = Site(
    "four workers",
    "/restock/",
    # A worker without threads closes each connection after an answer.
    (*_GUNICORN, "--preload", "--threads", "2", "--workers", str(MANY)),
)


def cores() -> tuple[set[int], set[int]]:
    """Return the cores of the server and those of everybody else; the same where there is one."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    ours = sorted(os.sched_getaffinity(0))
    return {ours[0]}, {ours[-1]}


def pin(process: int, chosen: set[int]) -> None:
    """Have *process* run on the cores *chosen*; where that is impossible it runs anywhere."""
    if chosen:
        os.sched_setaffinity(process, chosen)


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process and its living children."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    return ticks / os.sysconf("SC_CLK_TCK") + sum(map(cpu_seconds, map(int, children.split())))


class Server:
    """A server in one mode, with the collector that the mode needs. A context manager that ends both."""

    def __init__(self, environment: Environment, site: Site, mode: str) -> None:
        self.mode = mode
        self.answered = 0
        self._environment = environment
        self._site = site
        self._on, self._beside = cores()
        self._collector: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="traffic-")))
            self._errors = stack.enter_context((self.folder / "errors").open("w+b"))
            # Ours is closed at once: of a server that dies the connections are refused.
            with socket.create_server((HOST, 0), backlog=256) as listening:
                # Uvicorn takes a descriptor for a Unix socket's, and would leave answers to Nagle.
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.port = listening.getsockname()[1]
                number = listening.fileno()
                words = [word.format(fd=number) for word in self._site.command]
                self._server = self._start(*words, on=self._on, listening=number)
            stack.callback(self.stop)
            self._wait_for_answer()
            if self.mode == "spool":
                self._collector = self._start("benchmarks.served", on=self._beside)
                os.setpriority(os.PRIO_PROCESS, self._collector.pid, 19)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def stop(self) -> None:
        """End the server, which exports what it still has, and then the collector. Idempotent."""
        for process in (self._server, self._collector):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(REST_SECONDS * 2)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _start(
        self, *words: str, on: set[int], listening: int | None = None
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [str(self._environment.interpreter), "-m", *words],
            cwd=ROOT,
            env={
                **os.environ,
                MODE: self.mode,
                FOLDER: str(self.folder),
                "PYTHONHASHSEED": "0",
                "PYTHONWARNINGS": "ignore",
            },
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=() if listening is None else (listening,),
        )
        pin(process.pid, on)
        return process

    def _wait_for_answer(self) -> None:
        """Ask once, which waits until the server is there.

        Raises:
            RuntimeError: It does not come; its last words are in the message.
        """
        address = f"http://{HOST}:{self.port}{self._site.path}"
        try:
            with urllib.request.urlopen(address, timeout=START_SECONDS) as response:
                response.read()
        except OSError as error:
            raise RuntimeError(
                f"{self.mode} on {self._site.name}: {error} {self._said()}"
            ) from None
        self.answered += 1

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-1_000:]

    def ask(
        self, seconds: float, rate: float | None = None, clients: int = CLIENTS
    ) -> dict[str, Any]:
        """Make a load; return what its process says, and the server's CPU until it was idle again."""
        before = cpu_seconds(self._server.pid)
        words = [str(self.port), self._site.path, str(clients), str(seconds)]
        load = subprocess.Popen(
            [str(self._environment.interpreter), "-m", "benchmarks.load", *words]
            + ([str(rate)] if rate is not None else []),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        pin(load.pid, self._beside)
        out, errors = load.communicate(timeout=seconds + 60)
        if load.returncode:
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"{self.mode} on {self._site.name}: {last} {self._said()}")
        found: dict[str, Any] = json.loads(out)
        if found["failed"]:
            raise RuntimeError(
                f"{self.mode} on {self._site.name}: {found['failed']} answers failed"
            )
        self.answered += found["answered"]
        self.rest()
        return {**found, "cpu": cpu_seconds(self._server.pid) - before}

    def rest(self) -> None:
        """Wait until the server and its collector have nothing to do, for a while at most."""
        processes = [each.pid for each in (self._server, self._collector) if each is not None]
        until = time.monotonic() + REST_SECONDS
        used = -1.0
        while time.monotonic() < until:
            now = sum(map(cpu_seconds, processes))
            # Heartbeats go on, and are less than that.
            if now - used < IDLE_SECONDS / 10:
                return
            used = now
            time.sleep(IDLE_SECONDS)

    def stored(self) -> int:
        """Return how many traces are in the store."""
        with closing(sqlite3.connect(self.folder / "traces.sqlite3")) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM tracing_trace").fetchone()[0])


@dataclass(slots=True)
class Seen:
    """What one mode showed, over all rounds."""

    throughput: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    saturated_ms: list[float] = field(default_factory=list)
    paced_ms: list[float] = field(default_factory=list)

    def note_saturated(self, found: dict[str, Any]) -> None:
        """Take a saturated load."""
        self.throughput.append(found["in_time"] / found["seconds"])
        self.cpu_ms.append(found["cpu"] / found["answered"] * 1e3)
        self.saturated_ms += found["latencies"]

    def summary(self, stock: Seen) -> dict[str, float]:
        """Return medians, and those of the ratios to stock in the same round."""
        return {
            "throughput": statistics.median(self.throughput),
            "throughput_ratio": _median_ratio(self.throughput, stock.throughput),
            "cpu_ms": statistics.median(self.cpu_ms),
            "cpu_ratio": _median_ratio(self.cpu_ms, stock.cpu_ms),
            "saturated_p99": percentile(self.saturated_ms, 0.99),
            "p50": percentile(self.paced_ms, 0.5),
            "p99": percentile(self.paced_ms, 0.99),
        }


def _median_ratio(values: Sequence[float], stock: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(values, stock, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that the share *share* of *values* does not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def ask_in_turns(
    environment: Environment, site: Site, modes: Sequence[str], tell: Progress
) -> dict[str, dict[str, float]]:
    """Return what each of *modes* and stock showed, by mode."""
    with ExitStack() as stack:
        servers = []
        for mode in (STOCK, *modes):
            tell(f"{site.name}: {mode} starts")
            servers.append(stack.enter_context(Server(environment, site, mode)))
        for server in servers:
            server.ask(SECONDS / 2)
        seen = {server.mode: Seen() for server in servers}
        for turn in range(ROUNDS):
            order = servers[turn % len(servers) :] + servers[: turn % len(servers)]
            for server in order:
                tell(f"{site.name}: {server.mode}, round {turn + 1} of {ROUNDS}")
                seen[server.mode].note_saturated(server.ask(SECONDS))
            rate = statistics.median(seen[STOCK].throughput) * BUSY
            for server in order:
                seen[server.mode].paced_ms += server.ask(SECONDS, rate)["latencies"]
        found = {mode: each.summary(seen[STOCK]) for mode, each in seen.items()}
        for server in servers:
            server.stop()
            if server.mode in STORING:
                found[server.mode]["lost"] = server.answered - server.stored()
    return found


def four_workers(environment: Environment, tell: Progress) -> dict[str, float]:
    """Return the throughput of four workers on one store, stock's and traced, and what was lost."""
    found: dict[str, float] = {}
    for mode in (STOCK, "complete"):
        tell(f"four workers: {mode}")
        with Server(environment, FOUR_WORKERS, mode) as server:
            found[mode] = server.ask(MANY_SECONDS)["in_time"] / MANY_SECONDS
            server.stop()
            if mode != STOCK:
                found["answered"] = server.answered
                found["stored"] = server.stored()
    return found


def measure(environment: Environment, tell: Progress, *, peers: bool) -> dict[str, Any]:
    """Return what traffic showed: by server and mode, and of four workers on one store."""
    if not Path("/proc/self/stat").exists():
        return {"errors": {"servers": "their CPU time is read from /proc, which is not here"}}
    wsgi = (*MODES, *PEERS) if peers else MODES
    found: dict[str, Any] = {"errors": {}}
    for name, ask in (
        (GUNICORN.name, lambda: ask_in_turns(environment, GUNICORN, wsgi, tell)),
        (UVICORN.name, lambda: ask_in_turns(environment, UVICORN, MODES, tell)),
        (FOUR_WORKERS.name, lambda: four_workers(environment, tell)),
    ):
        try:
            found[name] = ask()
        except RuntimeError as error:
            found["errors"][name] = str(error)
    return found
