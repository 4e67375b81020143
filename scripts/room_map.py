"""Draw the rooms of `tracing`, into docs/architecture.md: python scripts/room_map.py.

They are what the contracts in pyproject.toml say, which `make contracts` checks. ``--check`` writes
nothing and fails where the page is not what would be drawn.
"""

from __future__ import annotations

import re
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = re.compile(r"(<!-- (\w+): begin -->\n).*?(<!-- \2: end -->\n)", re.DOTALL)
"""A picture in the page; its name is the id of a contract."""
JOINTS = {
    (False, False): "\N{BOX DRAWINGS LIGHT HORIZONTAL}",
    (True, False): "\N{BOX DRAWINGS LIGHT UP AND HORIZONTAL}",
    (False, True): "\N{BOX DRAWINGS LIGHT DOWN AND HORIZONTAL}",
    (True, True): "\N{BOX DRAWINGS LIGHT VERTICAL AND HORIZONTAL}",
}
"""A line between two layers, by whether a wall ends there from above and from below."""
WALL = "\N{BOX DRAWINGS LIGHT VERTICAL}"


def layers(contract: str) -> list[list[str]]:
    """Return the rooms of each layer of a contract, from the top down."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (found,) = [
        each for each in project["tool"]["importlinter"]["contracts"] if each["id"] == contract
    ]
    return [re.findall(r"\w+", layer) for layer in found["layers"]]


def draw(rows: list[list[str]]) -> str:
    """Return a house: a floor for each layer, a wall between rooms of one."""
    floors = ["".join(f"{WALL} {room} " for room in row)[1:] for row in rows]
    width = max(map(len, floors))
    floors = [f"{floor:<{width}}" for floor in floors]
    edges = ["", *floors, ""]
    lines = [_line(above, below, width) for above, below in pairwise(edges)]
    ends = [
        "\N{BOX DRAWINGS LIGHT DOWN AND RIGHT}\N{BOX DRAWINGS LIGHT DOWN AND LEFT}",
        *["\N{BOX DRAWINGS LIGHT VERTICAL AND RIGHT}\N{BOX DRAWINGS LIGHT VERTICAL AND LEFT}"]
        * (len(rows) - 1),
        "\N{BOX DRAWINGS LIGHT UP AND RIGHT}\N{BOX DRAWINGS LIGHT UP AND LEFT}",
    ]
    drawn = [f"{left}{line}{right}" for (left, right), line in zip(ends, lines, strict=True)]
    for place, floor in enumerate(floors):
        drawn.insert(2 * place + 1, f"{WALL}{floor}{WALL}")
    return "\n".join(drawn) + "\n"


def _line(above: str, below: str, width: int) -> str:
    walls = [[char == WALL for char in f"{floor:<{width}}"] for floor in (above, below)]
    return "".join(JOINTS[pair] for pair in zip(*walls, strict=True))


def page(text: str) -> str:
    """Return the text of the page with its pictures drawn anew."""
    return PICTURE.sub(
        lambda match: f"{match[1]}```text\n{draw(layers(match[2]))}```\n{match[3]}", text
    )


def main() -> int:
    """Write the page, or compare it; return the exit status."""
    text = PAGE.read_text(encoding="utf-8")
    drawn = page(text)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(drawn, encoding="utf-8")
        return 0
    if text == drawn:
        return 0
    print(
        "docs/architecture.md is not what the contracts say: python scripts/room_map.py",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
