"""Receivers and methods that a test left changed, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracing.analysis.names import place, signal_of
from tracing.spans.processes import CONNECTED, DISCONNECTED, UNMUTED

if TYPE_CHECKING:
    from collections.abc import Sequence

REPLACED: Final = "replaced"
"""A method was replaced, of one signal or of their class, so that dispatches go elsewhere."""

_SHOWN: Final = 10
"""Findings that a message lists."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A receiver, or a method of a signal, that is not as it was."""

    change: str
    """connected, disconnected, muted, unmuted or replaced."""
    signal: str
    sender: str
    """As it was connected: ``None`` for any sender."""
    receiver: str
    """Its dotted path; the name of the method, if that was replaced."""
    file: str = ""
    """Where it was done; empty if nobody saw it."""
    line: int = 0
    connected_file: str = ""
    """Of one that is not called any more: where it was connected, if that was seen."""
    connected_line: int = 0
    fixture: str = ""
    """The fixture of several tests that left it; empty if the test did."""

    def __str__(self) -> str:
        subject = signal_of(self.signal, self.sender)
        at = place(self.file, self.line)
        if self.change == REPLACED:
            text = f"{subject}.{self.receiver}() is still replaced"
        elif self.change == CONNECTED:
            text = f"{self.receiver} is still connected to {subject}"
            text += f": {at}" if at else ": put into its list of receivers by hand"
        elif self.change == DISCONNECTED:
            text = f"{self.receiver} is disconnected from {subject}: {at}"
        elif self.change == UNMUTED:
            text = f"{self.receiver} is not muted any more on {subject}: {at}"
        else:
            text = f"{self.receiver} is still muted on {subject}"
            text += f": {at}" if at else ": its list of receivers was emptied or replaced by hand"
        if connected := place(self.connected_file, self.connected_line):
            text += f" (connected: {connected})"
        return f"{text}, left by the fixture {self.fixture}" if self.fixture else text


def message(left: Sequence[Leftover]) -> str:
    """Return what is said of a test that left *left*."""
    lines = ["The test leaves signals otherwise than it found them:"]
    lines += [f"- {each}" for each in left[:_SHOWN]]
    if len(left) > _SHOWN:
        lines.append(f"- and {len(left) - _SHOWN} more")
    lines.append(
        "It was put back, so that no later test meets it. "
        "To allow it: @pytest.mark.tracing_guard(False)"
    )
    return "\n".join(lines)
