"""Write down the licences of dependencies and vendored files: python scripts/licences.py.

They are what the installed packages say of themselves, in the second column of docs/project/dependencies.md.
``--check`` writes nothing and fails where the page is not what they say.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "project" / "dependencies.md"
LONGEST = 40
"""Characters of a licence's name; a longer text is the licence itself."""
HEADINGS = {
    "Zero-Clause BSD": "0BSD",
    "The MIT License (MIT)": "MIT",
    "Mozilla Public License, version 2.0": "MPL-2.0",
}
"""What the first line of a licence's text is short for."""
ROW = re.compile(r"^(\| `?([\w@./-]+?)/?`? \| )([^|]*?)( \|)", re.MULTILINE)
"""The beginning of a row: a package or a folder of files, and its licence."""


def licence_of(package: str) -> str:
    """Return the licence that an installed package says it has."""
    told = importlib.metadata.metadata(package)
    name = told.get("License-Expression") or (told.get("License") or "").strip()
    if name and len(name) <= LONGEST:
        return name
    classifiers = [line for line in told.get_all("Classifier", []) if line.startswith("License")]
    return ", ".join(line.rpartition(" :: ")[2] for line in classifiers) or "says nothing"


def packages() -> set[str]:
    """Return each package of Python that the project names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    named = [*project["dependencies"], *(line for lines in extras for line in lines)]
    for file in ("requirements.txt", "requirements-dev.txt"):
        named += (ROOT / file).read_text(encoding="utf-8").splitlines()
    return {_name(line) for line in named if re.match(r"\w", line)} - {project["name"]}


def scripts() -> list[tuple[str, str]]:
    """Return each package that checks the JavaScript, and its licence."""
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    return [(name, lock[f"node_modules/{name}"]["license"]) for name in lock[""]["devDependencies"]]


def _name(line: str) -> str:
    match = re.match(r"[\w.-]+", line)
    return match[0] if match else ""


def vendored() -> list[tuple[str, str]]:
    """Return each folder of others' files: its place and its licence."""
    found = []
    for path in sorted(ROOT.glob("t*/**/vendor/*/LICENSE")):
        first = path.read_text(encoding="utf-8").strip().splitlines()[0].strip()
        found.append((path.parent.relative_to(ROOT).as_posix(), HEADINGS[first]))
    return found


def page() -> str:
    """Return the text of the page, its licences written anew.

    Raises:
        ValueError: It has no row for a package or a folder.
    """
    told = {name: licence_of(name) for name in packages()} | dict(scripts()) | dict(vendored())
    text = PAGE.read_text(encoding="utf-8")
    rows = {match[2]: match[3] for match in ROW.finditer(text)}
    if missing := told.keys() - rows:
        raise ValueError(f"{PAGE.name} lacks {', '.join(sorted(missing))}")
    return ROW.sub(lambda row: f"{row[1]}{told.get(row[2], row[3])}{row[4]}", text)


def main() -> int:
    """Write the page, or compare it; return the exit status."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(
        "docs/project/dependencies.md is not what the packages say: python scripts/licences.py",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
