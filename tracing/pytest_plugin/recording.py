"""``pytest --tracing-record``: the hooks that have each test written down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tracing.pytest_plugin.runs import django_is_configured, node_id, shared_name

if TYPE_CHECKING:
    from collections.abc import Generator

    from tracing.testing.recording import Recorder


class Recording:
    """The hooks that record a run of tests, in each process that runs some."""

    def __init__(self, config: pytest.Config) -> None:
        worker = getattr(config, "workerinput", None)
        self._process: Final = str(worker["workerid"]) if worker else "main"
        self._folder: Final = Path(config.invocation_params.dir, config.option.tracing_record)
        self._root: Final = config.rootpath
        self._recorder: Recorder | None = None
        self._failed = self._skipped = False
        if worker is None:
            # Where workers run the tests, they are told the folder itself.
            config.option.tracing_record = str(self._folder)
            self._empty()

    def _empty(self) -> None:
        """Remove the files of an earlier run, which may have had more processes."""
        if self._folder.exists() and not self._folder.is_dir():
            raise pytest.UsageError(f"--tracing-record: {self._folder} is no folder")
        for file in self._folder.glob("behaviour-*.jsonl"):
            file.unlink()

    def _open(self) -> Recorder:
        from tracing.testing import recording  # noqa: PLC0415 - needs Django's settings.

        root = recording.repository_of(self._root)
        return recording.Recorder(self._folder, self._process, root)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin to record a test, with the fixtures that are its own."""
        if self._recorder is None and django_is_configured():
            self._recorder = self._open()
        if self._recorder is not None:
            self._failed = self._skipped = False
            self._recorder.begin(node_id(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Record apart what is set up for several tests: any may be the first."""
        recorder = self._recorder
        if fixturedef.scope == "function" or recorder is None or not recorder.is_recording:
            return (yield)
        is_plugins = not fixturedef.baseid and _is_foreign(fixturedef.func)
        if is_plugins and fixturedef.argname.startswith("_"):
            return (yield)  # Looks at each class, and sends nothing.
        # What a plugin sets up for the whole run, as the databases, is nothing of the project.
        with recorder.apart(shared_name(fixturedef), keep=not is_plugins):
            return (yield)

    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """Note how a test ended."""
        if call.excinfo is not None and call.when != "teardown":
            self._skipped = call.excinfo.errisinstance(pytest.skip.Exception)
            self._failed = not self._skipped

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Write a test down; what cleans up after it may be any test's."""
        if self._recorder is not None and self._recorder.is_recording:
            self._recorder.end(failed=self._failed, keep=not self._skipped)

    def pytest_unconfigure(self) -> None:
        """Write down what is connected."""
        if self._recorder is not None:
            self._recorder.close()


def _is_foreign(function: object) -> bool:
    from tracing.instrumentation.attributes.callsites import is_foreign  # noqa: PLC0415 - as above.

    code = getattr(function, "__code__", None)
    return code is not None and is_foreign(code.co_filename)
