"""Write down the licences of dependencies and vendored files: python scripts/licences.py.

They are what the installed packages say of themselves. ``--check`` writes nothing and fails where the page
is not what they say.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "project" / "licences.md"
LONGEST = 40
"""Characters of a licence's name; a longer text is the licence itself."""
HEADINGS = {
    "Zero-Clause BSD": "0BSD",
    "The MIT License (MIT)": "MIT",
    "Mozilla Public License, version 2.0": "MPL-2.0",
}
"""What the first line of a licence's text is short for."""
DATA = "carsales/demo/data"


def licence_of(package: str) -> str:
    """Return the licence that an installed package says it has."""
    told = importlib.metadata.metadata(package)
    name = told.get("License-Expression") or (told.get("License") or "").strip()
    if name and len(name) <= LONGEST:
        return name
    classifiers = [line for line in told.get_all("Classifier", []) if line.startswith("License")]
    return ", ".join(line.rpartition(" :: ")[2] for line in classifiers) or "says nothing"


def packages() -> list[tuple[str, str]]:
    """Return each package that the project names, and what needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, str] = dict.fromkeys(map(_name, project["dependencies"]), "the tracer")
    for extra, lines in project["optional-dependencies"].items():
        for name in map(_name, lines):
            if name != project["name"]:
                found.setdefault(name, f"the extra `{extra}`")
    for file, user in (
        ("requirements.txt", "the demo site"),
        ("requirements-dev.txt", "tests and checks"),
    ):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if re.match(r"\w", line):
                found.setdefault(_name(line), user)
    return list(found.items())


def scripts() -> list[tuple[str, str]]:
    """Return each package that checks the JavaScript, and its licence."""
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    return [(name, lock[f"node_modules/{name}"]["license"]) for name in lock[""]["devDependencies"]]


def _name(line: str) -> str:
    match = re.match(r"[\w.-]+", line)
    return match[0] if match else ""


def vendored() -> list[tuple[str, str, str]]:
    """Return each folder of others' files: its place, its licence and who ships it."""
    found = []
    for path in sorted(ROOT.glob("t*/**/vendor/*/LICENSE")):
        first = path.read_text(encoding="utf-8").strip().splitlines()[0].strip()
        place = path.parent.relative_to(ROOT).as_posix()
        user = "the tracer ships it" if place.startswith("tracing/") else "tests only"
        found.append((place, HEADINGS[first], user))
    return found


def page() -> str:
    """Return the text of the page."""
    rows = [f"| {name} | {licence_of(name)} | {user} |" for name, user in packages()]
    rows += [f"| {name} | {licence} | checks of the JavaScript |" for name, licence in scripts()]
    files = [f"| `{place}/` | {licence} | {user} |" for place, licence, user in vendored()]
    return "\n".join(
        [
            "# Licences",
            "",
            "The tracer and CarSales are under the [MIT licence](../../LICENSE). Below is what they need,",
            "written down by `scripts/licences.py` from what the packages say of themselves;",
            "[Dependencies](dependencies.md) says why each is here. Of all this the distribution has the",
            "vendored files of the tracer alone.",
            "",
            "| package | licence | needed by |",
            "|---|---|---|",
            *rows,
            "",
            "| files of others | licence | used by |",
            "|---|---|---|",
            *files,
            f"| `{DATA}/` | MIT | the demo site: two tables of cars |",
            "",
        ]
    )


def main() -> int:
    """Write the page, or compare it; return the exit status."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(
        "docs/project/licences.md is not what the packages say: python scripts/licences.py",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
