"""Count the tests of JUnit reports and print them in one line, as a test runner closes.

Fails when a test failed, when a report holds no test, or when there is no report: what did not
run has not passed.
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree as ET


def count(path: str) -> tuple[int, int, int]:
    """Return how many tests of one report passed, failed and were skipped."""
    total = failed = skipped = 0
    for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314 (pytest wrote it)
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def main(paths: list[str]) -> int:
    """Print the line and return the exit status."""
    counts = [count(path) for path in paths]
    passed, failed, skipped = (sum(column) for column in zip((0, 0, 0), *counts, strict=True))
    empty = [path for path, row in zip(paths, counts, strict=True) if not sum(row)]
    for path in empty:
        print(f"{path} holds no test")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or empty or not passed else 0


if __name__ == "__main__":
    # A pattern that the shell could not expand is no report.
    sys.exit(main([path for path in sys.argv[1:] if "*" not in path]))
