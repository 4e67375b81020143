"""One process of ``make foreign``: a package's own tests, untraced or traced, with a report.

Usage: ``python foreign_child.py REPORT RUNNER ARGUMENT...``, in the environment and the folder of the
package, with ``DJANGO_SETTINGS_MODULE`` set; RUNNER is ``django`` or ``pytest``.
The report is a JSON object: ``outcomes`` maps each test to what became of it, ``cpu`` is the seconds of
CPU of this process and its children, ``recorded`` and ``failures`` tell of the tracer (0 and {} untraced).
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONFORMANCE = HERE.parent / "tests" / "conformance"
FLUSH_SECONDS = 120.0
WORST = ["failed", "error", "unexpected success", "skipped", "expected failure", "passed"]
EXPECTED = {"skipped": "expected failure", "passed": "unexpected success"}

outcomes: dict[str, str] = {}


class Outcomes:
    """The pytest plugin that remembers the worst of what each test reported."""

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remember what a phase of a test, or a part of it, came to."""
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = EXPECTED.get(outcome, outcome)
        if report.when != "call" and outcome == "failed":
            outcome = "error"
        if report.when == "call" or outcome != "passed":
            known = outcomes.get(report.nodeid, outcome)
            outcomes[report.nodeid] = min(known, outcome, key=WORST.index)

    def pytest_collectreport(self, report: Any) -> None:
        """Remember a file that could not be imported."""
        if report.failed:
            outcomes[report.nodeid] = "error"


def run_pytest(arguments: list[str]) -> None:
    pytest = import_module("pytest")
    # Coverage and the like, which a package asks for, are no part of its outcome.
    pytest.main(["-p", "no:cacheprovider", "-o", "addopts=", *arguments], plugins=[Outcomes()])


def run_django(arguments: list[str]) -> None:
    sys.path.append(str(CONFORMANCE))
    bootstrap = import_module("bootstrap")
    sys.path.remove(str(CONFORMANCE))
    unittest.TextTestRunner.resultclass = bootstrap.ReportingResult
    sys.argv = ["manage.py", "test", "--noinput", *arguments]
    try:
        import_module("django.core.management").execute_from_command_line(sys.argv)
    finally:
        outcomes.update(bootstrap.outcomes)


def told_by_the_tracer() -> dict[str, Any]:
    """Return what was recorded and where the tracer failed, when all of it is written."""
    if "tracing" not in sys.modules:
        return {"recorded": 0, "failures": {}}
    from tracing import pipeline
    from tracing.instrumentation import failures

    failed = dict(failures.counts)
    if not pipeline.force_flush(FLUSH_SECONDS):
        failed["flush"] = 1
    statistics = pipeline.statistics()
    failed |= {
        name: count for name in ("dropped", "failed") if (count := getattr(statistics, name)) > 0
    }
    exported = [exporter.exported for exporter in statistics.exporters.values()]
    return {"recorded": max(exported, default=0), "failures": failed}


def main() -> None:
    report, runner, *arguments = sys.argv[1:]
    # The folder of the package takes the place of this script's.
    sys.path[0] = str(Path.cwd())
    owner = os.getpid()
    try:
        {"django": run_django, "pytest": run_pytest}[runner](arguments)
    finally:
        if os.getpid() == owner:
            told = told_by_the_tracer()
            cpu = sum(os.times()[:4])
            Path(report).write_text(json.dumps({"outcomes": outcomes, "cpu": cpu, **told}))


if __name__ == "__main__":
    main()
