"""Parking: a trace that ends inside an open transaction waits for it, so that its fate is known.

A lone dispatch or a block within ``atomic()`` is over before the transaction is. It waits until the
transaction ends, a few seconds at most, and is handed over then.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from tracing.capture.failures import failed
from tracing.capture.transactions import Block, open_blocks, root_of, when_ended

if TYPE_CHECKING:
    from tracing.capture.context import LiveTrace, Processor

SECONDS: Final = 10.0
LIMIT: Final = 1_000
"""Traces that wait at most; the one that has waited longest goes on without knowing."""

_parked: deque[tuple[LiveTrace, list[Block], float, Processor]] = deque()

# A forked child leaves those of the parent to the parent.
os.register_at_fork(after_in_child=_parked.clear)


class Parking:
    """Stand in front of a processor and keep back the traces whose transaction is still open."""

    __slots__ = ("_processor", "on_start")

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.on_start = processor.on_start

    def on_end(self, trace: LiveTrace) -> None:
        """Pass it on, or keep it until the transactions that are open now have ended."""
        blocks = open_blocks()
        if blocks:
            blocks = [block for block in map(root_of, blocks) if not block.settled]
        if not blocks:
            self._processor.on_end(trace)
            return
        if len(_parked) >= LIMIT:
            self._release(*_parked.popleft())
        _parked.append((trace, blocks, time.monotonic() + SECONDS, self._processor))

    @staticmethod
    def _release(trace: LiveTrace, _blocks: Any, _until: float, processor: Processor) -> None:
        processor.on_end(trace)


def release_settled() -> None:
    """Hand over the parked traces whose transactions have ended. Called when one ends."""
    for _ in range(len(_parked)):
        try:
            entry = _parked.popleft()
        except IndexError:
            return
        if all(block.settled for block in entry[1]):
            Parking._release(*entry)
        else:
            _parked.append(entry)


def release_expired() -> list[Any]:
    """Hand over the parked traces that have waited long enough; a drain of the pipeline."""
    release_all(time.monotonic())
    return []


def release_all(now: float = float("inf")) -> None:
    """Hand over the parked traces whose time is up at *now*; all of them by default."""
    for _ in range(len(_parked)):
        try:
            entry = _parked.popleft()
        except IndexError:
            return
        if entry[2] <= now:
            Parking._release(*entry)
        else:
            _parked.append(entry)


def _ended() -> None:
    if _parked:
        try:
            release_settled()
        except Exception as error:
            failed("parking", error)


when_ended(_ended)
