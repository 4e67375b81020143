"""The recording of a run of tests into one plain file per process."""

from __future__ import annotations

import ast
import os
import re
from contextlib import ExitStack, contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.apps import apps

from tracing.analysis.review.folding import Folding
from tracing.analysis.review.records import FORMAT, Header, Project, encode, file_name
from tracing.analysis.wiring import ANY, known_signals, read_wiring
from tracing.instrumentation.attributes.signal_names import signal_named
from tracing.instrumentation.connections.receivers import entry_labels
from tracing.spans.records import Bypass, Kind
from tracing.testing.capture import capture_dispatches

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from io import FileIO

    from tracing.spans.notes import SilentWrite
    from tracing.spans.records import ReceiverLabel
    from tracing.testing.capture import Captured

_PACKAGES: Final = re.compile(r".*[\\/](?:site|dist)-packages[\\/]")
_LEAST_NODES: Final = 25
"""Parts of a function's body from which on it is not like any other by chance."""


class Recorder:
    """A recorder of the tests of this process, which writes each one down.

    Args:
        folder: Where the file goes.
        process: What the process is called, as ``gw0``.
        root: What paths are relative to: the repository.
    """

    def __init__(self, folder: Path, process: str, root: Path) -> None:
        import tracing  # noqa: PLC0415 - the package's own functions need all rooms below this one.

        folder.mkdir(parents=True, exist_ok=True)
        self._relative = relative_to(root)
        self._units: list[_Unit] = []
        self._receivers: set[ReceiverLabel] = set()
        self._file: FileIO = (folder / file_name(process)).open("wb", buffering=0)
        self._write(Header(FORMAT, process))
        # Once for all tests: what is known of receivers would be lost with each of them.
        self._undo = None if tracing.is_instrumented() else tracing.instrument()

    def begin(self, name: str) -> None:
        """Begin to record under *name*; what is being recorded waits for its end."""
        if self._units:
            self._units[-1].pause()
        unit = _Unit(name, Folding(self._relative, _skipped_by), self._receivers)
        self._units.append(unit)
        unit.go_on()

    def end(self, *, failed: bool = False, keep: bool = True) -> None:
        """End what was begun last, and write it down if it is to be kept."""
        unit = self._units.pop()
        unit.pause()
        if keep:
            self._write(unit.folding.behaviour(unit.name, failed=failed))
        if self._units:
            self._units[-1].go_on()

    @property
    def is_recording(self) -> bool:
        """Return whether something was begun and has not ended."""
        return bool(self._units)

    @contextmanager
    def apart(self, name: str, *, keep: bool) -> Generator[None]:
        """Record a block under a name of its own, apart from what is around it."""
        self.begin(name)
        failed = True
        try:
            yield
            failed = False
        finally:
            self.end(failed=failed, keep=keep)

    def close(self) -> None:
        """Write down what is connected, and end."""
        while self._units:
            self.end(failed=True)
        try:
            self._write(Project(list(_connected()), _digests(self._receivers)))
        finally:
            self._file.close()
            if self._undo is not None:
                self._undo()

    def _write(self, line: object) -> None:
        # One write for a line: a run that is killed leaves whole lines and part of one at the most.
        self._file.write(encode(line) + b"\n")


class _Unit:
    """A test, or what is set up for several tests, while it is recorded."""

    def __init__(self, name: str, folding: Folding, receivers: set[ReceiverLabel]) -> None:
        self.name = name
        self.folding = folding
        self._receivers = receivers
        self._running = ExitStack()
        self._captured: Captured | None = None

    def go_on(self) -> None:
        self._captured = self._running.enter_context(capture_dispatches(self.name, kind=Kind.TEST))

    def pause(self) -> None:
        self._running.close()
        if self._captured is None:
            return
        for part in self._captured.parts:
            self.folding.add(part)
            self._receivers.update(
                call.receiver for dispatch in part.dispatches for call in dispatch.receiver_calls
            )
        self._captured = None


def _skipped_by(bypass: Bypass | SilentWrite) -> Iterator[tuple[str, ReceiverLabel]]:
    """Yield (signal, receiver) of each receiver that a write skipped."""
    if isinstance(bypass, Bypass) and len(bypass.signals) == 1:
        for label in bypass.receivers:
            yield bypass.signals[0], label
        return
    try:
        model = apps.get_model(bypass.model)
    except (LookupError, ValueError):
        return
    for name in bypass.signals:
        signal = signal_named(name)
        if signal is not None:
            for label in entry_labels(signal, model):
                yield name, label


def _connected() -> Iterator[tuple[str, str, str]]:
    """Yield (signal, sender, receiver) of every connection of this process."""
    found = set()
    for route in read_wiring(known_signals(anew=False), with_holders=False):
        for connection in route.connections:
            label = connection.receiver
            if connection.alive and label.any_sender == (route.sender == ANY):
                found.add((route.signal, route.sender, label.name))
    yield from sorted(found)


def relative_to(root: Path) -> Callable[[str], str]:
    """Return what makes a path relative to *root* or to site-packages."""
    above = str(root).rstrip(os.sep) + os.sep

    @cache
    def relative(file: str) -> str:
        package = _PACKAGES.match(file)
        if package is not None:
            return file[package.end() :].replace(os.sep, "/")
        if file.startswith(above):
            return file[len(above) :].replace(os.sep, "/")
        return Path(file).name

    return relative


def repository_of(folder: Path) -> Path:
    """Return the repository that holds *folder*; itself without one."""
    folder = folder.resolve()
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)


def _digests(receivers: set[ReceiverLabel]) -> dict[str, str]:
    """Return digests of receivers' bodies by name, without short ones."""
    found = {}
    for label in sorted(receivers, key=lambda each: (each.name, each.line)):
        function = _functions_of(label.file).get(label.line) if label.file else None
        if function is not None:
            found[label.name] = function
    return found


@cache
def _functions_of(file: str) -> dict[int, str]:
    """Return the digest of each longer function of a file, by first line."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return {}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            text = "\n".join(ast.unparse(each) for each in body)
            if sum(1 for statement in body for _ in ast.walk(statement)) >= _LEAST_NODES:
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                found[first] = blake2b(text.encode(), digest_size=8).hexdigest()
    return found
