"""The words of an answer: its verdict, the lines that show it, what to do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from msgspec import to_builtins

VERDICTS: Final = (
    "ran",
    "ran-raised",
    "ran-undone",
    "skipped",
    "send-failed",
    "never-awaited",
    "never-imported",
    "app-not-installed",
    "app-config-not-used",
    "import-failed",
    "never-connected",
    "connected-later",
    "duplicate-uid",
    "collected",
    "disconnected",
    "muted",
    "stale-cache",
    "other-process",
    "on-commit-discarded",
    "bypassed",
    "other-signal-object",
    "other-sender",
    "other-signal",
    "not-sent",
    "not-recorded",
)
"""In order of precedence: where several hold, the first is the answer."""

RAN: Final = frozenset({"ran", "ran-raised", "ran-undone"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fact that shows the verdict, and the line where it stands."""

    text: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict about a receiver, and what shows it."""

    verdict: str
    sentence: str
    evidence: list[Evidence] = field(default_factory=list)
    """What shows it; the first names the line to change or the one that prevented the call."""
    remedy: str = ""
    signal: str = ""
    sender: str = ""
    trace_id: str = ""
    receiver: str = ""
    calls: int = 0
    is_close: bool = False
    """Another sender sent, and it is one that is easily taken for the right one."""

    @property
    def ran(self) -> bool:
        """Return whether the receiver was called."""
        return self.verdict in RAN

    @property
    def rank(self) -> int:
        """Return its place in the order of precedence."""
        return VERDICTS.index(self.verdict)

    @property
    def order(self) -> tuple[int, bool]:
        """Return what orders answers, the one to give first."""
        return self.rank, not self.is_close

    def about(self, signal: str, sender: str, trace_id: str = "") -> Answer:
        """Return it for a signal and a sender, unless it has its own."""
        return replace(
            self,
            signal=self.signal or signal,
            sender=self.sender or sender,
            trace_id=self.trace_id or trace_id,
        )

    def beside(self, other: Answer) -> Answer:
        """Return it with what shows *other*, which holds as well."""
        known = {(each.file, each.line) for each in self.evidence}
        more = [each for each in other.evidence if (each.file, each.line) not in known]
        remedy = f"{self.remedy} For {other.sender}: {other.remedy[:1].lower()}{other.remedy[1:]}"
        return replace(self, evidence=[*self.evidence, *more], remedy=remedy)


def as_dict(answer: Answer) -> dict[str, Any]:
    """Return *answer* as a JSON object; its keys are part of the interface."""
    return {
        "receiver": answer.receiver,
        "verdict": answer.verdict,
        "calls": answer.calls,
        "signal": answer.signal or None,
        "sender": answer.sender or None,
        "trace_id": answer.trace_id or None,
        "evidence": to_builtins(answer.evidence),
        "remedy": answer.remedy,
    }
