"""Run Django's own tests with tracing on, and name each that fails only then.

The sdist of the installed Django is downloaded once with pip and its ``tests`` folder unpacked
under ``.cache``. Every chosen module runs twice, each time in its own process: stock, then with
``tracing`` instrumented and recording. A test counts as a new failure when it did not do traced
what it did stock; to keep Django's few unsteady tests apart, such a test is run again, alone,
three times each way, and excused only when it also fails stock.

    python tests/conformance/run.py                    the short selection
    python tests/conformance/run.py --all              every module where signals could matter
    python tests/conformance/run.py --modules signals delete
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import runpy
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import django

REPOSITORY = Path(__file__).resolve().parents[2]
BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
RECORDING = Path(__file__).with_name("recording.py")
PUBLISHING = Path(__file__).with_name("page.py")
CACHE = REPOSITORY / ".cache" / "conformance"

SHORT = [
    "dispatch",
    "signals",
    "m2m_signals",
    "transaction_hooks",
    "bulk_create",
    "test_client",
    "migrate_signals",
]
ALL = [
    *SHORT,
    "model_forms",
    "m2m_through",
    "delete",
    "delete_regress",
    "transactions",
    "async",
    "asgi",
    "auth_tests",
    "admin_views",
    "requests_tests",
    "handlers",
    "contenttypes_tests",
    "fixtures",
    "test_utils",
    "update",
    "cache",
    "tasks",
    "middleware",
    "mail",
    "logging_tests",
    "user_commands",
    "sessions_tests",
    "view_tests",
    "messages_tests",
]
COLUMNS = [
    "module",
    "passed stock",
    "passed traced",
    "failed stock",
    "failed traced",
    "skipped",
    "dispatches",
    "receiver calls",
    "dropped traces",
    "stock s",
    "traced s",
    "new failures",
]
ADDRESS = re.compile(r"0x[0-9a-f]+")
GOOD = {"passed", "skipped", "expected failure"}
CONFIRMATIONS = 3


@dataclass
class Run:
    """One process: what each test did, what was recorded, and how long it took."""

    outcomes: dict[str, str]
    counts: dict[str, int]
    seconds: float
    log: str


@dataclass
class Comparison:
    """A module, stock beside traced."""

    module: str
    stock_passed: int = 0
    stock_failed: int = 0
    traced_passed: int = 0
    traced_failed: int = 0
    skipped: int = 0
    dispatches: int = 0
    receiver_calls: int = 0
    dropped_traces: int = 0
    tracer_failures: int = 0
    stock_seconds: float = 0.0
    traced_seconds: float = 0.0
    new_failures: dict[str, str] = field(default_factory=dict)
    unsteady: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def is_clean(self) -> bool:
        return not self.new_failures and not self.problem


class ConformanceError(Exception):
    """The run could not be carried out; the message says why."""


def fetch_tests(version: str) -> Path:
    """Return the folder of Django's tests for ``version``, downloading the sdist when needed."""
    folder = CACHE / f"django-{version}"
    if (folder / "tests" / "runtests.py").is_file():
        return folder / "tests"
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        print(f"Downloading the sdist of Django {version}", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "django", "--dest", scratch, f"Django=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode or len(archives) != 1:
            message = f"pip could not download the sdist of Django {version}:\n{done.stderr}"
            raise ConformanceError(message)
        with tarfile.open(archives[0]) as archive:
            archive.extractall(scratch, filter="data")
        (unpacked,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        if not folder.exists():
            unpacked.rename(folder)
    return folder / "tests"


def run_labels(tests: Path, mode: str, labels: list[str], timeout: float) -> Run:
    """Run test labels in a process of their own; ``mode`` is ``stock`` or ``traced``.

    Raises:
        ConformanceError: when the process left no report, as after a crash or a time-out.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        report = Path(scratch, "report.json")
        command = [sys.executable, str(BOOTSTRAP), str(report), str(tests)]
        command += [str(RECORDING) if mode == "traced" else "-", *labels]
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COVERAGE_", "DJANGO_", "PYTEST_", "PYTHONDEVMODE"))
        }
        environment["TMPDIR"] = scratch
        started = time.monotonic()
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            message = f"{mode} run of {' '.join(labels)} took longer than {timeout:.0f} s"
            raise ConformanceError(message) from error
        seconds = time.monotonic() - started
        if not report.is_file():
            tail = "\n".join(done.stdout.splitlines()[-30:])
            message = f"{mode} run of {' '.join(labels)} left no report:\n{tail}"
            raise ConformanceError(message)
        written = json.loads(report.read_text())
    return Run(without_addresses(written["outcomes"]), written["counts"], seconds, done.stdout)


def without_addresses(outcomes: dict[str, str]) -> dict[str, str]:
    """Return *outcomes* by names that both runs have: a subtest is named after its parameters."""
    return {ADDRESS.sub("0x…", test): outcome for test, outcome in outcomes.items()}


def compare(tests: Path, module: str, timeout: float) -> Comparison:
    """Run a module both ways and return the differences that count against the tracer."""
    comparison = Comparison(module)
    try:
        stock = run_labels(tests, "stock", [module], timeout)
        traced = run_labels(tests, "traced", [module], timeout)
        comparison.stock_seconds, comparison.traced_seconds = stock.seconds, traced.seconds
        comparison.stock_passed, comparison.stock_failed = tally(stock)
        comparison.traced_passed, comparison.traced_failed = tally(traced)
        comparison.skipped = sum(outcome == "skipped" for outcome in traced.outcomes.values())
        comparison.dispatches = traced.counts.get("dispatches", 0)
        comparison.receiver_calls = traced.counts.get("receiver_calls", 0)
        comparison.dropped_traces = traced.counts.get("dropped_traces", 0)
        comparison.tracer_failures = traced.counts.get("tracer_failures", 0)
        if comparison.tracer_failures:
            comparison.problem = tracer_failures(traced)
        if not stock.outcomes:
            comparison.problem = "no test was found\n" + stock.log[-2000:]
        for test, change in changes(stock.outcomes, traced.outcomes).items():
            if is_unsteady(tests, test, timeout):
                comparison.unsteady.append(test)
            else:
                comparison.new_failures[test] = change + "\n" + failure_of(test, traced.log)
    except ConformanceError as error:
        comparison.problem = str(error)
    return comparison


def tally(run: Run) -> tuple[int, int]:
    """Return how many tests passed and how many failed; the skipped are neither."""
    bad = sum(outcome not in GOOD for outcome in run.outcomes.values())
    skipped = sum(outcome == "skipped" for outcome in run.outcomes.values())
    return len(run.outcomes) - bad - skipped, bad


def changes(stock: dict[str, str], traced: dict[str, str]) -> dict[str, str]:
    """Return the tests that were good stock and did something else traced, with what they did.

    A test that vanished counts, and so does a class or module level failure that only the
    traced run has.
    """
    found = {}
    for test in stock.keys() | traced.keys():
        before, after = stock.get(test, "not run"), traced.get(test, "not run")
        is_worse = before in GOOD or (before == "not run" and after not in GOOD)
        if before != after and is_worse:
            found[test] = f"{before} stock, {after} traced"
    return dict(sorted(found.items()))


def is_unsteady(tests: Path, test: str, timeout: float) -> bool:
    """Return whether the test also fails stock when it is run alone a few times."""
    if not test.replace("_", "").replace(".", "").isalnum():
        return False  # The id of a class or module level error is no label that can be run.
    return any(tally(run_labels(tests, "stock", [test], timeout))[1] for _ in range(CONFIRMATIONS))


def tracer_failures(run: Run) -> str:
    """Return where the tracer itself failed, with the first traceback that it logged."""
    places = [f"{name}: {count}" for name, count in run.counts.items() if name.startswith("failed")]
    lines = run.log.splitlines()
    logged = [number for number, line in enumerate(lines) if "Recording failed in" in line]
    traceback = lines[logged[0] : logged[0] + 40] if logged else ["no traceback was logged"]
    return "\n".join(["the tracer failed", *places, *traceback])


def failure_of(test: str, log: str) -> str:
    """Return the part of the runner's log that reports the test's failure."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("FAIL:", "ERROR:")) and test in line:
            return "\n".join(lines[number : number + 40])
    return ""


def in_all(comparisons: list[Comparison]) -> Comparison:
    """Return the sums of all modules, as one row."""
    names = [each.name for each in fields(Comparison) if each.type in {"int", "float"}]
    sums = {name: sum(getattr(row, name) for row in comparisons) for name in names}
    failures = {test: change for row in comparisons for test, change in row.new_failures.items()}
    return Comparison(f"all {len(comparisons)}", **sums, new_failures=failures)


def markdown(comparisons: list[Comparison], rows: list[Comparison] | None = None) -> str:
    """Return the summary as a Markdown table, with the new failures below it.

    Args:
        comparisons: The modules.
        rows: What the table has instead of them.
    """
    lines = [
        f"Django {django.get_version()}'s own tests, Python {platform.python_version()}",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" + "|--:" * (len(COLUMNS) - 1) + "|",
    ]
    lines += [
        f"| {row.module} | {row.stock_passed} | {row.traced_passed} | {row.stock_failed} "
        f"| {row.traced_failed} | {row.skipped} | {row.dispatches} | {row.receiver_calls} "
        f"| {row.dropped_traces} "
        f"| {row.stock_seconds:.1f} | {row.traced_seconds:.1f} "
        f"| {'see below' if row.problem else len(row.new_failures)} |"
        for row in (comparisons if rows is None else rows)
    ]
    for row in comparisons:
        if row.problem:
            lines += ["", f"### {row.module}", "", "```", row.problem, "```"]
        for test, change in row.new_failures.items():
            lines += ["", f"### {test}", "", "```", change, "```"]
        lines += [f"- unsteady without tracing too: {test}" for test in row.unsteady]
    return "\n".join(lines) + "\n"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--short", action="store_true", help="a few modules (the default)")
    which.add_argument("--all", action="store_true", help="every module where signals matter")
    which.add_argument("--modules", nargs="+", metavar="MODULE", help="these modules")
    parser.add_argument("--parallel", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds for one process")
    parser.add_argument("--publish", action="store_true", help="put the summary into the docs")
    parser.add_argument("--output", type=Path, help="folder for summary.md and summary.json")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    version = django.get_version()
    try:
        tests = fetch_tests(version)
    except ConformanceError as error:
        print(error)
        return 2
    modules = options.modules or (ALL if options.all else SHORT)
    absent = [module for module in modules if not (tests / module.split(".")[0]).is_dir()]
    if options.modules and absent:
        print(f"Django {version} has no test module {', '.join(absent)}")
        return 2
    modules = [module for module in modules if module not in absent]
    print(
        f"Django {version}, Python {platform.python_version()}: {len(modules)} modules, stock and"
        f" traced{f', without {absent} which this release does not have' if absent else ''}",
        flush=True,
    )

    comparisons = []
    with ThreadPoolExecutor(max_workers=options.parallel) as pool:
        futures = [pool.submit(compare, tests, module, options.timeout) for module in modules]
        for number, future in enumerate(as_completed(futures), start=1):
            row = future.result()
            comparisons.append(row)
            verdict = (
                row.problem.partition("\n")[0]
                if row.problem
                else f"{row.traced_passed} passed of {row.stock_passed} stock,"
                f" {row.dispatches} dispatches recorded, {len(row.new_failures)} new failures"
            )
            print(f"[{number}/{len(modules)}] {row.module}: {verdict}", flush=True)
    comparisons.sort(key=lambda row: modules.index(row.module))

    output = options.output or CACHE / f"django-{version}-python-{platform.python_version()}"
    output.mkdir(parents=True, exist_ok=True)
    summary = markdown(comparisons)
    (output / "summary.md").write_text(summary)
    (output / "summary.json").write_text(
        json.dumps([asdict(row) for row in comparisons], indent=2) + "\n"
    )
    if options.publish:
        runpy.run_path(str(PUBLISHING))["publish"](
            "Django", version, markdown(comparisons, [in_all(comparisons)])
        )
    print("\n" + summary)

    dispatches = sum(row.dispatches for row in comparisons)
    unclean = [row.module for row in comparisons if not row.is_clean]
    if not dispatches:
        print("Nothing was recorded: the traced runs were not traced.")
    if unclean:
        print(f"Not conforming: {', '.join(unclean)}")
    print(f"Summary in {os.path.relpath(output)}")
    return 1 if unclean or not dispatches else 0


if __name__ == "__main__":
    sys.exit(main())
