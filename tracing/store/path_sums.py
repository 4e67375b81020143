"""Sums by path of a process, kept until they are written."""

from __future__ import annotations

import secrets
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.explain.paths import PathSums
from tracing.analysis.explain.trees import Root, Trees
from tracing.analysis.histogram import HOUR_NS
from tracing.clocks import time
from tracing.store.labels import add_labels, name_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.spans.records import Trace
    from tracing.store.backends import Database
    from tracing.store.labels import Labels

PATH_KEYS: Final = ("hour", "signal_id", "sender_id", "label_id", "writer")
PATH_COLUMNS: Final = ("tree",)
_HOURS_KEPT: Final = 2
_WRITE_SECONDS: Final = 2.0
_SHARE: Final = 100
"""Between two writings passes so many times what one takes: a tree is written whole."""
_TIME: Final = 0.01
"""Of a core's time that adding takes. Of what is beyond a part is added, chosen at random."""
_ADJUST_SECONDS: Final = 0.25
_LEAST: Final = 0.005
_MOST_WAITING: Final = 20_000
"""Dispatches whose durations are kept one by one."""

# Of its own: the application's numbers must come as they would without.
_random = Random().random  # noqa: S311 - a sample.

_LABELS: Final = (
    ("tracing_signallabel", "signals"),
    ("tracing_senderlabel", "senders"),
    ("tracing_tracelabel", "traces"),
)
"""Tables and attributes of ``Labels`` in the order of a ``Root``; what is empty has the id 0."""

Due = dict[tuple[int, Root], bytes]
"""Encoded trees by hour and root."""


class PathBuffer:
    """The sums by path of a process: what is written, and what waits to be."""

    def __init__(self) -> None:
        self._waiting = PathSums()
        self._spans = 0
        self._ratio, self._spent, self._since = 1.0, 0.0, time.monotonic()
        self._trees = Trees()
        self._writers: dict[int, str] = {}
        """Of each hour, as ``RollupBuffer`` has them."""
        self._write_at = 0.0

    def add(self, traces: Sequence[Trace]) -> None:
        """Add what was stored, or, of more than there is time for, some of it."""
        began, ratio, waiting = time.thread_time(), self._ratio, self._waiting
        for trace in traces:
            if ratio >= 1 or _random() < ratio:
                waiting.add(trace)
                self._spans += len(trace.dispatches)
        if self._spans >= _MOST_WAITING:
            self._fold()
        self._spent += time.thread_time() - began
        self._adjust(time.monotonic())

    def _adjust(self, now: float) -> None:
        """Set which part of the traces is added, by what adding took of late."""
        passed = now - self._since
        if passed >= _ADJUST_SECONDS:
            # Traces differ: a quiet moment does not make room for twice as many.
            change = min(_TIME * passed / max(self._spent, 1e-9), 2.0)
            self._ratio = min(max(self._ratio * change, _LEAST), 1.0)
            self._since, self._spent = now, 0.0

    def _fold(self) -> None:
        self._waiting.fold(self._trees)
        self._spans = 0

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is waiting."""
        return not self._waiting and not self._trees.changed

    @property
    def is_due(self) -> bool:
        """Return whether it is time to write."""
        return not self.is_empty and time.monotonic() >= self._write_at

    def due(self) -> Due:
        """Return the trees to be written now."""
        self._fold()
        hours = self._trees.hours
        return {
            (hour, root): hours[hour][root].encode() for hour, root in sorted(self._trees.changed)
        }

    def writer(self, hour: int) -> str:
        """Return the random id under which this process writes an hour."""
        return self._writers.setdefault(hour, secrets.token_hex(8))

    def written(self) -> None:
        """Take note that all that was due is stored."""
        self._trees.changed.clear()
        current = time.time_ns() // HOUR_NS
        # What is long past may be compacted by now: what comes is of another writer.
        for hour in [hour for hour in self._trees.hours if hour <= current - _HOURS_KEPT]:
            self._trees.forget(hour)
            self._writers.pop(hour, None)

    def wait(self, seconds: float) -> None:
        """Wait with the next writing: this one took some *seconds*."""
        self._write_at = time.monotonic() + max(_WRITE_SECONDS, _SHARE * seconds)


def label_ids(database: Database, labels: Labels, roots: Sequence[Root]) -> None:
    """Put the ids of the names of *roots* into *labels*, found or made."""
    for place, (table, attribute) in enumerate(_LABELS):
        ids: dict[str, int] = getattr(labels, attribute)
        new = sorted({root[place] for root in roots if root[place]} - ids.keys())
        if new:
            add_labels(database, table, ids, new, name_columns)


def path_rows(buffer: PathBuffer, due: Due, labels: Labels) -> list[tuple[Any, ...]]:
    """Return the rows of what is *due*, whose names have ids in *labels*."""
    return [
        (
            hour,
            *(
                getattr(labels, attribute)[name] if name else 0
                for name, (_, attribute) in zip(root, _LABELS, strict=True)
            ),
            buffer.writer(hour),
            tree,
        )
        for (hour, root), tree in due.items()
    ]
