"""Recorded behaviour of the tests of a run, and the files that hold it.

A file for each process, a line for each test, and no times, keys or absolute paths: two runs of the same
code say the same. A line that was cut off by an aborted run is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FORMAT: Final = 1
"""Version of the lines: goes up when a field changes its meaning or goes away."""
PATTERN: Final = "behaviour-*.jsonl"


def file_name(process: str) -> str:
    """Return the name of the file of a process, as ``behaviour-gw0.jsonl``."""
    return PATTERN.replace("*", process)


class Located(msgspec.Struct, omit_defaults=True):
    """Something with a place in the project's source."""

    file: str = ""
    """Relative to the repository, or to where packages are installed."""
    line: int = 0


class ReceiverCalls(Located):
    """The calls of one receiver for the dispatches of one group."""

    receiver: str = ""
    is_async: bool = False
    any_sender: bool = False
    mine: bool = False
    outcomes: dict[str, int] = {}
    """How many ended so: ``returned``, ``raised ValueError``, ``cancelled``, ``skipped``."""
    queries: dict[int, int] = {}
    """How many calls ran so many queries of their own."""
    statements: dict[str, int] = {}
    """How often each statement was run by them, without its values."""

    @property
    def count(self) -> int:
        """Return how often it was reached, the calls that were skipped included."""
        return sum(self.outcomes.values())

    @property
    def made(self) -> int:
        """Return how often it was called."""
        return self.count - self.outcomes.get("skipped", 0)


class Group(Located):
    """Dispatches of one signal and sender at one place of the tree."""

    signal: str = ""
    sender: str = ""
    action: str = ""
    """m2m_changed: pre_add, post_add ..."""
    within: tuple[int, int] | None = None
    """Group of the test, and receiver of that group, whose calls sent them; None at the top."""
    methods: dict[str, int] = {}
    on_commit: int = 0
    """How many of them an on_commit callback sent."""
    escaped: dict[str, int] = {}
    """Types of the exceptions that left them."""
    receivers: list[ReceiverCalls] = []
    """In calling order."""

    @property
    def count(self) -> int:
        """Return how often the signal was sent."""
        return sum(self.methods.values())


class Bypassed(Located):
    """A receiver that was not called since a write sent no signals."""

    operation: str = ""
    signal: str = ""
    sender: str = ""
    receiver: str = ""
    receiver_file: str = ""
    receiver_line: int = 0
    count: int = 1


class TestBehaviour(msgspec.Struct, omit_defaults=True, tag_field="record", tag="test"):
    """The behaviour of a test with its own fixtures, without its teardown."""

    __test__ = False

    test: str
    failed: bool = False
    groups: list[Group] = []
    orphans: list[tuple[str, str, int]] = []
    """(signal, sender, count) of dispatches without receivers."""
    bypassed: list[Bypassed] = []
    waiting: list[tuple[int, int, int]] = []
    """(group, receiver, count) of on_commit callbacks that never ran; (-1, -1, count) at the top."""
    connected: list[tuple[str, str, str]] = []
    """(signal, sender, receiver) of what was connected meanwhile."""


class Header(msgspec.Struct, tag_field="record", tag="header"):
    """The first line of a file."""

    format: int
    process: str


class Project(msgspec.Struct, omit_defaults=True, tag_field="record", tag="project"):
    """The project as a process knew it: its connections, its functions."""

    connected: list[tuple[str, str, str]] = []
    """(signal, sender, receiver)."""
    functions: dict[str, str] = {}
    """Digest of the body of each receiver that was called, by its name."""


Line = Header | TestBehaviour | Project
encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


@dataclass(slots=True)
class Recording:
    """All that one run of the tests recorded."""

    tests: dict[str, TestBehaviour] = field(default_factory=dict)
    processes: int = 0
    connected: set[tuple[str, str, str]] = field(default_factory=set)
    functions: dict[str, str] = field(default_factory=dict)
    statements: dict[str, int] = field(default_factory=dict)
    """The most that any process ran of each statement, in receivers."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, for people."""

    @property
    def is_empty(self) -> bool:
        """Return whether there is no test in it."""
        return not self.tests


class RecordError(ValueError):
    """There is no record, or one that cannot be read."""


def read(folder: Path) -> Recording:
    """Return what the files in *folder* hold.

    Raises:
        RecordError: There is none, or one of another version; with what to do.
    """
    found = Recording()
    if not folder.is_dir():
        raise RecordError(
            f"There is no folder {folder}. Record one: pytest --tracing-record {folder}"
        )
    for path in sorted(folder.glob(PATTERN)):
        found.processes += 1
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path} cannot be read: {error}") from None
        _take(found, path, content.split(b"\n"))
    if found.is_empty:
        raise RecordError(
            f"{folder} holds no record of tests. Record one: pytest --tracing-record {folder}"
        )
    return found


def _take(found: Recording, path: Path, lines: Iterable[bytes]) -> None:
    counts: dict[str, int] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            # Mostly the last one of a run that was killed.
            found.problems.append(f"{path}:{number} is no line of a record and was left out.")
            continue
        if isinstance(line, Header):
            _require_format(path, line)
        elif isinstance(line, Project):
            found.connected.update(line.connected)
            found.functions.update(line.functions)
        else:
            # What is set up for several tests is set up in each process; a test that ran again counts
            # as it ran last.
            found.tests[line.test] = line
            _count_statements(line, counts)
    for sql, count in counts.items():
        found.statements[sql] = max(count, found.statements.get(sql, 0))


def _require_format(path: Path, header: Header) -> None:
    if header.format != FORMAT:
        raise RecordError(
            f"{path} has format {header.format}; this release of the tracer reads {FORMAT}. "
            "Record both sides with the same release."
        )


def _count_statements(test: TestBehaviour, counts: dict[str, int]) -> None:
    for group in test.groups:
        for calls in group.receivers:
            for sql, count in calls.statements.items():
                counts[sql] = counts.get(sql, 0) + count
