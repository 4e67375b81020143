"""The tree of a trace as text that stays the same from run to run.

No times, keys, paths and lines, and no queries: two runs of the same code say the same, on any machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.index import roots
from tracing.analysis.mine import spans_of_mine
from tracing.analysis.names import short_signal
from tracing.analysis.tree import TIMES, label
from tracing.spans.records import Outcome, TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tracing.analysis.index import Span
    from tracing.spans.records import Dispatch, ReceiverCall, Trace

NOTHING: Final = "(no receiver ran)"
NOTHING_OF_MINE: Final = "(no receiver of yours ran)"

_OF_SERVERS: Final = frozenset(
    f"django.core.signals.{name}"
    for name in ("request_started", "request_finished", "got_request_exception")
)
"""Their senders are the handler of a server or of the test client: no fact of the project."""

_LONGEST: Final = 8
"""Siblings that are looked at as one repetition."""
_ENDS: Final = {
    Outcome.SKIPPED: "skipped",
    Outcome.CANCELLED: "cancelled",
    Outcome.RUNNING: "unfinished",
    Outcome.UNKNOWN: "end unknown",
}
_Block = tuple[str, tuple[tuple[int, int], ...]]
"""A line, and the blocks below it: (number, how often in a row)."""


class _Blocks:
    """Different blocks by number: equal ones share one."""

    def __init__(self) -> None:
        self._numbers: dict[_Block, int] = {}
        self._blocks: list[_Block] = []

    def number(self, line: str, below: Iterable[int]) -> int:
        """Return the number of a block: its line and, folded, those below."""
        return self._of(line, tuple(self._folded(list(below))))

    def _of(self, line: str, below: tuple[tuple[int, int], ...]) -> int:
        block = line, below
        number = self._numbers.setdefault(block, len(self._blocks))
        if number == len(self._blocks):
            self._blocks.append(block)
        return number

    def _folded(self, below: list[int]) -> Iterator[tuple[int, int]]:
        """Yield (number, times) of blocks in a row, turns taken for one block."""
        start = 0
        while start < len(below):
            length, times = _repetition(below, start)
            number = below[start]
            if length > 1:
                number = self._of("", tuple(self._folded(below[start : start + length])))
            yield number, times
            start += length * times

    def lines(self, number: int) -> Iterator[str]:
        """Yield the lines below the block *number*, indented."""
        waiting = [(each, times, 0) for each, times in reversed(self._blocks[number][1])]
        while waiting:
            each, times, level = waiting.pop()
            line, below = self._blocks[each]
            indent = "  " * level
            if line:
                yield f"{indent}{line}{f' {TIMES}{times}' if times > 1 else ''}"
            else:
                yield f"{indent}{TIMES}{times}"
            waiting += [(inner, count, level + 1) for inner, count in reversed(below)]


def _repetition(below: list[int], start: int) -> tuple[int, int]:
    """Return how many blocks from *start* on repeat, and how often."""
    best = (1, 1)
    for length in range(1, min(_LONGEST, len(below) - start) + 1):
        part = below[start : start + length]
        times = 1
        while below[start + times * length : start + (times + 1) * length] == part:
            times += 1
        if times > 1 and length * times > best[0] * best[1]:
            best = length, times
    return best


def stable_tree(
    trace: Trace, *, everything: bool = False, tops: Sequence[Span] | None = None
) -> str:
    """Return the tree of *trace*, ending with a line break.

    Args:
        trace: The trace.
        everything: Also what only receivers of Django and of installed packages did.
        tops: Only these spans and what is below them; None for all.
    """
    shown = None if everything else spans_of_mine(trace)
    blocks = _Blocks()
    numbers: dict[int, int] = {}
    """Blocks by the numbers of their spans."""
    sent_by = trace.sent_by()

    def below(spans: Iterable[Span]) -> list[int]:
        return [numbers[span.number] for span in spans if span.number in numbers]

    # Parents come before their children, so from the end on all that is below has been seen.
    for dispatch in reversed(trace.dispatches):
        for call in dispatch.receiver_calls:
            if shown is None or call.number in shown:
                sent = sent_by.get(call.number, ())
                numbers[call.number] = blocks.number(_call(call), below(sent))
        if shown is None or dispatch.number in shown:
            calls = below(dispatch.receiver_calls)
            numbers[dispatch.number] = blocks.number(_dispatch(dispatch), calls)
    chosen = roots(trace) if tops is None else tops
    lines = list(blocks.lines(blocks.number("", below(chosen))))
    if not lines:
        lines = [NOTHING if everything else NOTHING_OF_MINE]
    return "".join(f"{line}\n" for line in lines)


def _dispatch(dispatch: Dispatch) -> str:
    parts = [short_signal(dispatch.signal) if dispatch.signal in _OF_SERVERS else label(dispatch)]
    undone = {TransactionOutcome.ROLLED_BACK, TransactionOutcome.SAVEPOINT_ROLLED_BACK}
    facts = (
        ("created", dispatch.created is True),
        ("raw", dispatch.raw is True),
        ("detached", dispatch.is_detached),
        ("rolled back", dispatch.transaction in undone),
        (f"raised {dispatch.exception_type}", bool(dispatch.exception_type)),
    )
    parts += [word for word, is_so in facts if is_so]
    return ", ".join(parts)


def _call(call: ReceiverCall) -> str:
    text = f"→ {call.receiver.name}"
    if call.outcome is Outcome.RAISED:
        return f"{text}: raised {call.exception_type}"
    return f"{text}: {_ENDS[call.outcome]}" if call.outcome in _ENDS else text
