"""The page of the conformance runs: each puts its table between the marks of its Python and Django."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "performance" / "conformance.md"


def publish(kind: str, django: str, text: str, page: Path = PAGE) -> None:
    """Put *text*, with the day and the commit, in place of what the last such run said.

    Raises:
        ValueError: The page has no marks for this *kind* of run, Python and Django.
    """
    series = ".".join(django.split(".")[:2])
    name = f"{kind}, Python {sys.version_info[0]}.{sys.version_info[1]}, Django {series}"
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begun, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"{page.name} has no lines {begin} and {end}; add them where it belongs")
    when = f"Run on {datetime.now(UTC):%Y-%m-%d}, commit {commit()}."
    page.write_text(
        f"{before}{begin}\n\n{when}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8"
    )


def commit() -> str:
    """Return the commit of this checkout, or that it has none."""
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "--short=10", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
