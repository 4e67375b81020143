"""Explanations from trees of sums, of as many steps as anybody reads."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from tracing.analysis.explain.trees import MOST_TOLD, Alike, add_up, sort

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.explain.steps import Key, Step
    from tracing.analysis.explain.trees import Document


def told(
    roots: Iterable[tuple[Key, list[Document]]], most: int = MOST_TOLD
) -> tuple[list[Step], int]:
    """Return what documents of each of *roots* tell, and the spans left out.

    Of more than *most* steps, those that most of what is asked about led to: the rest is not even added up.
    """
    places = count()
    waiting: list[tuple[int, int, Key, list[Document], Step | None, Step | None]] = [
        (-(2**62), next(places), key, documents, None, None) for key, documents in roots
    ]
    heapify(waiting)
    found: list[Step] = []
    place_of: dict[int, int] = {}
    base, left_out = 0, 0
    while waiting:
        _, place, key, documents, above, top = heappop(waiting)
        if len(place_of) >= most:
            left_out += _spans(documents)
            if above is not None:
                above.is_cut = True
            continue
        step, shares, cut = add_up(key, documents)
        place_of[id(step)] = place
        step.is_cut, left_out = cut > 0, left_out + cut
        if above is None or top is None:
            # Roots are the first to be taken; of a receiver they are below those of their trees.
            top, base = step, len(shares)
            step.asked_count = step.count
            found.append(step)
        else:
            # A span that several segments of a trace have below it is counted in each.
            step.parent_count = min(shares[0], above.count)
            step.asked_count = min(shares[len(shares) - base - 1], top.count)
            above.children.append(step)
        below = Alike()
        for document in documents:
            sort(document.below, below)
        for child, alike in below.items():
            asked = sum([each.shares[len(each.shares) - base - 1] for each in alike])
            heappush(waiting, (-asked, next(places), child, alike, step, top))
    stack = [*found]
    while stack:
        children = stack.pop().children
        children.sort(key=lambda step: place_of[id(step)])
        stack += children
    return found, left_out


def _spans(documents: list[Document]) -> int:
    """Return how many spans *documents* and those below have."""
    total, stack = 0, [*documents]
    while stack:
        document = stack.pop()
        total += document.counts.count + document.seen.cut
        stack += document.below
    return total
