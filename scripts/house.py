"""The house of `tracing`: its sizes, and names that must not come back.

Prints lines and files for each room, the longest files and functions, the functions with most branches,
and definitions that several files have under one name. Fails where a file or a function is longer or more
complex than `scripts/words.toml` allows, where more modules lie at the root than it allows, where a
docstring begins as a question or with a long line, and where it finds a name that was retired. Circles
of imports are `make contracts`' business.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ROOT / "tracing"
RULES = tomllib.loads((ROOT / "scripts" / "words.toml").read_text())
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SHOWN = 12
QUESTIONS = {"what", "who", "whose", "how", "where", "when", "why", "which", "whether"}
"""Words with which no docstring begins: a class is a noun, a function a command."""


def sources() -> list[Path]:
    """Return the Python files of the house but for migrations, which are generated."""
    return sorted(path for path in HOUSE.rglob("*.py") if "migrations" not in path.parts)


def scripts() -> list[Path]:
    """Return the scripts of the house but for those of others."""
    found = HOUSE.glob("static/**/*.js")
    return sorted(path for path in found if "vendor" not in path.parts)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (name, lines, complexity) of each function; what is defined inside counts for itself.

    Complexity is McCabe's, as Ruff counts it: one, and one for each way to branch off.
    """

    def walk(node: ast.AST, above: str) -> Iterator[tuple[str, int, int]]:
        for child in ast.iter_child_nodes(node):
            name = above
            if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
                name = f"{above}.{child.name}" if above else child.name
            if isinstance(child, FUNCTIONS):
                inner = [each for each in ast.walk(child) if isinstance(each, FUNCTIONS)][1:]
                within = {id(part) for each in inner for part in ast.walk(each)}
                lines = (child.end_lineno or child.lineno) - child.lineno + 1
                lines -= sum((each.end_lineno or 0) - each.lineno + 1 for each in inner)
                complexity = 1 + sum(
                    isinstance(part, BRANCHES) or (isinstance(part, ast.Try) and bool(part.orelse))
                    for part in ast.walk(child)
                    if id(part) not in within
                )
                yield f"{name_of(path)}:{name}", lines, complexity
            yield from walk(child, name)

    yield from walk(ast.parse(path.read_text()), "")


def show_rooms() -> None:
    rooms: dict[str, list[int]] = defaultdict(list)
    for path in sources():
        parts = path.relative_to(HOUSE).parts
        rooms[parts[0] if len(parts) > 1 else "(root)"].append(lines_of(path))
    print(f"{'room':<18}{'files':>7}{'lines':>9}")
    for room, lengths in sorted(rooms.items(), key=lambda item: -sum(item[1])):
        print(f"{room:<18}{len(lengths):>7}{sum(lengths):>9,}")
    every = [length for lengths in rooms.values() for length in lengths]
    print(f"{'all':<18}{len(every):>7}{sum(every):>9,}\n")


def too_much(
    what: str, unit: str, found: dict[str, int], limit: int, allowed: dict[str, int]
) -> list[str]:
    """Print those of *found* that have most of *unit*; return those that have more than they may."""
    longest = sorted(found.items(), key=lambda item: -item[1])[:SHOWN]
    print(f"{what} by {unit} (limit {limit}, {sum(n > limit for n in found.values())} over it)")
    for name, length in longest:
        print(f"  {length:>5}  {name}")
    print()
    return [
        f"{name} has {length} {unit}; {allowed.get(name, limit)} are allowed."
        for name, length in found.items()
        if length > allowed.get(name, limit)
    ]


def show_namesakes() -> None:
    names: Counter[str] = Counter()
    for path in sources():
        defined = {
            node.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, (*FUNCTIONS, ast.ClassDef))
        }
        names.update(defined)
    twice = [f"{name} ({count})" for name, count in names.most_common() if count > 1]
    print(f"defined in several files: {len(twice)}: {', '.join(twice[:SHOWN])}\n")


def retired() -> list[str]:
    """Return where a name stands that was retired, in its room or anywhere."""
    rooms: dict[str, dict[str, str]] = {"": {}}
    for word, use in RULES["retired"].items():
        if isinstance(use, dict):
            rooms[word] = use
        else:
            rooms[""][word] = use
    problems = []
    for room, words in rooms.items():
        for word, use in words.items():
            before = r"(?<![\w.])" if "." in word else r"(?<!\w)"
            pattern = re.compile(rf"{before}{re.escape(word)}(?!\w)")
            for path in sources():
                if not path.is_relative_to(HOUSE / room):
                    continue
                for number, line in enumerate(path.read_text().splitlines(), 1):
                    if pattern.search(line) and not line.endswith("# retired"):
                        problems.append(f"{name_of(path)}:{number}: {word} is called {use} now.")
    return problems


def summaries() -> Iterator[tuple[str, str]]:
    """Yield where each docstring is, and its first line."""
    for path in sources():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Module)):
                name = f"{name_of(path)}:{getattr(node, 'name', '')}".rstrip(":")
                if text := ast.get_docstring(node):
                    yield name, text.splitlines()[0]


def wordy() -> list[str]:
    """Return which docstrings begin as a question, and whose first line is too long."""
    limit = RULES["limits"]["summary"]
    problems = []
    for name, line in summaries():
        if line.split()[0].lower() in QUESTIONS:
            problems.append(f"{name} begins as a question: {line}")
        if len(line) > limit:
            problems.append(
                f"{name} has a first line of {len(line)} characters, not {limit}: {line}"
            )
    return problems


def main() -> int:
    show_rooms()
    lengths = {name_of(path): lines_of(path) for path in [*sources(), *scripts()]}
    limits = RULES["limits"]
    problems = too_much("files", "lines", lengths, limits["file"], RULES["files"])
    found = [each for path in sources() for each in functions(path)]
    bodies = {name: length for name, length, _ in found}
    problems += too_much("functions", "lines", bodies, limits["function"], RULES["functions"])
    branches = {name: complexity for name, _, complexity in found}
    problems += too_much(
        "functions", "branches", branches, limits["complexity"], RULES["complexity"]
    )
    show_namesakes()
    root = [path.name for path in HOUSE.glob("*.py") if path.name != "__init__.py"]
    if len(root) > limits["root"]:
        problems.append(f"{len(root)} modules lie at the root: {', '.join(sorted(root))}.")
    problems += wordy() + retired()
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
