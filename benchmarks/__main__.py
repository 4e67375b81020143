"""Measure what tracing costs: ``python -m benchmarks``.

    python -m benchmarks                      every interpreter found, all but the peers
    python -m benchmarks --peers              the peers as well
    python -m benchmarks --here               this interpreter and its Django only
    python -m benchmarks --quick              fewer rounds, for a first impression
    python -m benchmarks --phases instructions --python 3.11
    python -m benchmarks --phases traffic     throughput and latency behind servers, some five minutes
    python -m benchmarks --publish            put the report into docs/performance/index.md

All numbers are ratios to stock Django, measured in the same run. Exit status 1 if a goal was missed
and ``--strict`` was given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks import goals, measuring, report, traffic
from benchmarks.environments import (
    CACHE,
    PAIRS,
    ROOT,
    Environment,
    describe,
    find_interpreters,
    make_environment,
)
from benchmarks.measuring import Progress, Worker
from benchmarks.start import start_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PHASES = ("traffic", "instructions", "clock", "request", "start", "memory")
REPORT = CACHE / "report.md"
PAGE = ROOT / "docs" / "performance" / "index.md"
BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"

console = Console()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure what tracing costs."
    )
    parser.add_argument("--here", action="store_true", help="this interpreter and its Django only")
    parser.add_argument("--python", action="append", choices=PAIRS, help="only these versions")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES)
    parser.add_argument("--workloads", nargs="+", help="only these", metavar="NAME")
    parser.add_argument("--peers", action="store_true", help="compare with the peers")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes that count at once"
    )
    parser.add_argument("--publish", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal was missed")
    return parser.parse_args()


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """Show what is being measured, on one line that is gone afterwards."""
    with console.status(title) as status:
        yield lambda text: status.update(f"{title}: {text}")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return what the run ran on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": os.getloadavg()[0],
    }


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],  # noqa: S607 - found on PATH.
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def chosen_workloads(names: tuple[str, ...], wanted: list[str] | None) -> list[str]:
    return [name for name in names if not wanted or name in wanted]


def count_all(
    environment: Environment, options: argparse.Namespace, tell: Progress
) -> dict[str, Any]:
    """Return instructions by workload and mode."""
    jobs: list[tuple[measuring.Family, str, list[str]]] = []
    modes = ("stock", *goals.MODES)
    if "instructions" in options.phases:
        for family in goals.FAMILIES:
            if workloads := chosen_workloads(family.workloads, options.workloads):
                jobs += [(family, mode, workloads) for mode in modes]
    if "request" in options.phases and chosen_workloads(("request",), options.workloads):
        jobs += [(measuring.REQUEST, mode, ["request"]) for mode in ("stock", *goals.REQUEST_MODES)]
    counted: dict[str, dict[str, float]] = {}
    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        futures = [
            (
                mode,
                pool.submit(
                    measuring.count, environment, family, mode, progress=tell, workloads=names
                ),
            )
            for family, mode, names in jobs
        ]
        for mode, future in futures:
            for workload, number in future.result().items():
                counted.setdefault(workload, {})[mode] = number
    return counted


def clock_all(
    environment: Environment, options: argparse.Namespace, tell: Progress
) -> dict[str, Any]:
    """Return times by workload and mode."""
    found: dict[str, Any] = {}
    effort = {"rounds": 7, "generations": 1} if options.quick else {"rounds": 15, "generations": 3}
    plan: list[tuple[measuring.Family, tuple[str, ...]]] = []
    if "clock" in options.phases:
        plan += [(family, ("again", *goals.MODES)) for family in goals.FAMILIES]
    if "request" in options.phases:
        plan.append((measuring.REQUEST, ("again", *goals.REQUEST_MODES)))
    for family, modes in plan:
        if workloads := chosen_workloads(family.workloads, options.workloads):
            found |= measuring.clock(
                environment, family, modes, progress=tell, workloads=workloads, **effort
            )
    return found


def memory_all(environment: Environment, tell: Progress) -> dict[str, Any]:
    """Return bytes held per dispatch, and what the garbage collector did."""
    found: dict[str, Any] = {"pauses": {}}
    for mode in ("structure", "default"):
        tell(f"memory: {mode}")
        for receivers in (1, 3):
            with Worker(environment, mode, [f"caching-{receivers}"]) as worker:
                held = worker.ask("held", f"caching-{receivers}")
                found.setdefault(f"held-{receivers}", {})[mode] = held
    for key, mode, drained in (
        ("stock", "stock", True),
        ("complete", "complete", True),
        ("undrained", "default", False),
    ):
        tell(f"garbage collection: {key}")
        with Worker(environment, mode, ["caching-1"]) as worker:
            found["pauses"][key] = worker.ask("pauses", "caching-1", drained=drained)
    return found


def measure(
    environment: Environment, options: argparse.Namespace, served: Environment | None
) -> dict[str, Any]:
    """Return all results of one environment, behind servers if there is one for that."""
    facts = asdict(environment)
    del facts["interpreter"]
    result: dict[str, Any] = facts
    with progress(str(environment)) as tell:
        if served is not None:
            result["traffic"] = traffic.measure(served, tell, peers=options.peers)
        if reason := measuring.can_count():
            result["not_counted"] = reason
        else:
            result["instructions"] = count_all(environment, options, tell)
        result["clock"] = clock_all(environment, options, tell)
        if "start" in options.phases:
            result["start"] = start_all(environment, tell)
        if "memory" in options.phases:
            result["memory"] = memory_all(environment, tell)
    for table in report.tables(result, str(environment)):
        console.print(table)
    for name, error in result.get("traffic", {}).get("errors", {}).items():
        console.print(f"[red]{name} could not be measured:[/red] {error}")
    return result


def measure_peers(environment: Environment, options: argparse.Namespace) -> dict[str, Any]:
    """Return the peers' times; one that fails is named with what it failed with."""
    effort = {"rounds": 5, "generations": 1} if options.quick else {"rounds": 9, "generations": 3}
    clock: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    with progress("peers") as tell:
        for mode in goals.PEERS:
            for workload, (family, _title) in goals.PEER_WORKLOADS.items():
                if mode == "silk" and workload != "request":
                    continue
                tell(f"{mode}, {workload}")
                try:
                    found = measuring.clock(
                        environment, family, [mode], progress=tell, workloads=[workload], **effort
                    )
                except RuntimeError as error:
                    errors[f"{mode}, {workload}"] = str(error).splitlines()[-1]
                    continue
                clock.setdefault(workload, {})[mode] = found[workload][mode]
    done = subprocess.run(
        [
            str(environment.interpreter),
            "-m",
            "pip",
            "list",
            "--format=json",
            "--disable-pip-version-check",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = ("sentry-sdk", "opentelemetry-sdk", "django-silk")
    versions = {
        item["name"]: item["version"] for item in json.loads(done.stdout) if item["name"] in wanted
    }
    peers = {
        "python": environment.python,
        "django": environment.django,
        "versions": versions,
        "clock": clock,
        "errors": errors,
    }
    console.print(report.table(report.PEER_HEAD, list(report.peer_rows(peers)), "Peers"))
    for name, error in errors.items():
        console.print(f"[red]{name} could not be measured:[/red] {error}")
    return peers


def serving(options: argparse.Namespace, *, is_first: bool) -> Environment | None:
    """Return the environment that has servers; None for all but the first that is measured."""
    if "traffic" not in options.phases or not is_first:
        return None
    if options.here:
        return describe(Path(sys.executable))
    found = find_interpreters()
    version = next(each for each in options.python or PAIRS if each in found)
    return make_environment(version, found[version], peers=True)


def environments(options: argparse.Namespace) -> list[Callable[[], Environment]]:
    """Return what makes or finds each environment to measure."""
    if options.here:
        return [lambda: describe(Path(sys.executable))]
    found = find_interpreters()
    wanted = options.python or list(PAIRS)
    if set(options.phases) == {"traffic"}:
        wanted = [each for each in wanted if each in found][:1]
    for version in sorted(set(wanted) - set(found)):
        console.print(f"Python {version} is not on this machine: not measured.")
    return [
        lambda version=version: make_environment(version, found[version])  # type: ignore[misc]
        for version in wanted
        if version in found
    ]


def publish(text: str) -> None:
    """Put the report between its marks in the page about performance."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def write(results: dict[str, Any]) -> None:
    """Write results and report where the next run overwrites them."""
    (CACHE / "results.json").write_text(json.dumps(results, indent=1))
    REPORT.write_text(report.markdown(results), encoding="utf-8")


def main() -> int:
    options = parse()
    CACHE.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": machine(),
        "environments": [],
    }
    for number, make in enumerate(environments(options)):
        with progress("environment"):
            environment = make()
            served = serving(options, is_first=number == 0)
        results["environments"].append(measure(environment, options, served))
        # What is measured by now is worth reading, should the rest be broken off.
        write(results)
    if options.peers:
        version, interpreter = next(iter(find_interpreters().items()))
        with progress("environment of the peers"):
            environment = make_environment(version, interpreter, peers=True)
        results["peers"] = measure_peers(environment, options)
    write(results)
    failed = report.missed(results)
    judged = report.goals_judged(results)
    console.print(
        f"{judged - len(failed)} of {judged} goals reached. Report: {REPORT.relative_to(ROOT)}"
    )
    if options.publish:
        publish(report.published(results))
        console.print(f"Published in {PAGE.relative_to(ROOT)}")
    return 1 if options.strict and failed else 0


if __name__ == "__main__":
    sys.exit(main())
