"""Name the tests that failed in JUnit reports, and count all in one line, as a test runner closes.

A test that failed, was run again and passed is named as well. Fails when a test failed, when a
report holds no test, or when there is no report: what did not run has not passed.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

LONGEST = 150
"""Characters shown of what a failed test said."""


class Report(NamedTuple):
    """How many tests passed, failed and were skipped in a run, and a line for each unsteady one."""

    passed: int
    failed: int
    skipped: int
    failures: list[str]
    passed_again: list[str]


def read(path: str) -> Report:
    """Return what one report says."""
    total = failed = skipped = 0
    failures = []
    failed_places = set()
    runs: Counter[str] = Counter()
    for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314 (pytest wrote it)
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
        for test in suite.iter("testcase"):
            place = "::".join(filter(None, (test.get("classname"), test.get("name"))))
            place = f"{Path(path).stem}: {place}"
            runs[place] += 1
            for why in (*test.findall("failure"), *test.findall("error")):
                said = " ".join((why.get("message") or why.text or "").split())
                failures.append(f"{place}: {said[:LONGEST]}")
                failed_places.add(place)
    again = [place for place, count in runs.items() if count > 1 and place not in failed_places]
    return Report(total - failed - skipped, failed, skipped, failures, again)


def main(paths: list[str]) -> int:
    """Print the lines and return the exit status."""
    reports = [read(path) for path in paths]
    for report in reports:
        for line in report.failures:
            print(f"failed in {line}")
        for place in report.passed_again:
            print(f"passed only when run again in {place}")
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
