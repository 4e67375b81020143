"""``pytest --tracing-coverage``: the hooks that count which receivers ran."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tracing.pytest_plugin.runs import django_is_configured, node_id

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tracing.analysis.signal_coverage import Connected
    from tracing.testing.covering import Counter

OUTPUT: Final = "tracing_coverage"
"""Where a worker of xdist puts what it counted."""


def add_options(group: pytest.OptionGroup) -> None:
    """Add the options."""
    group.addoption(
        "--tracing-coverage",
        action="store_true",
        help="Tell which connected receivers never ran, and which only on their good side.",
    )
    group.addoption(
        "--tracing-coverage-all",
        action="store_true",
        help="Also of receivers that are Django's or an installed package's.",
    )
    group.addoption(
        "--tracing-coverage-min",
        type=percentage,
        metavar="PERCENT",
        help="Fail the run if fewer of the connections ran.",
    )
    group.addoption(
        "--tracing-coverage-json", metavar="FILE", help="Write it as JSON, for programs."
    )
    group.addoption(
        "--tracing-coverage-lcov",
        metavar="FILE",
        help="Write it as lcov, for what shows coverage: each connection is a function.",
    )


def percentage(text: str) -> float:
    """Return a number from 0 to 100."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 100:  # noqa: PLR2004 - percent; what is no number is not, either.
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0 to 100")
    return value


def is_wanted(config: pytest.Config) -> bool:
    """Return whether any of the options asks for it."""
    option = config.option
    return not getattr(option, "collectonly", False) and bool(
        option.tracing_coverage
        or option.tracing_coverage_all
        or option.tracing_coverage_min is not None
        or option.tracing_coverage_json
        or option.tracing_coverage_lcov
    )


class Covering:
    """The hooks that count receiver calls in each process and report them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config: Final = config
        self._counter: Counter | None = None
        self._files: set[str] = set()
        """Of the tests: their own receivers are not the project's."""
        self._parts: list[list[Connected]] = []
        self._without: list[str] = []
        """Workers that ended without telling what they counted."""
        self._shown: list[Connected] | None = None
        self._hidden = 0

    # --- in each process that runs tests -----------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin to count."""
        self._files.add(str(item.path))
        if self._counter is None and django_is_configured():
            from tracing.testing.covering import Counter  # noqa: PLC0415 - needs Django's settings.

            self._counter = Counter()
        if self._counter is not None:
            self._counter.begin(node_id(item))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """End with a test: what cleans up after it may be any test's."""
        if self._counter is not None:
            self._counter.end()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Hand what was counted to the process that started this one."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            self._take_own()
            output[OUTPUT] = _encoded(self._parts)

    def _take_own(self) -> None:
        if self._counter is None:
            return
        from tracing.analysis.signal_coverage import without  # noqa: PLC0415 - as above.

        self._parts.append(without(self._counter.close(), self._files))
        self._counter = None

    # --- in the first ------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker of xdist counted."""
        output = getattr(node, "workeroutput", None) or {}
        if OUTPUT in output:
            from tracing.analysis.signal_coverage import decode  # noqa: PLC0415 - as above.

            self._parts.append(decode(output[OUTPUT]))
        else:
            self._without.append(node.gateway.id)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Put together what was counted; fail the run if it is too little."""
        result = yield
        if hasattr(self._config, "workeroutput"):
            return result
        self._take_own()
        if self._parts:
            self._put_together()
            self._write()
            if self._is_too_little():
                session.testsfailed += (
                    1  # As pytest-cov does it: the exit status is that of failed tests.
                )
        return result

    def _put_together(self) -> None:
        from tracing.analysis.signal_coverage import merged  # noqa: PLC0415 - as above.

        found = merged(self._parts)
        everything = self._config.option.tracing_coverage_all
        self._shown = [each for each in found if everything or each.mine]
        self._hidden = len(found) - len(self._shown)

    def _relative(self) -> Callable[[str], str]:
        from tracing.testing.recording import relative_to  # noqa: PLC0415 - as above.

        return relative_to(self._config.rootpath)

    def _write(self) -> None:
        from tracing.presentation import signal_coverage  # noqa: PLC0415 - as above.

        option, shown = self._config.option, self._shown or []
        root = str(self._config.rootpath)
        if option.tracing_coverage_json:
            told = json.dumps(signal_coverage.document(shown, self._relative()), indent=2)
            self._write_file(option.tracing_coverage_json, f"{told}\n")
        if option.tracing_coverage_lcov:

            def source(file: str) -> str:
                """Return a path by which the file is found, also outside the project."""
                inside = file.startswith(root + os.sep)
                return Path(file).relative_to(root).as_posix() if inside else file

            self._write_file(option.tracing_coverage_lcov, signal_coverage.lcov(shown, source))

    def _write_file(self, name: str, text: str) -> None:
        path = Path(self._config.invocation_params.dir, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _is_too_little(self) -> bool:
        from tracing.analysis.signal_coverage import percent  # noqa: PLC0415 - as above.

        least = self._config.option.tracing_coverage_min
        return least is not None and percent(self._shown or []) < least

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what was counted."""
        write = terminalreporter.write_line
        if self._shown is None:
            return
        from tracing.analysis.signal_coverage import percent  # noqa: PLC0415 - as above.
        from tracing.presentation.signal_coverage import lines  # noqa: PLC0415 - as above.

        terminalreporter.section("signal coverage")
        for line in lines(self._shown, self._hidden, self._relative()):
            write(line)
        if self._without:
            write(f"Not counted, since it ended early: {', '.join(self._without)}", yellow=True)
        if self._is_too_little():
            least = self._config.option.tracing_coverage_min
            write(
                f"FAIL Required signal coverage of {least:g} % not reached: "
                f"{percent(self._shown):.2f} %",
                red=True,
                bold=True,
            )


def _encoded(parts: list[list[Connected]]) -> bytes:
    if not parts:
        return b"[]"
    from tracing.analysis.signal_coverage import encode  # noqa: PLC0415 - as above.

    return encode(parts[0])
