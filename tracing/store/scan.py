"""A search for a page of traces, batch by batch, within a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from django.db import DatabaseError

from tracing.clocks import time
from tracing.store import deadlines
from tracing.store.pages import TracePage, TraceSearch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tracing.store.generics import Trace

_FIRST_STEP: Final = 10_000
_LARGEST_STEP: Final = 400_000
_STEP_SECONDS: Final = 0.01
"""How long a step along the rows should take: what the last one takes, a page takes longer than it may."""

_Place = TypeVar("_Place")
_Found = TypeVar("_Found")


class Scan(Generic[_Place, _Found]):
    """One search in some order, from a place on or (``backwards``) up to it.

    Args:
        wanted: The conditions.
        begin: Where the page before ended; None for the first page.
        backwards: The page that ends at *begin* is wanted.
    """

    def __init__(self, wanted: TraceSearch, begin: _Place | None, *, backwards: bool) -> None:
        self.wanted = wanted
        self.begin = begin
        self.backwards = backwards
        self.at = begin
        """The place examined last, at each batch; None if there is nothing beyond it."""
        self.hidden = 0
        """Those that are not mine, up to the last trace on the page."""
        self.behind = 0
        """Those that are not mine, behind it."""

    def page(self, size: int, deadline: float) -> TracePage:
        """Return up to *size* traces, found before *deadline* (monotonic)."""
        found: list[tuple[_Place, _Found]] = []
        complete = exhausted = True
        try:
            for batch in self.batches(size + 1):
                found += self._only_mine(batch, size - len(found))
                if len(found) > size:
                    exhausted = False
                    break
                # A slow machine has not searched in part what it has searched to the end.
                if self.at is not None and time.monotonic() > deadline:
                    complete = exhausted = False
                    break
        except DatabaseError:
            # Stopped in the middle of a batch: what the ones before it gave is a page, too.
            if not deadlines.is_over() or self.at == self.begin:
                raise
            complete = exhausted = False
        end = str(found[size - 1][0]) if len(found) > size else "" if exhausted else str(self.at)
        del found[size:]
        start = str(found[0][0]) if found else str(self.begin or "")
        if self.backwards:
            page = TracePage(self.traces_of(found[::-1]), older=start, newer=end)
        else:
            newer = start if self.begin is not None else ""
            page = TracePage(self.traces_of(found), older=end, newer=newer)
        page.complete, page.hidden = complete, self.hidden + (self.behind if exhausted else 0)
        return page

    def _only_mine(
        self, batch: list[tuple[_Place, _Found]], room: int
    ) -> Iterable[tuple[_Place, _Found]]:
        """Yield those of *batch* for a page with *room*; count the others."""
        for entry in batch:
            if not self.wanted.mine or self.is_mine(entry[1]):
                room -= 1
                yield entry
            elif room > 0:
                self.hidden += 1
            else:
                self.behind += 1

    @staticmethod
    def steps() -> Iterator[int]:
        """Yield how many rows to look at, by how long the last ones took."""
        step = _FIRST_STEP
        while True:
            begun = time.monotonic()
            yield step
            took = time.monotonic() - begun
            step = min(step * 2, _LARGEST_STEP) if took < _STEP_SECONDS else max(step // 2, 1_000)

    def batches(self, size: int) -> Iterator[list[tuple[_Place, _Found]]]:
        """Yield what fits with its place, in order; *size* fill a page."""
        raise NotImplementedError

    def is_mine(self, found: _Found) -> bool:
        """Return whether a receiver that is mine was in the trace *found*."""
        raise NotImplementedError

    def traces_of(self, found: Sequence[tuple[_Place, _Found]]) -> list[Trace]:
        """Return the rows of the traces *found*."""
        raise NotImplementedError
