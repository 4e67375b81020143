"""Dispatch trees kept in files beside the tests."""

from __future__ import annotations

import os
import re
import sys
from difflib import unified_diff
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Final

from tracing.analysis.names import place
from tracing.presentation.stable_tree import stable_tree

if TYPE_CHECKING:
    from types import FrameType

    from tracing.testing.capture import Captured

FOLDER: Final = "__dispatch_trees__"
"""Of the snapshots, beside the tests; in it a folder for each file of tests."""
UPDATE: Final = "TRACING_UPDATE"
"""The variable of the environment that has snapshots written."""

_HOW: Final = f"pytest --tracing-update; with another runner: {UPDATE}=1 in its environment"
_OWN: Final = str(Path(__file__).parent) + os.sep
_CONTEXT: Final = 2
"""Lines around each difference."""


class _Run:
    """The trees that the tests of this process asked for."""

    def __init__(self) -> None:
        self.used: set[Path] = set()
        self.written: dict[Path, str] = {}
        """What was asked for, by its file."""
        self.changed: dict[Path, str] = {}
        """``new`` or ``changed``, by its file."""


run: Final = _Run()


def assert_dispatch_tree(
    captured: Captured,
    name: str = "",
    *,
    expected: str | None = None,
    everything: bool = False,
    update: bool | None = None,
) -> None:
    """Assert that the tree is the one kept as *name* beside the test.

    The tree has names, nesting, outcomes and counts: no times, keys, paths and queries. It is kept in
    ``__dispatch_trees__/TESTFILE/NAME.txt``.

    Args:
        captured: What ``capture_dispatches`` yielded.
        name: Of letters, digits, ``-``, ``_`` and dots.
        expected: The tree itself, in the place of a file.
        everything: Also what only receivers of Django and of installed packages did.
        update: Write the file rather than compare; by default if ``pytest --tracing-update`` runs or
            the environment has ``TRACING_UPDATE=1``.

    Raises:
        AssertionError: It is another tree, told by a diff; or there is no such file, told with the way
            to make it.
        ValueError: *name* cannot be the name of a file, or *name* and *expected* are both given, or none.
    """
    __tracebackhide__ = True
    if (expected is None) == (not name):
        raise ValueError("assert_dispatch_tree takes a name, or expected= in its place.")
    tree = stable_tree(captured.trace, everything=everything)
    if expected is not None:
        _compare(f"{dedent(expected).strip()}\n", tree, "expected", "")
        return
    path = _path_of(name)
    run.used.add(path)
    if update if update is not None else os.environ.get(UPDATE, "") not in {"", "0"}:
        _write(path, tree)
        return
    where = place(str(path))
    if not path.exists():
        raise AssertionError(
            f"There is no dispatch tree {where} yet. If this one is right, keep it ({_HOW}):\n\n{tree}"
        )
    _compare(path.read_text(encoding="utf-8"), tree, where, f"\n\nIf this is right: {_HOW}")


def _compare(kept: str, tree: str, where: str, advice: str) -> None:
    __tracebackhide__ = True
    if kept != tree:
        lines = unified_diff(
            kept.splitlines(), tree.splitlines(), where, "this run", n=_CONTEXT, lineterm=""
        )
        raise AssertionError(f"Another dispatch tree:\n\n{chr(10).join(lines)}{advice}")


def _write(path: Path, tree: str) -> None:
    if run.written.setdefault(path, tree) != tree:
        raise AssertionError(
            f"Two tests keep different dispatch trees in {place(str(path))}: give one another name."
        )
    is_new = not path.exists()
    if is_new or path.read_text(encoding="utf-8") != tree:
        run.changed[path] = "new" if is_new else "changed"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tree, encoding="utf-8")


def _path_of(name: str) -> Path:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"{name!r} cannot be the name of a dispatch tree: letters, digits, '-', '_' and '.' can."
        )
    test = _test_file()
    return test.parent / FOLDER / test.stem / f"{name}.txt"


def _test_file() -> Path:
    """Return the file of the running test, or of whoever asserts."""
    said = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
    first = ""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the test stands above.
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_OWN):
            first = first or file
            if not said or Path(file).name == Path(said).name:
                return Path(file).absolute()
        frame = frame.f_back
    return Path(first or said).absolute()
