"""``pytest --tracing-update``: write dispatch trees; find unused ones."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

UPDATE: Final = "TRACING_UPDATE"
FOLDER: Final = "__dispatch_trees__"
OUTPUT: Final = "tracing_trees"
"""Where a worker of xdist puts which trees it used."""


class Updating:
    """The hooks of a run that updates dispatch trees."""

    def __init__(self, config: pytest.Config) -> None:
        self._config: Final = config
        self._before: Final = os.environ.get(UPDATE)
        self._complete: Final[set[Path]] = set()
        """Files of which tests ran."""
        # Of those with a part that did not run, nobody knows what it would use.
        self._partial: Final = {
            Path(config.invocation_params.dir, argument.partition("::")[0]).absolute()
            for argument in config.args
            if "::" in argument
        }
        self._used: Final[set[Path]] = set()
        self._changed: Final[dict[str, str]] = {}
        self._is_whole = True
        os.environ[UPDATE] = "1"
        if (module := sys.modules.get("tracing.testing.snapshots")) is not None:
            module.run.used.clear()
            module.run.written.clear()
            module.run.changed.clear()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note files of which not all tests run."""
        self._partial.update(item.path for item in items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note files whose tests ran, and those whose tests did not end."""
        path = Path(self._config.rootpath, report.nodeid.partition("::")[0])
        self._complete.add(path)
        if not report.passed:
            self._partial.add(path)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Take what the tests did, or hand it to the process above."""
        self._is_whole = not (session.shouldfail or session.shouldstop)
        if (module := sys.modules.get("tracing.testing.snapshots")) is not None:
            self._used.update(module.run.used)
            self._changed.update({str(path): how for path, how in module.run.changed.items()})
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            used, partial = (sorted(map(str, paths)) for paths in (self._used, self._partial))
            output[OUTPUT] = json.dumps([used, partial, self._changed])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker of xdist did."""
        output = getattr(node, "workeroutput", None) or {}
        if OUTPUT not in output:
            self._is_whole = False
            return
        used, partial, changed = json.loads(output[OUTPUT])
        self._used.update(map(Path, used))
        self._partial.update(map(Path, partial))
        self._changed.update(changed)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what was written, and what no test uses."""
        unused = self._unused() if self._is_whole else []
        if not (self._used or unused):
            return
        terminalreporter.section("dispatch trees")
        write = terminalreporter.write_line
        for name, how in sorted(self._changed.items()):
            write(f"{how:<8}  {self._shown(Path(name))}")
        for path in unused:
            write(f"unused    {self._shown(path)}: no test asks for it, delete it", yellow=True)
        if same := len(self._used) - len(self._changed):
            write(f"{same} unchanged")

    def pytest_unconfigure(self) -> None:
        """Put the environment back."""
        if self._before is None:
            os.environ.pop(UPDATE, None)
        else:
            os.environ[UPDATE] = self._before

    def _unused(self) -> list[Path]:
        whole = self._complete - self._partial
        found = {
            tree
            for test in whole
            for tree in (test.parent / FOLDER / test.stem).glob("*.txt")
            if tree not in self._used
        }
        for folder in {test.parent / FOLDER for test in self._complete}:
            # Those whose file of tests is gone.
            found.update(
                tree
                for tree in folder.glob("*/*.txt")
                if not (folder.parent / f"{tree.parent.name}.py").exists()
            )
        return sorted(found)

    def _shown(self, path: Path) -> str:
        root = self._config.rootpath
        return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
