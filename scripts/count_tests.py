"""Name the tests that failed in JUnit reports, and count all in one line, as a test runner closes.

Fails when a test failed, when a report holds no test, or when there is no report: what did not
run has not passed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

LONGEST = 150
"""Characters shown of what a failed test said."""


class Report(NamedTuple):
    """How many tests passed, failed and were skipped in a run, and a line for each failed one."""

    passed: int
    failed: int
    skipped: int
    failures: list[str]


def read(path: str) -> Report:
    """Return what one report says."""
    total = failed = skipped = 0
    failures = []
    for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314 (pytest wrote it)
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
        for test in suite.iter("testcase"):
            for why in (*test.findall("failure"), *test.findall("error")):
                place = "::".join(filter(None, (test.get("classname"), test.get("name"))))
                said = " ".join((why.get("message") or why.text or "").split())
                failures.append(f"{Path(path).stem}: {place}: {said[:LONGEST]}")
    return Report(total - failed - skipped, failed, skipped, failures)


def main(paths: list[str]) -> int:
    """Print the lines and return the exit status."""
    reports = [read(path) for path in paths]
    for report in reports:
        for line in report.failures:
            print(f"failed in {line}")
    empty = [
        path
        for path, report in zip(paths, reports, strict=True)
        if not report.passed + report.failed + report.skipped
    ]
    for path in empty:
        print(f"{path} holds no test")
    passed, failed, skipped = (sum(report[place] for report in reports) for place in range(3))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or empty or not passed else 0


if __name__ == "__main__":
    # A pattern that the shell could not expand is no report.
    sys.exit(main([path for path in sys.argv[1:] if "*" not in path]))
