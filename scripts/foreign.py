"""Run the tests of packages that use signals, untraced and traced, and name each that differs.

The sdist of each package comes from the package index by pip and is unpacked under ``.cache/foreign``,
beside an environment with the chosen Django, what the tests need and the tracer of this checkout. The
releases are fixed: those of the packages in ``foreign_suites.py``, those of what they need in
``foreign_constraints.txt``. The package's own tests run on SQLite with its own settings, then with the
two lines of an installation: everything is recorded, read, diagnosed and written to a log.
Both runs must do the same, test by test. The tests that differ run again by themselves, three times each
way: one that once fails to repeat what it did is named as unsteady and excused, as many that look at the
clock on a busy machine. Tests that list what is installed find the tracer in it; ``foreign_suites.py``
names them, and they too must do what is said there. What could not be fetched, installed or started is
named as not run; it has not passed.

Exits with 1 where a test differs, the tracer failed or nothing was recorded, else with 2 where a suite
was not run.

    python scripts/foreign.py                       all of them
    python scripts/foreign.py reversion guardian    these
    python scripts/foreign.py --runs 3 --publish    CPU time from the best of three; into the docs
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
import tomllib
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreign_suites import SUITES, Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REPOSITORY = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("foreign_child.py")
CONFORMANCE = REPOSITORY / "tests" / "conformance"
CACHE = REPOSITORY / ".cache" / "foreign"
SETTINGS = "foreign_settings"
LIMIT_SECONDS = 7200
CONFIRMATIONS = 3
COLUMNS = (
    "suite|version|tests|passed|different|list what is installed|traces"
    "|CPU s untraced|CPU s traced|CPU ratio"
)
CONSTRAINTS = Path(__file__).with_name("foreign_constraints.txt")
OFFLINE = re.compile(
    r"connection broken|Failed to establish|Max retries|name resolution", re.IGNORECASE
)
"""What pip says where it cannot reach an index."""

INSTALL = """
import tracing
from tracing.instrumentation.in_tests import want_traces

# Else what tests record would be let go unread.
want_traces()
# The store and the log go beside this file; what the tests know as BASE_DIR stays what it is.
given = {name: globals()[name] for name in ("BASE_DIR",) if name in globals()}
BASE_DIR = __file__.rpartition("/")[0]
tracing.install(
    globals(),
    CAPTURE_STATEMENTS=True,
    CAPTURE_VALUES=True,
    EXCLUDE_PATHS=[],
    LOG={"PATH": BASE_DIR + "/tracing.jsonl"},
)
del BASE_DIR
globals().update(given)

PROJECT_URLS, ROOT_URLCONF = ROOT_URLCONF, "foreign_urls"
"""
URLS = """
from importlib import import_module, reload

from django.conf import settings
from tracing import tracing_urls

# Tests that register something reload the URLs.
project = reload(project) if "project" in globals() else import_module(settings.PROJECT_URLS)
globals().update({name: value for name, value in vars(project).items() if name[0] != "_"})
urlpatterns = [*tracing_urls(), *project.urlpatterns]
"""


class NotRunError(Exception):
    """A suite could not be run; the message says why."""


@dataclass
class Row:
    """A suite, untraced beside traced.

    Attributes:
        different: Test: what it did untraced and traced.
        listing: Test that lists what is installed: what it found the tracer in.
        problem: Why it does not count as the same though no test differs.
        not_run: Why there is nothing to compare.
    """

    suite: str
    version: str = "?"
    tests: int = 0
    passed: int = 0
    recorded: int = 0
    stock_cpu: float = 0.0
    traced_cpu: float = 0.0
    different: dict[str, str] = field(default_factory=dict)
    listing: dict[str, str] = field(default_factory=dict)
    unsteady: list[str] = field(default_factory=list)
    problem: str = ""
    not_run: str = ""


def pip(*arguments: str | Path, python: str | Path = sys.executable) -> None:
    """Run pip, quietly.

    Raises:
        NotRunError: It failed; with the end of what it said.
    """
    command = [str(python), "-m", "pip", *map(str, arguments)]
    command += ["--quiet", "--no-input", "--retries", "1", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        offline = "the package index cannot be reached; " if OFFLINE.search(done.stderr) else ""
        raise NotRunError(f"{offline}pip {arguments[0]} failed: {done.stderr.strip()[-1500:]}")


def sdist(suite: Suite, home: Path) -> Path:
    """Return the unpacked sdist, downloaded when it is not there.

    Raises:
        NotRunError: There is none to be had, or it lacks the tests.
    """
    source = home / f"source-{suite.version}"
    if not source.is_dir():
        wanted = f"{suite.package}=={suite.version}"
        pip("download", "--no-deps", "--no-binary", suite.package, "--dest", home, wanted)
        (archive,) = home.glob(f"*-{suite.version}.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(source, filter="data")
    (unpacked,) = source.iterdir()
    places = [unpacked / suite.folder, *(unpacked / suite.folder / item for item in suite.labels)]
    if lacking := [str(path) for path in places if "." not in path.name and not path.exists()]:
        raise NotRunError(f"the sdist has no tests: {', '.join(lacking)} is missing")
    return unpacked


def own_needs() -> list[str]:
    """Return what the tracer itself needs besides Django."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [need for need in project["dependencies"] if not need.startswith("Django")]


