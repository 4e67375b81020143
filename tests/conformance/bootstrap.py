"""One process of the conformance run: Django's ``runtests.py``, stock or traced, with a report.

Usage: ``python bootstrap.py REPORT TESTS_FOLDER RECORDING LABEL...``

RECORDING is the file whose ``start_recording()`` switches the tracer on and returns what switches
it off and returns the counts; ``-`` leaves Django as it is.
The report is a JSON object: ``outcomes`` maps each test's id to what became of it, ``counts``
tells what the tracer recorded (empty for stock). Written even when the run ends badly.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]

outcomes: dict[str, str] = {}


class ReportingResult(unittest.TextTestResult):
    """The usual text result, which also remembers every outcome by test id."""

    def addSuccess(self, test: unittest.TestCase) -> None:
        outcomes.setdefault(test.id(), "passed")
        super().addSuccess(test)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        outcomes[test.id()] = "failed"
        super().addFailure(test, err)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        outcomes[test.id()] = "error"
        super().addError(test, err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        outcomes.setdefault(test.id(), "skipped")
        super().addSkip(test, reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        outcomes.setdefault(test.id(), "expected failure")
        super().addExpectedFailure(test, err)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        outcomes[test.id()] = "unexpected success"
        super().addUnexpectedSuccess(test)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        # A failed subtest is its test's failure; the passing ones are part of its success.
        if err is not None:
            outcomes[test.id()] = "failed"
        super().addSubTest(test, subtest, err)


def main() -> None:
    report, tests, recording, *labels = sys.argv[1:]
    unittest.TextTestRunner.resultclass = ReportingResult
    stop_recording: Callable[[], dict[str, int]] = dict
    if recording != "-":
        # Last, so that no folder of this repository hides one of Django's test modules.
        sys.path.append(str(REPOSITORY))
        stop_recording = runpy.run_path(recording)["start_recording"]()

    owner = os.getpid()
    os.chdir(tests)
    sys.path[0] = tests
    sys.argv = ["runtests.py", "--parallel=1", "--verbosity=2", "--noinput", *labels]
    try:
        runpy.run_path(str(Path(tests, "runtests.py")), run_name="__main__")
    finally:
        # A test that forks and lets its child fall through must not overwrite the report.
        if os.getpid() == owner:
            counts = stop_recording()
            Path(report).write_text(json.dumps({"outcomes": outcomes, "counts": counts}))


if __name__ == "__main__":
    main()
