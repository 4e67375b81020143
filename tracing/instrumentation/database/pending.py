"""PendingTraces: a trace inside an open transaction waits for its fate.

A standalone dispatch or a block within ``atomic()`` is over before the transaction is. It waits until the
transaction ends, a few seconds at most, and is handed over then.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time
from tracing.instrumentation.database.transactions import Block, open_blocks, root_of, when_ended
from tracing.instrumentation.failures import failed, is_own

if TYPE_CHECKING:
    from tracing.instrumentation.buffer import ActiveTrace
    from tracing.instrumentation.context import Processor

SECONDS: Final = 10.0
LIMIT: Final = 1_000
"""Traces that wait at most; the one that has waited longest goes on without knowing."""

_Entry = tuple["ActiveTrace", list[Block], float, "Processor"]
_parked: deque[_Entry] = deque()

# A forked child leaves those of the parent to the parent.
os.register_at_fork(after_in_child=_parked.clear)


class PendingTraces:
    """A processor's stand-in that keeps traces of open transactions back."""

    __slots__ = ("_processor", "on_start")

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.on_start = processor.on_start

    def on_end(self, trace: ActiveTrace) -> None:
        """Pass it on, or keep it until its transactions have ended."""
        blocks = [root_of(block) for _, block in open_blocks()]
        blocks = [block for block in blocks if not block.settled]
        if not blocks:
            self._processor.on_end(trace)
            return
        if len(_parked) >= LIMIT:
            _let_go(_parked[0])
        _parked.append((trace, blocks, time.monotonic() + SECONDS, self._processor))


def release_settled() -> None:
    """Hand over the traces whose transactions have ended."""
    for entry in _entries():
        if all(block.settled for block in entry[1]):
            _let_go(entry)


def release_expired() -> list[Any]:
    """Hand over the traces that have waited long enough; a drain."""
    release_all(time.monotonic())
    return []


def release_all(now: float = float("inf")) -> None:
    """Hand over the traces whose time is up at *now*, by default all."""
    for entry in _entries():
        if entry[2] <= now:
            _let_go(entry)


def _entries() -> list[_Entry]:
    """Return what is parked, whatever other threads do meanwhile."""
    return [*_parked.copy()]


def _let_go(entry: _Entry) -> None:
    """Hand a parked trace over, then forget it, so that none is lost."""
    trace, _blocks, _until, processor = entry
    processor.on_end(trace)
    try:
        _parked.remove(entry)
    except ValueError as error:  # Another thread was at it, too.
        if not is_own(error):
            raise


def _ended() -> None:
    if _parked:
        try:
            release_settled()
        except Exception as error:
            failed("pending", error)


when_ended(_ended)