def environment(suite: Suite, home: Path, source: Path, django: str, wheel: Path) -> Path:
    """Return the interpreter of an environment with all that the suite needs."""
    wanted = [f"Django=={django}", f"{source}{suite.extras}", *suite.needs, *own_needs()]
    asked = [wanted, CONSTRAINTS.read_text()]
    folder = home / f"env-{platform.python_version()}-django-{django}"
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    if not stamp.is_file() or json.loads(stamp.read_text()) != asked:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip("install", "--constraint", CONSTRAINTS, *wanted, python=python)
        stamp.write_text(json.dumps(asked))
    pip("install", "--no-deps", "--force-reinstall", wheel, python=python)
    return python


def run(
    suite: Suite, python: Path, source: Path, home: Path, mode: str, *, only: Iterable[str] = ()
) -> dict[str, Any]:
    """Run the suite, or what is named, in a process of its own and return its report.

    Raises:
        NotRunError: It left none, or no test ran.
    """
    place = home / mode
    place.mkdir(exist_ok=True)
    report, log = place / "report.json", place / "log.txt"
    for old in (report, *place.glob("traces.sqlite3*")):
        old.unlink(missing_ok=True)
    text = suite.settings + (INSTALL if mode == "traced" else "")
    (place / f"{SETTINGS}.py").write_text(text + "\n")
    (place / "foreign_urls.py").write_text(URLS)
    folder = source / suite.folder
    options = ["-p", "no:tracing"] if (mode, suite.runner) == ("stock", "pytest") else []
    drop = ("COVERAGE_", "DJANGO_", "PYTEST_", "PYTHON", "TRACING_", "TEST_DB_")
    variables = {name: text for name, text in os.environ.items() if not name.startswith(drop)}
    variables |= {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONPATH": os.pathsep.join(map(str, (folder, source, place))),
        "PYTHONHASHSEED": "0",
    }
    command = [python, CHILD, report, suite.runner, *options, *(only or suite.labels)]
    try:
        with log.open("w") as output:
            subprocess.run(
                list(map(str, command)),
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise NotRunError(f"{mode}, it did not end within {LIMIT_SECONDS} s") from error
    result = json.loads(report.read_text()) if report.is_file() else {"outcomes": {}}
    if not result["outcomes"]:
        raise NotRunError(f"no test ran {mode}: {log.read_text(errors='replace')[-1500:]}")
    return result


def compare(name: str, django: str, wheel: Path, runs: int = 1) -> Row:
    """Run a suite both ways and return what differs.

    Args:
        name: Of the suite.
        django: Its version.
        wheel: The tracer.
        runs: How often; the least CPU time of each way counts, which others on the machine disturbed
            least.
    """
    suite, row, home = SUITES[name], Row(name), CACHE / name
    home.mkdir(parents=True, exist_ok=True)
    try:
        source = sdist(suite, home)
        row.version = suite.version
        python = environment(suite, home, source, django, wheel)
        stock = run(suite, python, source, home, "stock")
        traced = run(suite, python, source, home, "traced")
        row.stock_cpu, row.traced_cpu = stock["cpu"], traced["cpu"]
        for _ in range(1, runs):
            row.stock_cpu = min(row.stock_cpu, run(suite, python, source, home, "stock")["cpu"])
            row.traced_cpu = min(row.traced_cpu, run(suite, python, source, home, "traced")["cpu"])
        row.different = changes(stock["outcomes"], traced["outcomes"])
        row.listing = {test: what for test, what in suite.listing.items() if test in row.different}
        row.different = {k: v for k, v in row.different.items() if k not in row.listing}
        row.different |= {
            test: f"lists {what}, and did the same"
            for test, what in suite.listing.items()
            if test not in row.listing and stock["outcomes"].get(test) == "passed"
        }
        if row.different:
            first = {"stock": stock["outcomes"], "traced": traced["outcomes"]}
            row.unsteady = unsteady(
                {mode: {test: first[mode].get(test) for test in row.different} for mode in first},
                lambda mode: run(suite, python, source, home, mode, only=row.different)["outcomes"],
            )
            row.different = {k: v for k, v in row.different.items() if k not in row.unsteady}
    except (NotRunError, subprocess.CalledProcessError) as error:
        row.not_run = str(error)
        return row
    row.tests, row.recorded = len(stock["outcomes"]), traced["recorded"]
    row.passed = sum(outcome == "passed" for outcome in traced["outcomes"].values())
    if traced["failures"]:
        row.problem = f"the tracer itself failed: {traced['failures']}"
    elif not row.recorded:
        row.problem = "nothing was recorded"
    return row


def unsteady(
    first: dict[str, dict[str, str | None]], again: Callable[[str], dict[str, str]]
) -> list[str]:
    """Return the tests that do not repeat what they *first* did, in each mode, when run *again*."""
    found: set[str] = set()
    for mode in list(first) * CONFIRMATIONS:
        try:
            outcomes = again(mode)
        except NotRunError:
            return []
        found |= {test for test, outcome in first[mode].items() if outcomes.get(test) != outcome}
    return sorted(found)


def changes(stock: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """Return the tests that did not do the same, with what they did."""
    pairs = {k: (stock.get(k, "not run"), other.get(k, "not run")) for k in stock | other}
    return {k: f"{one} untraced, {two} traced" for k, (one, two) in pairs.items() if one != two}


def table(rows: list[Row], django: str) -> str:
    """Return the results as Markdown."""
    lines = [f"Python {platform.python_version()}, Django {django}, SQLite", ""]
    lines += [f"| {COLUMNS.replace('|', ' | ')} |", "|---" * 2 + "|--:" * 8 + "|"]
    for row in rows:
        counts = f"{row.tests} | {row.passed} | {len(row.different)} | {len(row.listing)} | {row.recorded}"
        ratio = row.traced_cpu / (row.stock_cpu or 1)
        times = f"{row.stock_cpu:.1f} | {row.traced_cpu:.1f} | {ratio:.2f}"
        cells = "not run" + " |" * 7 if row.not_run else f"{counts} | {times}"
        lines.append(f"| {row.suite} | {row.version} | {cells} |")
    for row in rows:
        lines += [f"\n{row.suite}: {test}: {what}" for test, what in row.different.items()]
        lines += [f"\n{row.suite}: `{test}` lists {what}." for test, what in row.listing.items()]
        lines += [
            f"\n{row.suite}: {test}: unsteady: does not repeat it alone" for test in row.unsteady
        ]
        lines += [f"\n{row.suite}: {text}" for text in (row.problem, row.not_run) if text]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--django", default=installed_version("Django"), help="its version")
    parser.add_argument(
        "--runs", type=int, default=1, help="take the CPU time of the best of these"
    )
    parser.add_argument("--publish", action="store_true", help="put the table into the docs")
    options = parser.parse_args()
    if unknown := sorted(set(options.suites) - set(SUITES)):
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in CACHE.glob("*.whl"):
        old.unlink()
    rows = []
    try:
        pip("wheel", "--no-deps", "--wheel-dir", CACHE, REPOSITORY)
    except NotRunError as error:
        print(f"Nothing was run: {error}", file=sys.stderr)
        return 2
    (wheel,) = CACHE.glob("*.whl")
    for name in options.suites or SUITES:
        print(f"{name}: fetching, installing, running untraced and traced", flush=True)
        rows.append(compare(name, options.django, wheel, options.runs))
        print(table(rows[-1:], options.django), flush=True)
    summary = table(rows, options.django)
    (CACHE / "summary.md").write_text(summary)
    if options.publish:
        publish = runpy.run_path(str(CONFORMANCE / "page.py"))["publish"]
        publish("foreign", options.django, summary)
    print(summary)
    if any(row.different or row.problem for row in rows):
        return 1
    return 2 if any(row.not_run for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
