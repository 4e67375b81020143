"""The numbers of spans: counted here, or given as a dispatch opened."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tracing.spans.records import Dispatch


class Given(NamedTuple):
    """The numbers that stand in front of an opening."""

    place: int
    """Where that begins. What was interrupted before it opened has another place."""
    numbers: tuple[int, ...]
    """Of the dispatch, and of its receivers."""
    outer: str
    """Id of the span of another tracer around it, or empty."""


class SpanNumbers:
    """The numbers of the spans of one trace.

    Args:
        given: Where the traced thread takes its numbers from; None where it gives none.
    """

    __slots__ = ("_outer_spans", "calls", "next")

    def __init__(self, given: Iterator[int] | None) -> None:
        self.next: Callable[[], int] = (count(1) if given is None else given).__next__
        self.calls: dict[int, tuple[int, ...]] = {}
        """Those of the receivers of a dispatch that came with them, by its own, until all have theirs."""
        self._outer_spans: dict[int, str] = {}

    def of_dispatch(self, given: Given, place: int) -> int:
        """Return the number of the dispatch that opens at *place*."""
        if given.place != place:
            return self.next()
        number = given.numbers[0]
        self.calls[number] = given.numbers[1:]
        if given.outer:
            self._outer_spans[number] = given.outer
        return number

    def of_call(self, dispatch: int, position: int) -> int:
        """Return the number of a receiver call of the *dispatch* so numbered."""
        numbers = self.calls.get(dispatch, ())
        if position + 1 >= len(numbers):
            self.calls.pop(dispatch, None)
        return numbers[position] if position < len(numbers) else self.next()

    def take_outer_spans(self, ended: Iterable[Dispatch]) -> dict[int, str]:
        """Return the ids of spans around dispatches that have *ended*."""
        if not self._outer_spans:
            return {}
        numbers = self._outer_spans.keys() & {dispatch.number for dispatch in ended}
        return {number: self._outer_spans.pop(number) for number in numbers}
